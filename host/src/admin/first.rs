//! First: the admin door of a host to which nothing has been deployed yet.
//!
//! Opened by `serve` instead of the whole door. Takes the first deployment, keeps it,
//! and closes; then the host starts with it. Everything else is told to wait.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path as FilePath;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State as From};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use http::{HeaderMap, StatusCode};
use tokio::sync::Notify;

use super::api::{App, Deploy, Deployed, Health, Missing};
use super::deployments::receive;
use super::doors::Doors;
use super::extract::authorize;
use super::local::Local;
use super::refusal::Refusal;
use super::tokens::{Scope, Tokens};
use super::{Door, health};
use crate::clock::Clock;
use crate::deploy::{Catalog, NewVersion};
use crate::host::{self, DeployError};
use crate::server::Tls;

const WAITING: &str = "nothing has been deployed yet; `dormouse deploy --to URL` changes that";

/// An open door that waits for the first deployment.
#[derive(Debug)]
pub struct First {
    doors: Doors,
    state: Waiting,
    _local: Local,
}

#[derive(Clone)]
struct Waiting(Arc<Shared>);

struct Shared {
    tokens: Tokens,
    catalog: Catalog,
    deployed: Notify,
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Waiting({:?})", self.0.catalog)
    }
}

impl First {
    pub async fn open(
        addresses: &[SocketAddr],
        tls: Option<Tls>,
        data: &FilePath,
        tokens: Tokens,
        catalog: Catalog,
    ) -> anyhow::Result<Self> {
        let (local_token, tokens) = tokens.with_local()?;
        let state = Waiting(Arc::new(Shared {
            tokens,
            catalog,
            deployed: Notify::new(),
        }));
        let router = Router::new()
            .route("/health/live", get(health::live))
            .route("/health/ready", get(ready))
            .route("/v1/apps", get(apps))
            .route("/v1/apps/{app}/blobs/missing", post(missing))
            .route("/v1/apps/{app}/blobs/{digest}", put(upload))
            .route("/v1/apps/{app}/deployments", post(deploy))
            .fallback(wait)
            .with_state(state.clone());
        let doors = Doors::listen(addresses, tls, Door(router)).await?;
        let local = Local::write(data, doors.local(), &local_token)?;
        Ok(Self {
            doors,
            state,
            _local: local,
        })
    }

    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.doors.address()
    }

    /// Ends with the first deployment, which the catalog then has.
    pub async fn deployed(&self) {
        self.state.0.deployed.notified().await;
    }

    pub async fn close(self) {
        self.doors.stop().await;
    }
}

async fn ready() -> Response {
    let status = WAITING.to_owned();
    (StatusCode::SERVICE_UNAVAILABLE, Json(Health { status })).into_response()
}

async fn wait() -> Refusal {
    Refusal::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "urn:dormouse:problem:nothing-deployed",
        "Nothing has been deployed",
        WAITING,
    )
}

async fn apps(From(state): From<Waiting>, headers: HeaderMap) -> Result<Json<Vec<App>>, Refusal> {
    authorize(&state.0.tokens, &headers, Scope::Read, None)?;
    Ok(Json(Vec::new()))
}

async fn missing(
    From(state): From<Waiting>,
    Path(app): Path<String>,
    headers: HeaderMap,
    Json(asked): Json<Missing>,
) -> Result<Json<Missing>, Refusal> {
    authorize(&state.0.tokens, &headers, Scope::Deploy, Some(&app))?;
    let digests = asked.digests.into_iter();
    let missing = digests.filter(|digest| state.0.catalog.blob(digest).is_err());
    Ok(Json(Missing {
        digests: missing.collect(),
    }))
}

async fn upload(
    From(state): From<Waiting>,
    Path((app, digest)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Refusal> {
    authorize(&state.0.tokens, &headers, Scope::Deploy, Some(&app))?;
    let bytes = receive(body).await?;
    let put = state.0.catalog.put_blob(&digest, &bytes);
    put.map_err(DeployError::from)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn deploy(
    From(state): From<Waiting>,
    Path(app): Path<String>,
    headers: HeaderMap,
    Json(wish): Json<Deploy>,
) -> Result<Json<Deployed>, Refusal> {
    let token = authorize(&state.0.tokens, &headers, Scope::Deploy, Some(&app))?;
    let catalog = &state.0.catalog;
    if wish.percent.is_some() {
        let why = "nothing is served yet, beside which it could be rolled out";
        return Err(Refusal::bad_request(why));
    }
    let parts = wish.parts();
    let assembled = catalog.assemble(&app, &wish.manifest, &parts);
    let assembled = assembled.map_err(DeployError::from)?;
    let report = host::inspect(&assembled.component).await;
    let report =
        report.map_err(|error| DeployError::Refused(format!("{:#}", error.root_cause())))?;
    if let Some(why) = report.refused {
        return Err(DeployError::Refused(why).into());
    }
    let classes: Vec<String> = report
        .classes
        .iter()
        .map(|one| one.name.to_string())
        .collect();
    let mut deployed = Deployed {
        version: None,
        from: None,
        added: classes.clone(),
        classes: classes.clone(),
        removed: Vec::new(),
        renamed: Vec::new(),
        deleted: Vec::new(),
        unchanged: false,
        after_restart: Vec::new(),
        percent: None,
    };
    if !wish.plan {
        let new = NewVersion {
            app: assembled.manifest.name,
            manifest: wish.manifest,
            parts,
            by: token.label,
            note: wish.note,
        };
        let version = catalog.add(new, classes, catalog.classes(), Clock::system().unix_ms());
        deployed.version = Some(version.map_err(DeployError::from)?.number);
        state.0.deployed.notify_one();
    }
    Ok(Json(deployed))
}
