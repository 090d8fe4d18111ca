//! Synchronize [TinyBase](https://tinybase.org) clients through a durable object.
//!
//! Unmodified clients (npm `tinybase`, `createWsSynchronizer`) connect to an object
//! of a class made with [`WsServerDurableObject`], which relays their changes, keeps
//! a store of its own if [`create_persister`] gives one, and sleeps with their
//! sockets open. See [`ws_server_durable_object!`] for a whole class, and
//! `docs/tinybase.md` for what it promises.
//!
//! [`core`] is the protocol itself, without any input or output.
//!
//! [`create_persister`]: WsServerDurableObject::create_persister

pub mod core;
mod persist;
mod server;

pub use crate::core::{Content, Edit, Store};
pub use persist::{CommandLog, JsonNames, Persister};
pub use server::{Presence, SERVER_CLIENT_ID, WsServer, WsServerDurableObject};
