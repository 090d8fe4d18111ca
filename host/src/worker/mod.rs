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
use crate::split::{Split, Turns};
use crate::tally::Tally;

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
    /// How its requests end, while somebody wants to know.
    pub tally: Arc<Tally>,
}

/// The app's worker at the moment, if it has one. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Workers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    clock: Clock,
    current: RwLock<Fronts>,
    turns: Turns,
}

/// The worker of each version that has one.
type Fronts = Split<Option<Arc<Pool>>>;

/// What a worker is made of.
pub type Front = Option<(Arc<Code>, Options)>;

impl Workers {
    #[must_use]
    pub fn new(registry: Registry, clock: Clock) -> Self {
        Self(Arc::new(Inner {
            registry,
            clock,
            current: RwLock::new(Split::all(Arc::new(None))),
            turns: Turns::default(),
        }))
    }

    /// The current version's.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Pool>> {
        Option::clone(self.fronts().main())
    }

    /// The one that a request goes to: while a version is rolled out, so many of a
    /// hundred go to its worker.
    #[must_use]
    pub fn for_request(&self) -> Option<Arc<Pool>> {
        let current = self.0.current.read();
        let current = current.unwrap_or_else(PoisonError::into_inner);
        Option::clone(current.at(|| self.0.turns.next()))
    }

    /// Serves other code from the next request on; requests under way may finish
    /// within `options.drain`. `None`: there is no worker any more.
    pub fn replace(&self, worker: Front) {
        let pool = self.pool(worker);
        self.serve(Split::all(pool));
    }

    /// Serves other code beside the current one.
    pub fn begin(&self, worker: Front, percent: u8) {
        let pool = self.pool(worker);
        self.serve(self.fronts().with(pool, percent));
    }

    /// Gives the code that was begun to so many of a hundred; to all of them, and it is
    /// the current one.
    pub fn set_percent(&self, percent: u8) {
        self.serve(self.fronts().advanced(percent));
    }

    fn pool(&self, worker: Front) -> Arc<Option<Arc<Pool>>> {
        Arc::new(worker.map(|(code, options)| {
            let (registry, clock) = (self.0.registry.clone(), self.0.clock.clone());
            Arc::new(Pool::new(code, options, registry, clock))
        }))
    }

    fn fronts(&self) -> Fronts {
        let current = self.0.current.read();
        current.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn serve(&self, fronts: Fronts) {
        let mut current = self
            .0
            .current
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *current, fronts.clone());
        drop(current);
        for gone in before.not_in(&fronts) {
            gone.iter().for_each(|pool| pool.retire_all());
        }
    }
}
