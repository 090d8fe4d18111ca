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
        let start = starts.clone().acquire_owned().await;
        let start = start.expect("nobody closes the semaphore");
        let fire = next(&alarms, &clock).await;
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
