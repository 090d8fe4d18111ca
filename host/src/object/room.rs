//! Room: the places for live instances, one bound for all apps of a host.
//!
//! Whoever makes an instance takes a place first. When all are taken, the objects that
//! have been idle longest are put to sleep, whichever app they belong to.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::registry::Inner;
use super::signal::EVICT;
use crate::event::Fault;

/// How many idle objects make room at once when all places are taken.
const EVICT_BATCH: usize = 32;
/// How long a wake waits for room before it gives up.
const ROOM_TIMEOUT: Duration = Duration::from_secs(5);

/// Cheap to clone; clones are the same.
#[derive(Clone, Debug)]
pub struct Room(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// One permit for each instance that there is a place for.
    places: Arc<Semaphore>,
    registries: Mutex<Vec<Weak<Inner>>>,
}

impl Room {
    #[must_use]
    pub fn new(places: usize) -> Self {
        Self(Arc::new(Shared {
            places: Arc::new(Semaphore::new(places)),
            registries: Mutex::default(),
        }))
    }

    /// The objects of this registry take their places here.
    pub(super) fn join(&self, registry: &Arc<Inner>) {
        let registries = self.0.registries.lock();
        let mut registries = registries.unwrap_or_else(PoisonError::into_inner);
        registries.retain(|one| one.strong_count() > 0);
        registries.push(Arc::downgrade(registry));
    }

    /// Room for one more instance; makes others sleep when there is none.
    pub(super) async fn take(&self) -> Result<OwnedSemaphorePermit, Fault> {
        if let Ok(permit) = self.0.places.clone().try_acquire_owned() {
            return Ok(permit);
        }
        self.evict_oldest(EVICT_BATCH);
        let waiting = tokio::time::timeout(ROOM_TIMEOUT, self.0.places.clone().acquire_owned());
        match waiting.await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(Fault::Exhausted(
                "all places for live objects are taken by objects at work; raise \
                 `vm.max_map_count` of the kernel or spread the load"
                    .into(),
            )),
        }
    }

    fn evict_oldest(&self, count: usize) {
        let registries = self.0.registries.lock();
        let registries = registries.unwrap_or_else(PoisonError::into_inner);
        let registries: Vec<_> = registries.iter().filter_map(Weak::upgrade).collect();
        let mut idle: Vec<_> = registries.iter().flat_map(|one| one.idle()).collect();
        idle.sort_by_key(|(since, _)| *since);
        for (_, signal) in idle.into_iter().take(count) {
            signal.raise(EVICT);
        }
    }
}
