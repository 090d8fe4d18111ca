//! The app's secrets: their names can be seen, their values only be set.

use axum::body::Bytes;
use axum::extract::State as Shared;
use http::StatusCode;
use serde::Deserialize;

use super::State;
use super::api::Secrets;
use super::extract::{Deploy, In, Json, Path};
use super::refusal::Refusal;
use crate::host::SecretError;
use crate::secrets::{Error, Secret};
use crate::server::Problem;

/// The part of the path that matters here.
#[derive(Debug, Deserialize)]
pub(super) struct Place {
    name: String,
}

/// The names of the app's secrets.
#[utoipa::path(get, path = "/v1/apps/{app}/secrets", tag = "secrets",
    params(("app" = String, Path)),
    responses((status = OK, body = Secrets), (status = "4XX", body = Problem)))]
pub(super) async fn list(at: In<Deploy>) -> Result<Json<Secrets>, Refusal> {
    let names = at.app.secret_names().await?;
    Ok(Json(Secrets { names }))
}

/// Keeps a secret: the body is its value, as UTF-8 text. The code has it at once.
#[utoipa::path(put, path = "/v1/apps/{app}/secrets/{name}", tag = "secrets",
    params(("app" = String, Path), ("name" = String, Path)),
    request_body(content = String, content_type = "text/plain"),
    responses((status = CREATED), (status = NO_CONTENT, description = "it was replaced"),
        (status = "4XX", body = Problem)))]
pub(super) async fn set(
    Shared(state): Shared<State>,
    at: In<Deploy>,
    Path(place): Path<Place>,
    value: Bytes,
) -> Result<StatusCode, Refusal> {
    let value = String::from_utf8(value.into());
    let value = value.map_err(|_| Refusal::bad_request("a secret is UTF-8 text"))?;
    if value.is_empty() {
        return Err(Refusal::bad_request(
            "the value is empty; send it as the body",
        ));
    }
    let (app, by) = (at.app.name().to_string(), at.token.id);
    tracing::info!(app, token = by, "the secret `{}` is set", place.name);
    let replaced = at.app.set_secret(place.name, Secret::from(value)).await?;
    state.0.apps.settle(at.app).await?;
    match replaced {
        true => Ok(StatusCode::NO_CONTENT),
        false => Ok(StatusCode::CREATED),
    }
}

/// Forgets a secret, unless the code says that it needs it.
#[utoipa::path(delete, path = "/v1/apps/{app}/secrets/{name}", tag = "secrets",
    params(("app" = String, Path), ("name" = String, Path)),
    responses((status = NO_CONTENT), (status = "4XX", body = Problem)))]
pub(super) async fn delete(
    at: In<Deploy>,
    Path(place): Path<Place>,
) -> Result<StatusCode, Refusal> {
    at.app.remove_secret(place.name).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl From<SecretError> for Refusal {
    fn from(error: SecretError) -> Self {
        let detail = error.to_string();
        match error {
            SecretError::Kept(Error::BadName { .. } | Error::TooLong { .. }) => {
                Self::bad_request(detail)
            }
            SecretError::Absent { .. } => Self::not_found(detail),
            SecretError::Needed(_) => Self::new(
                StatusCode::CONFLICT,
                "urn:dormouse:problem:secret-needed",
                "The secret is needed",
                detail,
            ),
            SecretError::Rollout(_) => Self::new(
                StatusCode::CONFLICT,
                "urn:dormouse:problem:rollout",
                "A version is being rolled out",
                detail,
            ),
            SecretError::Kept(_) | SecretError::NotLoaded(_) => Self::failed(&error.into()),
        }
    }
}
