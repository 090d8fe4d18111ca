//! The clock: the one place where time comes from, so that tests can hold it.
//!
//! Used by every room that waits. `Clock::system()` is real time;
//! `Clock::manual()` stands still until a test moves it. Deadlines are
//! [`Moment`]s: time since the clock began, unaffected by steps of the wall clock.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::chance::Chance;

/// Time since the clock began.
pub type Moment = Duration;

/// Cheap to clone; clones are the same clock.
#[derive(Clone)]
pub struct Clock {
    source: Source,
    chance: Chance,
}

#[derive(Clone)]
enum Source {
    System { began: Instant },
    Manual(Arc<Mutex<Held>>),
}

struct Held {
    now: Moment,
    unix: Duration,
    sleepers: BTreeMap<(Moment, u64), Waker>,
    next_sleeper: u64,
}

impl Clock {
    #[must_use]
    pub fn system() -> Self {
        Self {
            source: Source::System {
                began: Instant::now(),
            },
            chance: Chance::system(),
        }
    }

    /// A clock that stands at 2030-01-01T00:00:00Z until it is moved.
    #[must_use]
    pub fn manual() -> Self {
        let held = Held {
            now: Moment::ZERO,
            unix: Duration::from_secs(1_893_456_000),
            sleepers: BTreeMap::new(),
            next_sleeper: 0,
        };
        Self {
            source: Source::Manual(Arc::new(Mutex::new(held))),
            chance: Chance::system(),
        }
    }

    /// The same clock with this randomness.
    #[must_use]
    pub fn with_chance(self, chance: Chance) -> Self {
        Self { chance, ..self }
    }

    #[must_use]
    pub const fn chance(&self) -> &Chance {
        &self.chance
    }

    #[must_use]
    pub fn now(&self) -> Moment {
        match &self.source {
            Source::System { began } => began.elapsed(),
            Source::Manual(held) => lock(held).now,
        }
    }

    /// Time since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn unix(&self) -> Duration {
        match &self.source {
            Source::System { .. } => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
            Source::Manual(held) => lock(held).unix,
        }
    }

    /// `unix` in whole milliseconds.
    #[must_use]
    pub fn unix_ms(&self) -> i64 {
        i64::try_from(self.unix().as_millis()).unwrap_or(i64::MAX)
    }

    /// Moves a manual clock forward and wakes who was waiting for it.
    ///
    /// # Panics
    /// On the system clock: real time cannot be moved.
    pub fn advance(&self, by: Duration) {
        let Source::Manual(held) = &self.source else {
            panic!("the system clock cannot be advanced; build the host with Clock::manual()");
        };
        let due = {
            let mut held = lock(held);
            held.now += by;
            held.unix += by;
            let after = (held.now, u64::MAX);
            let later = held.sleepers.split_off(&after);
            std::mem::replace(&mut held.sleepers, later)
        };
        let mut due: Vec<Waker> = due.into_values().collect();
        while !due.is_empty() {
            let first = usize::from(due.len() > 1 && self.chance.gives_way());
            due.remove(first).wake();
        }
    }

    /// Sets a manual clock's date, as an administrator may; nobody's wait ends by it.
    ///
    /// # Panics
    /// On the system clock, as `advance`.
    pub fn set_unix(&self, unix: Duration) {
        let Source::Manual(held) = &self.source else {
            panic!("the system clock cannot be set; build the host with Clock::manual()");
        };
        lock(held).unix = unix;
    }

    /// For which moments somebody waits, soonest first. Only a manual clock knows;
    /// a test that is about to move it can see that all are where they should be.
    #[must_use]
    pub fn deadlines(&self) -> Vec<Moment> {
        match &self.source {
            Source::System { .. } => Vec::new(),
            Source::Manual(held) => {
                let held = lock(held);
                held.sleepers.keys().map(|(moment, _)| *moment).collect()
            }
        }
    }

    /// Ends once `now() >= deadline`.
    #[must_use]
    pub fn sleep_until(&self, deadline: Moment) -> Sleep {
        match &self.source {
            Source::System { began } => Sleep(Wait::System(Box::pin(tokio::time::sleep_until(
                tokio::time::Instant::from_std(*began + deadline),
            )))),
            Source::Manual(held) => Sleep(Wait::Manual {
                held: held.clone(),
                deadline,
                key: None,
            }),
        }
    }

    #[must_use]
    pub fn sleep(&self, duration: Duration) -> Sleep {
        self.sleep_until(self.now().saturating_add(duration))
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({:?})", self.now())
    }
}

/// A wait on a [`Clock`].
pub struct Sleep(Wait);

enum Wait {
    System(Pin<Box<tokio::time::Sleep>>),
    Manual {
        held: Arc<Mutex<Held>>,
        deadline: Moment,
        key: Option<(Moment, u64)>,
    },
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Wait::System(sleep) => sleep.as_mut().poll(cx),
            Wait::Manual {
                held,
                deadline,
                key,
            } => {
                let mut held = lock(held);
                if held.now >= *deadline {
                    return Poll::Ready(());
                }
                let at = *key.get_or_insert_with(|| {
                    held.next_sleeper += 1;
                    (*deadline, held.next_sleeper)
                });
                held.sleepers.insert(at, cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Wait::Manual {
            held,
            key: Some(key),
            ..
        } = &self.0
        {
            lock(held).sleepers.remove(key);
        }
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sleep")
    }
}

fn lock(held: &Mutex<Held>) -> std::sync::MutexGuard<'_, Held> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_wakes_sleepers_when_their_time_has_come() {
        let clock = Clock::manual();
        let mut early = clock.sleep(Duration::from_secs(1));
        let mut late = clock.sleep(Duration::from_secs(2));
        assert_eq!([is_over(&mut early), is_over(&mut late)], [false, false]);
        clock.advance(Duration::from_secs(1));
        assert_eq!([is_over(&mut early), is_over(&mut late)], [true, false]);
    }

    #[test]
    fn a_manual_clock_tells_who_waits() {
        let clock = Clock::manual();
        assert_eq!(clock.deadlines(), []);
        let [first, second] = [3, 2].map(Duration::from_secs);
        let mut sleeps = [first, second, second].map(|moment| clock.sleep_until(moment));
        assert!(!sleeps.iter_mut().any(is_over));
        assert_eq!(clock.deadlines(), [second, second, first]);
        drop(sleeps);
        assert_eq!(clock.deadlines(), []);
    }

    fn is_over(sleep: &mut Sleep) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(sleep).poll(&mut cx).is_ready()
    }
}
