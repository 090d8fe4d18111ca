//! Awake: an object while it has an instance: what it is given, what it sends.
//!
//! Driven by `guest::Instance` between turns. Takes mail while there is room,
//! keeps effects behind the output gate, notices when the object is idle and
//! when newer code or the end of the host asks it to leave.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use dormouse_storage::{AlarmSummary, Dead, Ticket};
use tokio::sync::mpsc;

use super::alarm::{Deadlines, Ended, is_alarm};
use super::caller::Caller;
use super::registry::Options;
use super::signal::{CLOSE, EVICT, REPLACE, RESET, Signal};
use crate::alarm::Note;
use crate::clock::{Clock, Moment, Sleep};
use crate::event::{Event, Fault, Reset};
use crate::guest::{Call, CallId, Effect, Exit, Identity, Life, Load, Next};
use crate::outbox::Outbox;
use crate::socket::Hub;

/// What an object has and keeps, whether it is awake or not.
pub(super) struct Surroundings<'a> {
    pub(super) who: &'a Identity,
    pub(super) signal: &'a Signal,
    pub(super) hub: &'a Hub,
    pub(super) note: &'a Note,
    pub(super) clock: &'a Clock,
    pub(super) options: &'a Options,
}

pub(super) struct Awake<'a> {
    mailbox: &'a mut mpsc::Receiver<Event>,
    around: Surroundings<'a>,
    /// The event that woke the object; waits for the constructor.
    first: Option<Event>,
    next_call: CallId,
    callers: Vec<(CallId, Caller)>,
    outbox: Outbox<Effect>,
    alarm_deadlines: Deadlines,
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
        mailbox: &'a mut mpsc::Receiver<Event>,
        around: Surroundings<'a>,
        first: Event,
    ) -> Self {
        Self {
            mailbox,
            around,
            first: Some(first),
            next_call: 0,
            callers: Vec::new(),
            outbox: Outbox::default(),
            alarm_deadlines: Deadlines::default(),
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
        let first = self.first.take().map(|event| Caller::of(event).0);
        let running = self.callers.drain(..).map(|(_, caller)| caller);
        for caller in first.into_iter().chain(running) {
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
                Effect::Chunk { permit, chunk } => drop(permit.send(chunk)),
                Effect::Frame { socket, frame } => self.around.hub.transmit(socket, frame),
                Effect::Reply { call, result } => {
                    let at = self.callers.iter().position(|(id, _)| *id == call);
                    let at = at.expect("a call is answered once");
                    let (_, caller) = self.callers.swap_remove(at);
                    self.alarm_deadlines.remove(call);
                    let result = result.map_err(|message| Fault::Guest(message.into()));
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
        if self.leaving.is_some() || load.calls >= self.around.options.concurrent_events {
            return Poll::Pending;
        }
        match self.mailbox.poll_recv(cx) {
            Poll::Ready(Some(event)) => Poll::Ready(event),
            // The registry holds a sender as long as the slot exists.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    fn start(&mut self, event: Event) -> Next {
        let id = self.next_call;
        self.next_call += 1;
        if is_alarm(&event) {
            self.alarm_deadlines.add(id, self.around.clock);
        }
        let (caller, request_id, kind) = Caller::of(event);
        self.callers.push((id, caller));
        self.set_idle_since(None);
        Next::Start(Call {
            id,
            request_id,
            kind,
        })
    }

    /// Starts leaving when the registry asks for it.
    fn obey(&mut self, flags: u8) {
        if self.leaving.is_some() || flags & (REPLACE | CLOSE) == 0 {
            return;
        }
        let late = if flags & CLOSE == 0 {
            let limit_ms = self.around.options.drain.as_millis() as u64;
            Reset::Replaced { limit_ms }
        } else {
            Reset::ShuttingDown
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
    fn release(&mut self, effects: Vec<Effect>, gate: Ticket) {
        if let Some(effects) = self.outbox.pass(gate, effects) {
            self.send(effects);
        }
    }

    fn alarms_changed(&mut self, summary: AlarmSummary) {
        self.around.note.set(summary);
    }

    fn poll_next(&mut self, cx: &mut Context<'_>, load: Load) -> Poll<Next> {
        if let Err(reset) = self.poll_outbox(cx) {
            self.cause = Some(reset);
            return Poll::Ready(Next::Stop);
        }
        if let Poll::Ready(reset) = self.alarm_deadlines.poll(cx) {
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
