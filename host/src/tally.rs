//! Tally: how the events of a version ended lately, for who watches a rollout.
//!
//! Filled by `object` and `worker`; costs a look at a flag while nobody watches. Counts
//! what the code is to blame for; times are those of the host's clock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::clock::Clock;
use crate::event::{Fault, Reply, Reset};

/// How far back it looks.
const WINDOW_SECONDS: u64 = 60;
/// Fewer events of the new version say nothing.
const LEAST_EVENTS: u64 = 20;
const LEAST_FAILED: u64 = 5;
/// More than the old version's share of failures, times this,
const TIMES: f64 = 2.0;
/// and so much.
const MARGIN: f64 = 0.05;

#[derive(Debug, Default)]
pub struct Tally {
    watched: AtomicBool,
    seconds: Mutex<Vec<Second>>,
    failed: Notify,
}

#[derive(Clone, Copy, Debug, Default)]
struct Second {
    at: u64,
    count: Count,
}

/// Events, and those among them that failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub events: u64,
    pub failed: u64,
}

impl Tally {
    /// Begins to count, with nothing.
    pub fn watch(&self) {
        self.seconds().clear();
        self.watched.store(true, Ordering::Relaxed);
    }

    pub fn unwatch(&self) {
        self.watched.store(false, Ordering::Relaxed);
    }

    pub fn count(&self, result: &Result<Reply, Fault>, clock: &Clock) {
        if !self.watched.load(Ordering::Relaxed) {
            return;
        }
        let Some(failed) = failed(result) else {
            return;
        };
        let now = clock.now().as_secs();
        let mut seconds = self.seconds();
        if seconds.last().is_none_or(|last| last.at != now) {
            seconds.retain(|second| second.at + WINDOW_SECONDS > now);
            seconds.push(Second {
                at: now,
                count: Count::default(),
            });
        }
        let last = seconds.last_mut().expect("it was pushed above");
        last.count.events += 1;
        last.count.failed += u64::from(failed);
        drop(seconds);
        if failed {
            self.failed.notify_one();
        }
    }

    /// Ends when an event has failed since the last time.
    pub async fn failed(&self) {
        self.failed.notified().await;
    }

    /// What the window holds.
    #[must_use]
    pub fn lately(&self, clock: &Clock) -> Count {
        let now = clock.now().as_secs();
        let seconds = self.seconds();
        let lately = seconds.iter().filter(|one| one.at + WINDOW_SECONDS > now);
        lately.fold(Count::default(), |sum, one| Count {
            events: sum.events + one.count.events,
            failed: sum.failed + one.count.failed,
        })
    }

    fn seconds(&self) -> MutexGuard<'_, Vec<Second>> {
        self.seconds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Count {
    fn share(self) -> f64 {
        self.failed as f64 / self.events.max(1) as f64
    }
}

/// Why a version should be taken back, if it should.
#[must_use]
pub fn judge(old: Count, new: Count) -> Option<String> {
    let enough = new.events >= LEAST_EVENTS && new.failed >= LEAST_FAILED;
    let worse = new.share() > old.share() * TIMES + MARGIN;
    (enough && worse).then(|| {
        format!(
            "{} of its last {} events failed, and {} of {} of the version before",
            new.failed, new.events, old.failed, old.events
        )
    })
}

/// Whether an event failed; `None` if its code has no part in how it ended.
fn failed(result: &Result<Reply, Fault>) -> Option<bool> {
    match result {
        Ok(Reply::Response(response)) => Some(response.status >= 500),
        Ok(Reply::Alarms(_) | Reply::Look(_)) => None,
        Ok(_) => Some(false),
        Err(Fault::Declared { .. } | Fault::BadCall(_)) => Some(false),
        Err(Fault::Guest(_) | Fault::Late { .. }) => Some(true),
        Err(Fault::Reset(reset)) => match reset {
            Reset::Storage(_)
            | Reset::Replaced { .. }
            | Reset::Ended(_)
            | Reset::Operator
            | Reset::ShuttingDown => None,
            _ => Some(true),
        },
        Err(
            Fault::Reentrant { .. }
            | Fault::Overloaded { .. }
            | Fault::Exhausted(_)
            | Fault::Away(_)
            | Fault::ShuttingDown,
        ) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const FAILED: Result<Reply, Fault> = Err(Fault::Late { limit_ms: 1 });

    fn count(events: u64, failed: u64) -> Count {
        Count { events, failed }
    }

    #[test]
    fn nothing_is_counted_until_somebody_watches() {
        let (tally, clock) = (Tally::default(), Clock::manual());
        tally.count(&FAILED, &clock);
        assert_eq!(tally.lately(&clock), count(0, 0));
        tally.watch();
        tally.count(&FAILED, &clock);
        tally.count(&Ok(Reply::Done), &clock);
        tally.count(&Err(Fault::ShuttingDown), &clock);
        assert_eq!(tally.lately(&clock), count(2, 1));
        clock.advance(Duration::from_secs(30));
        tally.count(&FAILED, &clock);
        assert_eq!(tally.lately(&clock), count(3, 2));
        clock.advance(Duration::from_secs(30));
        assert_eq!(tally.lately(&clock), count(1, 1));
    }

    #[test]
    fn a_version_is_judged_by_enough_events_and_against_the_old_one() {
        assert_eq!(judge(count(1_000, 0), count(19, 19)), None);
        assert_eq!(judge(count(1_000, 0), count(1_000, 4)), None);
        assert!(judge(count(1_000, 0), count(20, 5)).is_some());
        assert!(judge(count(0, 0), count(20, 5)).is_some());
        // As bad as the old one.
        assert_eq!(judge(count(1_000, 250), count(100, 25)), None);
        assert!(judge(count(1_000, 250), count(100, 60)).is_some());
    }
}
