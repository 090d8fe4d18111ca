//! Problem: errors of the host as `application/problem+json` (RFC 9457).
//!
//! Every problem has a `type` that programs can compare, a `detail` that says
//! what was tried, what was found and what to do, and the request id under which
//! the log has more.

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::event::{Fault, RequestId, Reset};

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Problem {
    #[serde(rename = "type")]
    #[schema(value_type = String, examples("urn:dormouse:problem:unknown-class"))]
    kind: &'static str,
    #[schema(value_type = String)]
    title: &'static str,
    #[serde(serialize_with = "as_number")]
    #[schema(value_type = u16)]
    status: StatusCode,
    #[schema(value_type = String)]
    detail: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<String>,
    /// Whether the same request may succeed when sent again.
    retryable: bool,
    /// The classes that are there, when one was asked for that is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    classes: Option<Box<[String]>>,
    /// The error that a method declares.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Box<serde_json::Value>>,
}

impl Problem {
    pub(crate) fn new(
        status: StatusCode,
        kind: &'static str,
        title: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            kind,
            title,
            status,
            detail: detail.into(),
            request: None,
            retryable: false,
            classes: None,
            error: None,
        }
    }

    pub(crate) fn with_request(mut self, request: RequestId) -> Self {
        self.request = Some(request.to_string());
        self
    }

    pub(crate) const fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }

    pub(crate) fn with_classes(mut self, classes: Vec<String>) -> Self {
        self.classes = Some(classes.into());
        self
    }

    pub(crate) fn with_error(mut self, error: serde_json::Value) -> Self {
        self.error = Some(Box::new(error));
        self
    }

    /// An operator has paused the app.
    pub(crate) fn paused(app: &str) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "urn:dormouse:problem:paused",
            "The app is paused",
            format!("the app {app:?} is paused; its operator lets it go on with `dormouse app resume {app}`"),
        )
        .retryable()
    }

    /// The app has no code that could be served; `why` says what is missing.
    pub(crate) fn no_code(app: &str, why: &str) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "urn:dormouse:problem:app-away",
            "The app is not served",
            format!("the app {app:?} has no code at the moment: {why}"),
        )
        .retryable()
    }

    pub(crate) fn body_too_large(limit: u64) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "urn:dormouse:problem:body-too-large",
            "Request body too large",
            format!(
                "the body is larger than {limit} bytes; send less or raise `limits.request_body_bytes`"
            ),
        )
    }

    /// As `of`, when it was the worker in front and no object that failed.
    pub(crate) fn of_worker(fault: &Fault, request: RequestId) -> Self {
        let mut problem = match fault {
            Fault::Guest(_) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "urn:dormouse:problem:worker-failed",
                "The worker failed",
                "the worker's code answered with an error; its message is in the log under this request id",
            ),
            Fault::Reset(reset) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "urn:dormouse:problem:worker-reset",
                "The worker was reset",
                format!(
                    "the worker's instance ended with all its requests: {reset}; the next request has another{}",
                    hint(reset)
                ),
            ),
            Fault::Overloaded { events } => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "urn:dormouse:problem:overloaded",
                "The worker is overloaded",
                format!(
                    "the worker is overloaded: {events} requests are under way already; try again \
                     later, or raise `worker.instances` or `worker.concurrent_requests`"
                ),
            ),
            Fault::Exhausted(why) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "urn:dormouse:problem:exhausted",
                "The host is full",
                format!("the host cannot make another instance of the worker now: {why}"),
            ),
            Fault::Late { .. }
            | Fault::ShuttingDown
            | Fault::Away(_)
            | Fault::Declared { .. }
            | Fault::BadCall(_)
            | Fault::Reentrant { .. } => return Self::of(fault, request),
        };
        problem.retryable = fault.retryable();
        problem.with_request(request)
    }

    /// What the caller may know of a fault; the log knows the rest.
    pub(crate) fn of(fault: &Fault, request: RequestId) -> Self {
        let mut problem = match fault {
            Fault::Guest(_) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "urn:dormouse:problem:object-failed",
                "The object failed",
                "the object's code answered with an error; its message is in the log under this request id",
            ),
            Fault::Reset(reset) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "urn:dormouse:problem:object-reset",
                "The object was reset",
                format!(
                    "{}; what was committed stays, the next request starts it afresh{}",
                    told(reset),
                    hint(reset)
                ),
            ),
            // Answers to calls of methods, which have a door of their own.
            Fault::Declared { .. } | Fault::BadCall(_) => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "urn:dormouse:problem:call-failed",
                "The call was not done",
                fault.to_string(),
            ),
            Fault::Reentrant { .. } => Self::new(
                StatusCode::LOOP_DETECTED,
                "urn:dormouse:problem:reentrant",
                "The call would wait for ever",
                fault.to_string(),
            ),
            Fault::Overloaded { .. } => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "urn:dormouse:problem:overloaded",
                "The object is overloaded",
                fault.to_string(),
            ),
            Fault::Exhausted(_) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "urn:dormouse:problem:exhausted",
                "The host is full",
                fault.to_string(),
            ),
            Fault::Late { .. } => Self::new(
                StatusCode::GATEWAY_TIMEOUT,
                "urn:dormouse:problem:worker-late",
                "The worker did not answer in time",
                format!("{fault}; answer sooner, or raise `worker.response_ms`"),
            ),
            Fault::Away(_) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "urn:dormouse:problem:app-away",
                "The app is not there",
                fault.to_string(),
            ),
            Fault::ShuttingDown => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "urn:dormouse:problem:shutting-down",
                "The host is shutting down",
                fault.to_string(),
            ),
        };
        problem.retryable = fault.retryable();
        problem.with_request(request)
    }
}

/// A guest's own words are for the log.
fn told(reset: &Reset) -> String {
    match reset {
        Reset::Section(_) => "the object was reset: its critical section failed; the reason is \
                              in the log under this request id"
            .to_owned(),
        other => format!("the object was reset: {other}"),
    }
}

const fn hint(reset: &Reset) -> &'static str {
    match reset {
        Reset::Cpu { .. } => " (limit: `limits.cpu_ms`)",
        Reset::Memory { .. } => " (limit: `limits.memory_mib`)",
        _ => "",
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = serde_json::to_vec(&self).expect("a problem has only plain fields");
        body.push(b'\n');
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        let json = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, json);
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn as_number<S: serde::Serializer>(status: &StatusCode, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u16(status.as_u16())
}
