//! Call: a method of one object, by way of the admin door.

use axum::extract::Request;
use axum::response::Response;
use http::header::AUTHORIZATION;
use serde::Deserialize;

use super::extract::{Call, In, Path};
use super::refusal::Refusal;
use crate::server::Problem;

/// The parts of the path that matter here.
#[derive(Debug, Deserialize)]
pub(super) struct Place {
    class: String,
    object: String,
    method: String,
}

/// Calls a method: a body of JSON is the list of its arguments. Any other body is the
/// argument that is a body; the list then stands behind `?arguments=`. The answer is the
/// result as JSON, or a body.
#[utoipa::path(post, path = "/v1/apps/{app}/call/{class}/{object}/{method}", tag = "objects",
    params(("app" = String, Path), ("class" = String, Path), ("object" = String, Path),
        ("method" = String, Path)),
    request_body = Vec<serde_json::Value>,
    responses((status = OK, body = serde_json::Value), (status = "4XX", body = Problem),
        (status = "5XX", body = Problem)))]
pub(super) async fn call(
    at: In<Call>,
    Path(place): Path<Place>,
    mut request: Request,
) -> Result<Response, Refusal> {
    let Place {
        class,
        object,
        method,
    } = place;
    // The operator's token is not the object's business.
    request.headers_mut().remove(AUTHORIZATION);
    Ok(at.app.door().call(&class, &object, method, request).await)
}
