//! The host and its apps.

use axum::extract::State as From;

use super::State;
use super::api::{App, Class, Host};
use super::extract::{Json, May, Read};
use crate::host::Handle;
use crate::server::Problem;

/// The host itself.
#[utoipa::path(get, path = "/v1/host", tag = "host",
    responses((status = OK, body = Host), (status = "4XX", body = Problem)))]
pub(super) async fn host(_: May<Read>, From(state): From<State>) -> Json<Host> {
    let host = &state.0.host;
    Json(Host {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        uptime_ms: state.0.began.elapsed().as_millis() as u64,
        data: host.data().display().to_string(),
        listen: host.public_address().map(|address| address.to_string()),
        awake: host.awake(),
        awake_limit: host.awake_limit(),
    })
}

/// The apps that the token may see.
#[utoipa::path(get, path = "/v1/apps", tag = "apps",
    responses((status = OK, body = Vec<App>), (status = "4XX", body = Problem)))]
pub(super) async fn list(may: May<Read>, From(state): From<State>) -> Json<Vec<App>> {
    let apps = [&state.0.host].into_iter().map(describe);
    Json(apps.filter(|app| may.token.allows_app(&app.name)).collect())
}

fn describe(app: &Handle) -> App {
    let served = app.served();
    let classes = served.code.classes().iter();
    let present = app.present();
    App {
        name: app.manifest().name.clone(),
        classes: classes
            .map(|class| Class {
                name: class.name.to_string(),
                alarm: class.alarm,
                websocket: class.websocket,
            })
            .collect(),
        digest: served.code.digest().to_owned(),
        awake: present.iter().filter(|object| object.awake).count(),
        sockets: present.iter().map(|object| object.sockets).sum(),
        objects_with_alarms: app.objects_with_alarms(),
        dead_letters: app.dead_letters().len(),
    }
}
