//! Bodies between hyper and events.
//!
//! A request body of known small size is read whole before the object is asked;
//! any other flows chunk by chunk, at most a few chunks ahead of its reader.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use std::time::Duration;

use axum::body::Body as HttpBody;
use bytes::Bytes;
use http::HeaderMap;
use http::header::EXPECT;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use crate::event::{Body, Chunk, Chunks};

/// Up to here a body travels in one piece (bytes).
const INLINE_BYTES: u64 = 256 << 10;
const CHANNEL_CHUNKS: usize = 4;
/// What still comes of a body that nobody wants is read up to here (bytes, time).
const LINGER_BYTES: usize = 256 << 10;
const LINGER_TIME: Duration = Duration::from_secs(2);

/// Why a request body did not arrive.
#[derive(Debug)]
pub(super) enum Refused {
    TooLarge,
    /// The client stopped in the middle; nobody is left to be told.
    Broken(String),
}

/// Resolves when a body that flows crosses the limit; else it is dropped.
pub(super) type Overflow = oneshot::Receiver<()>;

/// Takes a request's body: whole if small, else as a stream.
pub(super) async fn receive(
    body: HttpBody,
    limit: u64,
) -> Result<(Body, Option<Overflow>), Refused> {
    let size = body.size_hint();
    if size.lower() > limit {
        return Err(Refused::TooLarge);
    }
    if body.is_end_stream() {
        return Ok((Body::None, None));
    }
    match size.exact() {
        Some(0) => Ok((Body::None, None)),
        Some(bytes) if bytes <= INLINE_BYTES => {
            let whole = body.collect().await;
            let whole = whole.map_err(|error| Refused::Broken(error.to_string()))?;
            Ok((Body::Bytes(whole.to_bytes()), None))
        }
        _ => {
            let (sender, chunks) = mpsc::channel(CHANNEL_CHUNKS);
            let (too_large, overflow) = oneshot::channel();
            tokio::spawn(pump(body, limit, sender, too_large));
            Ok((Body::Stream(chunks), Some(overflow)))
        }
    }
}

/// Moves chunks until the body ends, the limit is crossed or nobody reads.
async fn pump(
    mut body: HttpBody,
    limit: u64,
    sender: mpsc::Sender<Chunk>,
    too_large: oneshot::Sender<()>,
) {
    let mut received = 0;
    let end = loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = sender.closed() => return,
        };
        let data = match frame {
            None => break Ok(()),
            Some(Err(error)) => break Err(format!("the client broke off: {error}")),
            // Trailers have no place in the contract.
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => data,
                Err(_) => continue,
            },
        };
        received += data.len() as u64;
        if received > limit {
            // A client that is gone needs no 413.
            let _ = too_large.send(());
            break Err(format!("the body is larger than {limit} bytes"));
        }
        if !data.is_empty() && sender.send(Chunk::Data(data)).await.is_err() {
            return;
        }
    };
    // An object that no longer reads does not care how it ended.
    let _ = sender.send(Chunk::End(end)).await;
}

/// A request body as it comes from the client.
///
/// Where it is dropped before its end, the rest is read for a while: a connection
/// closed on a client that still sends would take the answer with it, and one whose
/// last chunk comes a little late serves its next request. A client that waits for
/// `100 Continue` is not asked for what nobody wants.
#[derive(Debug)]
pub(super) struct Arriving {
    body: Option<Incoming>,
    lingers: bool,
}

impl Arriving {
    pub(super) fn new(headers: &HeaderMap, body: Incoming) -> Self {
        Self {
            body: Some(body),
            lingers: !headers.contains_key(EXPECT),
        }
    }
}

impl http_body::Body for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        let rest = self.body.take().filter(|body| !body.is_end_stream());
        if self.lingers
            && let (Some(rest), Ok(runtime)) = (rest, Handle::try_current())
        {
            let rest = Limited::new(rest, LINGER_BYTES);
            runtime.spawn(tokio::time::timeout(LINGER_TIME, discard(rest)));
        }
    }
}

async fn discard(mut body: Limited<Incoming>) {
    while let Some(Ok(_)) = body.frame().await {}
}

/// A response body that flows out of an object.
#[derive(Debug)]
pub(super) struct Outgoing {
    chunks: Chunks,
    /// What the object promised in `content-length`.
    length: Option<u64>,
    ended: bool,
}

impl Outgoing {
    pub(super) const fn new(chunks: Chunks, length: Option<u64>) -> Self {
        Self {
            chunks,
            length,
            ended: false,
        }
    }

    fn end(&mut self) {
        self.ended = true;
        self.chunks.close();
    }

    /// A body longer than promised would be read as the next response.
    fn count(&mut self, data: &Bytes) -> Result<(), CutOff> {
        let Some(left) = &mut self.length else {
            return Ok(());
        };
        *left = left.checked_sub(data.len() as u64).ok_or_else(|| {
            CutOff("the object wrote more than its `content-length` says".to_owned())
        })?;
        Ok(())
    }
}

/// The connection is broken off, so that the client sees that the body is not whole.
#[derive(Debug, thiserror::Error)]
#[error("the response was cut off: {0}")]
pub(super) struct CutOff(String);

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = CutOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let failed = match ready!(self.chunks.poll_recv(cx)) {
            Some(Chunk::Data(data)) => match self.count(&data) {
                Ok(()) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Err(cut_off) => cut_off,
            },
            Some(Chunk::End(Ok(()))) if self.length.unwrap_or(0) == 0 => {
                self.end();
                return Poll::Ready(None);
            }
            Some(Chunk::End(Ok(()))) => {
                CutOff("the object wrote less than its `content-length` says".to_owned())
            }
            Some(Chunk::End(Err(why))) => CutOff(why),
            None => CutOff("the object was reset".to_owned()),
        };
        self.end();
        tracing::warn!("{failed}");
        Poll::Ready(Some(Err(failed)))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.length
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
