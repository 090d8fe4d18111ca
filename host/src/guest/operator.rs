//! SQL of an operator, and key-value pairs, on an object that is awake or asleep.
//!
//! Runs between turns and calls no guest. The statement has a time of its own, so
//! that looking at an object never uses up the budget of its code.

use std::time::{Duration, Instant};

use dormouse_storage::{Database, Error};
use tokio::runtime::{Handle, RuntimeFlavor};
use wasmtime::component::Accessor;

use super::alarm::at_once;
use super::context::Context;
use super::instance::{CallId, Returned, Running};
use super::limits::Meter;
use crate::event::{Look, LookAnswer};

/// Longer statements are stopped.
const MOST: Duration = Duration::from_secs(10);

/// For an object that is awake; what was written is committed as a turn.
pub(super) fn run<'a>(
    accessor: &'a Accessor<Context>,
    call: CallId,
    look: &Look,
) -> wasmtime::Result<Running<'a>> {
    let answer = accessor.with(|mut access| -> wasmtime::Result<_> {
        let context = access.get();
        let meter = context.meter.clone();
        let database = context.database()?;
        Ok(meter.lend(MOST, || perform(database, look)))
    })?;
    Ok(at_once(call, Returned::Look(answer)))
}

/// The same for the database of an object that sleeps.
pub fn run_asleep(database: &mut Database, look: &Look) -> Result<LookAnswer, Error> {
    let until = Instant::now() + MOST;
    database.set_interrupt(Box::new(move || Instant::now() > until));
    if database.database_size()? == 0 {
        return Ok(LookAnswer::NoObject);
    }
    let answer = beside_other_tasks(|| perform(database, look));
    database.end_turn()?;
    Ok(answer)
}

/// The statements run from now on may take `most` together; other tasks of the thread go
/// on meanwhile.
pub fn set_budget(database: &mut Database, most: Duration) {
    let meter = Meter::new(most);
    meter.poll_begins();
    database.set_interrupt(Box::new(move || {
        meter.give_way();
        meter.exhausted()
    }));
}

fn perform(database: &mut Database, look: &Look) -> LookAnswer {
    let answer = match look {
        Look::Sql(text) => database
            .operate(&text.sql, &text.params, text.writes, text.max_rows)
            .map(LookAnswer::Rows),
        // Its savepoint would make a database where there is none.
        Look::DryRun(_) if matches!(database.database_size(), Ok(0)) => Ok(LookAnswer::NoObject),
        Look::DryRun(text) => database
            .rehearse(&text.sql, &text.params, text.max_rows)
            .map(LookAnswer::Rehearsed),
        Look::Pairs(list) => database.kv_list(list).map(LookAnswer::Pairs),
    };
    answer.unwrap_or_else(LookAnswer::Failed)
}

/// Lets other threads have the tasks of this one meanwhile.
fn beside_other_tasks<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current() {
        Ok(handle) if handle.runtime_flavor() == RuntimeFlavor::MultiThread => {
            tokio::task::block_in_place(work)
        }
        _ => work(),
    }
}
