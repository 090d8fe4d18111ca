//! Chance: the one place where randomness comes from, so that tests can repeat it.
//!
//! Carried by the clock, since whoever holds one holds both. `Chance::system()` is
//! that of the machine; a seeded one gives the same numbers in the same order, and
//! a shuffling one also lets events pass each other where their order is free.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Cheap to clone; clones draw from the same sequence.
#[derive(Clone, Debug)]
pub struct Chance {
    sequence: Option<Arc<AtomicU64>>,
    shuffles: bool,
}

impl Chance {
    #[must_use]
    pub const fn system() -> Self {
        Self {
            sequence: None,
            shuffles: false,
        }
    }

    /// The same numbers for the same seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self {
            sequence: Some(Arc::new(AtomicU64::new(seed))),
            shuffles: false,
        }
    }

    /// As `seeded`; what may happen in any order does so in an order of chance.
    #[must_use]
    pub fn shuffling(seed: u64) -> Self {
        Self {
            shuffles: true,
            ..Self::seeded(seed)
        }
    }

    #[must_use]
    pub const fn is_seeded(&self) -> bool {
        self.sequence.is_some()
    }

    /// Any number, each as likely as the others; no secret may be made of it.
    #[must_use]
    pub fn number(&self) -> u64 {
        match &self.sequence {
            // SplitMix64 (Steele, Lea, Flood 2014).
            Some(sequence) => mix(sequence
                .fetch_add(STEP, Ordering::Relaxed)
                .wrapping_add(STEP)),
            None => RandomState::new().hash_one(STEP),
        }
    }

    /// Whether something else goes first; never outside a test that shuffles.
    #[must_use]
    pub fn gives_way(&self) -> bool {
        self.shuffles && self.number().is_multiple_of(2)
    }
}

const fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_numbers() {
        let numbers = |seed| {
            let chance = Chance::seeded(seed);
            [(); 3].map(|()| chance.number())
        };
        assert_eq!(numbers(7), numbers(7));
        assert_ne!(numbers(7), numbers(8));
    }

    #[test]
    fn only_a_shuffling_one_gives_way() {
        let given = |chance: &Chance| (0..64).filter(|_| chance.gives_way()).count();
        assert_eq!(given(&Chance::system()), 0);
        assert_eq!(given(&Chance::seeded(1)), 0);
        assert!((16..48).contains(&given(&Chance::shuffling(1))));
    }
}
