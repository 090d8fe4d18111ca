//! Refusal: why an operation was not done, as a problem.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

use super::tokens::Scope;
use crate::event::{Fault, RequestId};
use crate::host::AskError;
use crate::server::Problem;

#[derive(Debug)]
pub(super) struct Refusal {
    problem: Problem,
    status: StatusCode,
}

impl Refusal {
    pub(super) fn new(
        status: StatusCode,
        kind: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            problem: Problem::new(status, kind, title, detail.into()),
            status,
        }
    }

    pub(super) fn unauthorized(detail: &'static str) -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "urn:dormouse:problem:unauthorized",
            "A token is needed",
            detail,
        )
    }

    pub(super) fn forbidden(wanted: Scope, app: Option<&str>) -> Self {
        let scope = serde_json::to_value(wanted).unwrap_or_default();
        let scope = scope.as_str().unwrap_or_default().to_owned();
        let detail = match app {
            Some(app) => format!("the token is not good for the app {app:?}"),
            None => format!("the token lacks the scope `{scope}`; ask for one that has it"),
        };
        Self::new(
            StatusCode::FORBIDDEN,
            "urn:dormouse:problem:forbidden",
            "The token does not allow this",
            detail,
        )
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "urn:dormouse:problem:bad-request",
            "The request cannot be read",
            detail,
        )
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "urn:dormouse:problem:not-found",
            "There is no such thing",
            detail,
        )
    }

    /// The host could not do what it should; operators may see why.
    pub(super) fn failed(error: &anyhow::Error) -> Self {
        tracing::error!("an operation of the admin door failed: {error:#}");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "urn:dormouse:problem:failed",
            "The operation failed",
            format!("{error:#}"),
        )
    }
}

impl From<AskError> for Refusal {
    fn from(error: AskError) -> Self {
        let detail = match &error {
            AskError::Fault(Fault::Declared { message, .. } | Fault::BadCall(message)) => {
                message.to_string()
            }
            error => error.to_string(),
        };
        match error {
            AskError::UnknownClass { .. } => Self::new(
                StatusCode::NOT_FOUND,
                "urn:dormouse:problem:unknown-class",
                "Unknown class",
                detail,
            ),
            AskError::NoDatabase { .. } => Self::not_found(detail),
            AskError::Fault(Fault::Declared { .. } | Fault::BadCall(_)) => Self::new(
                StatusCode::BAD_REQUEST,
                "urn:dormouse:problem:sql",
                "The SQL failed",
                detail,
            ),
            AskError::NoObject(_) => Self::new(
                StatusCode::NOT_FOUND,
                "urn:dormouse:problem:no-object",
                "No such object",
                detail,
            ),
            AskError::Id(_) | AskError::Moment(_) => Self::bad_request(detail),
            AskError::Travel(error) => super::travel::travel(error),
            AskError::SocketsOpen(_) => Self::new(
                StatusCode::CONFLICT,
                "urn:dormouse:problem:sockets-open",
                "Sockets are open",
                detail,
            ),
            AskError::Statement(_) => Self::new(
                StatusCode::BAD_REQUEST,
                "urn:dormouse:problem:sql",
                "The SQL failed",
                detail,
            ),
            AskError::Fault(fault) => Self {
                problem: Problem::of(&fault, RequestId::next()),
                status: StatusCode::SERVICE_UNAVAILABLE,
            },
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = self.problem.into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let bearer = HeaderValue::from_static("Bearer");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, bearer);
        }
        response
    }
}
