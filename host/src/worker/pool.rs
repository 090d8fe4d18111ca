//! Pool: the instances of one worker's code.
//!
//! A request goes to the instance with the fewest under way. While all are at
//! work there is one for each processor; more come only when those are full. An
//! instance leaves the list under the same lock under which requests are put
//! in, so none is lost when it ends: what had not begun begins in another one.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use opentelemetry::trace::SpanBuilder;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::Options;
use super::life::WorkerLife;
use crate::clock::Clock;
use crate::event::{Event, Fault, Kind, Reply, Request, RequestId, Reset};
use crate::guest::{Code, Instance, WorkerKind};
use crate::object::Registry;
use crate::trace::Span;

#[derive(Debug)]
pub struct Pool {
    code: Arc<Code>,
    kind: WorkerKind,
    options: Options,
    registry: Registry,
    clock: Clock,
    /// Instances to keep busy before any gets a second request.
    spread: usize,
    members: Mutex<Vec<Member>>,
}

/// One instance, as the pool sees it. Dropping it tells the instance to leave.
#[derive(Debug)]
struct Member {
    mail: mpsc::UnboundedSender<Event>,
    state: Arc<MemberState>,
}

#[derive(Debug, Default)]
pub(super) struct MemberState {
    /// Requests without an answer; one of 0.2 never counts down.
    load: AtomicUsize,
    /// A request waited too long: the others may go on, none comes any more.
    late: AtomicBool,
}

impl MemberState {
    pub(super) fn answered(&self) {
        self.load.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn is_late(&self) -> bool {
        self.late.load(Ordering::Relaxed)
    }
}

impl Pool {
    /// # Panics
    /// If the code has no worker.
    pub(super) fn new(code: Arc<Code>, options: Options, registry: Registry, clock: Clock) -> Self {
        let kind = code.worker().expect("the code was checked for its worker");
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            kind,
            spread: processors.min(options.instances),
            code,
            options,
            registry,
            clock,
            members: Mutex::default(),
        }
    }

    #[must_use]
    pub fn code(&self) -> &Arc<Code> {
        &self.code
    }

    /// Has a request handled; ends when the head of the answer is there.
    pub async fn ask(
        self: &Arc<Self>,
        request_id: RequestId,
        request: Request,
    ) -> Result<Reply, Fault> {
        let mut span = Span::within(request_id.trace(), || SpanBuilder::from_name("worker"));
        let result = self.answer(request_id.within(&span), request).await;
        Reply::trace(&result, &mut span);
        result
    }

    async fn answer(
        self: &Arc<Self>,
        request_id: RequestId,
        request: Request,
    ) -> Result<Reply, Fault> {
        let (reply, answer) = oneshot::channel();
        let state = self.admit(Event {
            request_id,
            kind: Kind::Fetch(request),
            reply,
        })?;
        let limit = self.options.response;
        let result = tokio::select! {
            biased;
            result = answer => result.unwrap_or(Err(Fault::Reset(Reset::ShuttingDown))),
            () = self.clock.sleep(limit) => {
                self.retire(&state);
                Err(Fault::Late { limit_ms: limit.as_millis() as u64 })
            }
        };
        self.options.tally.count(&result, &self.clock);
        if let Err(fault) = &result {
            report(request_id, fault);
        }
        result
    }

    /// Gives the event to an instance.
    fn admit(self: &Arc<Self>, event: Event) -> Result<Arc<MemberState>, Fault> {
        let mut members = self.lock();
        let at = self.choose(&members)?;
        let member = match at {
            Some(at) => &members[at],
            None => {
                members.push(self.start());
                members.last().expect("it was pushed above")
            }
        };
        member.state.load.fetch_add(1, Ordering::Relaxed);
        let sent = member.mail.send(event);
        debug_assert!(sent.is_ok(), "an instance leaves the list before it ends");
        Ok(member.state.clone())
    }

    /// Which instance is next; `None` for a new one.
    fn choose(&self, members: &[Member]) -> Result<Option<usize>, Fault> {
        let loads = members
            .iter()
            .map(|member| member.state.load.load(Ordering::Relaxed));
        let idlest = loads.enumerate().min_by_key(|(_, load)| *load);
        let per_instance = self.per_instance();
        Ok(match idlest {
            Some((at, 0)) => Some(at),
            _ if members.len() < self.spread => None,
            Some((at, load)) if load < per_instance => Some(at),
            _ if members.len() < self.most_instances() => None,
            _ => {
                return Err(Fault::Overloaded {
                    events: self.options.instances * self.options.concurrent_requests,
                });
            }
        })
    }

    const fn per_instance(&self) -> usize {
        if self.kind.is_reused() {
            self.options.concurrent_requests
        } else {
            1
        }
    }

    const fn most_instances(&self) -> usize {
        if self.kind.is_reused() {
            self.options.instances
        } else {
            self.options.instances * self.options.concurrent_requests
        }
    }

    fn start(self: &Arc<Self>) -> Member {
        let (mail, mailbox) = mpsc::unbounded_channel();
        let state = Arc::new(MemberState::default());
        tokio::spawn(self.clone().live(mailbox, state.clone()));
        Member { mail, state }
    }

    /// One instance from its start to its end.
    async fn live(
        self: Arc<Self>,
        mut mailbox: mpsc::UnboundedReceiver<Event>,
        state: Arc<MemberState>,
    ) {
        let failed = match self.instantiate().await {
            Ok((mut instance, room)) => {
                let (options, kind) = (&self.options, self.kind);
                let around = (&self.clock, &self.registry);
                let mut life = WorkerLife::new(&mut mailbox, &state, options, kind, around);
                let exit = instance.run(&mut life).await;
                self.forget(&state);
                life.finish(exit);
                drop(instance);
                drop(room);
                None
            }
            Err(fault) => {
                self.forget(&state);
                Some(fault)
            }
        };
        while let Ok(event) = mailbox.try_recv() {
            match &failed {
                Some(fault) => drop(event.reply.send(Err(fault.clone()))),
                None => self.begin_elsewhere(event),
            }
        }
    }

    /// For an event that no guest has seen.
    fn begin_elsewhere(self: &Arc<Self>, event: Event) {
        // A pool that was retired starts nothing more, but for what it had taken.
        let (reply, inner) = oneshot::channel();
        let outer = event.reply;
        match self.admit(Event { reply, ..event }) {
            Ok(_) => {
                tokio::spawn(async move {
                    if let Ok(result) = inner.await {
                        // Whoever asked may have left.
                        let _ = outer.send(result);
                    }
                });
            }
            Err(fault) => drop(outer.send(Err(fault))),
        }
    }

    async fn instantiate(&self) -> Result<(Instance, OwnedSemaphorePermit), Fault> {
        let room = self.registry.room().await?;
        let Options {
            environment,
            limits,
            ..
        } = &self.options;
        let instance = self
            .code
            .instantiate_worker(environment, limits, &self.clock);
        let instance = instance.await.map_err(|error| {
            Fault::Exhausted(format!("no instance could be made: {error}").into())
        })?;
        Ok((instance, room))
    }

    /// No further requests for this instance; a request of it waits too long.
    fn retire(&self, state: &Arc<MemberState>) {
        state.late.store(true, Ordering::Relaxed);
        self.forget(state);
    }

    /// No further requests for any.
    pub(super) fn retire_all(&self) {
        self.lock().clear();
    }

    fn forget(&self, state: &Arc<MemberState>) {
        self.lock()
            .retain(|member| !Arc::ptr_eq(&member.state, state));
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Member>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn report(request: RequestId, fault: &Fault) {
    match fault {
        // The instance has logged its trap with the stack.
        Fault::Reset(Reset::Trap(_)) => tracing::debug!(%request, "the worker trapped"),
        Fault::Guest(why) => tracing::error!(%request, "the worker failed: {why}"),
        Fault::Reset(why) => tracing::error!(%request, "the worker's instance ended: {why}"),
        Fault::Late { .. } => tracing::error!(%request, "{fault}"),
        Fault::Overloaded { .. } => tracing::warn!(%request, "the worker is overloaded"),
        Fault::Exhausted(why) => tracing::warn!(%request, "no room for the worker: {why}"),
        Fault::ShuttingDown
        | Fault::Away(_)
        | Fault::Declared { .. }
        | Fault::BadCall(_)
        | Fault::Reentrant { .. } => tracing::warn!(%request, "{fault}"),
    }
}
