//! What goes out on sockets: messages encoded once, however many receive them. And
//! what comes in: events for the object.
//!
//! Made by the guest's imports and by the hub, written by the pumps. Frames of a
//! server are not masked, so all receivers share one encoding, compressed or not.

use std::fmt;
use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::sync::OnceCell;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::deflate::Deflate;

/// Up to here, head and payload are copied together, to be written at once.
const JOINED_BYTES: usize = 16 << 10;
/// Smaller messages gain too little by compression to pay for it.
const COMPRESS_FROM_BYTES: usize = 1 << 10;

/// What a socket tells its object.
#[derive(Clone, Debug)]
pub enum SocketEvent {
    Message(SocketMessage),
    /// The socket is closed; it is gone once this is handled.
    Closed {
        code: u16,
        reason: String,
        was_clean: bool,
    },
    /// The peer broke the protocol in this way; `Closed` follows.
    Failed(&'static str),
}

#[derive(Clone, Debug)]
pub enum SocketMessage {
    Text(Arc<str>),
    Binary(Bytes),
}

/// One thing to be written on a socket.
#[derive(Clone, Debug)]
pub enum Outgoing {
    Message(Message),
    Pong(Bytes),
    /// The last frame that is written.
    Close(Close),
}

/// A close frame; `None` for a code stands for an empty one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    pub code: Option<u16>,
    pub reason: String,
}

/// A message of text or bytes; clones share it.
#[derive(Clone)]
pub struct Message(Arc<Inner>);

struct Inner {
    text: bool,
    payload_bytes: usize,
    plain: Frame,
    /// Empty inside if compression gains nothing.
    deflated: OnceCell<Option<Frame>>,
}

/// An encoded frame, in two pieces if it is large.
#[derive(Clone, Debug)]
pub(super) struct Frame(pub(super) [Bytes; 2]);

impl Message {
    #[must_use]
    pub fn text(text: String) -> Self {
        Self::new(true, text.into())
    }

    #[must_use]
    pub fn binary(bytes: impl Into<Bytes>) -> Self {
        Self::new(false, bytes.into())
    }

    fn new(text: bool, payload: Bytes) -> Self {
        Self(Arc::new(Inner {
            text,
            payload_bytes: payload.len(),
            plain: Frame::data(text, false, payload),
            deflated: OnceCell::new(),
        }))
    }

    /// Bytes of payload.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.payload_bytes
    }

    pub(super) fn plain(&self) -> &Frame {
        &self.0.plain
    }

    /// The shorter of the two encodings.
    pub(super) async fn deflated(&self, deflate: &Deflate) -> &Frame {
        let Inner {
            text,
            payload_bytes,
            plain,
            deflated,
        } = &*self.0;
        if *payload_bytes < COMPRESS_FROM_BYTES {
            return plain;
        }
        let compress = || async move {
            let payload = deflate.compress(&plain.payload(*payload_bytes)).await?;
            Some(Frame::data(*text, true, payload.into()))
        };
        let deflated = deflated.get_or_init(compress).await;
        deflated.as_ref().unwrap_or(plain)
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.0.text { "text" } else { "binary" };
        write!(f, "Message({kind}, {} bytes)", self.bytes())
    }
}

impl Frame {
    fn data(text: bool, compressed: bool, payload: Bytes) -> Self {
        let data = if text { Data::Text } else { Data::Binary };
        Self::new(OpCode::Data(data), compressed, payload)
    }

    pub(super) fn pong(payload: Bytes) -> Self {
        Self::new(OpCode::Control(Control::Pong), false, payload)
    }

    pub(super) fn close(close: &Close) -> Self {
        let mut payload = BytesMut::new();
        if let Some(code) = close.code {
            payload.put_u16(code);
            payload.put_slice(close.reason.as_bytes());
        }
        Self::new(OpCode::Control(Control::Close), false, payload.freeze())
    }

    fn new(opcode: OpCode, rsv1: bool, payload: Bytes) -> Self {
        let header = FrameHeader {
            is_final: true,
            rsv1,
            opcode,
            ..FrameHeader::default()
        };
        let joined = payload.len() <= JOINED_BYTES;
        let room = if joined { payload.len() } else { 0 };
        let mut head = Vec::with_capacity(10 + room);
        header
            .format(payload.len() as u64, &mut head)
            .expect("a vector takes what is written");
        if joined {
            head.extend_from_slice(&payload);
            Self([head.into(), Bytes::new()])
        } else {
            Self([head.into(), payload])
        }
    }

    /// The last bytes, which are the payload.
    fn payload(&self, bytes: usize) -> Bytes {
        let Self([head, payload]) = self;
        if payload.is_empty() {
            head.slice(head.len() - bytes..)
        } else {
            payload.clone()
        }
    }
}
