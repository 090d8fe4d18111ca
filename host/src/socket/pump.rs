//! Pump: moves frames between one connection and its object.
//!
//! One task for each socket, started by `server` after the handshake. Reads the
//! next message only when the last one is handled, so the messages of a socket
//! never overlap and a busy object slows its clients instead of losing frames.
//! Writing goes on meanwhile. Pings and close frames are answered here; the
//! object sleeps on.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message};
use tokio_tungstenite::tungstenite::{self, Error};

use super::hub::OpenSocket;
use crate::event::{Fault, Kind, Reply, SocketMessage};

/// How long the peer may take to answer a close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
/// First wait before an event is offered again to a full mailbox; doubles.
const RETRY: Duration = Duration::from_millis(5);
const MAX_RETRY: Duration = Duration::from_secs(1);
/// Frames written before they are flushed together.
const FLUSH_BATCH: usize = 64;

/// How a pump reaches its object.
pub trait Deliver: Send + Sync + 'static {
    /// Puts an event into the object's mailbox.
    fn deliver(&self, kind: Kind) -> oneshot::Receiver<Result<Reply, Fault>>;
    /// Whether the object's class has handlers for sockets now.
    fn is_handled(&self) -> bool;
    /// Time since 1970.
    fn now(&self) -> Duration;
    /// The socket is gone from its hub.
    fn gone(&self);
}

/// How a connection ended.
struct End {
    code: u16,
    reason: String,
    was_clean: bool,
    /// What went wrong, if it was not a close.
    failure: Option<String>,
}

/// Runs until the socket is closed and the object knows.
pub async fn pump<S>(stream: WebSocketStream<S>, mut socket: OpenSocket, object: impl Deliver)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let (mut sink, mut frames) = stream.split();
    let end = exchange(&mut sink, &mut frames, &mut socket, &object).await;
    socket.hub.set_closing(socket.id);
    let end = finish(&mut sink, &mut frames, end).await;
    drop((sink, frames));
    socket.hub.set_closed(socket.id);
    if object.is_handled() {
        report(&object, &socket, end).await;
    }
    drop(socket);
    object.gone();
}

/// What made the open phase end.
enum Cause {
    /// The peer sent a close frame; tungstenite has queued the answer.
    Peer(Option<CloseFrame>),
    /// The object or the host closes.
    Own(Option<CloseFrame>),
    /// The connection is lost, with or without an error.
    Lost(Option<Error>),
}

async fn exchange<S>(
    sink: &mut SplitSink<WebSocketStream<S>, Message>,
    frames: &mut SplitStream<WebSocketStream<S>>,
    socket: &mut OpenSocket,
    object: &impl Deliver,
) -> Cause
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut handling: Option<Handling> = None;
    let mut reply: Option<Message> = None;
    loop {
        if let Some(message) = reply.take()
            && let Err(error) = sink.send(message).await
        {
            return Cause::Lost(Some(error));
        }
        tokio::select! {
            frame = socket.queue.recv() => {
                let frame = frame.expect("the hub holds a sender as long as the socket lives");
                match write(sink, frame, socket).await {
                    Ok(None) => {}
                    Ok(Some(close)) => return Cause::Own(close),
                    Err(error) => return Cause::Lost(Some(error)),
                }
            }
            () = settled(&mut handling, object) => handling = None,
            frame = frames.next(), if handling.is_none() => match frame {
                None => return Cause::Lost(None),
                Some(Err(error)) => return Cause::Lost(Some(error)),
                Some(Ok(Message::Close(close))) => return Cause::Peer(close),
                Some(Ok(message)) => {
                    reply = answer(&message, socket, object);
                    if reply.is_none() {
                        handling = handle(message, socket, object);
                    }
                }
            },
        }
    }
}

/// Writes what is queued, flushed together. Gives back a close frame: it is the
/// last that is written.
async fn write<S>(
    sink: &mut SplitSink<WebSocketStream<S>, Message>,
    first: Message,
    socket: &mut OpenSocket,
) -> Result<Option<Option<CloseFrame>>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut next = Some(first);
    let mut written = 0;
    while let Some(frame) = next {
        if let Message::Close(close) = frame {
            return Ok(Some(close));
        }
        let bytes = frame.len() as u64;
        sink.feed(frame).await?;
        socket.buffered.fetch_sub(bytes, Ordering::Relaxed);
        written += 1;
        next = if written < FLUSH_BATCH {
            socket.queue.try_recv().ok()
        } else {
            None
        };
        if next.is_none() {
            sink.flush().await?;
        }
    }
    Ok(None)
}

fn answer(message: &Message, socket: &OpenSocket, object: &impl Deliver) -> Option<Message> {
    let Message::Text(text) = message else {
        return None;
    };
    socket.hub.auto_answer(socket.id, text, object.now())
}

/// A message on its way through the object.
struct Handling {
    kind: SocketEvent,
    waiting: oneshot::Receiver<Result<Reply, Fault>>,
    retry: Duration,
}

#[derive(Clone)]
struct SocketEvent {
    socket: u64,
    message: SocketMessage,
}

impl SocketEvent {
    fn kind(&self) -> Kind {
        Kind::SocketMessage {
            socket: self.socket,
            message: self.message.clone(),
        }
    }
}

fn handle(message: Message, socket: &OpenSocket, object: &impl Deliver) -> Option<Handling> {
    let message = match message {
        Message::Text(text) => SocketMessage::Text(text.as_str().into()),
        Message::Binary(bytes) => SocketMessage::Binary(bytes),
        // tungstenite answers pings; pongs and raw frames mean nothing to objects.
        Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => return None,
    };
    if !object.is_handled() {
        return None;
    }
    let event = SocketEvent {
        socket: socket.id,
        message,
    };
    let waiting = object.deliver(event.kind());
    Some(Handling {
        kind: event,
        waiting,
        retry: RETRY,
    })
}

/// Ends when the message is handled, or has failed for good; pending without one.
async fn settled(handling: &mut Option<Handling>, object: &impl Deliver) {
    let Some(handling) = handling else {
        return std::future::pending().await;
    };
    while let Ok(Err(fault)) = (&mut handling.waiting).await {
        // A full mailbox or a full host slows the client; it loses nothing.
        if !matches!(fault, Fault::Overloaded { .. } | Fault::Exhausted(_)) {
            break;
        }
        tokio::time::sleep(handling.retry).await;
        handling.retry = (handling.retry * 2).min(MAX_RETRY);
        handling.waiting = object.deliver(handling.kind.kind());
    }
}

/// Says goodbye as the cause demands and waits for the peer's part of it.
async fn finish<S>(
    sink: &mut SplitSink<WebSocketStream<S>, Message>,
    frames: &mut SplitStream<WebSocketStream<S>>,
    cause: Cause,
) -> End
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match cause {
        Cause::Peer(close) => {
            // Reading on flushes the answer; the peer then ends the connection.
            let rest = async { while let Some(Ok(_)) = frames.next().await {} };
            let _ = tokio::time::timeout(CLOSE_TIMEOUT, rest).await;
            let (code, reason) = parts(close);
            End::clean(code, reason)
        }
        Cause::Own(close) => {
            let (code, reason) = parts(close.clone());
            if sink.send(Message::Close(close)).await.is_err() {
                return End::lost(None);
            }
            match tokio::time::timeout(CLOSE_TIMEOUT, peer_close(frames)).await {
                Ok(Some(_)) => End::clean(code, reason),
                Ok(None) | Err(_) => End::lost(None),
            }
        }
        Cause::Lost(None) => End::lost(None),
        Cause::Lost(Some(error)) => {
            if let Some(code) = close_code(&error) {
                let close = CloseFrame {
                    code,
                    reason: tungstenite::Utf8Bytes::default(),
                };
                // The peer broke the protocol; it need not hear us.
                let _ = sink.send(Message::Close(Some(close))).await;
                return End::lost(Some(error.to_string()));
            }
            End::lost(None)
        }
    }
}

/// The peer's close frame; `None` if the connection ends without.
async fn peer_close<S>(frames: &mut SplitStream<WebSocketStream<S>>) -> Option<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(Ok(frame)) = frames.next().await {
        if frame.is_close() {
            return Some(());
        }
    }
    None
}

fn parts(close: Option<CloseFrame>) -> (u16, String) {
    // 1005: the frame held no code.
    close.map_or((1005, String::new()), |close| {
        (close.code.into(), close.reason.to_string())
    })
}

/// What to tell a peer that broke the protocol; `None`: it is gone.
fn close_code(error: &Error) -> Option<CloseCode> {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => Some(CloseCode::Size),
        Error::Utf8(_) => Some(CloseCode::Invalid),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
        Error::Protocol(_) => Some(CloseCode::Protocol),
        _ => None,
    }
}

impl End {
    fn clean(code: u16, reason: String) -> Self {
        Self {
            code,
            reason,
            was_clean: true,
            failure: None,
        }
    }

    fn lost(failure: Option<String>) -> Self {
        Self {
            code: 1006,
            reason: "WebSocket disconnected without sending Close frame.".to_owned(),
            was_clean: false,
            failure,
        }
    }
}

/// Tells the object how it ended; tries again while the mailbox is full.
async fn report(object: &impl Deliver, socket: &OpenSocket, end: End) {
    if let Some(message) = end.failure {
        let socket = socket.id;
        let kind = || Kind::SocketFailed {
            socket,
            message: message.clone(),
        };
        insist(object, kind).await;
    }
    let kind = || Kind::SocketClosed {
        socket: socket.id,
        code: end.code,
        reason: end.reason.clone(),
        was_clean: end.was_clean,
    };
    insist(object, kind).await;
}

async fn insist(object: &impl Deliver, kind: impl Fn() -> Kind) {
    let mut retry = RETRY;
    while let Ok(Err(Fault::Overloaded { .. } | Fault::Exhausted(_))) = object.deliver(kind()).await
    {
        tokio::time::sleep(retry).await;
        retry = (retry * 2).min(MAX_RETRY);
    }
}
