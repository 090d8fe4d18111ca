//! Upgrade: the handshake of a WebSocket, RFC 6455 section 4.2.
//!
//! The object decides whether to take a socket and with which headers; this room
//! checks the client's part, answers 101 and hands the connection to a pump.

use axum::body::Body as HttpBody;
use axum::response::Response;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::problem::Problem;
use crate::socket::{Agreed, Deflate, Deliver, OpenSocket, Packing, negotiate, pump};

/// A client's well-formed wish for a WebSocket.
pub(super) struct Wish {
    pub(super) protocols: Vec<String>,
    accept: HeaderValue,
    compression: Option<Agreed>,
    connection: OnUpgrade,
}

/// What a request asks for: `None` if it is a plain one.
pub(super) fn wish(parts: &mut Parts) -> Result<Option<Wish>, Problem> {
    if !names(&parts.headers, header::UPGRADE, "websocket") {
        return Ok(None);
    }
    let headers = &parts.headers;
    let sound = parts.method == Method::GET
        && parts.version == Version::HTTP_11
        && names(headers, header::CONNECTION, "upgrade");
    let key = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .filter(|key| key.len() == 24);
    let (true, Some(key)) = (sound, key) else {
        return Err(malformed());
    };
    if headers
        .get(header::SEC_WEBSOCKET_VERSION)
        .is_none_or(|v| v != "13")
    {
        return Err(wrong_version());
    }
    let accept = derive_accept_key(key.as_bytes());
    let accept = HeaderValue::try_from(accept).expect("base64 is a header value");
    let protocols = words(headers, header::SEC_WEBSOCKET_PROTOCOL)
        .map(str::to_owned)
        .collect();
    let offers: Vec<&str> = words(headers, header::SEC_WEBSOCKET_EXTENSIONS).collect();
    let compression = negotiate(&offers.join(","));
    let connection = parts
        .extensions
        .remove::<OnUpgrade>()
        .ok_or_else(malformed)?;
    Ok(Some(Wish {
        protocols,
        accept,
        compression,
        connection,
    }))
}

impl Wish {
    /// Answers 101 and lets the socket run once the client has it.
    pub(super) fn grant(
        self,
        headers: HeaderMap,
        socket: OpenSocket,
        deflate: Deflate,
        object: impl Deliver,
    ) -> Response {
        let connection = self.connection;
        let packing = Packing {
            compress: self
                .compression
                .as_ref()
                .is_some_and(|agreed| agreed.compress),
            inflate: self.compression.as_ref().map(|_| deflate),
        };
        tokio::spawn(async move {
            match connection.await {
                Ok(upgraded) => {
                    pump(TokioIo::new(upgraded), packing, socket, object).await;
                }
                Err(error) => {
                    tracing::debug!(%error, "a client left during the WebSocket handshake");
                    drop(socket);
                    object.gone();
                }
            }
        });
        let mut response = Response::new(HttpBody::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let own = response.headers_mut();
        own.extend(headers);
        own.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        own.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        own.insert(header::SEC_WEBSOCKET_ACCEPT, self.accept);
        if let Some(Agreed { answer, .. }) = self.compression {
            let answer = HeaderValue::try_from(answer).expect("words are a header value");
            own.insert(header::SEC_WEBSOCKET_EXTENSIONS, answer);
        }
        response
    }
}

/// Whether one of the comma-separated words of a header is `word`.
fn names(headers: &HeaderMap, name: HeaderName, word: &str) -> bool {
    words(headers, name).any(|found| found.eq_ignore_ascii_case(word))
}

/// The comma-separated words of a header.
fn words(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter();
    let words = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    words.map(str::trim).filter(|word| !word.is_empty())
}

fn malformed() -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "urn:dormouse:problem:bad-upgrade",
        "Not a WebSocket handshake",
        "an upgrade to `websocket` is a GET by HTTP/1.1 with `connection: upgrade` and a \
         `sec-websocket-key` of 24 characters",
    )
}

fn wrong_version() -> Problem {
    Problem::new(
        StatusCode::UPGRADE_REQUIRED,
        "urn:dormouse:problem:websocket-version",
        "Unknown WebSocket version",
        "this host speaks version 13; send `sec-websocket-version: 13`",
    )
}
