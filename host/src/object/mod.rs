//! Object: the life of every object, at most one instance each.
//!
//! `registry` finds or makes the slot of an object and puts events into its
//! mailbox; `live` is the task behind a slot: it wakes the object, feeds it and
//! puts it to sleep. `room` bounds the instances of all apps of a host, `neighbours`
//! leads calls from one app to another. Knows guest and storage by their handles; knows no HTTP and
//! no SQL.

mod alarm;
mod awake;
mod caller;
mod deadlines;
mod held;
mod live;
mod mail;
mod mailbox;
mod native;
mod neighbours;
mod registry;
mod room;
mod section;
mod signal;

/// The target of the record at debug level that tells of every new instance.
pub const WAKES: &str = "dormouse::wakes";

pub use mail::Mail;
pub use neighbours::Neighbours;
pub use registry::{Around, Options, Present, Registry, Served, namespaces};
pub use room::Room;
