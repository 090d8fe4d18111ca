//! Alarm: wakes objects when their time has come.
//!
//! `index` knows when which object wants to be looked at, `scheduler` waits and
//! delivers, `retry` and `cron` say when next. Whether an alarm is due is decided
//! by the object's own database, which the object room opens: an entry that is out
//! of date corrects the index and calls nobody.
//!
//! The index lives in memory only. Alarms are rows in the objects' databases, and
//! the header of each object's file holds a lower bound of its earliest alarm,
//! written in the same transaction; at its start a host reads these four bytes of
//! every file (36 µs each on a busy machine) while it serves already. So there is no second durable
//! store that could be later than the truth, and no ordering to get wrong: after
//! kill -9 or a power cut the index is what the commit log says. Between start and
//! end it follows the commits.

pub mod cron;
mod index;
mod retry;
mod scheduler;

pub use index::{Address, Alarms, Fire, Note};
pub use retry::{RUN_LIMIT, Verdict, counts, verdict};
pub use scheduler::{Answer, Deliver, Scheduler};
