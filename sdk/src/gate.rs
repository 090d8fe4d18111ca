//! Being alone: critical sections, and transactions that last over awaits.
//!
//! The host starts no event while a section is open. That the events already under
//! way stand still is this module's part: each event's future is wrapped in an
//! [`Event`], which is not polled while another event has a section open. `component`
//! wraps what the host calls, `object` what goes on in the background.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use crate::Result;
use crate::bindings::dormouse::object::gate::{CriticalSection, Refusal};
use crate::bindings::dormouse::object::transaction::Transaction;
use crate::sql;

thread_local! {
    static GATE: Gate = const { Gate::new() };
}

/// Whose code runs: an event, and the innermost section it stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    event: u64,
    section: Option<u64>,
}

#[derive(Debug)]
struct Gate {
    /// Open sections of one event, the outermost first.
    sections: RefCell<Vec<u64>>,
    holder: Cell<u64>,
    place: Cell<Option<Place>>,
    waiting: RefCell<Vec<Waker>>,
    last_id: Cell<u64>,
}

impl Gate {
    const fn new() -> Self {
        Self {
            sections: RefCell::new(Vec::new()),
            holder: Cell::new(0),
            place: Cell::new(None),
            waiting: RefCell::new(Vec::new()),
            last_id: Cell::new(0),
        }
    }

    fn next_id(&self) -> u64 {
        self.last_id.set(self.last_id.get() + 1);
        self.last_id.get()
    }

    fn innermost(&self) -> Option<u64> {
        self.sections.borrow().last().copied()
    }

    /// The section around the code that runs, if that is still open.
    fn around(&self) -> Option<u64> {
        let section = self.place.get()?.section?;
        self.sections.borrow().contains(&section).then_some(section)
    }

    fn admits(&self, event: u64) -> bool {
        self.sections.borrow().is_empty() || self.holder.get() == event
    }

    fn wait(&self, cx: &Context<'_>) {
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
    }

    /// Polls at `place`, and then is again where it was.
    fn poll_at<F: Future>(
        &self,
        place: Place,
        cx: &mut Context<'_>,
        work: Pin<&mut F>,
    ) -> Poll<F::Output> {
        let before = self.place.replace(Some(place));
        let polled = work.poll(cx);
        self.place.set(before);
        polled
    }

    /// Opens a section once nobody but the code around it has one open.
    fn poll_enter(&self, cx: &Context<'_>) -> Poll<Section> {
        if self.innermost() != self.around() {
            self.wait(cx);
            return Poll::Pending;
        }
        let id = self.next_id();
        let event = self.place.get().map(|place| place.event);
        let event = event.unwrap_or_else(|| self.next_id());
        self.holder.set(event);
        self.sections.borrow_mut().push(id);
        Poll::Ready(Section {
            place: Place {
                event,
                section: Some(id),
            },
        })
    }

    fn leave(&self, id: u64) {
        let mut sections = self.sections.borrow_mut();
        if let Some(at) = sections.iter().position(|open| *open == id) {
            sections.truncate(at);
        }
        drop(sections);
        let waiting = self.waiting.take();
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// One event's future. What is started inside a section belongs to it.
pub(crate) fn event<F: Future>(work: F) -> impl Future<Output = F::Output> {
    let place = GATE.with(|gate| Place {
        event: match gate.around() {
            Some(_) => gate.holder.get(),
            None => gate.next_id(),
        },
        section: gate.around(),
    });
    async move {
        let mut work = pin!(work);
        poll_fn(|cx| {
            GATE.with(|gate| {
                if gate.admits(place.event) {
                    gate.poll_at(place, cx, work.as_mut())
                } else {
                    gate.wait(cx);
                    Poll::Pending
                }
            })
        })
        .await
    }
}

/// An open section; dropping it ends it.
struct Section {
    place: Place,
}

impl Section {
    async fn enter() -> Self {
        poll_fn(|cx| GATE.with(|gate| gate.poll_enter(cx))).await
    }

    async fn run<F: Future>(&self, work: F) -> F::Output {
        let mut work = pin!(work);
        poll_fn(|cx| GATE.with(|gate| gate.poll_at(self.place, cx, work.as_mut()))).await
    }
}

impl Drop for Section {
    fn drop(&mut self) {
        if let Some(id) = self.place.section {
            GATE.with(|gate| gate.leave(id));
        }
    }
}

/// See [`State::block_concurrency_while`](crate::State::block_concurrency_while).
pub(crate) async fn block_concurrency_while<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let section = Section::enter().await;
    let alone = CriticalSection::enter().map_err(|refusal| match refusal {
        Refusal::TooDeep => {
            crate::Error::msg("blockConcurrencyWhile() calls are nested too deeply.")
        }
        Refusal::Shut => crate::Error::msg("another event has a critical section open"),
    })?;
    match section.run(work).await {
        Ok(value) => {
            CriticalSection::leave(alone);
            Ok(value)
        }
        Err(error) => {
            CriticalSection::fail(alone, &format!("{error:#}"));
            Err(error)
        }
    }
}

/// See [`State::transaction`](crate::State::transaction).
pub(crate) async fn transaction<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let section = Section::enter().await;
    let transaction = Transaction::begin().map_err(sql::Error::from)?;
    match section.run(work).await {
        Ok(value) => {
            Transaction::commit(transaction).map_err(sql::Error::from)?;
            Ok(value)
        }
        Err(error) => match Transaction::rollback(transaction).map_err(sql::Error::from) {
            Ok(()) => Err(error),
            Err(second) => {
                Err(error.context(format!("a transaction could not be undone: {second}")))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll::{Pending, Ready};

    use futures_channel::oneshot;

    use super::*;

    fn poll<F: Future>(work: Pin<&mut F>) -> Poll<F::Output> {
        work.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn other_events_stand_still_while_a_section_is_open() {
        let (end, ended) = oneshot::channel::<()>();
        let mut alone = pin!(event(async {
            let section = Section::enter().await;
            section.run(ended).await
        }));
        let mut other = pin!(event(async { 1 }));
        assert_eq!(poll(alone.as_mut()), Pending);
        assert_eq!(poll(other.as_mut()), Pending);
        end.send(()).expect("the section waits");
        assert_eq!(poll(alone.as_mut()), Ready(Ok(())));
        assert_eq!(poll(other.as_mut()), Ready(1));
    }

    #[test]
    fn sections_nest_and_those_side_by_side_wait_for_each_other() {
        let (end, ended) = oneshot::channel::<()>();
        let mut outer = pin!(event(async {
            let section = Section::enter().await;
            section
                .run(async {
                    let first = async { Section::enter().await.run(ended).await };
                    let second = async { Section::enter().await.run(async { 2 }).await };
                    let mut first = pin!(first);
                    let mut second = pin!(second);
                    poll_fn(|cx| {
                        let _ = first.as_mut().poll(cx);
                        assert_eq!(second.as_mut().poll(cx), Pending);
                        Ready(())
                    })
                    .await;
                    first.await.expect("the sender lives");
                    second.await
                })
                .await
        }));
        assert_eq!(poll(outer.as_mut()), Pending);
        end.send(()).expect("the section waits");
        assert_eq!(poll(outer.as_mut()), Ready(2));
    }

    #[test]
    fn what_a_section_starts_goes_on_and_a_dropped_section_is_over() {
        let mut started = None;
        {
            let mut alone = Box::pin(event(async {
                let section = Section::enter().await;
                section
                    .run(async {
                        let mut inner = Box::pin(event(async { 3 }));
                        let first = poll_fn(|cx| Ready(inner.as_mut().poll(cx))).await;
                        started = Some(first);
                        std::future::pending::<()>().await;
                    })
                    .await;
            }));
            assert_eq!(poll(alone.as_mut()), Pending);
        }
        assert_eq!(started, Some(Ready(3)));
        assert_eq!(poll(pin!(event(async { 4 }))), Ready(4));
    }
}
