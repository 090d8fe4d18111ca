//! Pump: moves frames between one connection and its object.
//!
//! One task for each socket, started by `server` after the handshake. Reads the
//! next message only when the last one is handled, so the messages of a socket
//! never overlap and a busy object slows its clients instead of losing frames.
//! Writing goes on meanwhile. Pings and close frames are answered here; the
//! object sleeps on.

use std::future::Future;
use std::io::ErrorKind;
use std::pin::{Pin, pin};
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;

use super::deflate::Deflate;
use super::hub::{MAX_MESSAGE_BYTES, OpenSocket};
use super::message::{Close, Outgoing};
use super::reader::{Broken, Incoming, Reader};
use super::writer::Writer;
use crate::clock::Clock;
use crate::event::{Fault, Kind, Reply, SocketMessage};

/// How long a peer may take to answer a close frame, or to read anything once the
/// socket is closing.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
/// First wait before an event is offered again to a full mailbox; doubles.
const RETRY: Duration = Duration::from_millis(5);
const MAX_RETRY: Duration = Duration::from_secs(1);

/// How a pump reaches its object.
pub trait Deliver: Send + Sync + 'static {
    /// Puts an event into the object's mailbox.
    fn deliver(&self, kind: Kind) -> oneshot::Receiver<Result<Reply, Fault>>;
    /// Whether the object's class has handlers for sockets now.
    fn is_handled(&self) -> bool;
    fn clock(&self) -> &Clock;
    /// The socket is gone from its hub.
    fn gone(&self);
}

/// How messages are packed on a connection.
#[derive(Clone, Debug, Default)]
pub struct Packing {
    /// Messages of the client may be compressed.
    pub inflate: Option<Deflate>,
    /// Those to the client, too.
    pub compress: bool,
}

/// How a connection ended.
struct End {
    code: u16,
    reason: String,
    was_clean: bool,
    /// What went wrong, if it was not a close.
    failure: Option<&'static str>,
}

/// Runs until the socket is closed and the object knows.
pub async fn pump<S>(stream: S, packing: Packing, socket: OpenSocket, object: impl Deliver)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let clock = object.clock().clone();
    let (read, write) = tokio::io::split(stream);
    let compress = packing.inflate.clone().filter(|_| packing.compress);
    let mut reader = Reader::new(read, packing.inflate, MAX_MESSAGE_BYTES);
    let mut writer = Writer::new(write, compress, clock.clone());
    let end = converse(&mut reader, &mut writer, &socket, &object).await;
    // The peer may close first; a connection it does not end is cut off below.
    writer.shutdown().await;
    socket.hub.set_closed(socket.id);
    if object.is_handled() {
        report(&object, &socket, end).await;
    }
    drop(socket);
    object.gone();
    drop(object);
    // What is not read would make the kernel take back what was written.
    select(pin!(reader.drain()), clock.sleep(CLOSE_TIMEOUT)).await;
}

/// Reads and writes side by side, up to the last close frame.
async fn converse<R, W>(
    reader: &mut Reader<R>,
    writer: &mut Writer<W>,
    socket: &OpenSocket,
    object: &impl Deliver,
) -> End
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut writing = pin!(writer.write_all(&socket.line));
    let first = {
        let mut listening = pin!(listen(reader, socket, object));
        match select(listening.as_mut(), writing.as_mut()).await {
            Either::Left((ended, _)) => Either::Left(ended),
            // Nobody hears us; what was sent before is delivered all the same.
            Either::Right((Err(error), listening)) if error.kind() != ErrorKind::TimedOut => {
                return End::of(listening.await);
            }
            Either::Right((written, _)) => Either::Right(written),
        }
    };
    socket.hub.set_closing(socket.id);
    match first {
        Either::Left(ended) => {
            if let Some(goodbye) = ended.goodbye() {
                // After what was queued before. The peer need not hear it.
                socket.line.push(Outgoing::Close(goodbye));
                let _ = writing.await;
            }
            End::of(ended)
        }
        Either::Right(Ok(close)) => {
            let answered = answered(reader);
            match select(pin!(answered), object.clock().sleep(CLOSE_TIMEOUT)).await {
                Either::Left((true, _)) => End::clean(close),
                _ => End::lost(None),
            }
        }
        Either::Right(Err(_)) => End::lost(None),
    }
}

/// Why a connection is read no more.
enum Ended {
    /// The peer sent a close frame.
    Closed(Close),
    Broken(Broken),
}

/// Brings what the peer sends to the object, one message after the other.
async fn listen<R: AsyncRead + Unpin>(
    reader: &mut Reader<R>,
    socket: &OpenSocket,
    object: &impl Deliver,
) -> Ended {
    loop {
        let message = match reader.next().await {
            Ok(Incoming::Ping(payload)) => {
                socket.line.reply(Outgoing::Pong(payload)).await;
                continue;
            }
            Ok(Incoming::Text(text)) => {
                let now = object.clock().unix();
                if let Some(answer) = socket.hub.auto_answer(socket.id, &text, now) {
                    socket.line.reserve(answer.bytes() as u64);
                    socket.line.reply(Outgoing::Message(answer)).await;
                    continue;
                }
                SocketMessage::Text(text.into())
            }
            Ok(Incoming::Binary(bytes)) => SocketMessage::Binary(bytes),
            Ok(Incoming::Close(close)) => return Ended::Closed(close),
            Err(broken) => return Ended::Broken(broken),
        };
        if object.is_handled() {
            let socket = socket.id;
            let kind = || Kind::SocketMessage {
                socket,
                message: message.clone(),
            };
            // On the heap only while a message is handled: most sockets sleep.
            let handled: Pin<Box<dyn Future<Output = ()> + Send + '_>> =
                Box::pin(insist(object, kind));
            handled.await;
        }
    }
}

/// Whether the peer sends a close frame before the connection ends.
async fn answered<R: AsyncRead + Unpin>(reader: &mut Reader<R>) -> bool {
    loop {
        match reader.next().await {
            Ok(Incoming::Close(_)) => return true,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
}

impl Ended {
    /// What to tell the peer; `None`: it is gone.
    fn goodbye(&self) -> Option<Close> {
        let (code, reason) = match self {
            Self::Closed(close) => (close.code, ""),
            Self::Broken(Broken::Protocol { code, what }) => (Some(*code), *what),
            Self::Broken(Broken::Lost) => return None,
        };
        let reason = reason.to_owned();
        Some(Close { code, reason })
    }
}

impl End {
    fn of(ended: Ended) -> Self {
        match ended {
            Ended::Closed(close) => Self::clean(close),
            Ended::Broken(Broken::Lost) => Self::lost(None),
            Ended::Broken(Broken::Protocol { what, .. }) => Self::lost(Some(what)),
        }
    }

    fn clean(close: Close) -> Self {
        Self {
            // 1005: the frame held no code.
            code: close.code.unwrap_or(1005),
            reason: close.reason,
            was_clean: true,
            failure: None,
        }
    }

    fn lost(failure: Option<&'static str>) -> Self {
        Self {
            code: 1006,
            reason: "WebSocket disconnected without sending Close frame.".to_owned(),
            was_clean: false,
            failure,
        }
    }
}

/// Tells the object how it ended.
async fn report(object: &impl Deliver, socket: &OpenSocket, end: End) {
    let socket = socket.id;
    if let Some(message) = end.failure {
        let kind = || Kind::SocketFailed {
            socket,
            message: message.to_owned(),
        };
        insist(object, kind).await;
    }
    let kind = || Kind::SocketClosed {
        socket,
        code: end.code,
        reason: end.reason.clone(),
        was_clean: end.was_clean,
    };
    insist(object, kind).await;
}

/// Ends when the event is handled, or has failed for good. A full mailbox or a full
/// host only makes it wait.
async fn insist(object: &impl Deliver, kind: impl Fn() -> Kind) {
    let mut retry = RETRY;
    while let Ok(Err(Fault::Overloaded { .. } | Fault::Exhausted(_))) = object.deliver(kind()).await
    {
        tokio::time::sleep(retry).await;
        retry = (retry * 2).min(MAX_RETRY);
    }
}
