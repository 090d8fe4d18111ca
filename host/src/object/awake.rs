//! Awake: an object while it has an instance: what it is given, what it sends.
//!
//! Driven by `guest::Instance` between turns. Takes mail while there is room,
//! keeps effects behind the output gate, notices when the object is idle and
//! when newer code or the end of the host asks it to leave.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use dormouse_storage::{AlarmSummary, Dead, Ticket};

use super::alarm::{Ended, is_alarm};
use super::caller::Caller;
use super::deadlines::Deadlines;
use super::mailbox::{Entrance, Mailbox};
use super::registry::{Options, Registry};
use super::section::SectionTimer;
use super::signal::{CLOSE, EVICT, REPLACE, RESET, Signal};
use crate::alarm::Note;
use crate::chain::{Chain, During, InstanceId};
use crate::clock::{Clock, Moment, Sleep};
use crate::event::{Event, Fault, RequestId, Reset};
use crate::guest::{Call, CallId, Effect, Exit, Identity, Life, Load, Next};
use crate::outbox::Outbox;
use crate::socket::Hub;
use crate::tally::Tally;

/// What an object has and keeps, whether it is awake or not.
pub(super) struct Surroundings<'a> {
    pub(super) who: &'a Identity,
    /// Where calls to other objects go.
    pub(super) registry: &'a Registry,
    pub(super) signal: &'a Signal,
    pub(super) hub: &'a Hub,
    pub(super) note: &'a Note,
    pub(super) clock: &'a Clock,
    pub(super) options: &'a Options,
    pub(super) tally: &'a Tally,
}

pub(super) struct Awake<'a> {
    mailbox: &'a mut Mailbox,
    instance: InstanceId,
    around: Surroundings<'a>,
    /// The event that woke the object; waits for the constructor.
    first: Option<Event>,
    next_call: CallId,
    callers: Vec<(CallId, Caller)>,
    /// The length of the chain of every call without an answer.
    running: Vec<(CallId, usize)>,
    /// How many calls run, by that length.
    running_by_length: Vec<usize>,
    outbox: Outbox<Effect>,
    deadlines: Deadlines,
    section_timer: SectionTimer,
    idle_since: Option<Moment>,
    idle_timer: Option<Sleep>,
    leaving: Option<Leaving>,
    /// Why the instance ends although calls are in flight.
    cause: Option<Reset>,
    dead: Option<Dead>,
}

/// What is left to do when an instance is gone.
pub(super) struct Finished {
    /// Why it ended, if it was before its time.
    pub(super) ended: Option<Ended>,
    /// The commit log is dead, which ends the whole host.
    pub(super) dead: Option<Dead>,
}

/// The instance takes no more events and ends when those that run are done.
struct Leaving {
    timeout: Sleep,
    late: Reset,
}

impl<'a> Awake<'a> {
    pub(super) fn new(
        mailbox: &'a mut Mailbox,
        instance: InstanceId,
        around: Surroundings<'a>,
        first: Event,
    ) -> Self {
        Self {
            mailbox,
            instance,
            around,
            first: Some(first),
            next_call: 0,
            callers: Vec::new(),
            running: Vec::new(),
            running_by_length: Vec::new(),
            outbox: Outbox::default(),
            deadlines: Deadlines::default(),
            section_timer: SectionTimer::default(),
            idle_since: None,
            idle_timer: None,
            leaving: None,
            cause: None,
            dead: None,
        }
    }

    /// Lets out what is committed, then tells the rest why they get no reply.
    pub(super) async fn finish(mut self, exit: Exit) -> Finished {
        self.around.signal.set_idle_since(None);
        while let Some(opened) = self.outbox.next().await {
            match opened {
                Ok(effects) => self.send(effects),
                Err(dead) => {
                    self.cause = Some(Reset::Storage(dead.to_string().into()));
                    self.dead = Some(dead);
                }
            }
        }
        let fault = match exit {
            Exit::Stopped => self.cause.take().map(Fault::Reset),
            Exit::ConstructFailed(message) => Some(Fault::Guest(message.into())),
            Exit::Reset(reset) => Some(Fault::Reset(reset)),
        };
        let Some(fault) = fault else {
            return Finished {
                ended: None,
                dead: self.dead,
            };
        };
        let first_was_alarm = self.first.as_ref().is_some_and(is_alarm);
        let who = self.around.who;
        let first = self.first.take().map(|event| Caller::of(event, who).0);
        let running = self.callers.drain(..).map(|(_, caller)| caller);
        for caller in first.into_iter().chain(running) {
            let lost = Err(fault.clone());
            self.around.tally.count(&lost, self.around.clock);
            caller.answer(self.around.who, Err(fault.clone()));
        }
        Finished {
            ended: Some(Ended {
                fault,
                first_was_alarm,
            }),
            dead: self.dead,
        }
    }

    fn send(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Chunk { permit, chunk, .. } => drop(permit.send(chunk)),
                Effect::Frame { socket, frame } => self.around.hub.transmit(socket, frame),
                Effect::Broadcast { sockets, message } => {
                    self.around.hub.transmit_to_all(&sockets, &message);
                }
                // Nobody may be left who waits.
                Effect::Depart(depart) => drop(depart.send(())),
                Effect::Call { to, event } => self.around.registry.call(to, event),
                Effect::Reply { call, result } => {
                    let at = self.callers.iter().position(|(id, _)| *id == call);
                    let at = at.expect("a call is answered once");
                    let (_, caller) = self.callers.swap_remove(at);
                    self.deadlines.remove(call);
                    self.around.tally.count(&result, self.around.clock);
                    caller.answer(self.around.who, result);
                }
            }
        }
    }

    fn poll_outbox(&mut self, cx: &mut Context<'_>) -> Result<(), Reset> {
        while let Poll::Ready(Some(opened)) = self.outbox.poll_open(cx) {
            let effects = opened.map_err(|dead| {
                let reset = Reset::Storage(dead.to_string().into());
                self.dead = Some(dead);
                reset
            })?;
            self.send(effects);
        }
        Ok(())
    }

    fn poll_mail(&mut self, cx: &mut Context<'_>, load: Load) -> Poll<Event> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(first);
        }
        if load.shut.is_some() {
            return Poll::Pending;
        }
        let entrance = Entrance {
            running: &self.running_by_length,
            most: self.around.options.concurrent_events,
            leaving: self.leaving.is_some().then_some(self.instance),
        };
        self.mailbox.poll_next(cx, entrance)
    }

    fn start(&mut self, event: Event) -> Next {
        let id = self.next_call;
        self.next_call += 1;
        self.deadlines.add(id, &event.kind, &self.around);
        let length = event.chain().length() as usize;
        let (caller, request_id, kind) = Caller::of(event, self.around.who);
        self.callers.push((id, caller));
        self.running_by_length
            .resize(self.running_by_length.len().max(length + 1), 0);
        self.running_by_length[length] += 1;
        self.running.push((id, length));
        self.set_idle_since(None);
        Next::Start(Call {
            id,
            request_id,
            kind,
            direct: None,
        })
    }

    /// A call has its answer, which may still wait for the gate.
    fn answered(&mut self, call: CallId) {
        let at = self.running.iter().position(|(id, _)| *id == call);
        let (_, length) = self
            .running
            .swap_remove(at.expect("a call is answered once"));
        self.running_by_length[length] -= 1;
    }

    /// Starts leaving when the registry asks for it.
    fn obey(&mut self, flags: u8) {
        let asked = flags & (REPLACE | CLOSE);
        if self.leaving.is_some() || (asked == 0 && !self.mailbox.wants_sleep()) {
            return;
        }
        let late = if asked & CLOSE != 0 {
            Reset::ShuttingDown
        } else if asked & REPLACE != 0 {
            let limit_ms = self.around.options.drain.as_millis() as u64;
            Reset::Replaced { limit_ms }
        } else {
            Reset::Operator
        };
        self.leaving = Some(Leaving {
            timeout: self.around.clock.sleep(self.around.options.drain),
            late,
        });
    }

    fn poll_leaving(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        let Some(leaving) = &mut self.leaving else {
            return Poll::Pending;
        };
        Pin::new(&mut leaving.timeout).poll(cx).map(|()| {
            self.cause = Some(leaving.late.clone());
            Next::Stop
        })
    }

    /// Asleep after nothing happened for `idle`. One timer serves many idle
    /// times: it is only set anew when it rings too early.
    fn poll_idle(&mut self, cx: &mut Context<'_>, flags: u8) -> Poll<Next> {
        if flags & EVICT != 0 || self.leaving.is_some() {
            return Poll::Ready(Next::Stop);
        }
        let since = self.idle_since.unwrap_or_else(|| self.around.clock.now());
        self.set_idle_since(Some(since));
        let deadline = since + self.around.options.idle;
        loop {
            let clock = &self.around.clock;
            let timer = self
                .idle_timer
                .get_or_insert_with(|| clock.sleep_until(deadline));
            if Pin::new(timer).poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.idle_timer = None;
            if self.around.clock.now() >= deadline {
                return Poll::Ready(Next::Stop);
            }
        }
    }

    fn set_idle_since(&mut self, moment: Option<Moment>) {
        if self.idle_since != moment {
            self.idle_since = moment;
            self.around.signal.set_idle_since(moment);
        }
    }
}

impl Life for Awake<'_> {
    fn release(&mut self, effects: Vec<Effect>, gate: Option<Ticket>) {
        let gate = gate.expect("an object has a database");
        for effect in &effects {
            if let Effect::Reply { call, .. } = effect {
                self.answered(*call);
            }
        }
        if let Some(effects) = self.outbox.pass(gate, effects) {
            self.send(effects);
        }
    }

    fn alarms_changed(&mut self, summary: AlarmSummary) {
        self.around.note.set(summary);
    }

    fn slow_statements(&mut self, count: u32) {
        let measures = self.around.registry.measures();
        measures.slow_statements(&self.around.who.class, count);
    }

    fn woken_by(&self) -> Option<(RequestId, Chain)> {
        let event = self.first.as_ref()?;
        Some((event.request_id, event.chain().clone()))
    }

    fn refuse_reentrant(&mut self, cx: &mut Context<'_>, gate: &'static str, shut: &[During]) {
        let is_shut = |during: During| shut.contains(&during);
        for event in self.mailbox.poll_reentrant(cx, self.instance, is_shut) {
            let who = self.around.who;
            let chain = event.chain().to(&who.app, &who.class, &who.object).into();
            let fault = Fault::Reentrant { chain, gate };
            Caller::of(event, who).0.answer(who, Err(fault));
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>, load: Load) -> Poll<Next> {
        if let Err(reset) = self.poll_outbox(cx) {
            self.cause = Some(reset);
            return Poll::Ready(Next::Stop);
        }
        if let Poll::Ready(reset) = self.deadlines.poll(cx) {
            self.cause = Some(reset);
            return Poll::Ready(Next::Stop);
        }
        let clock = self.around.clock;
        if let Poll::Ready(reset) = self.section_timer.poll(cx, load.shut, clock) {
            self.cause = Some(reset);
            return Poll::Ready(Next::Stop);
        }
        let flags = self.around.signal.poll(cx);
        if flags & RESET != 0 {
            self.cause = Some(Reset::Operator);
            return Poll::Ready(Next::Stop);
        }
        self.obey(flags);
        if self.around.clock.chance().gives_way() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Poll::Ready(event) = self.poll_mail(cx, load) {
            return Poll::Ready(self.start(event));
        }
        if load.calls == 0 && !load.busy && self.outbox.is_empty() {
            return self.poll_idle(cx, flags);
        }
        self.set_idle_since(None);
        self.poll_leaving(cx)
    }
}
