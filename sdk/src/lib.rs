//! Durable objects for the Dormouse host, in Rust.
//!
//! A durable object is a small server with a name and a SQLite database of its
//! own. There is at most one of each name, so its code needs no lock and no
//! cache; nobody else writes its data. When nobody talks to it, it sleeps and
//! costs a file.
//!
//! # A first object
//!
//! `Cargo.toml`, and beside it `dormouse.toml` with the line `name = "counter"`:
//!
//! ```toml
//! [package]
//! name = "counter"
//! edition = "2024"
//! [lib]
//! crate-type = ["cdylib"]
//! [dependencies]
//! dormouse-sdk = "0.1"
//! ```
//!
//! `src/lib.rs`:
//!
//! ```no_run
//! use dormouse_sdk::prelude::*;
//!
//! struct Counter {
//!     state: State,
//! }
//!
//! #[durable_object]
//! impl DurableObject for Counter {
//!     async fn new(state: State, _env: Env) -> Result<Self> {
//!         state.sql().exec(
//!             "CREATE TABLE IF NOT EXISTS counter (id INTEGER PRIMARY KEY, value INTEGER NOT NULL)",
//!             (),
//!         )?;
//!         Ok(Self { state })
//!     }
//!
//!     async fn fetch(&self, _request: Request) -> Result<Response> {
//!         let value: i64 = self.state.sql().one(
//!             "INSERT INTO counter VALUES (1, 1)
//!              ON CONFLICT (id) DO UPDATE SET value = value + 1 RETURNING value",
//!             (),
//!         )?;
//!         Ok(Response::text(format!("{value}\n")))
//!     }
//! }
//! # fn main() {}
//! ```
//!
//! `cargo build --release --target wasm32-wasip2` makes the component. Any
//! number of classes may live in it, in any module: [`durable_object`] registers
//! each, and this crate exports them all.
//!
//! # Awaits
//!
//! The code from one `.await` to the next is a *turn*. Two things happen at an
//! `.await`, and nowhere else:
//!
//! * What the turn wrote is committed, all of it together. A panic before that
//!   undoes the whole turn and restarts the object. (An error that a handler
//!   returns undoes nothing; [`Sql::transaction`](sql::Sql::transaction) does.)
//! * Other events of the object may run. So a value read before an `.await` may
//!   be out of date after it; read, decide and write in one turn, and the
//!   question does not arise.
//!
//! Nothing that an object says leaves the host before the writes it depends on
//! are durable. No handler has to wait for that.
//!
//! Handlers take `&self`, because several may be under way. Fields that change
//! are [`Cell`](std::cell::Cell) or [`RefCell`](std::cell::RefCell); a `RefCell`
//! borrowed across an `.await` panics as soon as another event borrows it, which
//! `#![deny(clippy::await_holding_refcell_ref)]` finds. Fields are a cache: they
//! are gone when the object sleeps.
//!
//! Wait with [`sleep`], never with `std::thread::sleep`, which stops the object.
//!
//! # Workers
//!
//! A function with [`worker`](macro@worker) on it stands in front of the objects: it
//! gets every request, and asks an object or answers by itself. See there.
//!
//! # Alarms
//!
//! [`State::alarm`] wakes the object at a time of its choice, to the millisecond or
//! by a cron schedule; [`DurableObject::alarm`] is then called, never early and at
//! least once, and called again if it fails. See [`Alarm`].
//!
//! # Errors
//!
//! [`Error`] and [`Result`] are those of `anyhow`: `?` takes any error, and
//! [`Context`], [`bail!`] and [`ensure!`] add words. What a handler returns as an
//! error is logged with its whole chain of causes; the client sees status 500.
//!
//! # Logging
//!
//! Records of the [`log`] crate, here as [`log`](mod@log), reach the host's log
//! with their key-values as fields; a panic does, too, with its location. What
//! is printed goes there as well. Records below the host's level are not even
//! formatted. `tracing` arrives the same way with its feature `log`, as long as
//! no subscriber is set.
//!
//! ```no_run
//! # use dormouse_sdk::prelude::*;
//! # fn handler(room: &str) {
//! log::info!(room, members = 3; "somebody joined");
//! # }
//! ```
//!
//! # Natively
//!
//! The crate compiles for every target, so that `cargo check`, editors and unit
//! tests of your own logic work. What needs the host, such as [`sql::Sql`],
//! panics there.
//!
//! # Features
//!
//! * `chrono`, `jiff`: their dates and times as parameters and columns.

#![warn(missing_docs)]

// Makes the paths that `#[durable_object]` writes work in here, too.
extern crate self as dormouse_sdk;

pub mod alarm;
mod api;
mod bindings;
pub mod bookmark;
mod component;
pub mod database;
mod gate;
pub mod http;
pub mod kv;
pub mod kv_store;
mod logging;
pub mod namespace;
mod object;
mod outgoing;
mod requirements;
pub mod sql;
mod time;
pub mod websocket;
mod worker;

pub use alarm::{Alarm, AlarmInfo};
pub use anyhow::{Context, Error, Result, bail, ensure};
pub use dormouse_macros::{durable_object, object_api, worker};
pub use log;
pub use namespace::{CallError, CallErrorKind, MethodError, Namespace, Stub};
pub use object::{DurableObject, Env, ObjectId, State};
pub use outgoing::{Fetch, FetchError, FetchErrorKind, fetch};
pub use time::sleep;
pub use worker::WorkerContext;

/// What a file that defines an object needs: `use dormouse_sdk::prelude::*;`.
pub mod prelude {
    pub use crate::alarm::{Alarm, AlarmInfo};
    pub use crate::bookmark::Bookmarks;
    pub use crate::database::{Database, Statement};
    pub use crate::http::{Body, Request, Response, StatusCode};
    pub use crate::kv::{Kv, ListOptions};
    pub use crate::kv_store::{KvStore, ListKeys};
    pub use crate::namespace::{CallError, CallErrorKind, MethodError, Namespace, Stub};
    pub use crate::object::{DurableObject, Env, ObjectId, State};
    pub use crate::sql::{Json, Migrations, Sql, params};
    pub use crate::websocket::{Message, Upgrade, WebSocket};
    pub use crate::worker::WorkerContext;
    pub use crate::{
        Context, Error, Result, bail, durable_object, ensure, fetch, log, needs, object_api, sleep,
        worker,
    };
}

/// For the code that the attributes write; not part of the interface.
#[doc(hidden)]
pub mod __private {
    pub use crate::api::{Answer, Api, Call, Methods, call, call_for_body, declared, failed};
    pub use crate::bindings::dormouse::object::types;
    pub use crate::bindings::exports::dormouse::object::call_handler::CallError as Failure;
    pub use crate::bindings::worker;
    pub use crate::component::Class;
    pub use crate::namespace::Callee;
    pub use crate::requirements::Need;
    pub use crate::worker::{check, serve};
    pub use inventory;
}
