//! Dormouse: a host for durable objects written as WebAssembly components.
//!
//! Rooms, each a module: the floor (`id chain event clock chance outbox trace slow`), `guest` (wasmtime),
//! `object` (life), `worker`, `egress`, `alarm`, `server` (HTTP), `manifest` and `cli`; `host` joins them.
//! `object` (life), `alarm`, `server` (HTTP), `manifest`, `secrets` and `cli`; `host` joins them.
//! Storage is a crate of its own. `docs/architecture.md` shows the arrows.

pub mod admin;
pub mod alarm;
pub mod builtin;
pub mod chain;
pub mod chance;
pub mod cli;
pub mod clock;
pub mod deploy;
pub mod egress;
pub mod event;
pub mod guest;
pub mod host;
pub mod id;
pub mod machine;
pub mod manifest;
pub mod measures;
pub mod object;
pub mod outbox;
pub mod secrets;
pub mod server;
pub mod slow;
pub mod socket;
pub mod split;
pub mod tally;
pub mod trace;
pub mod worker;

pub use host::{App, Builder, Host, Settings};
