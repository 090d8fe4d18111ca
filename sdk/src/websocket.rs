//! WebSockets that outlive the instance: [`Upgrade`], [`WebSocket`], [`Message`].
//!
//! The host owns every socket. An object that sleeps, is reset or gets new code
//! keeps its sockets open; the next frame wakes it. So keep what belongs to a
//! socket in its attachment and its tags, not in a field of the object.
//!
//! ```no_run
//! use dormouse_sdk::prelude::*;
//!
//! struct Room {
//!     state: State,
//! }
//!
//! #[durable_object]
//! impl DurableObject for Room {
//!     async fn new(state: State, _env: Env) -> Result<Self> {
//!         Ok(Self { state })
//!     }
//!
//!     async fn fetch(&self, mut request: Request) -> Result<Response> {
//!         let Some(upgrade) = request.upgrade() else {
//!             return Ok(Response::text("this is a room\n"));
//!         };
//!         let socket = upgrade.accept()?;
//!         socket.send("welcome")?;
//!         Ok(Response::websocket())
//!     }
//!
//!     async fn websocket_message(&self, _socket: WebSocket, message: Message) -> Result<()> {
//!         self.state.broadcast(message);
//!         Ok(())
//!     }
//! }
//! # fn main() {}
//! ```

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bindings::dormouse::object::websocket as wit;
use crate::{Context, Result};

/// A text or binary message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// UTF-8 text.
    Text(String),
    /// Bytes.
    Binary(Vec<u8>),
}

impl Message {
    /// A text message of `value` as JSON.
    pub fn json(value: &impl Serialize) -> Result<Self> {
        let text = serde_json::to_string(value).context("the message does not become JSON")?;
        Ok(Self::Text(text))
    }

    /// The text; `None` for a binary message.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Binary(_) => None,
        }
    }

    /// The payload of either kind.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// The payload read as JSON.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(self.as_bytes()).context("the message is not the JSON expected")
    }

    fn into_wit(self) -> wit::Message {
        match self {
            Self::Text(text) => wit::Message::Text(text),
            Self::Binary(bytes) => wit::Message::Binary(bytes),
        }
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Vec<u8>> for Message {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Binary(bytes)
    }
}

impl From<&[u8]> for Message {
    fn from(bytes: &[u8]) -> Self {
        Self::Binary(bytes.to_owned())
    }
}

impl From<wit::Message> for Message {
    fn from(message: wit::Message) -> Self {
        match message {
            wit::Message::Text(text) => Self::Text(text),
            wit::Message::Binary(bytes) => Self::Binary(bytes),
        }
    }
}

/// Why the host refused something about a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketError(String);

impl fmt::Display for SocketError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for SocketError {}

impl From<wit::Error> for SocketError {
    fn from(error: wit::Error) -> Self {
        Self(match error {
            wit::Error::Limit(text) | wit::Error::Invalid(text) => text,
            wit::Error::Closed => "the socket takes no more frames: it is closed".to_owned(),
            wit::Error::Spent => "the request was answered already".to_owned(),
        })
    }
}

/// A request's wish for a WebSocket, from [`Request::upgrade`].
///
/// Accept it with tags and an attachment, then answer
/// [`Response::websocket`](crate::http::Response::websocket). Any other answer
/// refuses it.
///
/// [`Request::upgrade`]: crate::http::Request::upgrade
#[derive(Debug)]
#[must_use = "the client waits for an answer"]
pub struct Upgrade {
    upgrade: wit::Upgrade,
    tags: Vec<String>,
    attachment: Option<Vec<u8>>,
}

impl Upgrade {
    pub(crate) fn new(upgrade: wit::Upgrade) -> Self {
        Self {
            upgrade,
            tags: Vec::new(),
            attachment: None,
        }
    }

    /// The subprotocols that the client offers. Choose one with
    /// `Response::websocket().with_header("sec-websocket-protocol", …)`.
    pub fn protocols(&self) -> Vec<String> {
        self.upgrade.protocols()
    }

    /// Adds a tag, by which [`State::websockets_tagged`] finds the socket: at most
    /// 10 of 256 bytes.
    ///
    /// [`State::websockets_tagged`]: crate::State::websockets_tagged
    pub fn with_tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Attaches a value, kept as JSON with the socket: at most 16,384 bytes.
    pub fn with_attachment(mut self, value: &impl Serialize) -> Result<Self> {
        self.attachment = Some(to_attachment(value)?);
        Ok(self)
    }

    /// For a request that is passed on: tags and attachment are the new owner's matter.
    pub(crate) fn into_wit(self) -> wit::Upgrade {
        self.upgrade
    }

    /// Takes the socket. What is sent before the answer waits for it.
    pub fn accept(self) -> Result<WebSocket, SocketError> {
        let attachment = self.attachment.as_deref();
        let socket = wit::Upgrade::accept(self.upgrade, &self.tags, attachment)?;
        Ok(WebSocket(socket))
    }
}

/// A handle on one of the object's sockets. Dropping it closes nothing.
#[derive(Debug)]
pub struct WebSocket(wit::Socket);

/// Where a socket is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadyState {
    /// Frames flow both ways.
    Open,
    /// One side has sent a close frame.
    Closing,
    /// The connection is gone.
    Closed,
}

impl WebSocket {
    pub(crate) fn from_wit(socket: wit::Socket) -> Self {
        Self(socket)
    }

    /// Unique within the object as long as the socket lives.
    pub fn id(&self) -> u64 {
        self.0.id()
    }

    /// Sends a message; never waits. It leaves once the writes before it are
    /// durable. A reader who is too slow is closed with 1013.
    pub fn send(&self, message: impl Into<Message>) -> Result<(), SocketError> {
        Ok(self.0.send(&message.into().into_wit())?)
    }

    /// Sends `value` as a text message of JSON.
    pub fn send_json(&self, value: &impl Serialize) -> Result<()> {
        Ok(self.send(Message::json(value)?)?)
    }

    /// Closes with a code (1000, or 3000 to 4999) and a reason of at most 123
    /// bytes. Closing again is ignored.
    pub fn close(&self, code: u16, reason: &str) -> Result<(), SocketError> {
        Ok(self.0.close(code, reason)?)
    }

    /// Whether frames can be sent.
    pub fn ready_state(&self) -> ReadyState {
        match self.0.state() {
            wit::State::Open => ReadyState::Open,
            wit::State::Closing => ReadyState::Closing,
            wit::State::Closed => ReadyState::Closed,
        }
    }

    /// The tags, in the order they were given.
    pub fn tags(&self) -> Vec<String> {
        self.0.tags()
    }

    /// Replaces the tags.
    pub fn set_tags<T: Into<String>>(
        &self,
        tags: impl IntoIterator<Item = T>,
    ) -> Result<(), SocketError> {
        let tags: Vec<String> = tags.into_iter().map(Into::into).collect();
        Ok(self.0.set_tags(&tags)?)
    }

    /// The attached value; `None` if there is none.
    pub fn attachment<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        let Some(bytes) = self.0.attachment() else {
            return Ok(None);
        };
        let value = serde_json::from_slice(&bytes);
        value
            .context("the attachment is not of the type expected")
            .map(Some)
    }

    /// Attaches a value in place of the one before.
    pub fn set_attachment(&self, value: &impl Serialize) -> Result<()> {
        Ok(self
            .0
            .set_attachment(Some(&to_attachment(value)?))
            .map_err(SocketError::from)?)
    }

    /// Bytes sent by the object and not yet written to the network.
    pub fn buffered_amount(&self) -> u64 {
        self.0.buffered_amount()
    }

    /// When the host last gave an auto-response on this socket.
    pub fn auto_response_at(&self) -> Option<SystemTime> {
        let ms = self.0.auto_response_timestamp()?;
        Some(SystemTime::UNIX_EPOCH + Duration::from_millis(ms))
    }
}

impl PartialEq for WebSocket {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

fn to_attachment(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).context("the attachment does not become JSON")
}

pub(crate) fn list(tag: Option<&str>) -> Vec<WebSocket> {
    wit::sockets(tag).into_iter().map(WebSocket).collect()
}

pub(crate) fn broadcast(message: Message, tag: Option<&str>, except: Option<&WebSocket>) -> u32 {
    wit::broadcast(&message.into_wit(), tag, except.map(WebSocket::id))
}

pub(crate) fn set_auto_response(pair: Option<(&str, &str)>) -> Result<(), SocketError> {
    Ok(wit::set_auto_response(pair)?)
}

pub(crate) fn set_event_timeout(timeout: Option<Duration>) -> Result<(), SocketError> {
    // What is too long for a number is refused by the host.
    let ms = timeout.map(|timeout| u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX));
    Ok(wit::set_event_timeout(ms)?)
}

pub(crate) fn event_timeout() -> Option<Duration> {
    wit::event_timeout().map(|ms| Duration::from_millis(ms.into()))
}
