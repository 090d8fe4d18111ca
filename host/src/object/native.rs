//! Native: an object of a built-in class while it is awake.
//!
//! The same life as `awake`'s without an instance: mail in order, a turn for each call,
//! answers behind the output gate, sleep when idle. Takes no place among the instances.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use dormouse_storage::{Database, Dead};

use super::alarm::{self, Asleep};
use super::awake::Surroundings;
use super::caller::Caller;
use super::mailbox::{Entrance, Mailbox};
use crate::builtin::Builtin;
use crate::clock::Sleep;
use crate::event::{Called, Event, Fault, Kind, MethodAnswer, MethodCall, Reply, Reset, What};
use crate::guest::set_budget;
use crate::outbox::Outbox;
use crate::slow;
use crate::trace::TraceContext;

pub(super) struct Native<'a> {
    class: Builtin,
    mailbox: &'a mut Mailbox,
    around: Surroundings<'a>,
    database: Database,
    /// Who waits, in the order of the outbox.
    callers: VecDeque<Caller>,
    outbox: Outbox<Result<Reply, Fault>>,
    idle: Option<Sleep>,
}

enum Next {
    Event(Event),
    Leave,
    Dead(Dead),
}

impl<'a> Native<'a> {
    pub(super) fn new(
        class: Builtin,
        mailbox: &'a mut Mailbox,
        around: Surroundings<'a>,
        database: Database,
    ) -> Self {
        Self {
            class,
            mailbox,
            around,
            database,
            callers: VecDeque::new(),
            outbox: Outbox::default(),
            idle: None,
        }
    }

    /// Handles events until there are none for a while. Why nothing can be made durable
    /// any more, if that is so.
    pub(super) async fn run(mut self, first: Event) -> Option<Dead> {
        let mut next = Next::Event(first);
        loop {
            match next {
                Next::Event(event) => self.handle(event).await,
                Next::Leave => return None,
                Next::Dead(dead) => {
                    let fault = Fault::Reset(Reset::Storage(dead.to_string().into()));
                    for caller in self.callers {
                        caller.answer(self.around.who, Err(fault.clone()));
                    }
                    return Some(dead);
                }
            }
            next = poll_fn(|cx| self.poll_next(cx)).await;
        }
    }

    async fn handle(&mut self, event: Event) {
        let now_ms = self.around.clock.unix_ms();
        let event = match alarm::look(&mut self.database, event, self.around.note, now_ms) {
            Asleep::Wake(event) => event,
            Asleep::Answered(answered) => return answered.deliver(self.around.who).await,
        };
        let (caller, request, kind) = Caller::of(event, self.around.who);
        let result = match kind {
            Kind::Called(Called {
                what: What::Method(call),
                ..
            }) => self.turn(call, now_ms, request.trace()).map(Reply::Method),
            _ => Err(Fault::BadCall(
                "a store takes no requests and no sockets; call its methods".into(),
            )),
        };
        self.callers.push_back(caller);
        if let Some(results) = self.outbox.pass(self.database.gate(), vec![result]) {
            self.send(results);
        }
    }

    /// One call, of which all stays or nothing.
    fn turn(
        &mut self,
        call: MethodCall,
        now_ms: i64,
        trace: Option<TraceContext>,
    ) -> Result<MethodAnswer, Fault> {
        let limits = &self.around.options.limits;
        set_budget(&mut self.database, limits.cpu);
        let who = self.around.who;
        let mut ran = |statement: &slow::Statement<'_>| {
            if statement.took >= limits.slow_sql {
                slow::tell(&who.app, &who.class, &who.object, trace, statement);
                self.around
                    .registry
                    .measures()
                    .slow_statements(&who.class, 1);
            }
        };
        let answer = self
            .class
            .answer(&mut self.database, call, now_ms, &mut ran);
        let answer = answer.and_then(|answer| match self.database.end_turn() {
            Ok(()) => Ok(answer),
            Err(error) => Err(Fault::Reset(Reset::Storage(error.to_string().into()))),
        });
        if answer.is_err() {
            self.database.abandon_turn();
        }
        answer
    }

    fn send(&mut self, results: Vec<Result<Reply, Fault>>) {
        for result in results {
            let caller = self.callers.pop_front();
            let caller = caller.expect("a result has a caller");
            caller.answer(self.around.who, result);
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        while let Poll::Ready(Some(opened)) = self.outbox.poll_open(cx) {
            match opened {
                Ok(results) => self.send(results),
                Err(dead) => return Poll::Ready(Next::Dead(dead)),
            }
        }
        let flags = self.around.signal.poll(cx);
        // The next wake opens the database anew.
        let broken = self.database.broken().is_some();
        if !broken {
            let entrance = Entrance {
                running: &[],
                most: self.around.options.concurrent_events,
                leaving: None,
            };
            if let Poll::Ready(event) = self.mailbox.poll_next(cx, entrance) {
                self.idle = None;
                return Poll::Ready(Next::Event(event));
            }
        }
        if !self.outbox.is_empty() {
            return Poll::Pending;
        }
        if broken || flags != 0 {
            return Poll::Ready(Next::Leave);
        }
        let (clock, idle) = (self.around.clock, self.around.options.idle);
        let timer = self.idle.get_or_insert_with(|| clock.sleep(idle));
        Pin::new(timer).poll(cx).map(|()| Next::Leave)
    }
}
