//! `wasi:http` at both ends: requests for a worker that is a standard component,
//! and the door to the outside for every guest.
//!
//! Events become requests of the `http` crate, what comes back becomes an event's
//! reply. The 0.2 form blocks its whole store while it waits or streams, so such
//! a worker's answer goes straight to who waits for it, past the loop that drives
//! the instance. A worker has no database, so no gate is passed by.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as Poller, Poll, Waker, ready};

use bytes::Bytes;
use dormouse_storage::Ticket;
use futures_channel::oneshot as wasi_oneshot;
use http::StatusCode;
use http_body::Frame;
use http_body_util::{BodyExt as _, Empty, Full};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use wasmtime::AsContextMut as _;
use wasmtime::component::Accessor;
use wasmtime_wasi_http::handler::{Prepared, Proxy};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks, WasiHttpView as _};

use super::context::Context;
use super::instance::{Call, Returned, Running};
use crate::egress::{self, Egress, Outgoing, Timeouts};
use crate::event::{Body, Chunk, Chunks, Fault, Kind, Reply, Request, RequestId, Reset, Response};
use crate::trace::{Span, TraceContext};

const CHANNEL_CHUNKS: usize = 4;

type Answered = Result<http::Response<WasiBody>, wasmtime::Error>;

/// Who waits for the answer of a worker that answers by itself.
#[derive(Debug)]
pub struct Direct {
    pub reply: oneshot::Sender<Result<Reply, Fault>>,
    /// Says why the instance ended, once it has.
    pub ended: watch::Receiver<Option<Fault>>,
}

/// Starts the handler of `wasi:http`.
pub(super) fn start<'a>(
    accessor: &'a Accessor<Context>,
    proxy: &'a Proxy,
    call: Call,
) -> wasmtime::Result<Running<'a>> {
    let (Kind::Fetch(request), Some(direct)) = (call.kind, call.direct) else {
        wasmtime::bail!("a worker of `wasi:http` handles requests alone");
    };
    let request = outward(request, call.request_id.trace())?;
    let (answer, answered) = wasi_oneshot::channel();
    tokio::spawn(direct.forward(answered));
    let prepared = accessor.with(|mut access| {
        let context = access.get();
        context.running.serve(call.request_id);
        context.outside.begins(call.request_id);
        Prepared::new(
            access.as_context_mut(),
            proxy,
            request,
            Context::http,
            answer,
        )
    })?;
    Ok(Box::pin(async move {
        let ran = prepared.run(accessor, std::future::pending()).await;
        accessor.with(|mut access| access.get().outside.ends(call.request_id));
        (call.id, ran.map(|_| Ok(Returned::Done)))
    }))
}

impl Direct {
    /// Hands the answer over, then carries its body until either side is done.
    async fn forward(mut self, answered: wasi_oneshot::Receiver<Answered>) {
        let response = match answered.await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                let fault = self.fault(&error).await;
                return drop(self.reply.send(Err(fault)));
            }
            Err(_) => {
                let fault = self.end().await;
                return drop(self.reply.send(Err(fault)));
            }
        };
        let (parts, body) = response.into_parts();
        let pairs = parts.headers.iter();
        let headers =
            pairs.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().into()));
        let (sender, chunks) = mpsc::channel(CHANNEL_CHUNKS);
        let is_empty = http_body::Body::is_end_stream(&body);
        let reply = Reply::Response(Response {
            status: parts.status.as_u16(),
            headers: headers.collect(),
            body: if is_empty {
                Body::None
            } else {
                Body::Stream(chunks)
            },
        });
        if self.reply.send(Ok(reply)).is_ok() && !is_empty {
            pump(body, sender).await;
        }
    }

    /// A trap ends the instance, which knows the reason; anything else is the
    /// worker's own word.
    async fn fault(&mut self, error: &wasmtime::Error) -> Fault {
        if error.is::<wasmtime::Trap>() {
            return self.end().await;
        }
        Fault::Guest(format!("{error:#}").into())
    }

    async fn end(&mut self) -> Fault {
        let ended = self.ended.wait_for(Option::is_some).await;
        let fault = ended.ok().and_then(|fault| fault.clone());
        fault.unwrap_or(Fault::Reset(Reset::ShuttingDown))
    }
}

/// Moves frames until the body ends or nobody reads.
async fn pump(mut body: WasiBody, sender: mpsc::Sender<Chunk>) {
    let end = loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = sender.closed() => return,
        };
        match frame {
            None => break Ok(()),
            Some(Err(error)) => break Err(format!("the worker broke off: {error}")),
            // Trailers have no place in the contract.
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data()
                    && sender.send(Chunk::Data(data)).await.is_err()
                {
                    return;
                }
            }
        }
    };
    // A client that is gone does not care how it ended.
    let _ = sender.send(Chunk::End(end)).await;
}

fn outward(
    mut request: Request,
    trace: Option<TraceContext>,
) -> wasmtime::Result<http::Request<WasiBody>> {
    if let Some(trace) = trace {
        trace.mark(&mut request.headers);
    }
    let mut builder = http::Request::builder()
        .method(request.method.as_str())
        .uri(request.url);
    for (name, value) in request.headers {
        builder = builder.header(name, value);
    }
    let body = match request.body {
        Body::None => Empty::new().map_err(Error::from).boxed_unsync(),
        Body::Bytes(bytes) => Full::new(bytes).map_err(Error::from).boxed_unsync(),
        Body::Stream(chunks) => Incoming(chunks).boxed_unsync(),
    };
    Ok(builder.body(body)?)
}

/// A streamed request body, as `wasi:http` reads it.
struct Incoming(Chunks);

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        Poll::Ready(match ready!(self.0.poll_recv(cx)) {
            Some(Chunk::Data(data)) => Some(Ok(Frame::data(data))),
            Some(Chunk::End(Ok(()))) => None,
            Some(Chunk::End(Err(why))) => Some(Err(Error::InternalError(Some(why)))),
            None => Some(Err(Error::ConnectionTerminated)),
        })
    }
}

/// The way to the outside for requests of `wasi:http`.
///
/// Those of 0.3 leave as effects of their turn. 0.2 blocks its whole store while it
/// waits, so the turn could not end: `imports::requests` ends it when the request
/// is made, and leaves its ticket here.
pub(super) struct Outside {
    egress: Arc<Egress>,
    departures: Option<Departures>,
    /// Whether any request of 0.3 was made.
    used: bool,
    /// Of the request of 0.2 that is about to be made.
    pub(super) ticket: Option<Ticket>,
    /// The events under way that belong to a trace.
    traced: Vec<RequestId>,
    /// Who makes the request of 0.2 that is about to be made.
    pub(super) sender: Option<TraceContext>,
}

impl Outside {
    /// `gated`: what leaves waits for commits.
    pub(super) fn new(egress: Arc<Egress>, gated: bool) -> Self {
        Self {
            egress,
            departures: gated.then(Departures::default),
            used: false,
            ticket: None,
            traced: Vec::new(),
            sender: None,
        }
    }

    /// An event begins; requests to the outside may be its own.
    pub(super) fn begins(&mut self, event: RequestId) {
        if event.trace().is_some() {
            self.traced.push(event);
        }
    }

    /// The event has its answer.
    pub(super) fn ends(&mut self, event: RequestId) {
        if event.trace().is_some() {
            self.traced.retain(|traced| *traced != event);
        }
    }

    /// The span of the event that runs, where nobody says which one it is: known only
    /// while there is one.
    pub(super) fn only_event(&self) -> Option<TraceContext> {
        match *self.traced {
            [only] => only.trace(),
            _ => None,
        }
    }

    /// What asked to leave since the last turn.
    pub(super) fn take_departures(&self) -> Vec<oneshot::Sender<()>> {
        let used = self.departures.as_ref().filter(|_| self.used);
        used.map_or_else(Vec::new, |departures| {
            std::mem::take(&mut departures.lock().waiting)
        })
    }

    /// Wakes the loop that ends turns when something asks to leave.
    pub(super) fn watch(&self, cx: &Poller<'_>) {
        if let Some(departures) = self.departures.as_ref().filter(|_| self.used) {
            departures.lock().waker = Some(cx.waker().clone());
        }
    }
}

/// What waits for the end of the turn that runs, and for the commits before it.
#[derive(Clone, Default)]
struct Departures(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    waiting: Vec<oneshot::Sender<()>>,
    waker: Option<Waker>,
}

impl Departures {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> oneshot::Receiver<()> {
        let (depart, departed) = oneshot::channel();
        let mut waiting = self.lock();
        waiting.waiting.push(depart);
        if let Some(waker) = waiting.waker.take() {
            waker.wake();
        }
        departed
    }
}

type Sent = Result<
    (
        http::Response<WasiBody>,
        Box<dyn Future<Output = Result<(), Error>> + Send>,
    ),
    Error,
>;

impl WasiHttpHooks for Outside {
    fn send_request(
        &mut self,
        mut request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _done: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let egress = self.egress.clone();
        let ticket = self.ticket.take();
        let departures = self.departures.clone().filter(|_| ticket.is_none());
        let departed = departures.as_ref().map(Departures::queue);
        self.used |= departures.is_some();
        let sender = self.sender.take().or_else(|| self.only_event());
        Box::new(async move {
            if let Some(ticket) = ticket {
                ticket.await.map_err(|dead| internal(&dead))?;
            }
            if let Some(departed) = departed {
                departed.await.map_err(|gone| internal(&gone))?;
            }
            let url = request.uri().to_string();
            let mut span = Span::outgoing(sender, request.method().as_str(), &url);
            if let Some(trace) = span.context() {
                trace.mark_parsed(request.headers_mut());
            }
            let request = request.map(|body| gated(body, departures));
            let answer = egress.send(request, timeouts(options)).await;
            match &answer {
                Ok(answer) => span.answered(answer.status().as_u16(), StatusCode::BAD_REQUEST),
                Err(error) => span.failed(error.kind(), error),
            }
            let answer = answer.map_err(|error| explained(&error))?;
            let answer = answer.map(|body| body.map_err(|error| explained(&error)).boxed_unsync());
            let done: Box<dyn Future<Output = Result<(), Error>> + Send> =
                Box::new(std::future::ready(Ok(())));
            Ok((answer, done))
        })
    }
}

/// Each piece of the body leaves like the request itself.
fn gated(body: WasiBody, departures: Option<Departures>) -> Outgoing {
    let Some(departures) = departures else {
        return Kept(Some(body)).map_err(Into::into).boxed_unsync();
    };
    let frames = futures_util::stream::unfold((body, departures), |(mut body, departures)| async {
        let frame = body.frame().await?;
        let departed = departures.queue().await;
        let frame = match (frame, departed) {
            (Ok(frame), Ok(())) => Ok(frame),
            (Err(error), _) => Err(error.into()),
            (_, Err(gone)) => Err(gone.into()),
        };
        Some((frame, (body, departures)))
    });
    http_body_util::StreamBody::new(frames).boxed_unsync()
}

/// The body of a request of 0.2. A guest that writes to one that nobody reads any more,
/// because the answer came first or the body has no length, is told of a broken
/// connection; so what it still writes is read, up to its end.
struct Kept(Option<WasiBody>);

impl http_body::Body for Kept {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Some(body) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            self.0 = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> http_body::SizeHint {
        let none = http_body::SizeHint::with_exact(0);
        self.0.as_ref().map_or(none, http_body::Body::size_hint)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let (Some(mut body), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(async move { while let Some(Ok(_)) = body.frame().await {} });
        }
    }
}

fn timeouts(options: Option<RequestOptions>) -> Timeouts {
    let default = Timeouts::default();
    let Some(options) = options else {
        return default;
    };
    let response = match (options.connect_timeout, options.first_byte_timeout) {
        (None, None) => default.response,
        (connect, first) => connect.unwrap_or_default() + first.unwrap_or(default.response),
    };
    Timeouts {
        response,
        between: options.between_bytes_timeout.unwrap_or(default.between),
    }
}

fn internal(error: &dyn std::fmt::Display) -> Error {
    Error::InternalError(Some(error.to_string()))
}

/// The nearest word that `wasi:http` has; the log has the sentence.
fn explained(error: &egress::Error) -> Error {
    tracing::debug!(target: "guest", "{error}");
    match error {
        egress::Error::Denied { .. } => Error::HttpRequestDenied,
        egress::Error::Private { .. } => Error::DestinationIpProhibited,
        egress::Error::Invalid { .. } => Error::HttpRequestUriInvalid,
        egress::Error::Unreachable { .. } | egress::Error::Unscripted { .. } => {
            Error::ConnectionRefused
        }
        egress::Error::Late { .. } => Error::HttpResponseTimeout,
        egress::Error::Stalled { .. } => Error::ConnectionReadTimeout,
        egress::Error::Broken { .. } | egress::Error::Redirects { .. } => Error::HttpProtocolError,
    }
}
