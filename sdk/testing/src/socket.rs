//! Socket: a client's end of a WebSocket, frame by frame.

use std::cell::RefCell;
use std::fmt;

use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use http_body_util::Full;
use tokio::io::DuplexStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message as Frame};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::host::TestHost;
use crate::http::Response;

/// A message of either kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// UTF-8.
    Text(String),
    /// Any bytes.
    Binary(Vec<u8>),
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

/// What a client hears next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A whole message, however many frames it came in.
    Message(Message),
    /// The host closed the socket.
    Close {
        /// 1005 if the frame has none.
        code: u16,
        /// Up to 123 bytes.
        reason: String,
    },
    /// The connection is gone without a close frame.
    Gone,
}

/// A client that reads only when it is asked to: what it does not read waits, first
/// in the connection (64 KiB), then in the host. Dropping it cuts the connection.
pub struct Socket {
    host: TestHost,
    stream: RefCell<WebSocketStream<DuplexStream>>,
}

impl Socket {
    #[track_caller]
    pub(crate) fn open(
        host: TestHost,
        connection: DuplexStream,
        request: http::Request<Full<bytes::Bytes>>,
    ) -> Result<Self, Box<Response>> {
        let (head, _) = request.into_parts();
        let opened = host.run("opening a WebSocket", async move {
            let uri = format!("ws://test{}", head.uri);
            let mut request =
                tokio_tungstenite::tungstenite::client::IntoClientRequest::into_client_request(
                    uri,
                )?;
            request.headers_mut().extend(head.headers);
            client_async(request, connection).await
        });
        match opened {
            Ok((stream, _)) => Ok(Self {
                host,
                stream: RefCell::new(stream),
            }),
            Err(Error::Http(response)) => {
                let (head, body) = response.into_parts();
                Err(Box::new(Response {
                    status: head.status,
                    headers: head.headers,
                    body: body.unwrap_or_default().into(),
                }))
            }
            Err(error) => panic!("the WebSocket handshake: {error}"),
        }
    }

    #[track_caller]
    pub(crate) fn taken(opened: Result<Self, Box<Response>>) -> Self {
        opened.unwrap_or_else(|response| {
            let body = String::from_utf8_lossy(&response.body);
            panic!("nobody takes the WebSocket: {} {body}", response.status)
        })
    }

    /// Sends a message and lets the host handle it.
    ///
    /// # Panics
    /// When the connection is closed.
    #[track_caller]
    pub fn send(&self, message: impl Into<Message>) {
        let frame = match message.into() {
            Message::Text(text) => Frame::Text(text.into()),
            Message::Binary(bytes) => Frame::Binary(bytes.into()),
        };
        let mut stream = self.stream.borrow_mut();
        let sent = self.host.run("sending a message", stream.send(frame));
        sent.unwrap_or_else(|error| panic!("the message cannot be sent: {error}"));
        drop(stream);
        self.host.settle();
    }

    /// The next that comes.
    ///
    /// # Panics
    /// When nothing comes without moving the clock.
    #[track_caller]
    pub fn next(&self) -> Heard {
        let mut stream = self.stream.borrow_mut();
        self.host.run("waiting for a message", async {
            loop {
                if let Some(heard) = heard(stream.next().await) {
                    return heard;
                }
            }
        })
    }

    /// The next message.
    ///
    /// # Panics
    /// When the socket is closed instead, or nothing comes.
    #[track_caller]
    pub fn expect(&self) -> Message {
        match self.next() {
            Heard::Message(message) => message,
            other => panic!("a message was expected, this came: {other:?}"),
        }
    }

    /// The next message, which is text.
    ///
    /// # Panics
    /// When something else comes, or nothing.
    #[track_caller]
    pub fn expect_text(&self) -> String {
        match self.expect() {
            Message::Text(text) => text,
            other => panic!("text was expected, this came: {other:?}"),
        }
    }

    /// Code and reason of the close frame that comes next.
    ///
    /// # Panics
    /// When something else comes, or nothing.
    #[track_caller]
    pub fn expect_close(&self) -> (u16, String) {
        match self.next() {
            Heard::Close { code, reason } => (code, reason),
            other => panic!("a close frame was expected, this came: {other:?}"),
        }
    }

    /// Lets everything happen that can, and hears nothing.
    ///
    /// # Panics
    /// When something is there after all that can happen now.
    #[track_caller]
    pub fn expect_nothing(&self) {
        self.host.settle();
        let mut stream = self.stream.borrow_mut();
        let next = self.host.machine().run(async {
            loop {
                match stream.next().now_or_never().map(heard) {
                    Some(None) => (),
                    Some(Some(heard)) => return Some(heard),
                    None => return None,
                }
            }
        });
        if let Some(next) = next {
            panic!("nothing was expected, this came: {next:?}");
        }
    }

    /// Sends a close frame.
    pub fn close(&self, code: u16, reason: &str) {
        let frame = CloseFrame {
            code: code.into(),
            reason: reason.to_owned().into(),
        };
        let mut stream = self.stream.borrow_mut();
        // It may be closed already, which is what was wanted.
        let _ = self.host.run("closing", stream.close(Some(frame)));
        drop(stream);
        self.host.settle();
    }

    /// Cuts the connection without a close frame, as a lost network does.
    pub fn cut(self) {
        let host = self.host.clone();
        drop(self);
        host.settle();
    }
}

/// `None` for what a client does not hear: pings and their answers.
fn heard(next: Option<Result<Frame, Error>>) -> Option<Heard> {
    match next {
        Some(Ok(Frame::Text(text))) => Some(Heard::Message(Message::Text(text.to_string()))),
        Some(Ok(Frame::Binary(bytes))) => Some(Heard::Message(Message::Binary(bytes.to_vec()))),
        Some(Ok(Frame::Close(frame))) => {
            let (code, reason) = match frame {
                Some(frame) => (frame.code.into(), frame.reason.to_string()),
                None => (1005, String::new()),
            };
            Some(Heard::Close { code, reason })
        }
        Some(Ok(Frame::Ping(_) | Frame::Pong(_) | Frame::Frame(_))) => None,
        Some(Err(_)) | None => Some(Heard::Gone),
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Socket")
    }
}
