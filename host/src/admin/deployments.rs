//! Deployments: versions of an app, uploads, going back.

use axum::body::Body;
use axum::extract::State as Shared;
use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt as _, Limited};
use serde::Deserialize;

use super::State;
use super::api::{
    Deploy, Deployed, Deployment, Deployments, Missing, Prune, Pruned, RemovedClass, RollBack,
};
use super::extract::{self, In, Json, Path, Read};
use super::refusal::Refusal;
use crate::deploy::{NewVersion, Version};
use crate::host::{DeployError, Plan};
use crate::server::Problem;

const MAX_BLOB_BYTES: usize = 256 << 20;

/// The versions of an app, newest first.
#[utoipa::path(get, path = "/v1/apps/{app}/deployments", tag = "deployments",
    params(("app" = String, Path)),
    responses((status = OK, body = Deployments), (status = "4XX", body = Problem)))]
pub(super) async fn list(at: In<Read>) -> Json<Deployments> {
    let catalog = at.app.catalog();
    let versions = catalog.versions().into_iter();
    Json(Deployments {
        current: catalog.current().map(|version| version.number),
        versions: versions.map(describe).collect(),
    })
}

/// Which of these digests have not been uploaded yet.
#[utoipa::path(post, path = "/v1/apps/{app}/blobs/missing", tag = "deployments",
    params(("app" = String, Path)), request_body = Missing,
    responses((status = OK, body = Missing), (status = "4XX", body = Problem)))]
pub(super) async fn missing(at: In<extract::Deploy>, Json(asked): Json<Missing>) -> Json<Missing> {
    let catalog = at.app.catalog();
    let digests = asked.digests.into_iter();
    Json(Missing {
        digests: digests
            .filter(|digest| catalog.blob(digest).is_err())
            .collect(),
    })
}

#[derive(Debug, Deserialize)]
pub(super) struct Blob {
    digest: String,
}

/// Uploads a component; its SHA-256 must be the digest.
#[utoipa::path(put, path = "/v1/apps/{app}/blobs/{digest}", tag = "deployments",
    params(("app" = String, Path), ("digest" = String, Path)),
    request_body(content = Vec<u8>, content_type = "application/wasm"),
    responses((status = NO_CONTENT), (status = "4XX", body = Problem)))]
pub(super) async fn upload(
    at: In<extract::Deploy>,
    Path(blob): Path<Blob>,
    body: Body,
) -> Result<StatusCode, Refusal> {
    let bytes = receive(body).await?;
    let app = at.app;
    let put = tokio::task::spawn_blocking(move || app.catalog().put_blob(&blob.digest, &bytes));
    let put = put.await.map_err(|error| Refusal::failed(&error.into()))?;
    put.map_err(DeployError::from)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Serves another version from now on, or says what that would change. All checks come
/// first; on an error nothing has changed.
#[utoipa::path(post, path = "/v1/apps/{app}/deployments", tag = "deployments",
    params(("app" = String, Path)), request_body = Deploy,
    responses((status = OK, body = Deployed), (status = "4XX", body = Problem)))]
pub(super) async fn deploy(
    Shared(state): Shared<State>,
    at: In<extract::Deploy>,
    Json(wish): Json<Deploy>,
) -> Result<Json<Deployed>, Refusal> {
    let new = NewVersion {
        app: at.app.name().to_string(),
        manifest: wish.manifest,
        component: wish.component,
        by: at.token.label,
        note: wish.note,
    };
    if wish.plan {
        let plan = at.app.plan(&new).await?;
        return Ok(Json(report(None, plan)));
    }
    let (version, plan) = at.app.deploy_version(new, wish.remove_classes).await?;
    tell(&version, "deployed");
    state.0.apps.settle(at.app).await?;
    Ok(Json(report(Some(version), plan)))
}

/// Serves an earlier version: the one before the current, or a given one.
#[utoipa::path(post, path = "/v1/apps/{app}/rollback", tag = "deployments",
    params(("app" = String, Path)), request_body = RollBack,
    responses((status = OK, body = Deployed), (status = "4XX", body = Problem)))]
pub(super) async fn roll_back(
    at: In<extract::Deploy>,
    Json(wish): Json<RollBack>,
) -> Result<Json<Deployed>, Refusal> {
    let (version, plan) = at.app.roll_back(wish.version).await?;
    tell(&version, "rolled back");
    Ok(Json(report(Some(version), plan)))
}

/// Forgets all versions but the newest and the current one.
#[utoipa::path(post, path = "/v1/apps/{app}/prune", tag = "deployments",
    params(("app" = String, Path)), request_body = Prune,
    responses((status = OK, body = Pruned), (status = "4XX", body = Problem)))]
pub(super) async fn prune(
    at: In<extract::Deploy>,
    Json(wish): Json<Prune>,
) -> Result<Json<Pruned>, Refusal> {
    let pruned = at.app.prune(wish.keep).await?;
    Ok(Json(Pruned {
        versions: pruned.versions,
        bytes: pruned.bytes,
    }))
}

/// The whole body of an upload.
pub(super) async fn receive(body: Body) -> Result<Bytes, Refusal> {
    let bytes = Limited::new(body, MAX_BLOB_BYTES).collect().await;
    let bytes =
        bytes.map_err(|error| Refusal::bad_request(format!("the upload ended: {error}")))?;
    Ok(bytes.to_bytes())
}

fn tell(version: &Version, what: &str) {
    let (app, number, by) = (&*version.app, version.number, &*version.by);
    tracing::info!(app, version = number, by, "{what}");
}

fn describe(version: Version) -> Deployment {
    Deployment {
        version: version.number,
        component: version.component,
        bytes: version.bytes,
        classes: version.classes,
        created_ms: version.created_ms,
        by: version.by,
        note: version.note,
    }
}

fn report(version: Option<Version>, plan: Plan) -> Deployed {
    let removed = plan.removed.into_iter();
    Deployed {
        version: version.map(|version| version.number),
        from: plan.from,
        classes: plan.classes,
        added: plan.added,
        removed: removed
            .map(|(class, objects)| RemovedClass { class, objects })
            .collect(),
        unchanged: plan.unchanged,
        after_restart: plan.after_restart.into_iter().map(str::to_owned).collect(),
    }
}

impl From<DeployError> for Refusal {
    fn from(error: DeployError) -> Self {
        use crate::deploy::Error as Catalog;
        let detail = error.to_string();
        match error {
            DeployError::Catalog(Catalog::Io { .. } | Catalog::Damaged { .. })
            | DeployError::Storage(_) => Self::failed(&error.into()),
            DeployError::Catalog(
                Catalog::NoVersion { .. } | Catalog::NoEarlier { .. } | Catalog::NoBlob { .. },
            ) => Self::not_found(detail),
            DeployError::RemovesClasses { .. } => Self::new(
                StatusCode::CONFLICT,
                "urn:dormouse:problem:removes-classes",
                "Classes would be gone",
                detail,
            ),
            _ => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "urn:dormouse:problem:deployment-refused",
                "The deployment was refused",
                detail,
            ),
        }
    }
}
