//! SQL of an operator, on an object that is awake or asleep.
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
use crate::event::{SqlAnswer, SqlText};

/// Longer statements are stopped.
const MOST: Duration = Duration::from_secs(10);

/// For an object that is awake; what was written is committed as a turn.
pub(super) fn run<'a>(
    accessor: &'a Accessor<Context>,
    call: CallId,
    text: &SqlText,
) -> wasmtime::Result<Running<'a>> {
    let answer = accessor.with(|mut access| -> wasmtime::Result<_> {
        let context = access.get();
        let meter = context.meter.clone();
        let database = context.database()?;
        Ok(meter.lend(MOST, || perform(database, text)))
    })?;
    Ok(at_once(call, Returned::Sql(answer)))
}

/// The same for the database of an object that sleeps.
pub fn run_asleep(database: &mut Database, text: &SqlText) -> Result<SqlAnswer, Error> {
    let until = Instant::now() + MOST;
    database.set_interrupt(Box::new(move || Instant::now() > until));
    if database.database_size()? == 0 {
        return Ok(SqlAnswer::NoObject);
    }
    let answer = beside_other_tasks(|| perform(database, text));
    database.end_turn()?;
    Ok(answer)
}

fn perform(database: &mut Database, text: &SqlText) -> SqlAnswer {
    match database.operate(&text.sql, &text.params, text.writes, text.max_rows) {
        Ok(answer) => SqlAnswer::Rows(answer),
        Err(error) => SqlAnswer::Failed(error),
    }
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
