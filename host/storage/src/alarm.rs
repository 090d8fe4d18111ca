//! Alarms: when an object wants to be woken, kept in its own database.
//!
//! A reserved table, part of the open turn like any write and undone with it. Used by
//! the guest imports (`get`, `set`, `delete`) and by who runs alarms (`start`, `finish`).
//! A row is one name; `''` is the default alarm. Times are milliseconds since 1970.
//!
//! Invariants: a row's `generation` changes with every `set`, so that the end of a run
//! never touches what was set during it. The file's header (`application_id`, which SQLite
//! leaves to applications) holds a lower bound of the earliest time, see [`Hint`]: a host
//! finds all alarms at its start by reading four bytes of each file, and the bound is
//! never later than the truth because both change in one transaction.

use std::io::{self, ErrorKind};

use crate::database::Database;
use crate::disk::Env;
use crate::error::Error;
use crate::files;
use crate::key::unhex;
use crate::reserved::has_table;
use crate::sqlite::Connection;
use crate::value::{Row, Value};

/// Names of one object; further ones are refused, because each change looks at all.
pub const MAX_ALARMS: usize = 1000;

const TABLE: &str = "CREATE TABLE IF NOT EXISTS _dormouse_alarms (\
    name TEXT PRIMARY KEY, generation INTEGER NOT NULL, scheduled_ms INTEGER, due_ms INTEGER, \
    retries INTEGER NOT NULL, max_retries INTEGER, first_delay_ms INTEGER, cron TEXT, zone TEXT, \
    dead_ms INTEGER, dead_error TEXT) WITHOUT ROWID";
const COLUMNS: &str = "name, generation, scheduled_ms, due_ms, retries, max_retries, \
    first_delay_ms, cron, zone, dead_ms, dead_error";

/// How a failing alarm is tried again; what is absent is the host's default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Policy {
    pub max_retries: Option<u32>,
    pub first_delay_ms: Option<i64>,
}

/// A schedule that sets its alarm anew after each run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    pub expression: String,
    /// Name of a time zone, such as `Europe/Berlin`.
    pub zone: String,
}

/// One row: a live alarm, a dead letter, or (with a schedule) both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// Empty for the default alarm.
    pub name: String,
    pub generation: i64,
    /// What was asked for; `None` when nothing is to run any more.
    pub scheduled_ms: Option<i64>,
    /// When it runs next: `scheduled_ms`, or later while it waits for a retry.
    pub due_ms: Option<i64>,
    /// Counted failures since it was scheduled.
    pub retries: u32,
    pub policy: Policy,
    pub cron: Option<Cron>,
    pub dead: Option<DeadLetter>,
}

/// A run that was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    pub scheduled_ms: i64,
    /// What the last try said.
    pub error: String,
}

/// How a run ended.
#[derive(Debug, Clone, Copy)]
pub enum Outcome<'a> {
    /// The alarm is done; `next_ms` is when its schedule wants it again.
    Done { next_ms: Option<i64> },
    /// It failed, which counts, and is tried again at this time.
    Retry { at_ms: i64 },
    /// It failed for the last time.
    Dead {
        error: &'a str,
        next_ms: Option<i64>,
    },
}

/// What a host must know of an object without waking it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AlarmSummary {
    /// The earliest time of an alarm that does not run already.
    pub next_ms: Option<i64>,
    /// Whether there are dead letters.
    pub dead: bool,
}

/// What the header of an object's file says about its alarms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    pub namespace: String,
    pub id: [u8; 32],
    /// No alarm is due before this time.
    pub not_before_ms: Option<i64>,
    pub dead: bool,
}

/// What an open database remembers about alarms.
#[derive(Debug, Default)]
pub(crate) struct AlarmState {
    /// Names and generations of alarms whose handlers run now.
    running: Vec<(String, i64)>,
    /// The highest generation seen. Memory is enough: a generation must differ only from
    /// those of running alarms, and these were read through this database.
    last_generation: i64,
    pub(crate) changed: bool,
}

impl Database {
    /// When the alarm is to run, or `None`. A running alarm is gone already, unless it was
    /// set anew; one that waits for a retry has the time it was set to.
    pub fn alarm(&mut self, name: &str) -> Result<Option<i64>, Error> {
        let row = self.alarm_row(name)?;
        Ok(row
            .filter(|row| !self.is_running(row))
            .and_then(|row| row.scheduled_ms))
    }

    /// Sets or replaces an alarm, and with it its retries and its dead letter. Nothing
    /// happens if that very alarm is set already. False: there are too many.
    pub fn set_alarm(
        &mut self,
        name: &str,
        at_ms: i64,
        policy: Policy,
        cron: Option<Cron>,
    ) -> Result<bool, Error> {
        let old = self.alarm_row(name)?;
        if let Some(old) = old.as_ref().filter(|old| !self.is_running(old)) {
            let alike = old.policy == policy && old.cron == cron && old.due_ms.is_some();
            let same_time = old.scheduled_ms == Some(at_ms) && old.due_ms == Some(at_ms);
            if alike && (cron.is_some() || same_time) {
                return Ok(true);
            }
        }
        if old.is_none() && self.count_alarms()? >= MAX_ALARMS {
            return Ok(false);
        }
        let generation = self.next_generation()?;
        self.alarm_state.changed = true;
        self.run_reserved(TABLE, &[], true)?;
        let (expression, zone) = cron.map(|cron| (cron.expression, cron.zone)).unzip();
        let values = [
            name.into(),
            generation.into(),
            at_ms.into(),
            at_ms.into(),
            optional(policy.max_retries.map(i64::from)),
            optional(policy.first_delay_ms),
            optional(expression),
            optional(zone),
        ];
        let sql = "INSERT OR REPLACE INTO _dormouse_alarms \
                   VALUES (?, ?, ?, ?, 0, ?, ?, ?, ?, NULL, NULL)";
        self.run_reserved(sql, &values, true)?;
        self.write_hint().map(|()| true)
    }

    /// Removes an alarm and its dead letter. The run of a running alarm goes on, and if
    /// it fails it is tried again.
    pub fn delete_alarm(&mut self, name: &str) -> Result<(), Error> {
        let row = self.alarm_row(name)?;
        if row.is_none_or(|row| self.is_running(&row)) {
            return Ok(());
        }
        self.alarm_state.changed = true;
        let sql = "DELETE FROM _dormouse_alarms WHERE name = ?";
        self.run_reserved(sql, &[name.into()], true)?;
        self.write_hint()
    }

    /// All alarms and dead letters, by name.
    pub fn alarms(&mut self) -> Result<Vec<Alarm>, Error> {
        if self.header()? == 0 {
            return Ok(Vec::new());
        }
        let sql = format!("SELECT {COLUMNS} FROM _dormouse_alarms ORDER BY name");
        let rows = self.run_reserved(&sql, &[], false)?;
        Ok(rows.into_iter().filter_map(alarm).collect())
    }

    /// What is to come, without what runs.
    pub fn alarm_summary(&mut self) -> Result<AlarmSummary, Error> {
        let (_, dead) = decode(self.header()?);
        let next_ms = self.next_alarm()?.and_then(|alarm| alarm.due_ms);
        Ok(AlarmSummary { next_ms, dead })
    }

    /// The summary, if it may have changed since it was last asked for. For the end of a
    /// turn: while one is open the answer may still be undone.
    pub fn take_alarm_change(&mut self) -> Result<Option<AlarmSummary>, Error> {
        if !std::mem::take(&mut self.alarm_state.changed) {
            return Ok(None);
        }
        self.alarm_summary().map(Some)
    }

    /// The earliest alarm that is due and does not run, which from now on does.
    pub fn start_alarm(&mut self, now_ms: i64) -> Result<Option<Alarm>, Error> {
        let due = |alarm: &Alarm| alarm.due_ms.is_some_and(|due| due <= now_ms);
        let Some(alarm) = self.next_alarm()?.filter(due) else {
            return Ok(None);
        };
        let state = &mut self.alarm_state;
        state.running.push((alarm.name.clone(), alarm.generation));
        state.last_generation = state.last_generation.max(alarm.generation);
        state.changed = true;
        Ok(Some(alarm))
    }

    /// Writes down how a run ended, unless its alarm was set anew or deleted meanwhile;
    /// says whether it was not.
    pub fn finish_alarm(&mut self, run: &Alarm, outcome: Outcome<'_>) -> Result<bool, Error> {
        let state = &mut self.alarm_state;
        state
            .running
            .retain(|(name, generation)| (name, generation) != (&run.name, &run.generation));
        state.changed = true;
        if matches!(outcome, Outcome::Done { next_ms: None }) && self.delete_run(run)? {
            return self.write_hint().map(|()| true);
        }
        let row = self.alarm_row(&run.name)?;
        if row.is_none_or(|row| row.generation != run.generation) {
            return Ok(false);
        }
        let key = Value::from(run.name.as_str());
        match outcome {
            Outcome::Done { next_ms } => {
                let sql = "UPDATE _dormouse_alarms SET generation = ?2, scheduled_ms = ?3, \
                           due_ms = ?3, retries = 0 WHERE name = ?1";
                let generation = self.next_generation()?;
                self.run_reserved(sql, &[key, generation.into(), optional(next_ms)], true)?;
            }
            Outcome::Retry { at_ms } => {
                let sql = "UPDATE _dormouse_alarms SET due_ms = ?2, retries = retries + 1 \
                           WHERE name = ?1";
                self.run_reserved(sql, &[key, at_ms.into()], true)?;
            }
            Outcome::Dead { error, next_ms } => {
                let sql = "UPDATE _dormouse_alarms SET generation = ?2, dead_ms = scheduled_ms, \
                           dead_error = ?4, scheduled_ms = ?3, due_ms = ?3, retries = 0 \
                           WHERE name = ?1";
                let generation = self.next_generation()?;
                let values = [key, generation.into(), optional(next_ms), error.into()];
                self.run_reserved(sql, &values, true)?;
            }
        }
        self.write_hint().map(|()| true)
    }

    /// Makes a dead letter an alarm again, due now, with all its retries. False: there is
    /// no dead letter of this name.
    pub fn revive_alarm(&mut self, name: &str, now_ms: i64) -> Result<bool, Error> {
        if self.alarm_row(name)?.is_none_or(|row| row.dead.is_none()) {
            return Ok(false);
        }
        let generation = self.next_generation()?;
        self.alarm_state.changed = true;
        let sql = "UPDATE _dormouse_alarms SET generation = ?2, scheduled_ms = dead_ms, \
                   due_ms = ?3, retries = 0, dead_ms = NULL, dead_error = NULL WHERE name = ?1";
        self.run_reserved(sql, &[name.into(), generation.into(), now_ms.into()], true)?;
        self.write_hint().map(|()| true)
    }

    /// Makes an alarm that is to come due now; its handler still hears of the time that it
    /// was set to. False: there is none of this name, or it runs already.
    pub fn hasten_alarm(&mut self, name: &str, now_ms: i64) -> Result<bool, Error> {
        let row = self.alarm_row(name)?;
        let waits = row.filter(|row| row.due_ms.is_some() && !self.is_running(row));
        let Some(due_ms) = waits.and_then(|row| row.due_ms) else {
            return Ok(false);
        };
        if due_ms > now_ms {
            self.alarm_state.changed = true;
            let sql = "UPDATE _dormouse_alarms SET due_ms = ?2 WHERE name = ?1";
            self.run_reserved(sql, &[name.into(), now_ms.into()], true)?;
            self.write_hint()?;
        }
        Ok(true)
    }

    /// Deletes the row of a run, unless it has changed or holds a dead letter.
    fn delete_run(&mut self, run: &Alarm) -> Result<bool, Error> {
        if self.header()? == 0 {
            return Ok(false);
        }
        let sql = "DELETE FROM _dormouse_alarms \
                   WHERE name = ? AND generation = ? AND dead_ms IS NULL RETURNING 1";
        let values = [run.name.as_str().into(), run.generation.into()];
        Ok(!self.run_reserved(sql, &values, true)?.is_empty())
    }

    fn alarm_row(&mut self, name: &str) -> Result<Option<Alarm>, Error> {
        if self.header()? == 0 {
            return Ok(None);
        }
        let sql = format!("SELECT {COLUMNS} FROM _dormouse_alarms WHERE name = ?");
        let row = self.run_reserved(&sql, &[name.into()], false)?.pop();
        Ok(row.and_then(alarm))
    }

    /// The earliest alarm that does not run.
    fn next_alarm(&mut self) -> Result<Option<Alarm>, Error> {
        if decode(self.header()?).0.is_none() {
            return Ok(None);
        }
        // Not as a parameter: SQLite would compile anew whenever it is bound. In steps,
        // so that the text is mostly the same.
        let most = (self.alarm_state.running.len() + 1).next_multiple_of(8);
        let sql = format!(
            "SELECT {COLUMNS} FROM _dormouse_alarms WHERE due_ms IS NOT NULL \
             ORDER BY due_ms, name LIMIT {most}"
        );
        let rows = self.run_reserved(&sql, &[], false)?;
        let mut alarms = rows.into_iter().filter_map(alarm);
        Ok(alarms.find(|alarm| !self.is_running(alarm)))
    }

    fn is_running(&self, alarm: &Alarm) -> bool {
        let running = &self.alarm_state.running;
        running
            .iter()
            .any(|(name, generation)| (name, generation) == (&alarm.name, &alarm.generation))
    }

    fn count_alarms(&mut self) -> Result<usize, Error> {
        if self.header()? == 0 {
            return Ok(0);
        }
        let rows = self.run_reserved("SELECT count(*) FROM _dormouse_alarms", &[], false)?;
        Ok(rows
            .first()
            .and_then(|row| integer(row.first()))
            .unwrap_or(0) as usize)
    }

    fn next_generation(&mut self) -> Result<i64, Error> {
        let stored = match self.header()? {
            0 => 0,
            _ => {
                let sql = "SELECT max(generation) FROM _dormouse_alarms";
                let rows = self.run_reserved(sql, &[], false)?;
                rows.first()
                    .and_then(|row| integer(row.first()))
                    .unwrap_or(0)
            }
        };
        let state = &mut self.alarm_state;
        state.last_generation = state.last_generation.max(stored) + 1;
        Ok(state.last_generation)
    }

    fn header(&mut self) -> Result<u32, Error> {
        if !self.in_turn() {
            return self.committed_header(HEADER_AT).map(u32::from_be_bytes);
        }
        let rows = self.run_reserved("PRAGMA application_id", &[], false)?;
        let found = rows.first().and_then(|row| integer(row.first()));
        Ok(found.unwrap_or(0) as u32)
    }

    /// Brings the header up to what the table says.
    fn write_hint(&mut self) -> Result<(), Error> {
        let row = self
            .run_reserved(SUMMARY, &[], false)?
            .pop()
            .unwrap_or_default();
        let wanted = wanted_header(&row);
        if wanted != self.header()? {
            self.run_reserved(&put_header(wanted), &[], true)?;
        }
        Ok(())
    }
}

/// What the header says about.
const SUMMARY: &str = "SELECT min(due_ms), count(dead_ms) FROM _dormouse_alarms";

fn wanted_header(summary: &Row) -> u32 {
    let dead = integer(summary.get(1)).is_some_and(|count| count > 0);
    encode(integer(summary.first()), dead)
}

fn put_header(header: u32) -> String {
    format!("PRAGMA application_id = {}", header as i32)
}

/// `application_id`, as <https://sqlite.org/fileformat.html> places it.
const HEADER_AT: usize = 68;
/// Whether there are dead letters.
const DEAD: u32 = 1 << 31;
/// The bound is this coarse, so that 31 bits reach beyond the year 4000.
const UNIT_MS: i64 = 32_000;

/// Zero says that there is nothing at all.
fn encode(next_ms: Option<i64>, dead: bool) -> u32 {
    let next = next_ms.map_or(0, |next| {
        let units = next.max(0) / UNIT_MS + 1;
        u32::try_from(units).unwrap_or(u32::MAX).min(DEAD - 1)
    });
    next | if dead { DEAD } else { 0 }
}

fn decode(header: u32) -> (Option<i64>, bool) {
    let units = i64::from(header & (DEAD - 1));
    (
        (units > 0).then(|| (units - 1) * UNIT_MS),
        header & DEAD != 0,
    )
}

/// All rows of a database's alarms, to be put back by `replace`.
pub(crate) fn rows(connection: &Connection) -> Result<Vec<Row>, Error> {
    if !has_table(connection, "_dormouse_alarms")? {
        return Ok(Vec::new());
    }
    connection.rows(&format!("SELECT {COLUMNS} FROM _dormouse_alarms"), &[])
}

/// Makes `rows` the alarms of a database, in its open transaction.
pub(crate) fn replace(connection: &Connection, rows: &[Row]) -> Result<(), Error> {
    if has_table(connection, "_dormouse_alarms")? {
        connection.rows("DELETE FROM _dormouse_alarms", &[])?;
    } else if rows.is_empty() {
        return Ok(());
    }
    connection.run_trusted(TABLE)?;
    let sql = format!(
        "INSERT INTO _dormouse_alarms ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    );
    for row in rows {
        connection.rows(&sql, row)?;
    }
    let summary = connection.rows(SUMMARY, &[])?.pop().unwrap_or_default();
    connection.run_trusted(&put_header(wanted_header(&summary)))
}

/// Reads the hints of all object files. Complete for files that were recovered and not
/// written to since; what changes later is told by [`Database::take_alarm_change`].
pub(crate) fn scan(env: &Env, visit: &mut dyn FnMut(Hint)) -> Result<(), Error> {
    let failed = |source| Error::io("looking for alarms in", files::ROOT, source);
    for slot in env.disk.list(files::ROOT).map_err(failed)? {
        let slot = format!("{}/{}", files::ROOT, slot.name);
        for namespace in folders(env, &slot).map_err(failed)? {
            let dir = format!("{slot}/{namespace}");
            for entry in env.disk.list(&dir).map_err(failed)? {
                let Some(id) = entry.name.strip_suffix(".db").and_then(unhex) else {
                    continue;
                };
                let header = header_in_file(env, &format!("{dir}/{}", entry.name));
                let (not_before_ms, dead) = decode(header.map_err(failed)?);
                if not_before_ms.is_some() || dead {
                    visit(Hint {
                        namespace: namespace.clone(),
                        id,
                        not_before_ms,
                        dead,
                    });
                }
            }
        }
    }
    Ok(())
}

fn folders(env: &Env, path: &str) -> io::Result<Vec<String>> {
    let entries = match env.disk.list(path) {
        Err(error) if error.kind() == ErrorKind::NotADirectory => return Ok(Vec::new()),
        entries => entries?,
    };
    let folders = entries.into_iter().filter(|entry| entry.is_dir);
    Ok(folders.map(|entry| entry.name).collect())
}

/// A file that went away has none.
fn header_in_file(env: &Env, path: &str) -> io::Result<u32> {
    let file = match env.disk.open(path, false) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        file => file?,
    };
    let mut bytes = [0; 4];
    let read = file.read_at(&mut bytes, HEADER_AT as u64)?;
    Ok(if read == bytes.len() {
        u32::from_be_bytes(bytes)
    } else {
        0
    })
}

fn optional<T: Into<Value>>(value: Option<T>) -> Value {
    value.map_or(Value::Null, Into::into)
}

fn integer(value: Option<&Value>) -> Option<i64> {
    match value {
        Some(Value::Integer(integer)) => Some(*integer),
        _ => None,
    }
}

fn text(value: Option<&Value>) -> Option<String> {
    match value {
        Some(Value::Text(text)) => Some(text.clone()),
        _ => None,
    }
}

/// A row of [`COLUMNS`].
fn alarm(row: Row) -> Option<Alarm> {
    let number = |at: usize| integer(row.get(at));
    let words = |at: usize| text(row.get(at));
    Some(Alarm {
        name: words(0)?,
        generation: number(1)?,
        scheduled_ms: number(2),
        due_ms: number(3),
        retries: u32::try_from(number(4)?).unwrap_or(u32::MAX),
        policy: Policy {
            max_retries: number(5).and_then(|most| u32::try_from(most).ok()),
            first_delay_ms: number(6),
        },
        cron: words(7)
            .zip(words(8))
            .map(|(expression, zone)| Cron { expression, zone }),
        dead: number(9).map(|scheduled_ms| DeadLetter {
            scheduled_ms,
            error: words(10).unwrap_or_default(),
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_is_never_later_than_the_truth_and_at_most_a_unit_earlier() {
        let year_3000 = 32_503_680_000_000;
        for at in [
            0,
            1,
            31_999,
            32_000,
            1_893_456_000_123,
            year_3000,
            year_3000 * 2,
        ] {
            for dead in [false, true] {
                let (hint, kept) = decode(encode(Some(at), dead));
                let hint = hint.unwrap();
                assert!(hint <= at && at < hint + UNIT_MS, "{at}: {hint}");
                assert_eq!(kept, dead);
            }
        }
        assert!(decode(encode(Some(i64::MAX), false)).0.unwrap() > 2 * year_3000);
        assert_eq!(decode(encode(None, true)), (None, true));
        assert_eq!(encode(None, false), 0);
    }
}
