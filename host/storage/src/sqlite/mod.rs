//! SQLite's C interface, as far as this crate uses it.
//!
//! The only callers are `database` and its neighbours. Safe to call from one thread at
//! a time: connections are opened without SQLite's own mutexes. Nothing here knows of
//! turns, objects or limits; errors carry SQLite's text and extended code.

mod connection;
mod program;
mod statement;
mod tally;

pub(crate) mod code;

pub(crate) use connection::{Connection, start};
pub(crate) use statement::Statement;
pub(crate) use tally::{Rows, Tally};
