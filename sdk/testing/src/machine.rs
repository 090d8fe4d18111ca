//! Machine: one thread on which the host and the test take turns.
//!
//! Nothing runs beside the test: tasks go on while the test waits for something, and
//! what they wrote is committed when no task can go on (so always in the same
//! batches). So a run is repeated exactly by its seed, and *quiet* is a moment that
//! can be waited for: nothing more happens until the clock or the test moves.

use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use dormouse_storage::Storage;
use tokio::runtime::Runtime;

/// What runs elsewhere (the compiler, files) may keep everybody waiting so long.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);

pub(crate) struct Machine {
    runtime: Runtime,
    quiet: Arc<Quiet>,
}

#[derive(Default)]
struct Quiet(Mutex<State>);

#[derive(Default)]
struct State {
    storage: Option<Storage>,
    waiting: Option<Waker>,
    reached: bool,
}

/// Nothing moves any more, and what was waited for has not come.
#[derive(Debug)]
pub(crate) struct Stuck;

impl Machine {
    pub(crate) fn new() -> Self {
        let quiet = Arc::new(Quiet::default());
        let parked = quiet.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .on_thread_park(move || parked.thread_parks())
            .build()
            .expect("a runtime of one thread can be made");
        Self { runtime, quiet }
    }

    /// Commits for this storage from now on, whenever nothing else can be done.
    pub(crate) fn serve(&self, storage: Storage) {
        self.quiet.lock().storage = Some(storage);
    }

    /// Runs until `future` is done, however long it takes.
    pub(crate) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Runs until `future` is done, or nothing moves any more.
    pub(crate) fn run_or_stick<T>(&self, future: impl Future<Output = T>) -> Result<T, Stuck> {
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                done = future => Ok(done),
                () = self.quiet.for_long() => Err(Stuck),
            }
        })
    }

    /// Runs until nothing moves any more.
    pub(crate) fn settle(&self) {
        self.runtime.block_on(self.quiet.reached());
    }

    pub(crate) fn spawn<T: Send + 'static>(
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

    fn thread_parks(&self) {
        let storage = self.lock().storage.clone();
        if let Some(storage) = storage {
            match storage.commit() {
                Ok(true) => return,
                Ok(false) => (),
                // The host hears of it by its tickets; a checkpoint may make room.
                Err(_) => drop(storage.checkpoint()),
            }
        }
        let mut state = self.lock();
        state.reached = true;
        if let Some(waker) = state.waiting.take() {
            drop(state);
            waker.wake();
        }
    }

    async fn reached(&self) {
        self.lock().reached = false;
        poll_fn(|cx| {
            let mut state = self.lock();
            if state.reached {
                return Poll::Ready(());
            }
            state.waiting = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
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
