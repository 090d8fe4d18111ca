//! Deployments: versions of an app, uploads, going back.

use std::ops::RangeInclusive;

use axum::body::Body;
use axum::extract::State as Shared;
use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt as _, Limited};
use serde::Deserialize;

use super::State;
use super::api::{
    self, Between, Contents, Deploy, Deployed, Deployment, Deployments, FileDiff, Missing, Prune,
    Pruned, RemovedClass, RenamedClass, RollBack, RolledOut, SetRollout, VersionDiff,
};
use super::extract::{self, In, Json, Path, Query, Read};
use super::refusal::Refusal;
use crate::deploy::{Asset, Changed, NewVersion, Version};
use crate::host::{self, Allow, DeployError, Plan};
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
        rollout: catalog.rollout().map(|rollout| api::Rollout {
            version: rollout.version,
            percent: rollout.percent,
            since_ms: rollout.since_ms,
        }),
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

/// Uploads a file, 256 MiB at most; its SHA-256 must be the digest.
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
        parts: wish.parts(),
        manifest: wish.manifest,
        by: at.token.label,
        note: wish.note,
    };
    if wish.plan {
        let plan = at.app.plan(&new).await?;
        return Ok(Json(report(None, plan)));
    }
    if let Some(percent) = wish.percent {
        let percent = percent_of(percent, 1..=99)?;
        let (version, plan) = at.app.begin_rollout(new, percent).await?;
        tell(&version, "being rolled out");
        let mut deployed = report(Some(version), plan);
        deployed.percent = Some(percent);
        return Ok(Json(deployed));
    }
    let allow = Allow {
        remove_classes: wish.remove_classes,
        delete_data: wish.delete_data,
    };
    let (version, plan) = at.app.deploy_version(new, allow).await?;
    tell(&version, "deployed");
    state.0.apps.settle(at.app).await?;
    Ok(Json(report(Some(version), plan)))
}

fn percent_of(percent: u8, allowed: RangeInclusive<u8>) -> Result<u8, Refusal> {
    if allowed.contains(&percent) {
        return Ok(percent);
    }
    let (low, high) = allowed.into_inner();
    Err(Refusal::bad_request(format!(
        "`percent` is {percent}; {low} to {high} can be asked for"
    )))
}

/// Gives the version that is being rolled out to more objects and requests, or fewer.
#[utoipa::path(post, path = "/v1/apps/{app}/rollout", tag = "deployments",
    params(("app" = String, Path)), request_body = SetRollout,
    responses((status = OK, body = RolledOut), (status = "4XX", body = Problem)))]
pub(super) async fn set_rollout(
    at: In<extract::Deploy>,
    Json(wish): Json<SetRollout>,
) -> Result<Json<RolledOut>, Refusal> {
    let percent = percent_of(wish.percent, 0..=100)?;
    let (host::RolledOut::To(rollout)
    | host::RolledOut::All(rollout)
    | host::RolledOut::TakenBack(rollout)) = at.app.set_rollout(percent).await?;
    let (version, by) = (rollout.version, &*at.token.label);
    tracing::info!(version, percent, by, "rolled out");
    Ok(Json(RolledOut {
        version,
        percent,
        current: at.app.catalog().current().map(|version| version.number),
    }))
}

/// How one version differs from another.
#[utoipa::path(get, path = "/v1/apps/{app}/deployments/diff", tag = "deployments",
    params(("app" = String, Path), Between),
    responses((status = OK, body = VersionDiff), (status = "4XX", body = Problem)))]
pub(super) async fn diff(
    at: In<Read>,
    Query(between): Query<Between>,
) -> Result<Json<VersionDiff>, Refusal> {
    let Between { from, to } = between;
    let found = at.app.catalog().difference(from, to);
    let found = found.map_err(DeployError::from)?;
    let contents = |asset: Asset| Contents {
        sha256: asset.sha256,
        bytes: asset.bytes,
    };
    let file = |one: Changed| FileDiff {
        name: one.name,
        before: one.before.map(contents),
        after: one.after.map(contents),
    };
    Ok(Json(VersionDiff {
        from,
        to,
        manifest: found.manifest,
        parts: found.parts.into_iter().map(file).collect(),
        classes_added: found.classes_added,
        classes_removed: found.classes_removed,
        assets: found.assets.into_iter().map(file).collect(),
    }))
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
        component: version.parts.component,
        bytes: version.bytes,
        worker: version.parts.worker,
        asset_files: version.asset_files,
        asset_bytes: version.asset_bytes,
        classes: version.classes,
        created_ms: version.created_ms,
        by: version.by,
        note: version.note,
        returned: version.returned.map(|one| api::Returned {
            at_ms: one.at_ms,
            percent: one.percent,
            reason: one.reason,
        }),
    }
}

fn report(version: Option<Version>, plan: Plan) -> Deployed {
    let classes = |list: Vec<(String, usize)>| {
        let classes = list.into_iter();
        let classes = classes.map(|(class, objects)| RemovedClass { class, objects });
        classes.collect()
    };
    let renamed = plan.renamed.into_iter();
    Deployed {
        version: version.map(|version| version.number),
        from: plan.from,
        classes: plan.classes,
        added: plan.added,
        removed: classes(plan.removed),
        renamed: renamed
            .map(|(from, to)| RenamedClass { from, to })
            .collect(),
        deleted: classes(plan.deleted),
        unchanged: plan.unchanged,
        after_restart: plan.after_restart.into_iter().map(str::to_owned).collect(),
        percent: None,
    }
}

impl From<DeployError> for Refusal {
    fn from(error: DeployError) -> Self {
        use crate::deploy::Error as Catalog;
        let detail = error.to_string();
        match error {
            DeployError::Catalog(Catalog::Io { .. } | Catalog::Damaged { .. })
            | DeployError::Storage(_)
            | DeployError::NotDeleted(_) => Self::failed(&error.into()),
            DeployError::Catalog(
                Catalog::NoVersion { .. }
                | Catalog::NoEarlier { .. }
                | Catalog::NoBlob { .. }
                | Catalog::NoRollout,
            ) => Self::not_found(detail),
            DeployError::RemovesClasses { .. } => Self::new(
                StatusCode::CONFLICT,
                "urn:dormouse:problem:removes-classes",
                "Classes would be gone",
                detail,
            ),
            DeployError::DeletesData { .. } => Self::new(
                StatusCode::CONFLICT,
                "urn:dormouse:problem:deletes-data",
                "Objects would be deleted",
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
