//! Durable objects for the Dormouse host, in Rust.

#![warn(missing_docs)]

// Makes the paths that `#[durable_object]` writes work in here, too.
extern crate self as dormouse_sdk;

mod bindings;
mod component;
pub mod http;
mod logging;
mod object;
pub mod sql;
mod time;

pub use anyhow::{Context, Error, Result, bail, ensure};
pub use dormouse_macros::durable_object;
pub use log;
pub use object::{DurableObject, Env, ObjectId, State};
pub use time::sleep;

/// What a file that defines an object needs: `use dormouse_sdk::prelude::*;`.
pub mod prelude {
    pub use crate::http::{Body, Request, Response, StatusCode};
    pub use crate::object::{DurableObject, Env, ObjectId, State};
    pub use crate::sql::{Json, Sql, params};
    pub use crate::{Context, Error, Result, bail, durable_object, ensure, log, sleep};
}

/// For the code that `#[durable_object]` writes; not part of the interface.
#[doc(hidden)]
pub mod __private {
    pub use crate::component::Class;
    pub use inventory;
}
