//! `dormouse:object/alarm`: alarms as rows of the object's database.
//!
//! Checks what a guest asks for; when alarms run is decided elsewhere. Error texts
//! are those of the Workers platform where it has one.

use dormouse_storage::{AlarmPolicy, Cron, Database, MAX_ALARMS};

use crate::alarm::cron;
use crate::guest::bindings::dormouse::object::alarm::{Error, Host, Policy};
use crate::guest::context::{Context, Who};
use crate::trace;

const MAX_NAME_BYTES: usize = 256;
const MAX_RETRIES: u32 = 100;
const MAX_FIRST_DELAY_MS: u32 = 3_600_000;

type Answer<T> = wasmtime::Result<Result<T, Error>>;

impl Host for Context {
    fn get(&mut self, name: Option<String>) -> Answer<Option<i64>> {
        self.answer(name, |database, name| Ok(database.alarm(name)?))
    }

    fn set(&mut self, name: Option<String>, time: i64, policy: Policy) -> Answer<()> {
        let now_ms = self.clock.unix_ms();
        let may = self.may_set();
        let done = self.answer(name, |database, name| {
            may?;
            if time <= 0 {
                let text = "setAlarm() cannot be called with an alarm time <= 0";
                return Err(Error::InvalidTime(text.to_owned()));
            }
            set(database, name, time.max(now_ms), policy, None)
        })?;
        self.trace_setting(&done);
        Ok(done)
    }

    fn set_cron(
        &mut self,
        name: Option<String>,
        expression: String,
        zone: String,
        policy: Policy,
    ) -> Answer<i64> {
        let now_ms = self.clock.unix_ms();
        let may = self.may_set();
        let done = self.answer(name, |database, name| {
            may?;
            let next_ms = cron::next_ms(&expression, &zone, now_ms)
                .map_err(|error| Error::InvalidSchedule(error.to_string()))?;
            set(
                database,
                name,
                next_ms,
                policy,
                Some(Cron { expression, zone }),
            )?;
            Ok(database.alarm(name)?.unwrap_or(next_ms))
        })?;
        self.trace_setting(&done);
        Ok(done)
    }

    fn delete(&mut self, name: Option<String>) -> Answer<()> {
        self.answer(name, |database, name| Ok(database.delete_alarm(name)?))
    }
}

impl Context {
    fn may_set(&self) -> Result<(), Error> {
        if self.handles_alarms {
            return Ok(());
        }
        let text =
            "Your Durable Object class must have an alarm() handler in order to call setAlarm()";
        Err(Error::NoHandler(text.to_owned()))
    }

    /// So that the trace of the alarm is linked to the one in which it was set.
    fn trace_setting<T>(&self, done: &Result<T, Error>) {
        if let (Ok(_), Some(trace), Who::Object(identity)) =
            (done, self.outside.only_event(), &*self.who)
        {
            trace::alarm_was_set(*identity.object.id.bytes(), trace);
        }
    }

    fn answer<T>(
        &mut self,
        name: Option<String>,
        work: impl FnOnce(&mut Database, &str) -> Result<T, Error>,
    ) -> Answer<T> {
        let database = self.database()?;
        Ok(checked(name).and_then(|name| work(database, &name)))
    }
}

/// The default alarm has the empty name, which no other can have.
fn checked(name: Option<String>) -> Result<String, Error> {
    let Some(name) = name else {
        return Ok(String::new());
    };
    if (1..=MAX_NAME_BYTES).contains(&name.len()) {
        return Ok(name);
    }
    Err(Error::InvalidName(format!(
        "an alarm's name has 1 to {MAX_NAME_BYTES} bytes, this one has {}",
        name.len()
    )))
}

fn set(
    database: &mut Database,
    name: &str,
    at_ms: i64,
    policy: Policy,
    cron: Option<Cron>,
) -> Result<(), Error> {
    if database.set_alarm(name, at_ms, policy_of(policy)?, cron)? {
        return Ok(());
    }
    Err(Error::TooMany(format!(
        "the object has {MAX_ALARMS} alarms already; delete some, or keep times in a table of \
         your own and set one alarm to the earliest"
    )))
}

fn policy_of(policy: Policy) -> Result<AlarmPolicy, Error> {
    let Policy {
        max_retries,
        first_delay_ms,
    } = policy;
    if let Some(found) = max_retries.filter(|most| *most > MAX_RETRIES) {
        return Err(Error::InvalidPolicy(format!(
            "{found} retries are too many; {MAX_RETRIES} are allowed"
        )));
    }
    let fits = |delay: &u32| (1..=MAX_FIRST_DELAY_MS).contains(delay);
    if let Some(found) = first_delay_ms.filter(|delay| !fits(delay)) {
        return Err(Error::InvalidPolicy(format!(
            "the first delay is 1 to {MAX_FIRST_DELAY_MS} ms, not {found}"
        )));
    }
    Ok(AlarmPolicy {
        max_retries,
        first_delay_ms: first_delay_ms.map(i64::from),
    })
}

impl From<dormouse_storage::Error> for Error {
    fn from(error: dormouse_storage::Error) -> Self {
        Self::Storage(error.to_string())
    }
}
