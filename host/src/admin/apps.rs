//! The host and its apps.

use axum::extract::State as From;
use http::StatusCode;
use serde::Deserialize;

use super::State;
use super::api::{App, ChangeApp, Class, DeleteApp, Host, NewApp};
use super::extract::{Admin, Json, May, Operate, Path, Query, Read};
use super::refusal::Refusal;
use super::tokens::{Scope, Token};
use crate::host::{AppInfo, AppsError, Routes};
use crate::server::Problem;

/// The part of the path that names the app.
#[derive(Debug, Deserialize)]
pub(super) struct Place {
    app: String,
}

/// The host itself.
#[utoipa::path(get, path = "/v1/host", tag = "host",
    responses((status = OK, body = Host), (status = "4XX", body = Problem)))]
pub(super) async fn host(_: May<Read>, From(state): From<State>) -> Json<Host> {
    let host = &state.0.host;
    let apps = state.0.apps.list().into_iter();
    Json(Host {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        uptime_ms: state.0.began.elapsed().as_millis() as u64,
        data: host.data().display().to_string(),
        listen: host.public_address().map(|address| address.to_string()),
        awake: apps
            .filter_map(|app| app.handle)
            .map(|app| app.awake())
            .sum(),
        awake_limit: host.awake_limit(),
    })
}

/// The apps that the token may see.
#[utoipa::path(get, path = "/v1/apps", tag = "apps",
    responses((status = OK, body = Vec<App>), (status = "4XX", body = Problem)))]
pub(super) async fn list(may: May<Read>, From(state): From<State>) -> Json<Vec<App>> {
    let apps = state.0.apps.list().into_iter();
    let seen = apps.filter(|app| may.token.allows_app(&app.name));
    Json(seen.map(describe).collect())
}

/// Makes an app with data, secrets and versions of its own; the next step is to deploy to it.
#[utoipa::path(post, path = "/v1/apps", tag = "apps", request_body = NewApp,
    responses((status = CREATED, body = App), (status = "4XX", body = Problem)))]
pub(super) async fn create(
    may: May<Admin>,
    From(state): From<State>,
    Json(new): Json<NewApp>,
) -> Result<(StatusCode, Json<App>), Refusal> {
    let routes = Routes {
        hosts: new.hosts,
        path: new.path,
    };
    let made = state.0.apps.create(&new.name, routes).await?;
    tracing::info!(app = new.name, token = may.token.id, "an app was created");
    Ok((StatusCode::CREATED, Json(describe(made))))
}

/// Leads other requests to an app, pauses it, or lets it go on.
#[utoipa::path(patch, path = "/v1/apps/{app}", tag = "apps", params(("app" = String, Path)),
    request_body = ChangeApp,
    responses((status = OK, body = App), (status = "4XX", body = Problem)))]
pub(super) async fn change(
    may: May<Operate>,
    From(state): From<State>,
    Path(Place { app }): Path<Place>,
    Json(change): Json<ChangeApp>,
) -> Result<Json<App>, Refusal> {
    let (apps, token) = (&state.0.apps, &may.token);
    let mut info = apps.info(&app)?;
    if change.hosts.is_some() || change.path.is_some() {
        may_route(token)?;
        let old = info.routes;
        let routes = Routes {
            hosts: change.hosts.unwrap_or(old.hosts),
            path: change.path.or(old.path),
        };
        info = apps.set_routes(&app, routes).await?;
        tracing::info!(app, token = token.id, "the app has other routes");
    }
    if let Some(paused) = change.paused {
        info = apps.set_paused(&app, paused).await?;
        let done = if paused { "paused" } else { "resumed" };
        tracing::info!(app, token = token.id, "the app is {done}");
    }
    Ok(Json(describe(info)))
}

/// Deletes an app with all its data, versions and secrets. What runs has ten seconds to end.
#[utoipa::path(delete, path = "/v1/apps/{app}", tag = "apps",
    params(("app" = String, Path), DeleteApp),
    responses((status = NO_CONTENT), (status = "4XX", body = Problem)))]
pub(super) async fn delete(
    may: May<Admin>,
    From(state): From<State>,
    Path(Place { app }): Path<Place>,
    Query(wish): Query<DeleteApp>,
) -> Result<StatusCode, Refusal> {
    state.0.apps.info(&app)?;
    if wish.confirm.as_deref() != Some(&*app) {
        return Err(Refusal::bad_request(format!(
            "all that {app:?} has would be deleted for good; say so with `?confirm={app}`"
        )));
    }
    state.0.apps.delete(&app).await?;
    state.0.records.forget(&app);
    tracing::info!(token = may.token.id, "the app {app:?} was deleted");
    Ok(StatusCode::NO_CONTENT)
}

/// Routes are the host's: a new one can take requests from any other app.
fn may_route(token: &Token) -> Result<(), Refusal> {
    match (token.allows(Scope::Admin), &token.apps) {
        (true, None) => Ok(()),
        (true, Some(_)) => Err(Refusal::forbidden(Scope::Admin, Some("*"))),
        (false, _) => Err(Refusal::forbidden(Scope::Admin, None)),
    }
}

fn describe(info: AppInfo) -> App {
    let mut app = App {
        name: info.name,
        main: info.is_main,
        hosts: info.routes.hosts,
        path: info.routes.path,
        paused: info.paused,
        trouble: info.trouble.map(|why| why.to_string()),
        classes: Vec::new(),
        digest: String::new(),
        awake: 0,
        sockets: 0,
        objects_with_alarms: 0,
        dead_letters: 0,
    };
    let Some(handle) = info.handle else {
        return app;
    };
    let (served, present) = (handle.served(), handle.present());
    let classes = served.code.classes().iter();
    app.classes = classes
        .map(|class| Class {
            name: class.name.to_string(),
            alarm: class.alarm,
            websocket: class.websocket,
        })
        .collect();
    served.code.digest().clone_into(&mut app.digest);
    app.awake = present.iter().filter(|object| object.awake).count();
    app.sockets = present.iter().map(|object| object.sockets).sum();
    app.objects_with_alarms = handle.objects_with_alarms();
    app.dead_letters = handle.dead_letters().len();
    app
}

impl std::convert::From<AppsError> for Refusal {
    fn from(error: AppsError) -> Self {
        let detail = error.to_string();
        let conflict = |title| {
            Self::new(
                StatusCode::CONFLICT,
                "urn:dormouse:problem:app-conflict",
                title,
                detail.clone(),
            )
        };
        match &error {
            AppsError::Unknown { .. } => Self::new(
                StatusCode::NOT_FOUND,
                "urn:dormouse:problem:unknown-app",
                "Unknown app",
                detail,
            ),
            AppsError::Closed { .. } => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "urn:dormouse:problem:app-away",
                "The app is not there",
                detail,
            ),
            AppsError::Invalid(_) => Self::bad_request(detail),
            AppsError::Exists { .. } => conflict("There is such an app"),
            AppsError::Orphan { .. } => conflict("There is such a folder"),
            AppsError::Conflict { .. } => conflict("Another app has this route"),
            AppsError::Main { .. } => conflict("The main app stays as it is"),
            AppsError::List(_) | AppsError::Open { .. } => Self::failed(&error.into()),
        }
    }
}
