//! The two threads of a data folder: one commits, one makes checkpoints.
//!
//! Started and stopped by `storage`. The checkpoint thread holds the folder only while it
//! works, so that dropping the last handle ends both.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};

use crate::log::Log;
use crate::storage::Shared;

#[derive(Debug, Default)]
pub(crate) struct Threads {
    handles: Mutex<Vec<JoinHandle<()>>>,
    signal: Arc<Signal>,
}

#[derive(Debug, Default)]
struct Signal {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    due: bool,
    stopping: bool,
}

impl Signal {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Threads {
    pub(crate) fn start(&self, shared: &Arc<Shared>) {
        let log = Arc::clone(shared.log());
        let signal = Arc::clone(&self.signal);
        let (folder, interval) = (Arc::downgrade(shared), shared.options().checkpoint_interval);
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            thread::Builder::new()
                .name(name.into())
                .spawn(work)
                .expect("a process can start two threads")
        };
        let committer = spawn("dormouse-log", Box::new(move || log.run()));
        let checkpoints = spawn(
            "dormouse-files",
            Box::new(move || run(&signal, &folder, interval)),
        );
        self.handles().extend([committer, checkpoints]);
    }

    fn handles(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a checkpoint now.
    pub(crate) fn poke(&self) {
        let mut state = self.signal.state();
        if !state.due {
            state.due = true;
            self.signal.changed.notify_all();
        }
    }

    /// Ends both, after what the log has gathered is written.
    pub(crate) fn stop(&self, log: &Log) {
        self.signal.state().stopping = true;
        self.signal.changed.notify_all();
        log.stop();
        let handles = std::mem::take(&mut *self.handles());
        for handle in handles {
            // A panic there has been printed, and the log is in order without it.
            let _ = handle.join();
        }
    }
}

fn run(signal: &Signal, folder: &Weak<Shared>, interval: std::time::Duration) {
    // A failure shows again at the first checkpoint; the log makes do with short segments.
    let _ = folder.upgrade().map(|shared| shared.prepare());
    loop {
        let state = signal.state();
        let waited = signal
            .changed
            .wait_timeout_while(state, interval, |state| !state.due && !state.stopping);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.stopping {
            return;
        }
        state.due = false;
        drop(state);
        let Some(shared) = folder.upgrade() else {
            return;
        };
        // The failure is kept for `Storage::trouble`; the next round tries again.
        let _ = shared.checkpoint();
    }
}
