//! Health: whether the process lives, and whether it can serve. Wants no token.

use axum::extract::State as From;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::State;
use super::api::Health;
use super::extract::Json;

/// Whether the process answers.
#[utoipa::path(get, path = "/health/live", tag = "health", security(()),
    responses((status = OK, body = Health)))]
pub(super) async fn live() -> Json<Health> {
    Json(Health {
        status: "ok".to_owned(),
    })
}

/// Whether requests can be served and made durable.
#[utoipa::path(get, path = "/health/ready", tag = "health", security(()),
    responses((status = OK, body = Health), (status = SERVICE_UNAVAILABLE, body = Health)))]
pub(super) async fn ready(From(state): From<State>) -> Response {
    let closing = *state.0.closing.borrow();
    let mut apps = state.0.apps.list().into_iter();
    let trouble = match apps.find_map(|app| app.handle?.trouble()) {
        _ if closing => Some("the host is shutting down".to_owned()),
        trouble => trouble,
    };
    match trouble {
        None => live().await.into_response(),
        Some(status) => (StatusCode::SERVICE_UNAVAILABLE, Json(Health { status })).into_response(),
    }
}
