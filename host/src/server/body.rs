//! Bodies between hyper and events.
//!
//! A request body of known small size is read whole before the object is asked;
//! any other flows chunk by chunk, at most a few chunks ahead of its reader.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body as HttpBody;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::{mpsc, oneshot};

use crate::event::{Body, Chunk, Chunks};

/// Up to here a body travels in one piece (bytes).
const INLINE_BYTES: u64 = 256 << 10;
const CHANNEL_CHUNKS: usize = 4;

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
