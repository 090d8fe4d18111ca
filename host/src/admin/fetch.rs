//! Fetch: a request to one object by way of the admin door, past the app's routes.

use axum::extract::Request;
use axum::response::Response;
use http::header::AUTHORIZATION;

use super::extract::{Call, In};
use super::refusal::Refusal;
use crate::server::Serve as _;

/// Not in the description: any method, any body.
pub(super) const PATH: &str = "/v1/apps/{app}/fetch/{*path}";

/// What stands behind `fetch/` is the path at the public door's default routes.
pub(super) async fn forward(at: In<Call>, mut request: Request) -> Result<Response, Refusal> {
    // The operator's token is not the object's business.
    request.headers_mut().remove(AUTHORIZATION);
    let target = request
        .uri()
        .path_and_query()
        .map_or("", |target| target.as_str());
    let behind = target.splitn(6, '/').nth(5).unwrap_or_default();
    let uri = format!("/{behind}").parse();
    *request.uri_mut() =
        uri.map_err(|_| Refusal::bad_request("the path of the object cannot be read"))?;
    Ok(at.app.door().serve(request).await)
}
