//! Machine: one thread on which a host under test and its test take turns.
//!
//! Used by the test kit and by `dormouse dev --test`. Nothing runs beside the test:
//! tasks go on while the test waits for something, and what they wrote is committed
//! when no task can go on (so always in the same batches). So a run is repeated exactly
//! by its seed, and *quiet* is a moment that can be waited for: nothing more happens
//! until the clock or the test moves.

use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use dormouse_storage::Storage;
use tokio::runtime::Runtime;

use crate::clock::Clock;

/// What runs elsewhere (the compiler, files) may keep everybody waiting so long.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);

/// A runtime of one thread.
pub struct Machine {
    runtime: Runtime,
    quiet: Arc<Quiet>,
}

/// Tells when nothing moves on a machine.
#[derive(Default)]
pub struct Quiet(Mutex<State>);

#[derive(Default)]
struct State {
    storages: Vec<Storage>,
    waiting: Vec<Waker>,
    reached: bool,
}

/// Nothing moves any more, and what was waited for has not come.
#[derive(Debug)]
pub struct Stuck;

impl Machine {
    /// # Panics
    /// When the system gives no event queue.
    #[must_use]
    #[allow(
        clippy::new_without_default,
        reason = "it takes something from the system"
    )]
    pub fn new() -> Self {
        let quiet = Arc::new(Quiet::default());
        let parked = quiet.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .on_thread_park(move || parked.thread_parks())
            .build()
            .expect("a runtime of one thread can be made");
        Self { runtime, quiet }
    }

    /// Commits for this storage, too, from now on, whenever nothing else can be done.
    pub fn serve(&self, storage: Storage) {
        self.quiet.serve(storage);
    }

    /// Runs until `future` is done, however long it takes.
    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Runs until `future` is done, or nothing moves any more.
    pub fn run_or_stick<T>(&self, future: impl Future<Output = T>) -> Result<T, Stuck> {
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                done = future => Ok(done),
                () = self.quiet.for_long() => Err(Stuck),
            }
        })
    }

    /// Runs until nothing moves any more.
    pub fn settle(&self) {
        self.runtime.block_on(self.quiet.reached());
    }

    /// What tells when nothing moves.
    #[must_use]
    pub fn quiet(&self) -> Arc<Quiet> {
        self.quiet.clone()
    }

    /// A task that goes on whenever the machine runs.
    pub fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.runtime.spawn(future)
    }
}

impl Quiet {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`Machine::serve`].
    pub fn serve(&self, storage: Storage) {
        self.lock().storages.push(storage);
    }

    /// Nobody commits for this storage any more.
    pub fn forget(&self, storage: &Storage) {
        self.lock().storages.retain(|one| !one.is(storage));
    }

    fn thread_parks(&self) {
        let storages = self.lock().storages.clone();
        let mut committed = false;
        for storage in &storages {
            match storage.commit() {
                Ok(some) => committed |= some,
                // The host hears of it by its tickets; a checkpoint may make room.
                Err(_) => drop(storage.checkpoint()),
            }
        }
        if committed {
            return;
        }
        let mut state = self.lock();
        state.reached = true;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        for waker in waiting {
            waker.wake();
        }
    }

    /// Waits until nothing moves any more.
    pub async fn reached(&self) {
        self.lock().reached = false;
        poll_fn(|cx| {
            let mut state = self.lock();
            if state.reached {
                return Poll::Ready(());
            }
            state.waiting.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Moves a held clock from deadline to deadline, each of which comes to an end
    /// before the next one; no further once `is_over`.
    pub async fn advance(&self, clock: &Clock, by: Duration, is_over: impl Fn() -> bool) {
        let end = clock.now() + by;
        self.reached().await;
        while let Some(next) = clock.deadlines().first().filter(|next| **next <= end) {
            if is_over() {
                return;
            }
            clock.advance(next.saturating_sub(clock.now()));
            self.reached().await;
        }
        clock.advance(end.saturating_sub(clock.now()));
        self.reached().await;
    }

    async fn for_long(&self) {
        let began = std::time::Instant::now();
        while began.elapsed() < PATIENCE {
            self.reached().await;
            if began.elapsed() >= PATIENCE / 20 {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Machine")
    }
}

impl fmt::Debug for Quiet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Quiet")
    }
}
