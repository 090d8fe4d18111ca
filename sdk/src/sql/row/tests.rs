//! What fits what, and what is said when it does not.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;

use super::*;
use crate::sql::{ErrorKind, IntoValue as _, Json};

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn row<T: DeserializeOwned>(columns: &[(&str, Value)]) -> Result<T, String> {
    let names = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
    let values = columns.iter().map(|(_, value)| value.clone()).collect();
    read(&Columns::new(names), values).map_err(|error| {
        assert_eq!(error.kind(), ErrorKind::Mismatch);
        error.message().to_owned()
    })
}

fn one<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    row(&[("c", value)])
}

#[derive(Debug, Deserialize, PartialEq)]
struct Person {
    name: String,
    age: Option<u8>,
    #[serde(default)]
    admin: bool,
}

fn person(name: &str, age: Option<u8>, admin: bool) -> Person {
    Person {
        name: name.to_owned(),
        age,
        admin,
    }
}

#[test]
fn a_struct_takes_columns_by_name() {
    let all = [
        ("age", Value::Integer(36)),
        ("admin", Value::Integer(1)),
        ("name", text("ada")),
    ];
    assert_eq!(row(&all), Ok(person("ada", Some(36), true)));
    assert_eq!(
        row(&[("name", text("bo")), ("other", Value::Null)]),
        Ok(person("bo", None, false))
    );
    assert_eq!(
        row(&[("name", text("bo")), ("age", Value::Null)]),
        Ok(person("bo", None, false))
    );
}

#[test]
fn the_last_of_two_columns_with_one_name_counts() {
    let twice = [("name", text("old")), ("name", text("new"))];
    assert_eq!(row(&twice), Ok(person("new", None, false)));
}

#[test]
fn a_tuple_takes_columns_by_position() {
    #[derive(Debug, Deserialize, PartialEq)]
    struct Pair(i64, String);

    let two = [("a", Value::Integer(1)), ("a", text("x"))];
    assert_eq!(row(&two), Ok((1, "x".to_owned())));
    assert_eq!(row(&two), Ok(Pair(1, "x".to_owned())));
    assert_eq!(row(&two), Ok(vec![Value::Integer(1), text("x")]));
    assert_eq!(row(&[("a", Value::Blob(vec![1, 2]))]), Ok((vec![1_u8, 2],)));
}

#[test]
fn anything_else_takes_the_only_column() {
    #[derive(Debug, Deserialize, PartialEq)]
    struct Id(i64);

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "lowercase")]
    enum Colour {
        Red,
    }

    assert_eq!(one(Value::Integer(7)), Ok(7_u8));
    assert_eq!(one(Value::Integer(7)), Ok(7_i64));
    assert_eq!(one(Value::Integer(7)), Ok(7.0_f64));
    assert_eq!(one(Value::Integer(7)), Ok(Id(7)));
    assert_eq!(one(Value::Integer(0)), Ok(false));
    assert_eq!(one(Value::Real(1.5)), Ok(1.5_f64));
    assert_eq!(one(text("t")), Ok("t".to_owned()));
    assert_eq!(one(text("t")), Ok('t'));
    assert_eq!(one(text("red")), Ok(Colour::Red));
    assert_eq!(one(Value::Blob(vec![1, 2])), Ok(vec![1_u8, 2]));
    assert_eq!(one(Value::Blob(vec![1, 2])), Ok([1_u8, 2]));
    assert_eq!(one(Value::Blob(vec![1])), Ok(Value::Blob(vec![1])));
    assert_eq!(one(Value::Null), Ok(Value::Null));
    assert_eq!(
        one(text(r#"{"a":1}"#)),
        Ok(Json(BTreeMap::from([("a".to_owned(), 1)])))
    );
}

#[test]
fn null_is_none() {
    assert_eq!(one(Value::Null), Ok(None::<i64>));
    assert_eq!(one(Value::Integer(1)), Ok(Some(1)));
    assert_eq!(one(Value::Null), Ok((None::<String>,)));
    let two = [("name", text("bo")), ("age", Value::Null)];
    assert_eq!(row(&two), Ok(Some(person("bo", None, false))));
}

#[test]
fn json_is_an_object_whose_text_stays_text() {
    let columns = [
        ("i", Value::Integer(1)),
        ("r", Value::Real(1.0)),
        ("n", Value::Null),
        ("t", text(r#"{"a":1}"#)),
    ];
    assert_eq!(
        row(&columns),
        Ok(json!({"i": 1, "r": 1.0, "n": null, "t": "{\"a\":1}"}))
    );
}

#[test]
fn what_does_not_fit_names_column_found_and_wanted() {
    #[derive(Debug, Deserialize)]
    struct Inner {
        _a: i64,
    }
    #[derive(Debug, Deserialize)]
    struct Outer {
        _inner: Inner,
    }

    #[derive(Debug, Deserialize)]
    enum Colour {
        Red,
        Blue,
    }

    let three = [("a", Value::Null), ("b", Value::Null), ("c", Value::Null)];
    let cases = [
        (
            one::<Colour>(text("secret")).err(),
            "column `c` holds TEXT, which does not fit any of `Red`, `Blue`",
        ),
        (
            one::<i64>(text("secret")).err(),
            "column `c` holds TEXT, which does not fit i64",
        ),
        (
            one::<u8>(Value::Integer(300)).err(),
            "column `c` holds INTEGER 300, which does not fit u8",
        ),
        (
            one::<u64>(Value::Integer(-1)).err(),
            "column `c` holds INTEGER -1, which does not fit u64",
        ),
        (
            one::<i64>(Value::Real(1.0)).err(),
            "column `c` holds REAL, which does not fit i64",
        ),
        (
            one::<bool>(Value::Integer(2)).err(),
            "column `c` holds INTEGER 2, which does not fit a boolean, 0 or 1",
        ),
        (
            one::<i64>(Value::Null).err(),
            "column `c` holds NULL, which does not fit i64; read it into an `Option`",
        ),
        (
            one::<String>(Value::Integer(1)).err(),
            "column `c` holds INTEGER, which does not fit a string",
        ),
        (
            one::<[u8; 3]>(Value::Blob(vec![1])).err(),
            "column `c` holds BLOB: 1 bytes where 3 are wanted",
        ),
        (
            row::<(i64, [u8; 3])>(&[("a", Value::Integer(1)), ("b", Value::Blob(vec![1]))]).err(),
            "column `b` holds BLOB: 1 bytes where 3 are wanted",
        ),
        (
            row::<i64>(&three).err(),
            "one value is wanted, but the result has 3 columns; its columns are `a`, `b`, `c`",
        ),
        (
            row::<(i64, i64)>(&three).err(),
            "a row of 2 is wanted, but the result has 3; its columns are `a`, `b`, `c`",
        ),
        (
            row::<Person>(&[("nam", text("x"))]).err(),
            "the result has no column `name`; its only column is `nam`",
        ),
        (
            row::<Person>(&[("name", text("x")), ("age", Value::Integer(-1))]).err(),
            "column `age` holds INTEGER -1, which does not fit u8",
        ),
        (
            row::<Outer>(&[("_inner", text("{}"))]).err(),
            "column `_inner` holds TEXT, which does not fit struct Inner; \
             if it is JSON, read it into `Json<…>`",
        ),
        (
            one::<Json<i64>>(text("x")).err(),
            "column `c` holds TEXT: it is not the JSON that is wanted: \
             expected value at line 1 column 1",
        ),
        (
            row::<(i64, Vec<u8>)>(&[("a", Value::Integer(1)), ("b", text("x"))]).err(),
            "column `b` holds TEXT, which does not fit a sequence; \
             if it is JSON, read it into `Json<…>`",
        ),
    ];
    for (found, wanted) in cases {
        assert_eq!(found.as_deref(), Some(wanted));
    }
}

#[test]
fn a_system_time_is_kept_as_milliseconds() {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    let time = UNIX_EPOCH + Duration::from_millis(1_770_084_306_789);
    let kept = time.into_value().unwrap();
    assert_eq!(kept, Value::Integer(1_770_084_306_789));
    assert_eq!(one(kept.clone()), Ok(time));
    assert_eq!(
        row(&[("id", Value::Integer(1)), ("at", kept.clone())]),
        Ok((1, Some(time)))
    );
    #[derive(Debug, PartialEq, Deserialize)]
    struct Event {
        at: SystemTime,
    }
    assert_eq!(row(&[("at", kept)]), Ok(Event { at: time }));
    let wrong = one::<SystemTime>(Value::Integer(-1)).unwrap_err();
    assert!(wrong.contains("milliseconds since 1970"), "{wrong}");
    assert!(one::<SystemTime>(text("now")).is_err());
    let early = UNIX_EPOCH - Duration::from_secs(1);
    assert!(early.into_value().is_err());
}

#[cfg(feature = "jiff")]
#[test]
fn times_of_jiff_are_kept_as_text() {
    use jiff::Timestamp;
    use jiff::civil::Date;

    let time: Timestamp = "2026-02-03T04:05:06.5+02:00".parse().unwrap();
    let kept = time.into_value().unwrap();
    assert_eq!(kept, text("2026-02-03T02:05:06.500000Z"));
    assert_eq!(one(kept), Ok(time));
    let day: Date = "2026-02-03".parse().unwrap();
    let kept = day.into_value().unwrap();
    assert_eq!(kept, text("2026-02-03"));
    assert_eq!(one(kept), Ok(day));
}

#[cfg(feature = "chrono")]
#[test]
fn text_is_read_as_a_time() {
    use chrono::{DateTime, NaiveDate, TimeZone, Utc};

    let time = Utc.with_ymd_and_hms(2026, 2, 3, 2, 5, 6).unwrap();
    assert_eq!(
        one::<DateTime<Utc>>(text("2026-02-03T02:05:06.000000Z")),
        Ok(time)
    );
    assert_eq!(one::<NaiveDate>(text("2026-02-03")), Ok(time.date_naive()));
    assert_eq!(
        one::<NaiveDate>(text("soon")),
        Err("column `c` holds TEXT: input contains invalid characters".to_owned())
    );
}
