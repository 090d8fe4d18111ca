//! Alarms of a live object: starting their handlers and writing down the end.
//!
//! Called by `instance` between turns. Which alarm is due is asked of the object's
//! database, the truth; an event that came for nothing calls no guest. The end of
//! a handler that answered is written in the turn of its last writes; after a reset
//! the object room does it with [`Run::failed`].

use std::future::ready;

use dormouse_storage::{Alarm, AlarmOutcome, Database, Error};
use wasmtime::AsContextMut;
use wasmtime::component::Accessor;

use super::bindings::alarm::exports::dormouse::object::alarm_handler as exports;
use super::bindings::dormouse::object::types;
use super::context::Context;
use super::instance::{CallId, Returned, Running, StorageFailed};
use crate::alarm::{Fire, Note, Verdict, cron, verdict};
use crate::event::{AlarmAction, RequestId};

const NO_HANDLER: &str = "its class has no handler for alarms any more";
/// Of an error's text, what a dead letter keeps.
const MAX_ERROR_BYTES: usize = 1_000;

/// One alarm whose handler runs.
#[derive(Debug)]
pub struct Run {
    call: CallId,
    alarm: Alarm,
    note: Note,
}

impl Run {
    /// An alarm whose handler could not even be called.
    #[must_use]
    pub const fn unstarted(alarm: Alarm, note: Note) -> Self {
        Self {
            call: 0,
            alarm,
            note,
        }
    }

    /// Writes down a failure that counts: a retry or a dead letter.
    pub fn failed(&self, database: &mut Database, now_ms: i64, error: &str) -> Result<(), Error> {
        let outcome = match verdict(&self.alarm, now_ms, self.note.random()) {
            Verdict::RetryAt { ms } => AlarmOutcome::Retry { at_ms: ms },
            Verdict::Dead => self.dead(error, now_ms),
        };
        let kept = database.finish_alarm(&self.alarm, outcome)?;
        if kept && matches!(outcome, AlarmOutcome::Dead { .. }) {
            self.log_dead(error);
        }
        Ok(())
    }

    fn succeeded(&self, database: &mut Database, now_ms: i64) -> Result<(), Error> {
        let next_ms = match self.next_ms(now_ms).transpose() {
            Ok(next_ms) => next_ms,
            Err(error) => return self.given_up(database, now_ms, &error.to_string()),
        };
        database.finish_alarm(&self.alarm, AlarmOutcome::Done { next_ms })?;
        Ok(())
    }

    fn given_up(&self, database: &mut Database, now_ms: i64, error: &str) -> Result<(), Error> {
        if database.finish_alarm(&self.alarm, self.dead(error, now_ms))? {
            self.log_dead(error);
        }
        Ok(())
    }

    fn dead<'a>(&self, error: &'a str, now_ms: i64) -> AlarmOutcome<'a> {
        AlarmOutcome::Dead {
            error: &error[..error.floor_char_boundary(MAX_ERROR_BYTES)],
            next_ms: self.next_ms(now_ms).and_then(Result::ok),
        }
    }

    /// When the alarm's schedule, if it has one, wants it again. An error means that
    /// the world has changed: time zones come and go.
    fn next_ms(&self, now_ms: i64) -> Option<Result<i64, cron::Error>> {
        let cron = self.alarm.cron.as_ref()?;
        Some(cron::next_ms(&cron.expression, &cron.zone, now_ms))
    }

    fn log_dead(&self, error: &str) {
        let address = self.note.address();
        let (class, object) = (&*address.class, tracing::field::display(address.id));
        let (app, alarm) = (self.note.app(), &*self.alarm.name);
        tracing::error!(
            app,
            class,
            object,
            alarm,
            "the alarm is a dead letter now: {error}"
        );
    }
}

/// Starts the handler of the alarm that is due, if there is one.
pub(super) fn start<'a>(
    accessor: &'a Accessor<Context>,
    handler: Option<&exports::Guest>,
    call: CallId,
    request_id: RequestId,
    fire: Fire,
) -> wasmtime::Result<Running<'a>> {
    let Some(alarm) = due(accessor, &fire)? else {
        return Ok(at_once(call, Returned::Done));
    };
    let info = exports::Info {
        name: (!alarm.name.is_empty()).then(|| alarm.name.clone()),
        scheduled_time: alarm.scheduled_ms.unwrap_or_default(),
        retry_count: alarm.retries.saturating_add(fire.faults),
        is_retry: alarm.retries > 0 || fire.faults > 0,
    };
    let note = fire.note().clone();
    let run = Run { call, alarm, note };
    let Some(handler) = handler else {
        return accessor.with(|mut access| {
            let context = access.get();
            let now_ms = context.clock.unix_ms();
            let ended = run.given_up(context.database()?, now_ms, NO_HANDLER);
            ended.map_err(StorageFailed::from)?;
            Ok(at_once(call, Returned::Done))
        });
    };
    let handler = handler.func_alarm();
    let started = accessor.with(|mut access| -> wasmtime::Result<_> {
        let started = handler.start_call_concurrent(access.as_context_mut(), (info,))?;
        let context = access.get();
        context.serve(started.task(), request_id);
        context.alarm_runs.push(run);
        Ok(started)
    })?;
    let task = started.task();
    Ok(Box::pin(async move {
        let result = handler.finish_call_concurrent(accessor, started).await;
        accessor.with(|mut access| access.get().answered(task));
        (
            call,
            result.map(|(result,)| result.map(|()| Returned::Done)),
        )
    }))
}

/// What an operator asks of an object that is awake.
pub(super) fn act<'a>(
    accessor: &'a Accessor<Context>,
    call: CallId,
    action: AlarmAction,
) -> wasmtime::Result<Running<'a>> {
    let reply = accessor.with(|mut access| -> wasmtime::Result<_> {
        let context = access.get();
        let now_ms = context.clock.unix_ms();
        let reply = perform(context.database()?, &action, now_ms);
        Ok(reply.map_err(StorageFailed::from)?)
    })?;
    Ok(at_once(call, Returned::Alarms(reply)))
}

/// The same for any object's database; the turn is left open.
pub fn perform(
    database: &mut Database,
    action: &AlarmAction,
    now_ms: i64,
) -> Result<Vec<Alarm>, Error> {
    match action {
        AlarmAction::List => {}
        AlarmAction::Revive(name) => drop(database.revive_alarm(name, now_ms)?),
        AlarmAction::Hasten(name) => drop(database.hasten_alarm(name, now_ms)?),
    }
    database.alarms()
}

/// Ends the run of an alarm whose handler has answered, if `call` is one.
pub(super) fn finish(
    accessor: &Accessor<Context>,
    call: CallId,
    result: &Result<Returned, types::Failure>,
) -> wasmtime::Result<()> {
    accessor.with(|mut access| {
        let context = access.get();
        let Some(at) = context.alarm_runs.iter().position(|run| run.call == call) else {
            return Ok(());
        };
        let run = context.alarm_runs.swap_remove(at);
        let now_ms = context.clock.unix_ms();
        let database = context.database()?;
        let ended = match result {
            Ok(_) => run.succeeded(database, now_ms),
            Err(failure) => run.failed(database, now_ms, &failure.message),
        };
        Ok(ended.map_err(StorageFailed::from)?)
    })
}

/// The alarm that runs from now on; tells the index what else there is.
fn due(accessor: &Accessor<Context>, fire: &Fire) -> wasmtime::Result<Option<Alarm>> {
    accessor.with(|mut access| {
        let context = access.get();
        let now_ms = context.clock.unix_ms();
        let database = context.database()?;
        let alarm = database.start_alarm(now_ms).map_err(StorageFailed::from)?;
        fire.taken(database.alarm_summary().map_err(StorageFailed::from)?);
        Ok(alarm)
    })
}

pub(super) fn at_once<'a>(call: CallId, returned: Returned) -> Running<'a> {
    Box::pin(ready((call, Ok(Ok(returned)))))
}
