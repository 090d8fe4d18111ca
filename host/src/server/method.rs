//! Method: a call of an object's method by HTTP.
//!
//! Not at the public door: whoever opens a door to it says who may. JSON in the body
//! is the arguments; any other body is the argument that is a body, and the arguments
//! stand behind `?arguments=`. The answer is the result as JSON, or a body.

use std::borrow::Cow;

use axum::body::Body as HttpBody;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};

use super::body::{self, Refused};
use super::ingress::{Door, broken_body};
use super::problem::Problem;
use super::reply;
use crate::chain::Chain;
use crate::event::{
    self, Body, Called, Fault, Kind, MethodAnswer, MethodCall, Reply, RequestId, What,
};
use crate::id::ObjectName;
use crate::trace::Span;

/// Arguments are read as a whole (bytes).
const MAX_ARGUMENTS_BYTES: usize = 32 << 20;

impl Door {
    /// Calls `method` of the object `name`, or `id:` and its 64 digits.
    pub async fn call(
        &self,
        class: &str,
        name: &str,
        method: String,
        request: Request<HttpBody>,
    ) -> Response {
        let (parts, body) = request.into_parts();
        let mut span = Span::request(&parts, "http", || None);
        let id = RequestId::next().within(&span);
        let request = Request::from_parts(parts, body);
        let response = match self.ask_method(id, class, name, method, request).await {
            Ok(response) => response,
            Err(problem) => problem.with_request(id).into_response(),
        };
        span.answered(
            response.status().as_u16(),
            StatusCode::INTERNAL_SERVER_ERROR,
        );
        reply::mark(response, id)
    }

    async fn ask_method(
        &self,
        id: RequestId,
        class: &str,
        name: &str,
        method: String,
        request: Request<HttpBody>,
    ) -> Result<Response, Problem> {
        self.check_paused()?;
        let namespace = self.any_namespace(class)?;
        let object = match name.strip_prefix("id:") {
            Some(hex) => ObjectName {
                id: namespace
                    .id_from_string(hex)
                    .map_err(|error| bad_call(error.to_string()))?,
                name: None,
            },
            None => namespace.id_from_name(name),
        };
        let (arguments, body) = self.arguments(request).await?;
        let method = MethodCall {
            method,
            arguments,
            body,
        };
        let kind = Kind::Called(Called {
            chain: Chain::default(),
            what: What::Method(method),
        });
        let result = self.deliver(&namespace, object, id, kind).await;
        let answer = result.map(|reply| match reply {
            Reply::Method(answer) => Reply::Response(response(answer)),
            other => other,
        });
        Ok(reply::respond(answer, &Method::POST, |fault| {
            explain(fault, id)
        }))
    }

    async fn arguments(&self, request: Request<HttpBody>) -> Result<(String, Body), Problem> {
        let (parts, body) = request.into_parts();
        let kind = parts.headers.get(header::CONTENT_TYPE);
        let is_json = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
        if is_json {
            let whole = Limited::new(body, MAX_ARGUMENTS_BYTES).collect().await;
            let whole = whole.map_err(|error| bad_call(format!("no arguments came: {error}")))?;
            return Ok((text(whole.to_bytes())?, Body::None));
        }
        let query = parts.uri.query().unwrap_or_default();
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        let arguments = pairs.find(|(name, _)| name == "arguments");
        let arguments = arguments.map_or(Cow::Borrowed("[]"), |(_, value)| value);
        let limit = self.request_body_bytes();
        let (body, _) = body::receive(body, limit).await.map_err(|why| match why {
            Refused::TooLarge => Problem::body_too_large(limit),
            Refused::Broken(why) => broken_body(why),
        })?;
        Ok((arguments.into_owned(), body))
    }
}

/// An operator may see the words that a method failed with.
fn explain(fault: &Fault, id: RequestId) -> Problem {
    match fault {
        Fault::BadCall(message) => bad_call(message.to_string()).with_request(id),
        Fault::Declared { value, message } => {
            let error = serde_json::from_str(value).unwrap_or_default();
            let problem = Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "urn:dormouse:problem:declared-error",
                "The method answered with an error",
                message.to_string(),
            );
            problem.with_error(error).with_request(id)
        }
        Fault::Guest(message) => Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "urn:dormouse:problem:object-failed",
            "The object failed",
            message.to_string(),
        )
        .with_request(id),
        fault => Problem::of(fault, id),
    }
}

fn response(answer: MethodAnswer) -> event::Response {
    let (kind, body) = match answer.body {
        Body::None => {
            let line = answer.value + "\n";
            ("application/json", Body::Bytes(line.into()))
        }
        body => ("application/octet-stream", body),
    };
    event::Response {
        status: 200,
        headers: vec![(header::CONTENT_TYPE.to_string(), kind.into())],
        body,
    }
}

fn text(bytes: Bytes) -> Result<String, Problem> {
    let text = String::from_utf8(bytes.into());
    text.map_err(|_| bad_call("the arguments are not UTF-8 text".to_owned()))
}

fn bad_call(detail: String) -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "urn:dormouse:problem:bad-call",
        "The call does not fit",
        detail,
    )
}
