//! Cron: when a schedule comes round next, in a time zone.
//!
//! Pure. Expressions are read by `croner`, which follows Vixie cron where the clock
//! changes: a fixed time that is skipped comes right after the change, one that
//! occurs twice comes once. Zones are those of the system's IANA database, or of
//! the copy in the binary where the system has none.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// Longer ones are refused before they are read.
const MAX_BYTES: usize = 256;

/// Why a schedule cannot be.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error(
        "cron expression `{expression}` is not understood: {why}; write minute, hour, day, \
         month and weekday, such as `0 9 * * MON-FRI`"
    )]
    Expression { expression: String, why: String },
    #[error("cron expression `{expression}` never comes round")]
    Never { expression: String },
    #[error(
        "time zone `{zone}` is not known; name one of the IANA database, such as `Europe/Berlin`"
    )]
    Zone { zone: String },
    #[error("a cron expression or time zone has at most {MAX_BYTES} bytes, this one has {len}")]
    TooLong { len: usize },
}

/// The first time after `after_ms`, both in milliseconds since 1970.
pub fn next_ms(expression: &str, zone: &str, after_ms: i64) -> Result<i64, Error> {
    let len = expression.len().max(zone.len());
    if len > MAX_BYTES {
        return Err(Error::TooLong { len });
    }
    let cron = parse(expression)?;
    let zone = TimeZone::get(zone).map_err(|_| Error::Zone { zone: zone.into() })?;
    let never = || Error::Never {
        expression: expression.to_owned(),
    };
    let after = Timestamp::from_millisecond(after_ms).map_err(|_| never())?;
    let next = next(&cron, after.to_zoned(zone)).ok_or_else(never)?;
    Ok(next.timestamp().as_millisecond())
}

fn parse(expression: &str) -> Result<Cron, Error> {
    let parser = CronParser::builder()
        .seconds(Seconds::Optional)
        .year(Year::Disallowed)
        .build();
    parser.parse(expression).map_err(|error| Error::Expression {
        expression: expression.to_owned(),
        why: error.to_string(),
    })
}

fn next(cron: &Cron, after: Zoned) -> Option<Zoned> {
    let next = cron.find_next_occurrence(&after, false).ok()?;
    (next > after).then_some(next)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// A guest waits for the answer.
    const LONGEST_SEARCH: Duration = Duration::from_secs(2);

    fn ms(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    fn after(expression: &str, zone: &str, start: &str, count: usize) -> Vec<String> {
        let mut at = ms(start);
        let mut times = Vec::new();
        for _ in 0..count {
            at = next_ms(expression, zone, at).unwrap();
            times.push(Timestamp::from_millisecond(at).unwrap().to_string());
        }
        times
    }

    #[test]
    fn a_schedule_follows_the_clock_of_its_zone() {
        let times = after("0 9 * * *", "Europe/Berlin", "2030-03-29T12:00:00Z", 3);
        let wanted = [
            "2030-03-30T08:00:00Z",
            "2030-03-31T07:00:00Z",
            "2030-04-01T07:00:00Z",
        ];
        assert_eq!(times, wanted, "summer time begins on March 31");
        let times = after("30 * * * * *", "UTC", "2030-01-01T00:00:30Z", 2);
        assert_eq!(times, ["2030-01-01T00:01:30Z", "2030-01-01T00:02:30Z"]);
        let times = after("0 9 * * MON-FRI", "Asia/Kolkata", "2030-01-04T04:00:00Z", 1);
        assert_eq!(times, ["2030-01-07T03:30:00Z"], "after the weekend");
    }

    #[test]
    fn a_time_that_the_clock_skips_comes_right_after_and_a_double_one_once() {
        let times = after("30 2 * * *", "Europe/Berlin", "2030-03-30T12:00:00Z", 2);
        assert_eq!(times, ["2030-03-31T01:00:00Z", "2030-04-01T00:30:00Z"]);
        let times = after("30 2 * * *", "Europe/Berlin", "2030-10-26T12:00:00Z", 2);
        assert_eq!(times, ["2030-10-27T00:30:00Z", "2030-10-28T01:30:00Z"]);
        let times = after("30 * * * *", "Europe/Berlin", "2030-10-26T23:45:00Z", 3);
        let wanted = [
            "2030-10-27T00:30:00Z",
            "2030-10-27T01:30:00Z",
            "2030-10-27T02:30:00Z",
        ];
        assert_eq!(times, wanted, "every half hour is every half hour");
    }

    #[test]
    fn a_leap_day_comes_round() {
        let times = after("0 0 29 2 *", "UTC", "2030-01-01T00:00:00Z", 2);
        assert_eq!(times, ["2032-02-29T00:00:00Z", "2036-02-29T00:00:00Z"]);
    }

    #[test]
    fn what_is_not_understood_is_told() {
        let told =
            |expression: &str, zone: &str| next_ms(expression, zone, 0).unwrap_err().to_string();
        assert!(told("0 25 * * *", "UTC").contains("`0 25 * * *` is not understood"));
        assert!(told("* * * *", "UTC").contains("is not understood"));
        assert!(told("0 0 0 1 1 * 2031", "UTC").contains("is not understood"));
        assert!(told("", "UTC").contains("is not understood"));
        assert!(told("0 9 * * *", "Europe/Atlantis").contains("`Europe/Atlantis` is not known"));
        assert!(told("0 9 * * *", "../../etc/passwd").contains("is not known"));
        assert!(told(&"*".repeat(300), "UTC").contains("this one has 300"));
    }

    #[test]
    fn a_schedule_that_never_comes_round_is_found_out_in_time() {
        let began = Instant::now();
        let error = next_ms("0 0 30 2 *", "Europe/Berlin", ms("2030-01-01T00:00:00Z"));
        assert!(matches!(error, Err(Error::Never { .. })), "{error:?}");
        assert!(began.elapsed() < LONGEST_SEARCH, "{:?}", began.elapsed());
    }
}
