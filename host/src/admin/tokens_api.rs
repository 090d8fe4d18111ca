//! Making and deleting tokens.

use axum::extract::State as From;
use http::StatusCode;

use super::State;
use super::api::{CreatedToken, NewToken};
use super::extract::{Admin, Json, May, Path};
use super::refusal::Refusal;
use super::tokens::Token;
use crate::server::Problem;

/// The tokens there are, without their secrets.
#[utoipa::path(get, path = "/v1/tokens", tag = "tokens",
    responses((status = OK, body = Vec<Token>), (status = "4XX", body = Problem)))]
pub(super) async fn list(_: May<Admin>, From(state): From<State>) -> Json<Vec<Token>> {
    Json(state.0.tokens.list())
}

/// Makes a token. Its secret is in the answer and nowhere else.
#[utoipa::path(post, path = "/v1/tokens", tag = "tokens", request_body = NewToken,
    responses((status = CREATED, body = CreatedToken), (status = "4XX", body = Problem)))]
pub(super) async fn create(
    _: May<Admin>,
    From(state): From<State>,
    Json(new): Json<NewToken>,
) -> Result<(StatusCode, Json<CreatedToken>), Refusal> {
    if new.scopes.is_empty() {
        return Err(Refusal::bad_request(
            "a token without scopes allows nothing; name at least one",
        ));
    }
    let made = state.0.tokens.create(&new.label, new.scopes, new.apps);
    let (token, secret) = made.map_err(|error| Refusal::failed(&error))?;
    Ok((StatusCode::CREATED, Json(CreatedToken { token, secret })))
}

/// Deletes a token; it is refused from now on.
#[utoipa::path(delete, path = "/v1/tokens/{id}", tag = "tokens", params(("id" = String, Path)),
    responses((status = NO_CONTENT), (status = "4XX", body = Problem)))]
pub(super) async fn delete(
    _: May<Admin>,
    From(state): From<State>,
    Path(id): Path<String>,
) -> Result<StatusCode, Refusal> {
    let deleted = state.0.tokens.delete(&id);
    match deleted.map_err(|error| Refusal::failed(&error))? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Refusal::not_found(format!("no token has the id {id:?}"))),
    }
}
