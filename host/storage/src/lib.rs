//! Storage: one SQLite database per object, durable before anything is heard.
//!
//! Used by the host's guest imports and object life; it knows neither wasm, HTTP
//! nor an asynchronous runtime. Every call blocks its thread for microseconds; only
//! [`Ticket`] is waited for, and it is a plain `Future`.
//!
//! The life of a write: the first writing statement of a turn opens the transaction
//! ([`Database::exec`]), [`Database::end_turn`] commits it, [`Database::gate`] says
//! when it is durable. A trap calls [`Database::abandon_turn`] and leaves nothing.
//!
//! Unsafe code is confined to `sqlite` (the C interface) and to modules that say so
//! in their header; SQLite is driven through its C API because cursors that outlive
//! a call, the authorizer's reasons and the page file are not reachable otherwise.

mod alarm;
mod backup;
mod bookmark;
mod cache;
mod checkpoint;
mod cursor;
mod database;
mod disk;
mod error;
mod fault;
mod files;
mod guard;
mod history;
mod key;
mod kv;
mod log;
mod manifest;
mod names;
mod open;
mod operator;
mod options;
mod pages;
mod recovery;
mod reserved;
mod sqlite;
mod storage;
mod tallies;
mod text;
mod threads;
mod ticket;
mod transaction;
mod travel;
mod turn;
mod value;
mod vfs;

pub use alarm::{
    Alarm, AlarmSummary, Cron, DeadLetter, Hint as AlarmHint, MAX_ALARMS, Outcome as AlarmOutcome,
    Policy as AlarmPolicy,
};
pub use backup::{Backup, Take};
pub use bookmark::Bookmark;
pub use cursor::CursorId;
pub use database::Database;
#[cfg(feature = "simulation")]
pub use disk::simulated;
pub use disk::{Clock, Disk, DiskFile, Entry, Env};
pub use error::{Error, Kind};
pub use fault::{Fault, Faults};
pub use key::ObjectKey;
pub use kv::{KvEntry, KvList, KvPage, KvValue};
pub use operator::{Answer as OperatorAnswer, Rehearsal};
pub use options::{Limits, Options};
pub use storage::{Listed, Storage};
pub use ticket::{Dead, Pos, Ticket};
pub use travel::{Change, Changed, Commit, Commits, Diff, HistoryInfo};
pub use turn::SavepointId;
pub use value::{Batch, ResultSet, Row, Value};
