//! The contract in `wit/` as Rust, generated; the rest of the crate wraps it.
//!
//! Off wasm every import panics: the crate compiles natively so that tools and
//! unit tests of pure code work.

#![allow(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    unsafe_code,
    unused,
    clippy::all,
    reason = "generated"
)]

wit_bindgen::generate!({
    path: "../wit",
    world: "all-handlers",
    generate_all,
});

// This crate exports the interface, not the user's: any component that links it
// carries the exports, once, however many classes it has.
#[cfg(target_family = "wasm")]
export!(Component with_types_in self);

#[cfg(target_family = "wasm")]
use crate::component::Component;
