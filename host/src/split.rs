//! Split: one thing for all, or two, between which a share decides.
//!
//! Used by who serves code: objects (each has a place by its id), workers and assets
//! (requests take places in turn). Places are 0 to 99. A place that has the next thing
//! keeps it while the share grows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::id::ObjectId;

/// How many places there are.
const PLACES: u32 = 100;

#[derive(Debug)]
pub struct Split<T> {
    main: Arc<T>,
    /// What the places below the number have.
    next: Option<(Arc<T>, u8)>,
}

/// Hands out places so that any run of requests is shared out evenly.
#[derive(Debug, Default)]
pub struct Turns(AtomicU32);

/// The place of an object: the same under every version.
#[must_use]
pub fn place(id: &ObjectId) -> u32 {
    let bytes = id.bytes();
    // Ids are the output of a keyed hash; the registry's shards use the first byte.
    u32::from_le_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]) % PLACES
}

impl Turns {
    pub fn next(&self) -> u32 {
        // 37 and 100 have no common divisor: every place comes once in a hundred.
        self.0.fetch_add(37, Ordering::Relaxed) % PLACES
    }
}

impl<T> Split<T> {
    #[must_use]
    pub const fn all(main: Arc<T>) -> Self {
        Self { main, next: None }
    }

    /// Beside the main thing another one, for `percent` of the places.
    #[must_use]
    pub fn with(&self, next: Arc<T>, percent: u8) -> Self {
        Self {
            main: self.main.clone(),
            next: Some((next, percent)),
        }
    }

    /// The next thing for `percent` of the places, which makes it the main one at 100
    /// and takes it away at 0.
    #[must_use]
    pub fn advanced(&self, percent: u8) -> Self {
        match &self.next {
            Some((next, _)) if percent >= 100 => Self::all(next.clone()),
            Some((next, _)) if percent > 0 => self.with(next.clone(), percent),
            _ => Self::all(self.main.clone()),
        }
    }

    /// What is here and not there.
    pub fn not_in<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a Arc<T>> {
        let here = [Some(&self.main), self.next()].into_iter().flatten();
        here.filter(|one| {
            let there = [Some(&other.main), other.next()];
            !there.into_iter().flatten().any(|two| Arc::ptr_eq(one, two))
        })
    }

    #[must_use]
    pub fn main(&self) -> &Arc<T> {
        &self.main
    }

    #[must_use]
    pub fn next(&self) -> Option<&Arc<T>> {
        self.next.as_ref().map(|(next, _)| next)
    }

    /// What a place has; the place is only asked for if it matters.
    pub fn at(&self, place: impl FnOnce() -> u32) -> &Arc<T> {
        match &self.next {
            Some((next, percent)) if place() < u32::from(*percent) => next,
            _ => &self.main,
        }
    }
}

impl<T> Clone for Split<T> {
    fn clone(&self) -> Self {
        Self {
            main: self.main.clone(),
            next: self.next.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Namespace;

    #[test]
    fn an_object_that_has_the_next_thing_keeps_it_while_the_share_grows() {
        let namespace = Namespace::new("Room", "Room");
        let main = Split::all(Arc::new("old"));
        let split = |percent| main.with(Arc::new("new"), percent);
        let ids: Vec<_> = (0..1_000)
            .map(|number| namespace.id_from_name(&number.to_string()).id)
            .collect();
        let new = |percent| -> Vec<usize> {
            let split = split(percent);
            let has = |id: &ObjectId| **split.at(|| place(id)) == "new";
            (0..ids.len()).filter(|at| has(&ids[*at])).collect()
        };
        assert!(new(0).is_empty() && new(100).len() == 1_000);
        let (few, many) = (new(10), new(50));
        assert!((60..140).contains(&few.len()), "{}", few.len());
        assert!((430..570).contains(&many.len()), "{}", many.len());
        assert!(few.iter().all(|at| many.contains(at)));
    }

    #[test]
    fn requests_are_shared_out_evenly() {
        let turns = Turns::default();
        let split = Split::all(Arc::new(0)).with(Arc::new(1), 10);
        for _ in 0..3 {
            let new: i32 = (0..100).map(|_| **split.at(|| turns.next())).sum();
            assert_eq!(new, 10);
        }
    }
}
