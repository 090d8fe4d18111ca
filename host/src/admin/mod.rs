//! Admin: the operator's door, a listener of its own.
//!
//! Opened by the command line beside a running host; knows `host` by its handle and
//! `server` for how connections are accepted. Every operation but those of health,
//! and the description of them all, wants a bearer token with the right for it; the
//! type of an operation's first argument says which. Errors are problems (RFC 9457).
//! Guests have no way here: they open no connections of their own, and what they
//! answer never carries a token.

mod alarms;
pub mod api;
mod api_travel;
mod apps;
mod backup;
mod call;
mod class_sql;
mod databases;
mod deployments;
mod doors;
mod exchange;
mod extract;
mod fetch;
mod first;
mod health;
mod local;
mod logs;
mod metrics;
mod objects;
mod page;
mod records;
mod refusal;
mod secrets;
mod testing;
mod tokens;
mod tokens_api;
mod travel;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{Method, Request, StatusCode, Uri};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use tokio::sync::watch;
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use doors::Doors;
pub use first::First;
pub use local::{Local, find_local};
pub use records::Records;
pub use tokens::{Scope, Tokens};

use crate::host::{Apps, Handle, Host};
use crate::server::{Problem, Serve, Tls};

/// Headers of one request, names and values together.
const HEADER_BYTES: usize = 64 << 10;
/// How long answers under way may take when the door closes.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// An open admin door.
#[derive(Debug)]
pub struct Admin {
    doors: Doors,
    closing: watch::Sender<bool>,
    /// Removed from the data folder when the door closes.
    _local: Local,
}

/// What every operation may use.
#[derive(Clone, Debug)]
struct State(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// The main app, by which the host itself is seen.
    host: Handle,
    apps: Apps,
    tokens: Tokens,
    records: Records,
    began: Instant,
    closing: watch::Receiver<bool>,
}

impl Admin {
    /// Opens the door, with TLS or without. The next address is tried while one is taken.
    pub async fn open(
        addresses: &[SocketAddr],
        tls: Option<Tls>,
        host: &Host,
        tokens: Tokens,
        records: Records,
    ) -> anyhow::Result<Self> {
        let (closing, closed) = watch::channel(false);
        let data = host.data().to_owned();
        for app in host.apps().list() {
            let folder = app.handle.map(|app| app.data().to_owned());
            let cleared = folder.map_or(Ok(()), |folder| exchange::clear(&folder));
            cleared.context("cannot clear the folder for files on their way")?;
        }
        let (local_token, tokens) = tokens.with_local()?;
        let shared = Shared {
            host: host.handle(),
            apps: host.apps(),
            tokens,
            records,
            began: Instant::now(),
            closing: closed,
        };
        let door = Door(router(State(Arc::new(shared))).0);
        let doors = Doors::listen(addresses, tls, door).await?;
        let local = Local::write(&data, doors.local(), &local_token)?;
        Ok(Self {
            doors,
            closing,
            _local: local,
        })
    }

    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.doors.address()
    }

    /// Ends streams, lets other answers finish for a moment.
    pub async fn close(self) {
        self.closing.send_replace(true);
        self.doors.stop().await;
    }
}

#[derive(Clone)]
struct Door(axum::Router);

impl Serve for Door {
    async fn serve(self, request: Request<Body>) -> Response {
        match TowerToHyperService::new(self.0).call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Dormouse admin door",
        description = "What an operator may ask of a host. Every operation but those of `health` \
                       wants a bearer token."
    ),
    components(schemas(Problem)),
    security(("token" = []))
)]
struct Description;

/// The operations, and their description.
fn router(state: State) -> (axum::Router, utoipa::openapi::OpenApi) {
    let (router, mut description) = OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(metrics::metrics))
        .routes(routes!(apps::host))
        .routes(routes!(apps::list, apps::create))
        .routes(routes!(apps::change, apps::delete))
        .routes(routes!(backup::backup))
        .routes(routes!(deployments::list, deployments::deploy))
        .routes(routes!(deployments::missing))
        .routes(routes!(deployments::upload))
        .routes(routes!(deployments::roll_back))
        .routes(routes!(deployments::set_rollout))
        .routes(routes!(deployments::diff))
        .routes(routes!(deployments::prune))
        .routes(routes!(objects::list))
        .routes(routes!(objects::show, travel::delete))
        .routes(routes!(objects::sql))
        .routes(routes!(class_sql::sql))
        .routes(routes!(objects::sockets))
        .routes(routes!(objects::all_sockets))
        .routes(routes!(travel::bookmark))
        .routes(routes!(travel::history))
        .routes(routes!(travel::diff))
        .routes(routes!(travel::export))
        .routes(routes!(travel::restore))
        .routes(routes!(travel::fork))
        .routes(routes!(travel::import))
        .routes(routes!(alarms::list))
        .routes(routes!(alarms::list_all))
        .routes(routes!(alarms::retry))
        .routes(routes!(alarms::run))
        .routes(routes!(logs::read))
        .routes(routes!(tokens_api::list, tokens_api::create))
        .routes(routes!(tokens_api::delete))
        .routes(routes!(call::call))
        .routes(routes!(databases::query))
        .routes(routes!(databases::batch))
        .routes(routes!(secrets::list))
        .routes(routes!(secrets::set, secrets::delete))
        .merge(testing::operations())
        .split_for_parts();
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
    if let Some(components) = &mut description.components {
        components.add_security_scheme("token", SecurityScheme::Http(bearer));
    }
    let json = serde_json::to_string_pretty(&description).expect("a description is plain data");
    let document = axum::routing::get(move || async move {
        let kind = [(http::header::CONTENT_TYPE, "application/json")];
        (kind, json).into_response()
    });
    let router = router
        .route("/openapi.json", document)
        .route(fetch::PATH, axum::routing::any(fetch::forward))
        .merge(page::router())
        .fallback(nothing_here)
        .method_not_allowed_fallback(wrong_method)
        .with_state(state);
    (router, description)
}

async fn nothing_here(uri: Uri) -> Response {
    Problem::new(
        StatusCode::NOT_FOUND,
        "urn:dormouse:problem:no-operation",
        "No such operation",
        format!(
            "there is nothing at {:?}; /openapi.json describes what there is",
            uri.path()
        ),
    )
    .into_response()
}

async fn wrong_method(method: Method, uri: Uri) -> Response {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "urn:dormouse:problem:no-operation",
        "No such operation",
        format!(
            "{method} cannot be asked of {:?}; /openapi.json describes what can",
            uri.path()
        ),
    )
    .into_response()
}
