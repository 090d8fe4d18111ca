//! Life: one instance of the worker, between its calls.
//!
//! Driven by `guest::Instance`. Takes requests as they come, answers them, and
//! ends when nothing has happened for a while or the pool has let go of it. A
//! worker has no database, so nothing it sends is held back.

use std::pin::Pin;
use std::task::{Context, Poll};

use dormouse_storage::{AlarmSummary, Ticket};
use tokio::sync::{mpsc, oneshot, watch};

use super::Options;
use super::pool::MemberState;
use crate::chain::{Chain, During};
use crate::clock::{Clock, Moment, Sleep};
use crate::event::{Event, Fault, Reply, RequestId, Reset};
use crate::guest::{Call, CallId, Direct, Effect, Exit, Life, Load, Next, WorkerKind};
use crate::object::Registry;

pub(super) struct WorkerLife<'a> {
    mailbox: &'a mut mpsc::UnboundedReceiver<Event>,
    state: &'a MemberState,
    options: &'a Options,
    kind: WorkerKind,
    clock: &'a Clock,
    /// Takes the calls to objects.
    registry: &'a Registry,
    next_call: CallId,
    calls: Vec<(CallId, Caller)>,
    ended: watch::Sender<Option<Fault>>,
    idle_since: Option<Moment>,
    idle_timer: Option<Sleep>,
    leaving: Option<Sleep>,
    /// Why the instance ends although calls are in flight.
    cause: Option<Reset>,
}

/// Absent for a worker that answers by itself.
type Caller = Option<oneshot::Sender<Result<Reply, Fault>>>;

impl<'a> WorkerLife<'a> {
    pub(super) fn new(
        mailbox: &'a mut mpsc::UnboundedReceiver<Event>,
        state: &'a MemberState,
        options: &'a Options,
        kind: WorkerKind,
        (clock, registry): (&'a Clock, &'a Registry),
    ) -> Self {
        Self {
            mailbox,
            state,
            options,
            kind,
            clock,
            registry,
            next_call: 0,
            calls: Vec::new(),
            ended: watch::Sender::new(None),
            idle_since: None,
            idle_timer: None,
            leaving: None,
            cause: None,
        }
    }

    /// Tells those who still wait why they get no answer.
    pub(super) fn finish(mut self, exit: Exit) {
        let reset = match exit {
            Exit::Reset(reset) => reset,
            Exit::Stopped | Exit::ConstructFailed(_) => {
                self.cause.take().unwrap_or(Reset::ShuttingDown)
            }
        };
        let fault = Fault::Reset(reset);
        for caller in self.calls.drain(..).filter_map(|(_, caller)| caller) {
            // Whoever asked may have left.
            let _ = caller.send(Err(fault.clone()));
        }
        self.ended.send_replace(Some(fault));
    }

    fn answer(&mut self, call: CallId, result: Result<Reply, Fault>) {
        let at = self.calls.iter().position(|(id, _)| *id == call);
        let at = at.expect("a call is answered once");
        let (_, caller) = self.calls.swap_remove(at);
        if self.kind.is_reused() {
            self.state.answered();
        }
        if let Some(caller) = caller {
            // Whoever asked may have left.
            let _ = caller.send(result);
        }
    }

    fn start(&mut self, event: Event) -> Next {
        let id = self.next_call;
        self.next_call += 1;
        self.idle_since = None;
        let (caller, direct) = if self.kind.answers_directly() {
            let direct = Direct {
                reply: event.reply,
                ended: self.ended.subscribe(),
            };
            (None, Some(direct))
        } else {
            (Some(event.reply), None)
        };
        self.calls.push((id, caller));
        Next::Start(Call {
            id,
            request_id: event.request_id,
            kind: event.kind,
            direct,
        })
    }

    const fn takes_more(&self) -> bool {
        self.leaving.is_none() && (self.kind.is_reused() || self.next_call == 0)
    }

    /// The pool has let go of this instance.
    fn leave(&mut self) {
        let within = if self.state.is_late() {
            self.options.response
        } else {
            self.options.drain
        };
        self.leaving = Some(self.clock.sleep(within));
    }

    fn poll_leaving(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        let Some(timer) = &mut self.leaving else {
            return Poll::Pending;
        };
        Pin::new(timer).poll(cx).map(|()| {
            self.cause = Some(Reset::Replaced {
                limit_ms: self.options.drain.as_millis() as u64,
            });
            Next::Stop
        })
    }

    /// One timer serves many idle times: it is only set anew when it rings early.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        if !self.takes_more() {
            return Poll::Ready(Next::Stop);
        }
        let since = self.idle_since.unwrap_or_else(|| self.clock.now());
        self.idle_since = Some(since);
        let deadline = since + self.options.idle;
        loop {
            let clock = self.clock;
            let timer = self
                .idle_timer
                .get_or_insert_with(|| clock.sleep_until(deadline));
            if Pin::new(timer).poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.idle_timer = None;
            if clock.now() >= deadline {
                return Poll::Ready(Next::Stop);
            }
        }
    }
}

impl Life for WorkerLife<'_> {
    fn release(&mut self, effects: Vec<Effect>, _gate: Option<Ticket>) {
        for effect in effects {
            match effect {
                Effect::Reply { call, result } => self.answer(call, result),
                Effect::Chunk { permit, chunk, .. } => drop(permit.send(chunk)),
                // Nobody may be left who waits.
                Effect::Depart(depart) => drop(depart.send(())),
                Effect::Call { to, event } => self.registry.call(to, event),
                // A worker takes no sockets.
                Effect::Frame { .. } | Effect::Broadcast { .. } => {}
            }
        }
    }

    fn alarms_changed(&mut self, _summary: AlarmSummary) {}

    /// A worker has no database.
    fn slow_statements(&mut self, _count: u32) {}

    fn woken_by(&self) -> Option<(RequestId, Chain)> {
        None
    }

    /// Nobody calls a worker.
    fn refuse_reentrant(&mut self, _: &mut Context<'_>, _gate: &'static str, _shut: &[During]) {}

    fn poll_next(&mut self, cx: &mut Context<'_>, load: Load) -> Poll<Next> {
        if self.takes_more() {
            match self.mailbox.poll_recv(cx) {
                Poll::Ready(Some(event)) => return Poll::Ready(self.start(event)),
                Poll::Ready(None) => self.leave(),
                Poll::Pending => {}
            }
        } else if self.leaving.is_none() && self.mailbox.poll_recv(cx).is_ready() {
            self.leave();
        }
        if load.calls == 0 && !load.busy {
            return self.poll_idle(cx);
        }
        self.poll_leaving(cx)
    }
}
