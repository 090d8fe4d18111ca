//! Mailbox: the events that wait for one object.
//!
//! Filled by the registry, emptied by the object's task. Events from outside and
//! calls from other objects wait apart. Calls have room of their own for each
//! length of chain: whoever waits for an answer waits for a longer chain, and the
//! longest chain waits for nobody, so objects that are all full of each other's
//! calls still get on. Within one room the order is kept.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use tokio::sync::mpsc::{self, error::TrySendError};

use super::held::Hold;
use crate::chain::{During, InstanceId};
use crate::event::Event;

/// The registry's end. A channel sets room aside for 32 entries when it is made, so
/// entries are small: an event by itself would cost each object 14 KiB.
#[derive(Debug)]
pub(super) struct Sender {
    outside: mpsc::Sender<Box<Event>>,
    calls: mpsc::Sender<Box<Event>>,
    holds: mpsc::UnboundedSender<Hold>,
}

/// What an object that sleeps is given.
#[derive(Debug)]
pub(super) enum Given {
    Event(Event),
    Hold(Hold),
}

#[derive(Debug)]
pub(super) struct Mailbox {
    outside: mpsc::Receiver<Box<Event>>,
    calls: mpsc::Receiver<Box<Event>>,
    /// Work that wants the object asleep. An operator's, so there is little of it.
    holds: mpsc::UnboundedReceiver<Hold>,
    /// Calls that were looked at and found no room, oldest first.
    aside: VecDeque<Box<Event>>,
    capacity: usize,
}

/// Who may come in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entrance<'a> {
    /// How many events run, by the length of their chains.
    pub(super) running: &'a [usize],
    /// How many may run of each length.
    pub(super) most: usize,
    /// The instance ends soon: only those in whose chain it stands itself.
    pub(super) leaving: Option<InstanceId>,
}

impl Entrance<'_> {
    fn has_room(&self, length: usize) -> bool {
        self.running
            .get(length)
            .is_none_or(|most| *most < self.most)
    }

    fn admits(&self, event: &Event) -> bool {
        let mut links = event.chain().links();
        let own = self
            .leaving
            .is_none_or(|instance| links.any(|link| link.instance == instance));
        own && self.has_room(event.chain().length() as usize)
    }
}

pub(super) fn mailbox(capacity: usize) -> (Sender, Mailbox) {
    let (outside_sender, outside) = mpsc::channel(capacity);
    let (calls_sender, calls) = mpsc::channel(capacity);
    let (holds_sender, holds) = mpsc::unbounded_channel();
    let sender = Sender {
        outside: outside_sender,
        calls: calls_sender,
        holds: holds_sender,
    };
    let mailbox = Mailbox {
        outside,
        calls,
        holds,
        aside: VecDeque::new(),
        capacity,
    };
    (sender, mailbox)
}

impl Sender {
    pub(super) fn try_send(&self, event: Event) -> Result<(), TrySendError<Box<Event>>> {
        let room = if event.chain().length() == 0 {
            &self.outside
        } else {
            &self.calls
        };
        room.try_send(Box::new(event))
    }

    /// Lost with its answer if the slot is about to close for ever.
    pub(super) fn hold(&self, hold: Hold) {
        drop(self.holds.send(hold));
    }

    pub(super) fn capacity(&self) -> usize {
        self.outside.max_capacity()
    }
}

impl Mailbox {
    pub(super) fn is_empty(&self) -> bool {
        let events = self.aside.len() + self.outside.len() + self.calls.len();
        events == 0 && !self.wants_sleep()
    }

    /// Whether somebody waits for the object to sleep.
    pub(super) fn wants_sleep(&self) -> bool {
        !self.holds.is_empty()
    }

    /// The next thing for an object that sleeps, whatever it is.
    pub(super) async fn next(&mut self) -> Option<Given> {
        if let Ok(hold) = self.holds.try_recv() {
            return Some(Given::Hold(hold));
        }
        if let Some(event) = self.aside.pop_front() {
            return Some(Given::Event(*event));
        }
        tokio::select! {
            biased;
            hold = self.holds.recv() => hold.map(Given::Hold),
            event = self.calls.recv() => event.map(|event| Given::Event(*event)),
            event = self.outside.recv() => event.map(|event| Given::Event(*event)),
        }
    }

    /// The next event that may come in. Calls go first: somebody holds on for them.
    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        entrance: Entrance<'_>,
    ) -> Poll<Event> {
        let waiting = self.aside.iter().position(|event| entrance.admits(event));
        if let Some(event) = waiting.and_then(|at| self.aside.remove(at)) {
            return Poll::Ready(*event);
        }
        while self.aside.len() < self.capacity
            && let Poll::Ready(Some(event)) = self.calls.poll_recv(cx)
        {
            if entrance.admits(&event) {
                return Poll::Ready(*event);
            }
            self.aside.push_back(event);
        }
        if entrance.leaving.is_some() || !entrance.has_room(0) {
            return Poll::Pending;
        }
        match self.outside.poll_recv(cx) {
            Poll::Ready(Some(event)) => Poll::Ready(*event),
            // The registry holds a sender as long as the slot exists.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    /// Takes out the calls that wait for what they hold up themselves: those in
    /// whose chain `instance` stands with something that `shut` lets nobody pass.
    pub(super) fn poll_reentrant(
        &mut self,
        cx: &mut Context<'_>,
        instance: InstanceId,
        shut: impl Fn(During) -> bool,
    ) -> Vec<Event> {
        while self.aside.len() < self.capacity
            && let Poll::Ready(Some(event)) = self.calls.poll_recv(cx)
        {
            self.aside.push_back(event);
        }
        let comes_back = |event: &Event| {
            let mut links = event.chain().links();
            links.any(|link| link.instance == instance && shut(link.during))
        };
        let (back, others): (VecDeque<_>, VecDeque<_>) =
            self.aside.drain(..).partition(|event| comes_back(event));
        self.aside = others;
        back.into_iter().map(|event| *event).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::sync::oneshot;

    use super::*;
    use crate::chain::Chain;
    use crate::event::{AlarmAction, Called, Kind, MethodCall, RequestId, What};
    use crate::id::Namespace;

    fn event(kind: Kind) -> Event {
        Event {
            request_id: RequestId::next(),
            kind,
            reply: oneshot::channel().0,
        }
    }

    fn outside() -> Event {
        event(Kind::Alarms(AlarmAction::List))
    }

    fn call(length: u32, instance: InstanceId) -> Event {
        let object = Namespace::new("A", "A").id_from_name("x");
        let chain = (0..length).fold(Chain::default(), |chain, nth| {
            chain.extended(
                ("app".into(), "A".into(), object.clone()),
                instance,
                During::Event(nth.into()),
            )
        });
        let what = What::Method(MethodCall {
            method: length.to_string(),
            arguments: String::new(),
            body: crate::event::Body::None,
        });
        event(Kind::Called(Called { chain, what }))
    }

    fn lengths(mailbox: &mut Mailbox, entrance: Entrance<'_>) -> Vec<u32> {
        let mut cx = Context::from_waker(Waker::noop());
        let mut found = Vec::new();
        while let Poll::Ready(event) = mailbox.poll_next(&mut cx, entrance) {
            found.push(event.chain().length());
        }
        found
    }

    #[test]
    fn each_length_of_chain_has_room_of_its_own() {
        let (sender, mut mailbox) = mailbox(8);
        let other = InstanceId::next();
        for length in [1, 2, 1, 3] {
            sender.try_send(call(length, other)).unwrap();
        }
        sender.try_send(outside()).unwrap();
        let full = |running| Entrance {
            running,
            most: 1,
            leaving: None,
        };
        assert_eq!(lengths(&mut mailbox, full(&[1, 1, 0])), [2, 3]);
        assert_eq!(lengths(&mut mailbox, full(&[1, 0, 0])), [1, 1]);
        assert!(!mailbox.is_empty());
        assert_eq!(lengths(&mut mailbox, full(&[0])), [0]);
        assert!(mailbox.is_empty());
    }

    #[test]
    fn who_leaves_lets_in_only_what_holds_it_up() {
        let (sender, mut mailbox) = mailbox(8);
        let (own, other) = (InstanceId::next(), InstanceId::next());
        sender.try_send(call(1, other)).unwrap();
        sender.try_send(call(2, own)).unwrap();
        sender.try_send(outside()).unwrap();
        let leaving = Entrance {
            running: &[],
            most: 1,
            leaving: Some(own),
        };
        assert_eq!(lengths(&mut mailbox, leaving), [2]);
    }

    #[test]
    fn a_call_that_waits_for_itself_is_found() {
        let (sender, mut mailbox) = mailbox(8);
        let (own, other) = (InstanceId::next(), InstanceId::next());
        sender.try_send(call(2, own)).unwrap();
        sender.try_send(call(1, other)).unwrap();
        let mut cx = Context::from_waker(Waker::noop());
        let shut = |during| during == During::Event(1);
        let back = mailbox.poll_reentrant(&mut cx, own, shut);
        assert_eq!(back.len(), 1);
        assert!(mailbox.poll_reentrant(&mut cx, own, shut).is_empty());
        assert!(!mailbox.is_empty());
    }
}
