//! Moment: when in an object's past, as an operator writes it.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// A bookmark, or a time in milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moment {
    Bookmark(String),
    Time(u64),
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{text:?} is no moment; write a bookmark (`dormouse history` lists them), a time such as \
     2030-01-31T12:00:00Z (without a zone it is UTC), milliseconds since 1970, or how long ago, \
     such as 10m, 2h or 3d"
)]
pub struct NoMoment {
    text: String,
}

impl Moment {
    /// Reads what [`NoMoment`] lists; `now_ms` is what a time ago counts from.
    pub fn parse(text: &str, now_ms: i64) -> Result<Self, NoMoment> {
        let text = text.trim();
        if looks_like_bookmark(text) {
            return Ok(Self::Bookmark(text.to_owned()));
        }
        let ms = milliseconds(text)
            .or_else(|| ago(text, now_ms))
            .or_else(|| time(text));
        // Before 1970 there was nothing.
        ms.map(|ms| Self::Time(ms.max(0).unsigned_abs()))
            .ok_or_else(|| NoMoment {
                text: text.to_owned(),
            })
    }
}

/// Its digits are storage's business.
fn looks_like_bookmark(text: &str) -> bool {
    let parts: Vec<usize> = text.split('-').map(str::len).collect();
    parts == [16, 1, 8]
}

fn milliseconds(text: &str) -> Option<i64> {
    // A year or a date without dashes is more likely meant than a day in 1970.
    (text.len() > 8).then(|| text.parse().ok())?
}

fn ago(text: &str, now_ms: i64) -> Option<i64> {
    let (digits, unit_ms) = [
        ("ms", 1),
        ("s", 1_000),
        ("m", 60_000),
        ("h", 3_600_000),
        ("d", 86_400_000),
    ]
    .into_iter()
    .find_map(|(unit, ms)| Some((text.strip_suffix(unit)?, ms)))?;
    let count: u32 = digits.trim().parse().ok()?;
    let ago = SignedDuration::from_millis(i64::from(count) * unit_ms);
    Some(now_ms.saturating_sub(i64::try_from(ago.as_millis()).ok()?))
}

fn time(text: &str) -> Option<i64> {
    let exact: Option<Timestamp> = text.parse().ok();
    let stamp = exact.or_else(|| {
        let civil: DateTime = text.parse().ok()?;
        TimeZone::UTC.to_timestamp(civil).ok()
    });
    stamp.map(Timestamp::as_millisecond)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_893_456_000_000;

    fn time_of(text: &str) -> u64 {
        match Moment::parse(text, NOW_MS) {
            Ok(Moment::Time(ms)) => ms,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn a_time_can_be_written_in_many_ways() {
        let now = NOW_MS.unsigned_abs();
        for text in [
            "1893456000000",
            "2030-01-01T00:00:00Z",
            "2030-01-01 00:00:00Z",
            "2030-01-01T01:00:00+01:00",
            "2030-01-01 00:00",
            "2030-01-01",
            "0s",
        ] {
            assert_eq!(time_of(text), now, "{text}");
        }
        assert_eq!(time_of("1500ms"), now - 1_500);
        assert_eq!(time_of("10m"), now - 600_000);
        assert_eq!(time_of("2h"), now - 7_200_000);
        assert_eq!(time_of("3d"), now - 259_200_000);
        assert_eq!(time_of("4294967295d"), 0);
    }

    #[test]
    fn what_is_no_moment_says_what_is() {
        let bookmark = "0000000000001000-0-89abcdef";
        let read = Moment::parse(bookmark, NOW_MS);
        assert_eq!(read, Ok(Moment::Bookmark(bookmark.to_owned())));
        for text in ["", "yesterday", "10", "2030-13-01", "10 m ago", "-5m"] {
            let refused = Moment::parse(text, NOW_MS).unwrap_err().to_string();
            assert!(refused.contains("3d"), "{text}: {refused}");
        }
    }
}
