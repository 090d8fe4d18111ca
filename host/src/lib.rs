//! Dormouse: a host for durable objects written as WebAssembly components.
//!
//! Rooms, each a module: the floor (`id event clock chance outbox`), `guest` (wasmtime),
//! `object` (life), `alarm`, `server` (HTTP), `manifest` and `cli`; `host` joins them.
//! Storage is a crate of its own. `docs/architecture.md` shows the arrows.

pub mod alarm;
pub mod chance;
pub mod cli;
pub mod clock;
pub mod event;
pub mod guest;
pub mod host;
pub mod id;
pub mod manifest;
pub mod object;
pub mod outbox;
pub mod server;
pub mod socket;

pub use host::{App, Builder, Host, Settings};
