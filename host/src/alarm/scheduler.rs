//! Scheduler: waits for the next entry of the index and delivers it.
//!
//! One task. Sleeps on the host's clock, at most a second at a time, because the
//! wall clock, which alarms go by, may be set forth meanwhile. So many overdue
//! alarms do not all start at once, a start has to answer, or to run for a while,
//! before a further one follows.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinHandle;

use super::index::{Address, Alarms, Fire, Next, Receipt};
use super::retry;
use crate::clock::Clock;
use crate::event::{Fault, Kind, Reply};

/// How late an alarm may be after a step of the wall clock.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// Alarms that may be about to start.
const STARTS: usize = 128;
/// After this long an alarm no longer counts as about to start.
const START_TIME: Duration = Duration::from_secs(1);

pub type Answer = oneshot::Receiver<Result<Reply, Fault>>;

/// How an alarm reaches its object.
pub trait Deliver: Send + Sync + 'static {
    /// Puts an event into the object's mailbox; `None` if nobody serves its class.
    fn deliver(&self, address: &Address, kind: Kind) -> Option<Answer>;
}

/// The running task; dropping it stops it.
#[derive(Debug)]
pub struct Scheduler(JoinHandle<()>);

impl Scheduler {
    #[must_use]
    pub fn start(alarms: Alarms, clock: Clock, objects: impl Deliver) -> Self {
        Self(tokio::spawn(run(alarms, clock, Arc::new(objects))))
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn run(alarms: Alarms, clock: Clock, objects: Arc<impl Deliver>) {
    let starts = Arc::new(Semaphore::new(STARTS));
    loop {
        let crowded = starts.available_permits() == 0;
        let start = starts.clone().acquire_owned().await;
        let start = start.expect("nobody closes the semaphore");
        let mut fire = next(&alarms, &clock).await;
        fire.crowded = crowded;
        let receipt = fire.receipt();
        let answer = objects.deliver(receipt.address(), Kind::Alarm(fire));
        tokio::spawn(follow(receipt, answer, start, clock.clone()));
    }
}

async fn next(alarms: &Alarms, clock: &Clock) -> Fire {
    loop {
        let looked = clock.now();
        match alarms.take_due(clock.unix_ms()) {
            Next::Fire(fire) => return fire,
            Next::Nothing => alarms.changed().await,
            Next::At(ms) => {
                let due = Duration::from_millis(ms.max(0).unsigned_abs());
                let wait = due.saturating_sub(clock.unix()).min(LONGEST_SLEEP);
                let changed = std::pin::pin!(alarms.changed());
                select(clock.sleep_until(looked + wait), changed).await;
            }
        }
    }
}

/// Sees one event to its end.
async fn follow(
    receipt: Receipt,
    answer: Option<Answer>,
    start: OwnedSemaphorePermit,
    clock: Clock,
) {
    let Some(answer) = answer else {
        return receipt.failed(false, clock.unix_ms());
    };
    let answered = match select(answer, clock.sleep(START_TIME)).await {
        Either::Left((answered, _)) => {
            drop(start);
            answered
        }
        Either::Right(((), answer)) => {
            drop(start);
            answer.await
        }
    };
    match answered {
        Ok(Ok(_)) => receipt.done(),
        Ok(Err(fault)) => {
            receipt.failed(retry::counts(&fault), clock.unix_ms());
        }
        // The object went away without a word.
        Err(_) => receipt.failed(false, clock.unix_ms()),
    }
}

#[cfg(test)]
mod tests {
    use std::mem::take;
    use std::sync::{Mutex, MutexGuard};

    use dormouse_storage::AlarmSummary;

    use super::*;
    use crate::id::Namespace;

    const OVERDUE: usize = 1_000;

    /// Objects that have looked at their alarm and answer when the test does.
    #[derive(Clone, Default)]
    struct Objects {
        starting: Arc<Mutex<Vec<Sender>>>,
        crowded: Arc<Mutex<Vec<bool>>>,
    }

    type Sender = oneshot::Sender<Result<Reply, Fault>>;

    impl Objects {
        fn starting(&self) -> MutexGuard<'_, Vec<Sender>> {
            self.starting.lock().unwrap()
        }

        /// Waits until so many are about to start, and sees that no more do.
        async fn until(&self, count: usize) {
            while self.starting().len() < count {
                tokio::task::yield_now().await;
            }
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            assert_eq!(self.starting().len(), count);
        }
    }

    impl Deliver for Objects {
        fn deliver(&self, _: &Address, kind: Kind) -> Option<Answer> {
            let Kind::Alarm(fire) = kind else {
                panic!("{kind:?} is no alarm");
            };
            fire.taken(AlarmSummary::default());
            self.crowded.lock().unwrap().push(fire.crowded);
            let (reply, answer) = oneshot::channel();
            self.starting().push(reply);
            Some(answer)
        }
    }

    fn overdue(clock: &Clock) -> (Objects, Scheduler) {
        let (alarms, objects) = (Alarms::default(), Objects::default());
        let namespace = Namespace::new("Probe", "probe/Probe");
        for number in 0..OVERDUE {
            let id = namespace.id_from_name(&number.to_string()).id;
            let class = "Probe".into();
            alarms.hint(Address { class, id }, Some(number as i64), false);
        }
        let scheduler = Scheduler::start(alarms, clock.clone(), objects.clone());
        (objects, scheduler)
    }

    #[tokio::test]
    async fn overdue_alarms_start_so_many_at_a_time() {
        let (objects, _scheduler) = overdue(&Clock::manual());
        let mut left = OVERDUE;
        while left > 0 {
            objects.until(left.min(STARTS)).await;
            let starting = take(&mut *objects.starting());
            left -= starting.len();
            for reply in starting {
                reply.send(Ok(Reply::Done)).unwrap();
            }
        }
    }

    #[tokio::test]
    async fn who_has_waited_for_a_place_is_told_that_others_do() {
        let (objects, _scheduler) = overdue(&Clock::manual());
        objects.until(STARTS).await;
        assert!(!objects.crowded.lock().unwrap().contains(&true));
        let reply = objects.starting().pop().unwrap();
        reply.send(Ok(Reply::Done)).unwrap();
        objects.until(STARTS).await;
        assert_eq!(objects.crowded.lock().unwrap()[STARTS..], [true]);
    }

    #[tokio::test]
    async fn handlers_that_run_long_hold_others_back_for_a_second() {
        let clock = Clock::manual();
        let (objects, _scheduler) = overdue(&clock);
        for second in 1..=3 {
            objects.until(second * STARTS).await;
            let over = clock.now() + START_TIME;
            let deadlines = clock.deadlines();
            let waiting = deadlines.iter().filter(|due| **due == over).count();
            assert_eq!(waiting, STARTS);
            clock.advance(START_TIME);
        }
    }
}
