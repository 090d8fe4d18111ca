//! Bodies across the boundary: channels outside, component-model streams inside.
//!
//! Both directions keep at most [`CHANNEL_CHUNKS`] chunks of
//! [`MAX_CHUNK_BYTES`] in the channel, so a fast writer waits for a slow reader.
//! What a guest writes becomes an [`Effect`], so that it passes the output gate
//! in order with everything else. A guest may also hand on a stream that it was
//! given: that one flows without any guest code, and only [`Flows`] shows it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Poller, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::sync::{mpsc, oneshot};
use wasmtime::StoreContextMut;
use wasmtime::component::{
    Destination, FutureConsumer, FutureReader, Lift, Source, StreamConsumer, StreamProducer,
    StreamReader, StreamResult,
};

use super::bindings::dormouse::object::types;
use super::context::Context;
use super::instance::Effect;
use crate::event::{Body, Chunk, Chunks};

const CHANNEL_CHUNKS: usize = 4;
const MAX_CHUNK_BYTES: usize = 64 << 10;

type Ended = Result<(), types::Failure>;
type Permit = mpsc::OwnedPermit<Chunk>;

/// Hands a body to the guest.
pub(super) fn lower(
    mut store: StoreContextMut<'_, Context>,
    body: Body,
) -> wasmtime::Result<types::Body> {
    Ok(match body {
        Body::None => types::Body::None,
        Body::Bytes(bytes) => types::Body::Bytes(bytes.into()),
        Body::Stream(chunks) => {
            let (ended, how) = oneshot::channel();
            let producer = Producer {
                chunks,
                rest: Bytes::new(),
                ended: Some(ended),
            };
            let stream = StreamReader::new(&mut store, producer)?;
            let future = FutureReader::new(&mut store, async move {
                let gone = || Err(failure("the sender of the body went away"));
                wasmtime::Result::<Ended>::Ok(how.await.unwrap_or_else(|_| gone()))
            })?;
            types::Body::Stream((stream, future))
        }
    })
}

/// Takes a body from the guest. A stream flows as effects of the guest's turns.
pub(super) fn lift(
    mut store: StoreContextMut<'_, Context>,
    body: types::Body,
    of: Of,
) -> wasmtime::Result<Body> {
    Ok(match body {
        types::Body::None => Body::None,
        types::Body::Bytes(bytes) => Body::Bytes(bytes.into()),
        types::Body::Stream((stream, future)) => {
            let (sender, chunks) = mpsc::channel(CHANNEL_CHUNKS);
            let slot = || Slot::new(sender.clone(), &store.data().flows, of);
            let (data, end) = (ChunkConsumer(slot()), EndConsumer(slot()));
            stream.pipe(&mut store, data)?;
            future.pipe(&mut store, end)?;
            Body::Stream(chunks)
        }
    })
}

fn failure(message: &str) -> types::Failure {
    types::Failure {
        message: message.to_owned(),
    }
}

/// Feeds a channel into a stream that the guest reads.
struct Producer {
    chunks: Chunks,
    rest: Bytes,
    ended: Option<oneshot::Sender<Ended>>,
}

impl Producer {
    fn end(&mut self, how: Ended) -> Poll<wasmtime::Result<StreamResult>> {
        if let Some(ended) = self.ended.take() {
            // A guest that no longer listens does not care how it ended.
            let _ = ended.send(how);
        }
        Poll::Ready(Ok(StreamResult::Dropped))
    }
}

impl StreamProducer<Context> for Producer {
    type Item = u8;
    type Buffer = Option<u8>;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
        store: StoreContextMut<'a, Context>,
        destination: Destination<'a, u8, Self::Buffer>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        while self.rest.is_empty() {
            match self.chunks.poll_recv(cx) {
                Poll::Ready(Some(Chunk::Data(data))) => self.rest = data,
                Poll::Ready(Some(Chunk::End(Ok(())))) => return self.end(Ok(())),
                Poll::Ready(Some(Chunk::End(Err(why)))) => return self.end(Err(failure(&why))),
                Poll::Ready(None) => {
                    return self.end(Err(failure("the sender of the body went away")));
                }
                Poll::Pending if finish => return Poll::Ready(Ok(StreamResult::Cancelled)),
                Poll::Pending => return Poll::Pending,
            }
        }
        let mut direct = destination.as_direct(store, MAX_CHUNK_BYTES);
        let room = direct.remaining();
        let count = room.len().min(self.rest.len());
        room[..count].copy_from_slice(&self.rest[..count]);
        direct.mark_written(count);
        self.rest.advance(count);
        Poll::Ready(Ok(StreamResult::Completed))
    }
}

/// Counts the ends of response streams that have not come to rest.
#[derive(Default)]
pub(super) struct Flows(Arc<()>);

impl Flows {
    pub(super) fn is_any(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

/// What a body that a guest writes belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// A request or a call of its own: it waits for what comes of it.
    Request,
    Answer,
}

/// One place in a body's channel, waited for again and again.
struct Slot {
    of: Of,
    sender: mpsc::Sender<Chunk>,
    _flow: Arc<()>,
    waiting: Option<Pin<Box<dyn Future<Output = Option<Permit>> + Send>>>,
}

impl Slot {
    fn new(sender: mpsc::Sender<Chunk>, flows: &Flows, of: Of) -> Self {
        Self {
            of,
            sender,
            _flow: flows.0.clone(),
            waiting: None,
        }
    }

    /// A permit to send one chunk; `None` when the reader is gone.
    fn poll(&mut self, cx: &mut Poller<'_>) -> Poll<Option<Permit>> {
        if self.waiting.is_none() {
            match self.sender.clone().try_reserve_owned() {
                Ok(permit) => return Poll::Ready(Some(permit)),
                Err(mpsc::error::TrySendError::Closed(_)) => return Poll::Ready(None),
                Err(mpsc::error::TrySendError::Full(sender)) => {
                    let permit = async move { sender.reserve_owned().await.ok() };
                    self.waiting = Some(Box::pin(permit));
                }
            }
        }
        let waiting = self.waiting.as_mut().expect("was set above");
        let permit = ready!(waiting.as_mut().poll(cx));
        self.waiting = None;
        Poll::Ready(permit)
    }
}

/// Takes what the guest writes into a response's stream.
struct ChunkConsumer(Slot);

impl StreamConsumer<Context> for ChunkConsumer {
    type Item = u8;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
        mut store: StoreContextMut<'_, Context>,
        source: Source<'_, u8>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        if source.remaining(&mut store) == 0 {
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        let permit = match self.0.poll(cx) {
            Poll::Ready(Some(permit)) => permit,
            Poll::Ready(None) => return Poll::Ready(Ok(StreamResult::Dropped)),
            Poll::Pending if finish => return Poll::Ready(Ok(StreamResult::Cancelled)),
            Poll::Pending => return Poll::Pending,
        };
        let mut direct = source.as_direct(wasmtime::AsContextMut::as_context_mut(&mut store));
        let available = direct.remaining();
        let count = available.len().min(MAX_CHUNK_BYTES);
        let data = Bytes::copy_from_slice(&available[..count]);
        direct.mark_read(count);
        let (of, chunk) = (self.0.of, Chunk::Data(data));
        release(&mut store, cx, Effect::Chunk { of, permit, chunk });
        Poll::Ready(Ok(StreamResult::Completed))
    }
}

/// Takes the guest's word on how its response body ended.
struct EndConsumer(Slot);

impl FutureConsumer<Context> for EndConsumer {
    type Item = Ended;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
        mut store: StoreContextMut<'_, Context>,
        mut source: Source<'_, Ended>,
        finish: bool,
    ) -> Poll<wasmtime::Result<()>> {
        let permit = match self.0.poll(cx) {
            Poll::Ready(permit) => permit,
            Poll::Pending if finish => return Poll::Ready(Ok(())),
            Poll::Pending => return Poll::Pending,
        };
        let Some(how) = read_one(&mut store, &mut source)? else {
            return Poll::Ready(Ok(()));
        };
        if let Some(permit) = permit {
            let chunk = Chunk::End(how.map_err(|failure| failure.message));
            let of = self.0.of;
            release(&mut store, cx, Effect::Chunk { of, permit, chunk });
        }
        Poll::Ready(Ok(()))
    }
}

/// Adds an effect, and sees to it that the loop which collects effects has a look:
/// it was polled before the streams were, and no guest code may follow.
fn release(store: &mut StoreContextMut<'_, Context>, cx: &Poller<'_>, effect: Effect) {
    store.data_mut().effects.push(effect);
    cx.waker().wake_by_ref();
}

fn read_one<T: Lift + 'static>(
    store: &mut StoreContextMut<'_, Context>,
    source: &mut Source<'_, T>,
) -> wasmtime::Result<Option<T>> {
    let mut value = None;
    source.read(store, &mut value)?;
    Ok(value)
}
