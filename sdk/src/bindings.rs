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

/// The worker alone: `#[worker]` exports it from the crate it stands in, so that a
/// component has this export if it has a worker, and not otherwise.
pub mod worker {
    wit_bindgen::generate!({
        path: "../wit",
        world: "worker-handling",
        generate_all,
        with: {
            "dormouse:object/types@0.1.0": crate::bindings::dormouse::object::types,
            "dormouse:object/websocket@0.1.0": crate::bindings::dormouse::object::websocket,
            "dormouse:object/log@0.1.0": crate::bindings::dormouse::object::log,
            "dormouse:object/namespace@0.1.0": crate::bindings::dormouse::object::namespace,
            "dormouse:object/outgoing@0.1.0": crate::bindings::dormouse::object::outgoing,
            "wasi:clocks/types@0.3.0": crate::bindings::wasi::clocks::types,
            "wasi:clocks/monotonic-clock@0.3.0": crate::bindings::wasi::clocks::monotonic_clock,
        },
        pub_export_macro: true,
        export_macro_name: "export_worker",
        default_bindings_module: "::dormouse_sdk::__private::worker",
    });
}

// This crate exports the interface, not the user's: any component that links it
// carries the exports, once, however many classes it has.
#[cfg(target_family = "wasm")]
export!(Component with_types_in self);

#[cfg(target_family = "wasm")]
use crate::component::Component;
