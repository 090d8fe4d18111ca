//! A disk that says nothing is durable until the test lets it.

use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use dormouse_storage::Env;
use dormouse_storage::simulated::{Hooks, hooked};

/// Holds syncs back; dropped, it lets them go.
#[derive(Debug, Default)]
pub(crate) struct Latch(Arc<State>);

#[derive(Debug, Default)]
struct State {
    held: Mutex<bool>,
    changed: Condvar,
}

impl Latch {
    pub(crate) fn hold(&self) {
        self.set(true);
    }

    pub(crate) fn release(&self) {
        self.set(false);
    }

    fn set(&self, held: bool) {
        *self.0.held.lock().unwrap_or_else(PoisonError::into_inner) = held;
        self.0.changed.notify_all();
    }
}

impl Drop for Latch {
    fn drop(&mut self) {
        self.release();
    }
}

impl State {
    fn pass(&self) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = self.changed.wait_while(held, |held| *held);
        drop(passed.unwrap_or_else(PoisonError::into_inner));
    }
}

impl Hooks for State {
    fn before_sync(&self) -> io::Result<()> {
        self.pass();
        Ok(())
    }
}

/// The file system under `folder`, its syncs behind `latch`.
pub(crate) fn held_disk(folder: &Path, latch: &Latch) -> io::Result<Env> {
    let hooks = Arc::clone(&latch.0) as Arc<dyn Hooks>;
    Ok(hooked(Env::real(folder)?, hooks))
}
