//! Extract: who asks, for which app, and with what; anything wrong is a problem.

use std::marker::PhantomData;

use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::State;
use super::refusal::Refusal;
use super::tokens::{Scope, Token, Tokens};
use crate::host::Handle;

/// A right that an operation needs.
pub(super) trait Right: Send + Sync + 'static {
    const SCOPE: Scope;
}

macro_rules! rights {
    ($($name:ident)*) => {
        $(
            #[derive(Debug)]
            pub(super) struct $name;
            impl Right for $name {
                const SCOPE: Scope = Scope::$name;
            }
        )*
    };
}
rights!(Read Call SqlRead SqlWrite Operate Deploy Admin);

/// The token of the request, which has the right `R`, also for the app in the path.
pub(super) struct May<R> {
    pub(super) token: Token,
    right: PhantomData<R>,
}

impl<R: Right> FromRequestParts<State> for May<R> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Refusal> {
        let app = app_in_path(parts, state).await;
        let token = authorize(&state.0.tokens, &parts.headers, R::SCOPE, app.as_deref())?;
        Ok(Self {
            token,
            right: PhantomData,
        })
    }
}

/// The token of a request, if it allows `scope`, also for the app that is named.
pub(super) fn authorize(
    tokens: &Tokens,
    headers: &HeaderMap,
    scope: Scope,
    app: Option<&str>,
) -> Result<Token, Refusal> {
    let secret = bearer(headers).ok_or_else(|| {
        Refusal::unauthorized(
            "send `authorization: Bearer TOKEN`; the first token was printed when the host \
             started for the first time, `dormouse token create` makes others",
        )
    })?;
    let unknown = || Refusal::unauthorized("no such token; it may have been deleted");
    let token = tokens.find(secret).ok_or_else(unknown)?;
    if !token.allows(scope) {
        return Err(Refusal::forbidden(scope, None));
    }
    let allowed = match app {
        Some(app) => token.allows_app(app),
        // Of what belongs to no app, a token for some apps may only read.
        None => token.apps.is_none() || scope == Scope::Read,
    };
    if !allowed {
        return Err(Refusal::forbidden(scope, Some(app.unwrap_or("*"))));
    }
    Ok(token)
}

/// As [`May`], with the app that the path names.
pub(super) struct In<R> {
    pub(super) app: Handle,
    pub(super) token: Token,
    right: PhantomData<R>,
}

impl<R: Right> FromRequestParts<State> for In<R> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Refusal> {
        let May { token, .. } = May::<R>::from_request_parts(parts, state).await?;
        let name = app_in_path(parts, state).await.unwrap_or_default();
        let app = state.app(&name)?;
        Ok(Self {
            app,
            token,
            right: PhantomData,
        })
    }
}

impl State {
    pub(super) fn app(&self, name: &str) -> Result<Handle, Refusal> {
        Ok(self.0.apps.find(name)?)
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let header = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, secret) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
}

async fn app_in_path(parts: &mut Parts, state: &State) -> Option<String> {
    let params = RawPathParams::from_request_parts(parts, state).await.ok()?;
    let app = params.iter().find(|(name, _)| *name == "app");
    app.map(|(_, app)| app.to_owned())
}

/// Parts of the path.
pub(super) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<State> for Path<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Refusal> {
        let path = axum::extract::Path::from_request_parts(parts, state).await;
        path.map(|axum::extract::Path(value)| Self(value))
            .map_err(|error| Refusal::bad_request(error.body_text()))
    }
}

/// What stands behind the `?`.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<State> for Query<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Refusal> {
        let query = axum::extract::Query::from_request_parts(parts, state).await;
        query
            .map(|axum::extract::Query(value)| Self(value))
            .map_err(|error| Refusal::bad_request(error.body_text()))
    }
}

/// A body of JSON, in either direction.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<State> for Json<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &State) -> Result<Self, Refusal> {
        let json = axum::Json::from_request(request, state).await;
        json.map(|axum::Json(value)| Self(value))
            .map_err(|error| Refusal::bad_request(error.body_text()))
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}
