//! Outbox: holds what an object sends until the commits before it are durable.
//!
//! The output gate. Filled at the end of each turn with the turn's effects and
//! the ticket of the object's last commit; lets them out in the order they came,
//! once the ticket opens. Sends nothing itself. A ticket that dies lets nothing
//! more out: who waits learns it from the reset that follows.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use dormouse_storage::{Dead, Ticket};

/// Effects of one object, oldest first.
#[derive(Debug)]
pub struct Outbox<E> {
    waiting: VecDeque<(Ticket, Vec<E>)>,
}

impl<E> Default for Outbox<E> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
        }
    }
}

impl<E> Outbox<E> {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Gives the effects back at once when nothing holds them.
    #[must_use = "effects that come back are free to leave"]
    pub fn pass(&mut self, gate: Ticket, effects: Vec<E>) -> Option<Vec<E>> {
        if self.waiting.is_empty() && gate.is_open() {
            return Some(effects);
        }
        self.waiting.push_back((gate, effects));
        None
    }

    /// The oldest effects whose gate has opened.
    pub fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Vec<E>, Dead>>> {
        let Some((gate, _)) = self.waiting.front_mut() else {
            return Poll::Ready(None);
        };
        Pin::new(gate).poll(cx).map(|opened| {
            let (_, effects) = self.waiting.pop_front().expect("the front was just polled");
            Some(opened.map(|()| effects))
        })
    }

    /// Waits for the oldest effects; `None` when there are none.
    pub async fn next(&mut self) -> Option<Result<Vec<E>, Dead>> {
        poll_fn(|cx| self.poll_open(cx)).await
    }
}
