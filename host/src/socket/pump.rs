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

use super::deflate::Deflate;
use super::hub::{MAX_MESSAGE_BYTES, OpenSocket, SocketId};
use super::message::{Close, Outgoing, SocketEvent, SocketMessage};
use super::reader::{Broken, Incoming, Reader};
use super::writer::Writer;
use crate::clock::Clock;

/// How long a peer may take to answer a close frame, or to read anything once the
/// socket is closing.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
/// First wait before an event is offered again to a full mailbox; doubles.
const RETRY: Duration = Duration::from_millis(5);
const MAX_RETRY: Duration = Duration::from_secs(1);

/// How a pump reaches its object.
pub trait Deliver: Send + Sync + 'static {
    /// Puts an event into the object's mailbox, and waits until it is handled.
    fn deliver(
        &self,
        socket: SocketId,
        event: SocketEvent,
    ) -> impl Future<Output = Delivered> + Send;
    /// Whether the object's class has handlers for sockets now.
    fn is_handled(&self) -> bool;
    fn clock(&self) -> &Clock;
    /// The socket is gone from its hub.
    fn gone(&self);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// It is handled, or has failed for good.
    Done,
    /// There is no room for it now.
    Busy,
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
        on_heap(report(&object, &socket, end)).await;
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
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
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
            let answered = on_heap(answered(reader));
            match select(answered, object.clock().sleep(CLOSE_TIMEOUT)).await {
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
            let event = SocketEvent::Message(message);
            on_heap(insist(object, socket.id, event)).await;
        }
    }
}

/// Whether the peer sends a close frame before the connection ends.
async fn answered<R: AsyncRead + Unpin + Send>(reader: &mut Reader<R>) -> bool {
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

/// A future that is on the heap while it runs, and only then. Most sockets sleep, and
/// a task has room for all that it may ever do.
pub(super) fn on_heap<'a, T>(
    future: impl Future<Output = T> + Send + 'a,
) -> Pin<Box<dyn Future<Output = T> + Send + 'a>> {
    Box::pin(future)
}

/// Tells the object how it ended.
async fn report(object: &impl Deliver, socket: &OpenSocket, end: End) {
    if let Some(what) = end.failure {
        insist(object, socket.id, SocketEvent::Failed(what)).await;
    }
    let closed = SocketEvent::Closed {
        code: end.code,
        reason: end.reason,
        was_clean: end.was_clean,
    };
    insist(object, socket.id, closed).await;
}

/// Ends when the event is handled, or has failed for good. A full mailbox or a full
/// host only makes it wait.
async fn insist(object: &impl Deliver, socket: SocketId, event: SocketEvent) {
    let mut retry = RETRY;
    while object.deliver(socket, event.clone()).await == Delivered::Busy {
        tokio::time::sleep(retry).await;
        retry = (retry * 2).min(MAX_RETRY);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::id::Namespace;
    use crate::socket::{Hub, Owner};

    struct Nobody(Clock);

    impl Deliver for Nobody {
        async fn deliver(&self, _: SocketId, _: SocketEvent) -> Delivered {
            Delivered::Done
        }

        fn is_handled(&self) -> bool {
            true
        }

        fn clock(&self) -> &Clock {
            &self.0
        }

        fn gone(&self) {}
    }

    #[tokio::test]
    async fn a_socket_that_sleeps_needs_little_room() {
        let object = Namespace::new("Room", "key").id_from_name("lobby");
        let owner = Owner {
            app: "app".into(),
            class: "Room".into(),
            object,
        };
        let socket = Arc::new(Hub::default()).accept(owner, Vec::new(), None);
        let (_client, host) = tokio::io::duplex(1);
        let pump = pump(
            host,
            Packing::default(),
            socket.unwrap(),
            Nobody(Clock::manual()),
        );
        let bytes = std::mem::size_of_val(&pump);
        assert!(bytes <= 2_048, "{bytes} bytes");
    }
}
