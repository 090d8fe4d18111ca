//! Object: the life of every object, at most one instance each.
//!
//! `registry` finds or makes the slot of an object and puts events into its
//! mailbox; `live` is the task behind a slot: it wakes the object, feeds it and
//! puts it to sleep. Knows guest and storage by their handles; knows no HTTP and
//! no SQL.

mod alarm;
mod awake;
mod caller;
mod deadlines;
mod live;
mod mail;
mod mailbox;
mod registry;
mod section;
mod signal;

pub use mail::Mail;
pub use registry::{Options, Registry, Served, namespaces};
