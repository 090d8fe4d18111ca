//! Instance: one live object inside wasmtime, and the loop that drives it.
//!
//! Made by `code`, driven by `object::live` through [`Life`]. The loop is polled
//! by wasmtime between runs of guest code and never in the middle of a turn: a
//! guest that used up its time slice stays on its stack and the loop is not
//! polled until it goes on. So each poll of the loop is the end of a turn:
//! commit, hand the turn's effects over, collect results, start new events.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context as Poller, Poll};

use dormouse_storage::{Alarm, AlarmSummary, Ticket};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use opentelemetry::trace::SpanBuilder;
use tokio::sync::{mpsc, oneshot};
use wasmtime::component::{Accessor, TypedFunc};
use wasmtime::{AsContextMut, Store, Trap, UpdateDeadline};

use super::alarm;
use super::bindings::alarm::exports::dormouse::object::alarm_handler::Guest as AlarmGuest;
use super::bindings::call::exports::dormouse::object::call_handler::Guest as CallGuest;
use super::bindings::dormouse::object::namespace;
use super::bindings::dormouse::object::types;
use super::bindings::exports::dormouse::object::object::Guest;
use super::bindings::websocket::exports::dormouse::object::websocket_handler::Guest as SocketGuest;
use super::bindings::worker::exports::dormouse::object::worker::Guest as WorkerGuest;
use super::body::{self, Of};
use super::context::{Context, Identity, Who};
use super::gate::{SectionFailed, SectionId};
use super::http::{self, Direct};
use super::imports::websocket::Upgrade;
use super::limits::{Limits, Meter};
use super::method;
use super::operator;
use super::socket;
use crate::chain::{Chain, During, InstanceId};
use crate::clock::Clock;
use crate::socket::{Message, Outgoing, SocketId};
use crate::trace::Span;

use crate::event::{
    Called, Chunk, Event, Fault, Kind, LookAnswer, MethodAnswer, Reply, Request, RequestId, Reset,
    Response, What,
};

/// The answer that opens an accepted socket.
const SWITCHING_PROTOCOLS: u16 = 101;

/// Names one call while it runs; chosen by who starts it.
pub type CallId = u64;

/// One event to be handled.
#[derive(Debug)]
pub struct Call {
    pub id: CallId,
    pub request_id: RequestId,
    pub kind: Kind,
    /// For a worker of `wasi:http`, which answers by itself; else the answer is an
    /// [`Effect::Reply`].
    pub direct: Option<Direct>,
}

/// What leaves an object: kept back until the commits before it are durable.
#[derive(Debug)]
pub enum Effect {
    /// The handler returned.
    Reply {
        call: CallId,
        result: Result<Reply, Fault>,
    },
    /// A piece of a body.
    Chunk {
        of: Of,
        permit: mpsc::OwnedPermit<Chunk>,
        chunk: Chunk,
    },
    /// A frame for a socket of the object.
    Frame { socket: SocketId, frame: Outgoing },
    /// One message for many of them.
    Broadcast {
        sockets: Vec<SocketId>,
        message: Message,
    },
    /// A request to the outside waits for this.
    Depart(oneshot::Sender<()>),
    /// An event for another object.
    Call { to: Identity, event: Event },
}

impl Effect {
    /// Whether the object waits for what comes of it: then it cannot wait itself for the
    /// end of a transaction that is open.
    pub(super) const fn is_awaited(&self) -> bool {
        match self {
            Self::Chunk { of, .. } => matches!(of, Of::Request),
            Self::Reply { .. } | Self::Frame { .. } | Self::Broadcast { .. } => false,
            Self::Call { .. } | Self::Depart(_) => true,
        }
    }
}

/// The exports of one instance that are used.
pub(super) enum Handlers {
    Object(ObjectHandlers),
    Worker(WorkerGuest),
    Http(wasmtime_wasi_http::handler::Proxy),
}

/// Optional ones may be missing.
pub(super) struct ObjectHandlers {
    pub(super) object: Guest,
    pub(super) alarm: Option<AlarmGuest>,
    pub(super) call: Option<CallGuest>,
    pub(super) websocket: Option<SocketGuest>,
}

/// What runs in the instance at the moment.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Calls without a result.
    pub calls: usize,
    /// Whether any guest task is alive, answered calls with work left included, or
    /// any response body is under way.
    pub busy: bool,
    /// An event wants to be alone: the number of its section. Nothing may start.
    pub shut: Option<SectionId>,
}

/// What the instance does next.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "nearly all are calls, and none is kept"
)]
pub enum Next {
    Start(Call),
    Stop,
}

/// The object that owns an instance, as the instance sees it.
pub trait Life: Send {
    /// A turn is over and committed; `effects` may leave once `gate` opens. A worker
    /// has no gate.
    fn release(&mut self, effects: Vec<Effect>, gate: Option<Ticket>);

    /// The object's alarms have changed with the turn that is committed now.
    fn alarms_changed(&mut self, summary: AlarmSummary);

    /// So many statements took longer than `limits.slow_sql_ms`.
    fn slow_statements(&mut self, count: u32);

    /// The event for which the instance was made, until it is started.
    fn woken_by(&self) -> Option<(RequestId, Chain)>;

    /// Fails the calls that come back into this instance and would wait for what is
    /// in `shut`, which lets nobody in; `gate` names it.
    fn refuse_reentrant(&mut self, cx: &mut Poller<'_>, gate: &'static str, shut: &[During]);

    /// Asked at the end of each turn. Pending keeps the waker.
    fn poll_next(&mut self, cx: &mut Poller<'_>, load: Load) -> Poll<Next>;
}

/// Why an instance ended.
#[derive(Debug)]
pub enum Exit {
    /// [`Next::Stop`] was asked for.
    Stopped,
    /// The constructor answered `err`.
    ConstructFailed(String),
    /// The open turn was undone.
    Reset(Reset),
}

/// An instance could not be made; nothing ran.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
pub struct WakeError(#[from] wasmtime::Error);

impl WakeError {
    /// All places are taken: another instance must go first.
    #[must_use]
    pub fn is_pool_full(&self) -> bool {
        self.0.is::<wasmtime::PoolConcurrencyLimitError>()
    }
}

/// One live instance. Dropping it is what putting an object to sleep means.
pub struct Instance {
    store: Store<Context>,
    guest: Handlers,
    limits: Limits,
    meter: Meter,
}

pub(super) fn new_store(engine: &wasmtime::Engine, context: Context) -> Store<Context> {
    let meter = context.meter.clone();
    let mut store = Store::new(engine, context);
    store.limiter(|context| &mut context.memory);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(move |_| {
        Ok(if meter.exhausted() {
            UpdateDeadline::Interrupt
        } else {
            UpdateDeadline::Yield(1)
        })
    });
    store
}

impl Instance {
    pub(super) fn new(store: Store<Context>, guest: Handlers, limits: Limits) -> Self {
        let meter = store.data().meter.clone();
        Self {
            store,
            guest,
            limits,
            meter,
        }
    }

    #[must_use]
    pub fn id(&self) -> InstanceId {
        self.store.data().instance
    }

    /// Constructs the object, then handles events until the end. The instance
    /// is of no use afterwards.
    pub async fn run(&mut self, life: &mut impl Life) -> Exit {
        let constructed = AtomicBool::new(false);
        let clock = self.store.data().clock.clone();
        let timeout = construct_timeout(&clock, &self.limits, &constructed);
        let guest = &self.guest;
        let meter = &self.meter;
        meter.poll_begins();
        let events = self.store.run_concurrent(async |accessor| {
            drive(accessor, guest, meter, &constructed, life).await
        });
        let ended = race(metered(meter, events), timeout).await;
        let exit = match ended {
            Raced::First(Ok(Ok(exit))) => exit,
            Raced::First(Ok(Err(error)) | Err(error)) => Exit::Reset(self.reason(&error)),
            Raced::Second => Exit::Reset(Reset::ConstructTimeout {
                limit_ms: self.limits.construct.as_millis() as u64,
            }),
        };
        // Such as one that the processor limit has stopped.
        let slow = self.store.data_mut().take_slow_statements();
        if slow > 0 {
            life.slow_statements(slow);
        }
        if !matches!(exit, Exit::Stopped)
            && let Some(database) = self.store.data_mut().own_database()
        {
            database.abandon_turn();
        }
        exit
    }

    /// Alarms whose handlers had not answered when the instance ended.
    pub fn take_alarm_runs(&mut self) -> Vec<alarm::Run> {
        std::mem::take(&mut self.store.data_mut().alarm_runs)
    }

    /// Finds the real name of what wasmtime reports.
    fn reason(&self, error: &wasmtime::Error) -> Reset {
        let storage = error.downcast_ref::<StorageFailed>();
        let interrupted = matches!(error.downcast_ref(), Some(Trap::Interrupt));
        // A statement that was stopped breaks its turn: the limit is the reason.
        if interrupted || (storage.is_some() && self.meter.exhausted()) {
            return Reset::Cpu {
                limit_ms: self.limits.cpu.as_millis() as u64,
            };
        }
        if let Some(SectionFailed(message)) = error.downcast_ref() {
            return Reset::Section(message.as_str().into());
        }
        if let Some(StorageFailed(message)) = storage {
            return Reset::Storage(message.clone());
        }
        if let Some(SessionEnded(reason)) = error.downcast_ref() {
            return Reset::Ended(reason.clone());
        }
        if self.store.data().memory.refused {
            return Reset::Memory {
                limit_bytes: self.limits.memory_bytes as u64,
            };
        }
        let who = &self.store.data().who;
        let (app, class, object) = (&**who.app(), who.class(), who.object());
        tracing::error!(target: "guest", app, class, object, "trap: {error:?}");
        Reset::Trap(error.root_cause().to_string().into())
    }
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Instance({:?})", self.store.data())
    }
}

/// Carries a storage fault through wasmtime's error to [`Instance::reason`].
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct StorageFailed(Arc<str>);

impl From<dormouse_storage::Error> for StorageFailed {
    fn from(error: dormouse_storage::Error) -> Self {
        Self(error.to_string().into())
    }
}

/// The guest has ended its session itself.
#[derive(Debug, thiserror::Error)]
#[error("the session was ended: {0}")]
pub(super) struct SessionEnded(pub(super) Arc<str>);

/// What a handler gave back, still in the guest's terms.
pub(super) enum Returned {
    Response(types::Response),
    Alarms(Vec<Alarm>),
    Look(LookAnswer),
    Method(namespace::Answer),
    /// Nothing was done, or what was done is told by the fault.
    Fault(Fault),
    Done,
}

pub(super) type Answer = (CallId, wasmtime::Result<Result<Returned, types::Failure>>);
pub(super) type Running<'a> = Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;

async fn drive(
    accessor: &Accessor<Context>,
    guest: &Handlers,
    meter: &Meter,
    constructed: &AtomicBool,
    life: &mut impl Life,
) -> wasmtime::Result<Exit> {
    if let Handlers::Object(handlers) = guest
        && let Err(failure) = construct(accessor, &handlers.object, meter, life).await?
    {
        return Ok(Exit::ConstructFailed(failure.message));
    }
    constructed.store(true, Ordering::Relaxed);
    let mut calls = FuturesUnordered::new();
    poll_fn(|cx| {
        loop {
            let mut finished = Vec::new();
            accessor.with(|mut access| access.get().outside.watch(cx));
            while let Poll::Ready(Some((call, result))) = calls.poll_next_unpin(cx) {
                let result = result?;
                // In the turn of the handler's last writes.
                alarm::finish(accessor, call, &result)?;
                finished.push((call, result));
            }
            end_turn(accessor, meter, life)?;
            for (call, result) in finished {
                answer(accessor, call, result, life)?;
            }
            if let Some(holder) = accessor.with(|mut access| access.get().gate.holder()) {
                let shut = [During::Event(holder)];
                life.refuse_reentrant(cx, "its critical section", &shut);
            }
            let load = Load {
                shut: accessor.with(|mut access| access.get().gate.section()),
                calls: calls.len(),
                busy: accessor.poll_no_interesting_tasks(cx).is_pending()
                    || accessor.with(|mut access| access.get().flows.is_any()),
            };
            match life.poll_next(cx, load) {
                Poll::Ready(Next::Start(call)) => {
                    meter.renew();
                    calls.push(start(accessor, guest, call)?);
                }
                Poll::Ready(Next::Stop) => return Poll::Ready(Ok(Exit::Stopped)),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await
}

/// Runs the constructor alone; its turns commit and release like any other.
async fn construct(
    accessor: &Accessor<Context>,
    guest: &Guest,
    meter: &Meter,
    life: &mut impl Life,
) -> wasmtime::Result<Result<(), types::Failure>> {
    let (class, id) = accessor.with(|mut access| match &*access.get().who {
        Who::Object(identity) => {
            let id = types::ObjectId {
                hex: identity.object.id.to_string(),
                name: identity.object.name.as_deref().map(str::to_owned),
            };
            Ok((identity.class.to_string(), id))
        }
        Who::Worker(_) => Err(wasmtime::format_err!("a worker is not constructed")),
    })?;
    let woken_by = life.woken_by();
    let trace = woken_by.as_ref().and_then(|(request, _)| request.trace());
    let span = Span::within(trace, || {
        SpanBuilder::from_name(format!("{class} construct"))
    });
    let woken_by = woken_by.map(|(request, chain)| (request.within(&span), chain));
    accessor.with(|mut access| access.get().woken_by = woken_by);
    meter.renew();
    let mut constructing = pin!(guest.call_construct(accessor, class, id));
    poll_fn(|cx| {
        end_turn(accessor, meter, life)?;
        life.refuse_reentrant(cx, "its constructor", &[During::Construct]);
        constructing.as_mut().poll(cx)
    })
    .await
}

/// Commits what the guest wrote since the last await and hands its effects over.
fn end_turn(
    accessor: &Accessor<Context>,
    meter: &Meter,
    life: &mut impl Life,
) -> wasmtime::Result<()> {
    accessor.with(|mut access| {
        if meter.take_fresh_poll() {
            access.as_context_mut().set_epoch_deadline(1);
        }
        let context = access.get();
        let slow = context.take_slow_statements();
        if slow > 0 {
            life.slow_statements(slow);
        }
        let mut effects = context.take_effects();
        let departures = context.outside.take_departures();
        effects.extend(departures.into_iter().map(Effect::Depart));
        let who = Arc::clone(&context.who);
        if let Some(database) = context.own_database() {
            database.end_turn().map_err(StorageFailed::from)?;
            if let Some(notice) = database.take_notice() {
                let (app, class, object) = (&**who.app(), who.class(), who.object());
                tracing::warn!(target: "dormouse", app, class, object, "{notice}");
            }
            // What a transaction has set may be undone yet.
            if !database.in_transaction()
                && let Some(summary) = database.take_alarm_change().map_err(StorageFailed::from)?
            {
                life.alarms_changed(summary);
            }
        }
        if !effects.is_empty() {
            life.release(effects, context.gate());
        }
        Ok(())
    })
}

fn start<'a>(
    accessor: &'a Accessor<Context>,
    guest: &'a Handlers,
    call: Call,
) -> wasmtime::Result<Running<'a>> {
    let guest = match guest {
        Handlers::Object(guest) => guest,
        Handlers::Worker(worker) => return start_worker(accessor, worker, call),
        Handlers::Http(proxy) => return http::start(accessor, proxy, call),
    };
    match call.kind {
        Kind::Fetch(request) => {
            let called = (call.request_id, Chain::default());
            start_fetch(
                accessor,
                guest.object.func_fetch(),
                call.id,
                called,
                request,
            )
        }
        Kind::Called(Called { chain, what }) => match what {
            What::Fetch(request) => {
                let called = (call.request_id, chain);
                start_fetch(
                    accessor,
                    guest.object.func_fetch(),
                    call.id,
                    called,
                    request,
                )
            }
            What::Method(method) => {
                let handler = guest.call.as_ref();
                method::start(accessor, handler, call.id, call.request_id, chain, method)
            }
        },
        Kind::Alarm(fire) => {
            let handler = guest.alarm.as_ref();
            alarm::start(accessor, handler, call.id, call.request_id, fire)
        }
        Kind::Alarms(action) => alarm::act(accessor, call.id, action),
        Kind::Look(look) => operator::run(accessor, call.id, &look),
        Kind::Socket(id, event) => match &guest.websocket {
            Some(handler) => socket::start(accessor, handler, call.id, call.request_id, id, event),
            // Code without the handler ignores what it would handle.
            None => Ok(Box::pin(std::future::ready((
                call.id,
                Ok(Ok(Returned::Done)),
            )))),
        },
    }
}

fn start_worker<'a>(
    accessor: &'a Accessor<Context>,
    worker: &WorkerGuest,
    call: Call,
) -> wasmtime::Result<Running<'a>> {
    match call.kind {
        Kind::Fetch(request) => {
            let called = (call.request_id, Chain::default());
            start_fetch(accessor, worker.func_fetch(), call.id, called, request)
        }
        other => Err(wasmtime::format_err!("a worker does not handle {other:?}")),
    }
}

type Fetch = TypedFunc<(types::Request,), (Result<types::Response, types::Failure>,)>;

fn start_fetch(
    accessor: &Accessor<Context>,
    fetch: Fetch,
    call: CallId,
    (request_id, chain): (RequestId, Chain),
    mut request: Request,
) -> wasmtime::Result<Running<'_>> {
    if let Some(trace) = request_id.trace() {
        trace.mark(&mut request.headers);
    }
    let started = accessor.with(|mut access| -> wasmtime::Result<_> {
        let request = types::Request {
            method: request.method,
            url: request.url,
            headers: request.headers,
            body: body::lower(access.as_context_mut(), request.body)?,
            upgrade: match request.upgrade {
                Some(protocols) => {
                    let upgrade = Upgrade { call, protocols };
                    Some(access.get().table.push(upgrade)?)
                }
                None => None,
            },
        };
        access.get().request_begins(call);
        let started = fetch.start_call_concurrent(access.as_context_mut(), (request,))?;
        access.get().serve_call(started.task(), request_id, chain);
        Ok(started)
    })?;
    let task = started.task();
    Ok(Box::pin(async move {
        let result = fetch.finish_call_concurrent(accessor, started).await;
        accessor.with(|mut access| access.get().answered(task));
        (call, result.map(|(result,)| result.map(Returned::Response)))
    }))
}

fn answer(
    accessor: &Accessor<Context>,
    call: CallId,
    result: Result<Returned, types::Failure>,
    life: &mut impl Life,
) -> wasmtime::Result<()> {
    let (result, gate) = accessor.with(|mut access| -> wasmtime::Result<_> {
        let socket = access.get().request_ends(call);
        let result = match result {
            Ok(Returned::Done) => Ok(Reply::Done),
            Ok(Returned::Alarms(alarms)) => Ok(Reply::Alarms(alarms)),
            Ok(Returned::Look(answer)) => Ok(Reply::Look(answer)),
            Ok(Returned::Fault(fault)) => Err(fault),
            Ok(Returned::Method(answer)) => Ok(Reply::Method(MethodAnswer {
                value: answer.value,
                body: body::lift(access.as_context_mut(), answer.body, Of::Answer)?,
            })),
            Ok(Returned::Response(response)) => Ok(match socket {
                Some(socket) if response.status == SWITCHING_PROTOCOLS => Reply::Upgrade {
                    headers: response.headers,
                    socket,
                },
                // A socket that was taken without a 101 is dropped here.
                _ => Reply::Response(Response {
                    status: response.status,
                    headers: response.headers,
                    body: body::lift(access.as_context_mut(), response.body, Of::Answer)?,
                }),
            }),
            Err(failure) => Err(Fault::Guest(failure.message.into())),
        };
        Ok((result, access.get().gate()))
    })?;
    life.release(vec![Effect::Reply { call, result }], gate);
    Ok(())
}

/// Ends only if the constructor does not: wall time, so that it also holds for
/// one that waits for ever.
async fn construct_timeout(clock: &Clock, limits: &Limits, constructed: &AtomicBool) {
    clock.sleep(limits.construct).await;
    if constructed.load(Ordering::Relaxed) {
        std::future::pending().await
    }
}

/// Counts the time spent in polls of `future`.
async fn metered<F: Future>(meter: &Meter, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        meter.poll_begins();
        let polled = future.as_mut().poll(cx);
        meter.poll_ends();
        polled
    })
    .await
}

enum Raced<T> {
    First(T),
    Second,
}

/// Whichever ends first. The second is outside wasmtime's loop on purpose: a
/// timer inside is not polled while the guest runs.
async fn race<T>(first: impl Future<Output = T>, second: impl Future<Output = ()>) -> Raced<T> {
    let mut first = pin!(first);
    let mut second = pin!(second);
    poll_fn(|cx| match first.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Raced::First(value)),
        Poll::Pending => second.as_mut().poll(cx).map(|()| Raced::Second),
    })
    .await
}
