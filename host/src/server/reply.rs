//! Reply: what an object answered, as an HTTP response.
//!
//! The only place that maps faults to status codes (through `problem`). Headers
//! of the connection belong to the host; anything else passes as it is.

use axum::body::Body as HttpBody;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::body::Outgoing;
use super::problem::Problem;
use crate::event::{Body, Fault, Reply, RequestId, Response as Answer};

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Headers of a 101 that belong to the host.
const HANDSHAKE: [HeaderName; 3] = [
    header::SEC_WEBSOCKET_ACCEPT,
    header::SEC_WEBSOCKET_EXTENSIONS,
    header::CONTENT_LENGTH,
];

/// Headers that speak about one connection, not about the message.
pub(super) const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Every answer tells under which id the log has more.
pub(super) fn mark(mut response: Response, request: RequestId) -> Response {
    let id = HeaderValue::try_from(request.to_string()).expect("digits are a header value");
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// `explain` says what a fault means to the client.
pub(super) fn respond(
    result: Result<Reply, Fault>,
    method: &Method,
    explain: impl FnOnce(&Fault) -> Problem,
) -> Response {
    match result {
        Ok(Reply::Response(answer)) => {
            convert(answer, method).unwrap_or_else(|invalid| refuse(&invalid))
        }
        Ok(
            Reply::Upgrade { .. }
            | Reply::Method(_)
            | Reply::Alarms(_)
            | Reply::Look(_)
            | Reply::Done,
        ) => refuse(&Invalid::Status(101)),
        Err(fault) => explain(&fault).into_response(),
    }
}

/// The 101 of a socket that the object took.
pub(super) fn upgrade(
    pairs: Vec<(String, Vec<u8>)>,
    grant: impl FnOnce(HeaderMap) -> Response,
) -> Response {
    match headers(pairs) {
        Ok(mut headers) => {
            for reserved in HANDSHAKE {
                headers.remove(reserved);
            }
            grant(headers)
        }
        Err(invalid) => refuse(&invalid),
    }
}

fn refuse(invalid: &Invalid) -> Response {
    tracing::error!("{invalid}");
    invalid_reply(invalid).into_response()
}

/// The object's answer is no HTTP response.
#[derive(Debug, thiserror::Error)]
enum Invalid {
    #[error(
        "the object answered with status {0}; a response has 200 to 599, and 101 only after \
         an upgrade was accepted"
    )]
    Status(u16),
    #[error("the object answered with the header {0:?}, which HTTP does not allow")]
    Header(String),
}

fn invalid_reply(invalid: &Invalid) -> Problem {
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "urn:dormouse:problem:invalid-reply",
        "The object's answer is not valid HTTP",
        invalid.to_string(),
    )
}

fn convert(answer: Answer, method: &Method) -> Result<Response, Invalid> {
    let status = StatusCode::from_u16(answer.status)
        .ok()
        .filter(|status| (200..600).contains(&status.as_u16()))
        .ok_or(Invalid::Status(answer.status))?;
    let mut headers = headers(answer.headers)?;
    let length = length(&headers);
    let body = match answer.body {
        Body::None => HttpBody::empty(),
        Body::Bytes(bytes) => HttpBody::from(bytes),
        Body::Stream(chunks) => HttpBody::new(Outgoing::new(chunks, length)),
    };
    // hyper counts the body itself; only an answer to HEAD speaks of one it has not.
    if method != Method::HEAD {
        headers.remove(header::CONTENT_LENGTH);
    }
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

fn headers(pairs: Vec<(String, Vec<u8>)>) -> Result<HeaderMap, Invalid> {
    let mut headers = HeaderMap::with_capacity(pairs.len() + 2);
    for (name, value) in pairs {
        let parsed = HeaderName::from_bytes(name.as_bytes());
        let (Ok(key), Ok(value)) = (parsed, HeaderValue::from_bytes(&value)) else {
            return Err(Invalid::Header(name));
        };
        if !HOP_BY_HOP.contains(&key) {
            headers.append(key, value);
        }
    }
    Ok(headers)
}

fn length(headers: &HeaderMap) -> Option<u64> {
    let value = headers.get(header::CONTENT_LENGTH)?.to_str().ok()?;
    value.parse().ok()
}
