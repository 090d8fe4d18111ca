//! Worker: the instances in front of the objects.
//!
//! `pool` hands each request to an instance, makes more of them under load and
//! keeps them warm; `life` is what one instance is given and gives back. Knows
//! guest, and object for the room that instances take; knows no HTTP.

mod life;
mod pool;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::clock::Clock;
use crate::guest::{Code, Environment, Limits};
use crate::object::Registry;

pub use pool::Pool;

/// How a worker runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Most instances at a time.
    pub instances: usize,
    /// Requests that one instance handles at a time. With 1, a crash harms one
    /// request alone.
    pub concurrent_requests: usize,
    /// How long a request may wait for the head of its answer.
    pub response: Duration,
    /// An instance without work for this long ends.
    pub idle: Duration,
    /// How long requests on replaced code may take to finish.
    pub drain: Duration,
    pub limits: Limits,
    pub environment: Arc<Environment>,
}

/// The app's worker at the moment, if it has one. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Workers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    clock: Clock,
    current: RwLock<Option<Arc<Pool>>>,
}

impl Workers {
    #[must_use]
    pub fn new(registry: Registry, clock: Clock) -> Self {
        Self(Arc::new(Inner {
            registry,
            clock,
            current: RwLock::default(),
        }))
    }

    #[must_use]
    pub fn current(&self) -> Option<Arc<Pool>> {
        let current = self.0.current.read();
        current.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Serves other code from the next request on; requests under way may finish
    /// within `options.drain`. `None`: there is no worker any more.
    pub fn replace(&self, worker: Option<(Arc<Code>, Options)>) {
        let pool = worker.map(|(code, options)| {
            let (registry, clock) = (self.0.registry.clone(), self.0.clock.clone());
            Arc::new(Pool::new(code, options, registry, clock))
        });
        let mut current = self
            .0
            .current
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *current, pool);
        drop(current);
        if let Some(old) = old {
            old.retire_all();
        }
    }
}
