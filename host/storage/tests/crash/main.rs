//! The crash suite: storage over a disk that loses what it may lose.
//!
//! `DORMOUSE_CRASHES=1000000 cargo test --release -p dormouse-storage --test crash` raises
//! the volume of the random part; every failure prints the seed that repeats it.

#![allow(unreachable_pub, clippy::unwrap_used)]

mod chain;
mod damage;
mod every_cut;
mod space;
mod world;

use dormouse_storage::simulated as disk;
