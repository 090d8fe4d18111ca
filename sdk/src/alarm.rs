//! Alarms: being woken at a time of the object's choice.
//!
//! Wraps `wit/alarm.wit`. Times are rounded up to milliseconds, so that no alarm
//! runs before the time that was asked for.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::bindings::dormouse::object::alarm as wit;
use crate::bindings::exports::dormouse::object::alarm_handler as exports;

/// One alarm of the object: the default one, of [`State::alarm`], or a named one,
/// of [`State::alarm_named`].
///
/// Setting and deleting belong to the turn, like every write: they are committed
/// with it, and undone with it if it panics or if [`Sql::transaction`] undoes them.
/// When the time has come, the object is woken, if it sleeps, and
/// [`DurableObject::alarm`] is called: never early, at least once.
///
/// ```no_run
/// use dormouse_sdk::prelude::*;
/// use std::time::Duration;
///
/// struct Session {
///     state: State,
/// }
///
/// #[durable_object]
/// impl DurableObject for Session {
///     async fn new(state: State, _env: Env) -> Result<Self> {
///         Ok(Self { state })
///     }
///
///     async fn fetch(&self, _request: Request) -> Result<Response> {
///         self.state.sql().exec("UPDATE session SET seen = unixepoch()", ())?;
///         // Each request puts the end off.
///         self.state.alarm().set(Duration::from_secs(30 * 60))?;
///         Ok(Response::text("welcome back\n"))
///     }
///
///     async fn alarm(&self, _info: AlarmInfo) -> Result<()> {
///         self.state.sql().exec("DELETE FROM session", ())?;
///         Ok(())
///     }
/// }
/// # fn main() {}
/// ```
///
/// [`State::alarm`]: crate::State::alarm
/// [`State::alarm_named`]: crate::State::alarm_named
/// [`Sql::transaction`]: crate::sql::Sql::transaction
/// [`DurableObject::alarm`]: crate::DurableObject::alarm
#[derive(Clone, Debug)]
pub struct Alarm {
    name: Option<String>,
    policy: wit::Policy,
}

impl Alarm {
    pub(crate) fn new(name: Option<&str>) -> Self {
        Self {
            name: name.map(str::to_owned),
            policy: wit::Policy {
                max_retries: None,
                first_delay_ms: None,
            },
        }
    }

    /// Sets or replaces the alarm: a [`SystemTime`], a [`Duration`] from now, or
    /// milliseconds since 1970. A time that is over means now.
    ///
    /// Set from its own handler, the alarm runs again; a failure of that handler is
    /// then not tried again.
    ///
    /// ```no_run
    /// # use dormouse_sdk::prelude::*;
    /// # use std::time::{Duration, SystemTime};
    /// # fn handler(state: &State) -> Result<()> {
    /// state.alarm().set(Duration::from_secs(90))?;
    /// state.alarm_named("new year").set(1_893_456_000_000)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn set(&self, when: impl Into<AlarmTime>) -> Result<(), Error> {
        let AlarmTime { unix_ms } = when.into();
        let set = wit::set(self.name.as_deref(), unix_ms, self.policy);
        set.map_err(Error::from)
    }

    /// Sets the alarm by a cron expression in a time zone, and answers with the next
    /// time. The alarm then sets itself anew after each run, also after one that
    /// failed for the last time. Setting the same schedule again changes nothing, so
    /// [`new`](crate::DurableObject::new) is a good place for it.
    ///
    /// The expression has five fields (minute, hour, day, month, weekday), or six with
    /// seconds first; the zone is a name such as `Europe/Berlin` or `UTC`.
    ///
    /// ```no_run
    /// # use dormouse_sdk::prelude::*;
    /// # fn handler(state: &State) -> Result<()> {
    /// state.alarm_named("report").set_cron("0 9 * * MON-FRI", "Europe/Berlin")?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_cron(&self, expression: &str, zone: &str) -> Result<SystemTime, Error> {
        let next = wit::set_cron(self.name.as_deref(), expression, zone, self.policy)?;
        Ok(time(next))
    }

    /// When the alarm is to run. In its own handler it is not set any more, unless it
    /// was set anew; while it waits for a retry it has the time it was set to.
    pub fn get(&self) -> Result<Option<SystemTime>, Error> {
        Ok(wit::get(self.name.as_deref())?.map(time))
    }

    /// Deletes the alarm with its schedule. Deleting what is not set is no mistake. A
    /// handler that runs goes on, and is called again if it fails.
    pub fn delete(&self) -> Result<(), Error> {
        Ok(wit::delete(self.name.as_deref())?)
    }

    /// How often a failing handler is called again, for the alarm that is set next:
    /// 6 times, unless this says otherwise; 0 to 100.
    ///
    /// ```no_run
    /// # use dormouse_sdk::prelude::*;
    /// # use std::time::Duration;
    /// # fn handler(state: &State) -> Result<()> {
    /// let alarm = state.alarm_named("sync").max_retries(20).first_delay(Duration::from_millis(250));
    /// alarm.set(Duration::from_secs(60))?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub const fn max_retries(mut self, most: u32) -> Self {
        self.policy.max_retries = Some(most);
        self
    }

    /// How soon a failing handler is called again, for the alarm that is set next:
    /// after 2 seconds, unless this says otherwise; each delay is twice the one
    /// before, plus up to a quarter. From 1 ms to an hour.
    #[must_use]
    pub fn first_delay(mut self, delay: Duration) -> Self {
        let ms = u32::try_from(delay.as_millis()).unwrap_or(u32::MAX);
        self.policy.first_delay_ms = Some(ms);
        self
    }
}

/// When an alarm is to run; made from what [`Alarm::set`] takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AlarmTime {
    unix_ms: i64,
}

impl AlarmTime {
    pub(crate) fn unix_ms(self) -> i64 {
        self.unix_ms
    }
}

impl From<i64> for AlarmTime {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    fn from(unix_ms: i64) -> Self {
        Self { unix_ms }
    }
}

impl From<SystemTime> for AlarmTime {
    fn from(time: SystemTime) -> Self {
        let unix_ms = match time.duration_since(UNIX_EPOCH) {
            Ok(since) => ms_rounded_up(since),
            // The host refuses what lies before 1970.
            Err(before) => -ms_rounded_up(before.duration()),
        };
        Self { unix_ms }
    }
}

impl From<Duration> for AlarmTime {
    /// So much later than now.
    fn from(duration: Duration) -> Self {
        let now = Self::from(SystemTime::now()).unix_ms;
        let unix_ms = now.saturating_add(ms_rounded_up(duration));
        Self { unix_ms }
    }
}

#[cfg(feature = "chrono")]
impl<Z: chrono::TimeZone> From<chrono::DateTime<Z>> for AlarmTime {
    fn from(time: chrono::DateTime<Z>) -> Self {
        let more = i64::from(time.timestamp_subsec_nanos() % 1_000_000 > 0);
        let unix_ms = time.timestamp_millis() + more;
        Self { unix_ms }
    }
}

#[cfg(feature = "jiff")]
impl From<jiff::Timestamp> for AlarmTime {
    fn from(time: jiff::Timestamp) -> Self {
        let more = i64::from(time.subsec_nanosecond() % 1_000_000 > 0);
        let unix_ms = time.as_millisecond() + more;
        Self { unix_ms }
    }
}

/// What [`DurableObject::alarm`](crate::DurableObject::alarm) is told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AlarmInfo {
    /// `None` for the default alarm.
    pub name: Option<String>,
    /// What the alarm was set to.
    pub scheduled_time: SystemTime,
    /// How many calls for this alarm have failed before.
    pub retry_count: u32,
    /// Whether a call for this alarm failed before, or was cut off by the host.
    pub is_retry: bool,
}

impl From<exports::Info> for AlarmInfo {
    fn from(info: exports::Info) -> Self {
        Self {
            name: info.name,
            scheduled_time: time(info.scheduled_time),
            retry_count: info.retry_count,
            is_retry: info.is_retry,
        }
    }
}

/// Why an alarm could not be read or set; nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

/// What an author can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The time is zero or negative.
    InvalidTime,
    /// The class does not implement [`alarm`](crate::DurableObject::alarm).
    NoHandler,
    /// A name is 1 to 256 bytes.
    InvalidName,
    /// The cron expression or the time zone is not understood.
    InvalidSchedule,
    /// The retries or the first delay are out of bounds.
    InvalidPolicy,
    /// The object has 1,000 alarms.
    TooMany,
    /// The database cannot keep it.
    Storage,
}

impl Error {
    /// What kind of mistake it is.
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What was tried and found, in words.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<wit::Error> for Error {
    fn from(error: wit::Error) -> Self {
        let (kind, message) = match error {
            wit::Error::InvalidTime(text) => (ErrorKind::InvalidTime, text),
            wit::Error::NoHandler(text) => (ErrorKind::NoHandler, text),
            wit::Error::InvalidName(text) => (ErrorKind::InvalidName, text),
            wit::Error::InvalidSchedule(text) => (ErrorKind::InvalidSchedule, text),
            wit::Error::InvalidPolicy(text) => (ErrorKind::InvalidPolicy, text),
            wit::Error::TooMany(text) => (ErrorKind::TooMany, text),
            wit::Error::Storage(text) => (ErrorKind::Storage, text),
        };
        Self { kind, message }
    }
}

fn ms_rounded_up(duration: Duration) -> i64 {
    let ms = duration.as_nanos().div_ceil(1_000_000);
    i64::try_from(ms).unwrap_or(i64::MAX)
}

fn time(unix_ms: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(unix_ms.max(0).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rounded_up() {
        let at = |nanos| AlarmTime::from(UNIX_EPOCH + Duration::from_nanos(nanos)).unix_ms;
        assert_eq!([at(1_000_000), at(1_000_001), at(1_999_999)], [1, 2, 2]);
        assert_eq!(AlarmTime::from(5_i64).unix_ms, 5);
        assert_eq!(
            AlarmTime::from(UNIX_EPOCH - Duration::from_secs(1)).unix_ms,
            -1_000
        );
    }

    #[test]
    fn far_times_do_not_overflow() {
        assert_eq!(AlarmTime::from(Duration::MAX).unix_ms, i64::MAX);
        let year_3000 = 32_503_680_000_000;
        assert_eq!(AlarmTime::from(time(year_3000)).unix_ms, year_3000);
    }
}
