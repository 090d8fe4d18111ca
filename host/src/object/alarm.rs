//! Alarms as events: what needs no instance, and what a reset leaves to be done.
//!
//! Used by `live` before it wakes an object and after the instance ended, and by
//! `awake` to know alarms. Also how the scheduler reaches objects.

use dormouse_storage::{Database, Error, Ticket};
use tokio::sync::oneshot;

use super::caller::Caller;
use super::registry::Registry;
use crate::alarm::{Address, Answer, Deliver, Fire, Note, counts};
use crate::event::{AlarmAction, Event, Fault, Kind, Reply, RequestId, Reset};
use crate::guest::{AlarmRun, Identity, look_asleep, perform_alarm_action};
use crate::id::ObjectName;

pub(super) const fn is_alarm(event: &Event) -> bool {
    matches!(event.kind, Kind::Alarm(_))
}

/// Whether other alarms wait until this one has started.
pub(super) const fn is_crowded(event: &Event) -> bool {
    matches!(&event.kind, Kind::Alarm(fire) if fire.crowded)
}

/// What became of an event for an object that sleeps.
pub(super) enum Asleep {
    Wake(Event),
    Answered(Answered),
}

/// An answer behind the output gate of an object that never woke.
pub(super) struct Answered {
    caller: Caller,
    gate: Ticket,
    result: Result<Reply, Fault>,
}

impl Answered {
    pub(super) async fn deliver(self, who: &Identity) {
        let result = match self.gate.await {
            Ok(()) => self.result,
            Err(dead) => Err(Fault::Reset(Reset::Storage(dead.to_string().into()))),
        };
        self.caller.answer(who, result);
    }
}

/// Answers what the database alone can answer. An alarm that is not due corrects
/// the index and wakes nobody.
pub(super) fn look(database: &mut Database, event: Event, note: &Note, now_ms: i64) -> Asleep {
    let result = match &event.kind {
        Kind::Alarm(fire) => match is_due(database, fire, now_ms) {
            Ok(true) => return Asleep::Wake(event),
            Ok(false) => Ok(Reply::Done),
            Err(error) => Err(error),
        },
        Kind::Alarms(action) => act(database, action, note, now_ms),
        Kind::Look(look) => look_asleep(database, look).map(Reply::Look),
        _ => return Asleep::Wake(event),
    };
    Asleep::Answered(Answered {
        caller: Caller::untraced(event),
        gate: database.gate(),
        result: result.map_err(storage_fault),
    })
}

fn is_due(database: &mut Database, fire: &Fire, now_ms: i64) -> Result<bool, Error> {
    let summary = database.alarm_summary()?;
    let due = summary.next_ms.is_some_and(|next| next <= now_ms);
    if !due {
        fire.taken(summary);
    }
    Ok(due)
}

fn act(
    database: &mut Database,
    action: &AlarmAction,
    note: &Note,
    now_ms: i64,
) -> Result<Reply, Error> {
    let alarms = perform_alarm_action(database, action, now_ms)?;
    database.end_turn()?;
    note.set(database.alarm_summary()?);
    Ok(Reply::Alarms(alarms))
}

fn storage_fault(error: Error) -> Fault {
    Fault::Reset(Reset::Storage(error.to_string().into()))
}

/// How an instance ended before its time.
pub(super) struct Ended {
    pub(super) fault: Fault,
    /// The event that woke it was an alarm, and its handler was never called.
    pub(super) first_was_alarm: bool,
}

/// Writes down what alarms lost their handlers, if that was the guest's doing. The
/// scheduler learns of the rest by the events' answers.
pub(super) fn after(
    mut database: Database,
    ended: &Ended,
    runs: &[AlarmRun],
    note: &Note,
    now_ms: i64,
) {
    if !counts(&ended.fault) || (runs.is_empty() && !ended.first_was_alarm) {
        return;
    }
    if let Err(error) = write_down(&mut database, ended, runs, note, now_ms) {
        let Address { class, id } = note.address();
        let (class, object) = (&**class, tracing::field::display(id));
        tracing::error!(
            app = note.app(),
            class,
            object,
            "a failed alarm cannot be written down: {error}"
        );
        note.postpone(now_ms);
    }
}

fn write_down(
    database: &mut Database,
    ended: &Ended,
    runs: &[AlarmRun],
    note: &Note,
    now_ms: i64,
) -> Result<(), Error> {
    let error = ended.fault.to_string();
    for run in runs {
        run.failed(database, now_ms, &error)?;
    }
    if ended.first_was_alarm
        && let Some(alarm) = database.start_alarm(now_ms)?
    {
        AlarmRun::unstarted(alarm, note.clone()).failed(database, now_ms, &error)?;
    }
    database.end_turn()?;
    note.set(database.alarm_summary()?);
    Ok(())
}

impl Deliver for Registry {
    fn deliver(&self, address: &Address, kind: Kind) -> Option<Answer> {
        let served = self.served();
        let namespace = served.namespaces.get(served.class_of(&address.class)?)?;
        let (reply, answer) = oneshot::channel();
        let object = ObjectName {
            id: address.id,
            name: None,
        };
        let request_id = RequestId::next();
        let event = Event {
            request_id,
            kind,
            reply,
        };
        self.deliver(namespace, object, event);
        Some(answer)
    }
}
