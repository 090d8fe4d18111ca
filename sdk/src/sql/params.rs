//! What may stand for the `?` of a statement.

use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Error, Value};

/// The parameters of a statement, in the order of its `?`.
///
/// `()` for none; a tuple of up to 16, of any types; an array, a slice or a
/// `Vec` of one type; [`params!`](crate::sql::params) for any number of any
/// types.
///
/// ```
/// use dormouse_sdk::sql::{Params, Value, params};
///
/// let pair = ("ada", 36).into_values()?;
/// assert_eq!(pair, [Value::Text("ada".into()), Value::Integer(36)]);
/// assert_eq!(params!["ada", 36].into_values()?, pair);
/// assert_eq!([1, 2, 3].into_values()?.len(), 3);
/// # Ok::<(), dormouse_sdk::Error>(())
/// ```
pub trait Params {
    /// The values to bind.
    fn into_values(self) -> Result<Vec<Value>, Error>;
}

/// One parameter.
///
/// Integers become INTEGER (a `u64` that has no room in 64 bits with sign is an
/// error), floats REAL, `bool` 0 or 1, strings TEXT, bytes BLOB, and `None`
/// NULL. A [`serde_json::Value`] becomes what it holds; lists and objects become
/// their JSON text. A [`SystemTime`] becomes its milliseconds since 1970. Other types:
/// [`Json`](crate::sql::Json).
pub trait IntoValue {
    /// The value to bind.
    fn into_value(self) -> Result<Value, Error>;
}

/// Parameters of any number and of different types.
///
/// ```no_run
/// # use dormouse_sdk::prelude::*;
/// # fn handler(sql: &Sql, id: i64, name: &str, photo: Vec<u8>) -> Result<()> {
/// sql.exec("INSERT INTO people VALUES (?, ?, ?)", params![id, name, photo])?;
/// # Ok(())
/// # }
/// ```
#[doc(hidden)]
#[macro_export]
macro_rules! __params {
    ($($param:expr),* $(,)?) => {
        $crate::sql::ParamList::new()$(.with($param))*
    };
}

/// Parameters collected one by one; see also [`params!`](crate::sql::params).
#[derive(Clone, Debug)]
pub struct ParamList {
    values: Result<Vec<Value>, Error>,
}

impl ParamList {
    /// No parameter yet.
    pub fn new() -> Self {
        Self {
            values: Ok(Vec::new()),
        }
    }

    /// And one more.
    #[must_use]
    pub fn with(mut self, param: impl IntoValue) -> Self {
        self.push(param);
        self
    }

    /// Adds one more. One that cannot be stored is told when the list is used.
    pub fn push(&mut self, param: impl IntoValue) {
        if let Ok(values) = &mut self.values {
            match param.into_value() {
                Ok(value) => values.push(value),
                Err(error) => self.values = Err(error),
            }
        }
    }
}

impl Default for ParamList {
    fn default() -> Self {
        Self::new()
    }
}

impl Params for ParamList {
    fn into_values(self) -> Result<Vec<Value>, Error> {
        self.values
    }
}

impl Params for () {
    fn into_values(self) -> Result<Vec<Value>, Error> {
        Ok(Vec::new())
    }
}

impl<T: IntoValue> Params for Vec<T> {
    fn into_values(self) -> Result<Vec<Value>, Error> {
        self.into_iter().map(T::into_value).collect()
    }
}

impl<T: IntoValue, const N: usize> Params for [T; N] {
    fn into_values(self) -> Result<Vec<Value>, Error> {
        self.into_iter().map(T::into_value).collect()
    }
}

impl<T: IntoValue + Clone> Params for &[T] {
    fn into_values(self) -> Result<Vec<Value>, Error> {
        self.iter().map(<&T>::into_value).collect()
    }
}

impl<T: IntoValue + Clone> Params for &Vec<T> {
    fn into_values(self) -> Result<Vec<Value>, Error> {
        self.as_slice().into_values()
    }
}

impl<T: IntoValue + Clone, const N: usize> Params for &[T; N] {
    fn into_values(self) -> Result<Vec<Value>, Error> {
        self.as_slice().into_values()
    }
}

macro_rules! params_for_tuples {
    ($first:ident $($rest:ident)*) => {
        impl<$first: IntoValue, $($rest: IntoValue),*> Params for ($first, $($rest,)*) {
            fn into_values(self) -> Result<Vec<Value>, Error> {
                #[allow(non_snake_case, reason = "named after its type")]
                let ($first, $($rest,)*) = self;
                Ok(vec![$first.into_value()?, $($rest.into_value()?),*])
            }
        }
        params_for_tuples!($($rest)*);
    };
    () => {};
}

params_for_tuples!(A B C D E F G H I J K L M N O P);

macro_rules! value_from {
    ($($from:ty as $kind:ident: $convert:expr;)*) => {$(
        impl IntoValue for $from {
            fn into_value(self) -> Result<Value, Error> {
                let convert: fn($from) -> _ = $convert;
                Ok(Value::$kind(convert(self)))
            }
        }

        impl From<$from> for Value {
            fn from(value: $from) -> Self {
                let convert: fn($from) -> _ = $convert;
                Self::$kind(convert(value))
            }
        }
    )*};
}

value_from! {
    bool as Integer: i64::from;
    i8 as Integer: i64::from;
    i16 as Integer: i64::from;
    i32 as Integer: i64::from;
    i64 as Integer: i64::from;
    u8 as Integer: i64::from;
    u16 as Integer: i64::from;
    u32 as Integer: i64::from;
    f32 as Real: f64::from;
    f64 as Real: f64::from;
    char as Text: String::from;
    String as Text: String::from;
    &str as Text: |text| text.to_owned();
    Cow<'_, str> as Text: |text| text.into_owned();
    Vec<u8> as Blob: |bytes| bytes;
    &[u8] as Blob: |bytes| bytes.to_vec();
}

macro_rules! value_from_wide {
    ($($from:ty)*) => {$(
        impl IntoValue for $from {
            fn into_value(self) -> Result<Value, Error> {
                i64::try_from(self).map(Value::Integer).map_err(|_| {
                    Error::mismatch(format!(
                        "the parameter {self} is beyond SQLite's integers, which have 64 bits \
                         with sign; store it as text or bytes"
                    ))
                })
            }
        }
    )*};
}

value_from_wide!(u64 usize isize i128 u128);

impl IntoValue for Value {
    fn into_value(self) -> Result<Value, Error> {
        Ok(self)
    }
}

impl<const N: usize> IntoValue for [u8; N] {
    fn into_value(self) -> Result<Value, Error> {
        Ok(Value::Blob(self.into()))
    }
}

impl<T: IntoValue + Clone> IntoValue for &T {
    fn into_value(self) -> Result<Value, Error> {
        self.clone().into_value()
    }
}

impl<T: IntoValue> IntoValue for Option<T> {
    fn into_value(self) -> Result<Value, Error> {
        self.map_or(Ok(Value::Null), T::into_value)
    }
}

impl IntoValue for serde_json::Value {
    fn into_value(self) -> Result<Value, Error> {
        match self {
            Self::Null => Ok(Value::Null),
            Self::Bool(value) => value.into_value(),
            Self::String(text) => text.into_value(),
            Self::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
                (Some(number), _, _) => number.into_value(),
                (None, Some(number), _) => number.into_value(),
                (None, None, number) => number.into_value(),
            },
            list_or_object @ (Self::Array(_) | Self::Object(_)) => {
                Ok(Value::Text(list_or_object.to_string()))
            }
        }
    }
}

/// Milliseconds since 1970, rounded down.
impl IntoValue for SystemTime {
    fn into_value(self) -> Result<Value, Error> {
        let since = self.duration_since(UNIX_EPOCH).ok();
        let ms = since.and_then(|since| i64::try_from(since.as_millis()).ok());
        ms.map(Value::Integer).ok_or_else(|| {
            Error::mismatch(
                "a SystemTime before 1970 cannot be stored; use milliseconds of your own, or text",
            )
        })
    }
}

#[cfg(feature = "jiff")]
mod jiff_dates {
    //! RFC 3339 text in UTC with six digits after the second, which sorts as the times do.

    use jiff::Timestamp;
    use jiff::Zoned;
    use jiff::civil::Date;

    use super::{Error, IntoValue, Value};

    impl IntoValue for Timestamp {
        fn into_value(self) -> Result<Value, Error> {
            Ok(Value::Text(format!("{self:.6}")))
        }
    }

    impl IntoValue for Zoned {
        fn into_value(self) -> Result<Value, Error> {
            self.timestamp().into_value()
        }
    }

    impl IntoValue for Date {
        fn into_value(self) -> Result<Value, Error> {
            Ok(Value::Text(self.to_string()))
        }
    }
}

#[cfg(feature = "chrono")]
mod dates {
    //! RFC 3339 text, which sorts as the times do: always UTC, always with six
    //! digits after the second.

    use chrono::{DateTime, NaiveDate, SecondsFormat, TimeZone, Utc};

    use super::{Error, IntoValue, Value};

    impl<Z: TimeZone> IntoValue for DateTime<Z> {
        fn into_value(self) -> Result<Value, Error> {
            let utc = self.with_timezone(&Utc);
            Ok(Value::Text(
                utc.to_rfc3339_opts(SecondsFormat::Micros, true),
            ))
        }
    }

    impl IntoValue for NaiveDate {
        fn into_value(self) -> Result<Value, Error> {
            Ok(Value::Text(self.to_string()))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sql::{ErrorKind, Json, params};

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn every_shape_of_parameters_keeps_order() {
        let two = [Value::Integer(1), Value::Integer(2)];
        assert_eq!(().into_values().unwrap(), []);
        assert_eq!((1, 2).into_values().unwrap(), two);
        assert_eq!([1, 2].into_values().unwrap(), two);
        assert_eq!(vec![1, 2].into_values().unwrap(), two);
        assert_eq!((&[1, 2]).into_values().unwrap(), two);
        assert_eq!((&vec![1, 2]).into_values().unwrap(), two);
        assert_eq!([1, 2][..].into_values().unwrap(), two);
        assert_eq!(two.as_slice().into_values().unwrap(), two);
        assert_eq!(params![1, 2,].into_values().unwrap(), two);
        assert_eq!(
            (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16)
                .into_values()
                .unwrap()
                .len(),
            16
        );
    }

    #[test]
    fn types_become_those_of_sqlite() {
        let name = String::from("a");
        let bytes: &[u8] = &[1];
        let cases = params![
            true,
            1_u8,
            -1_i32,
            u32::MAX,
            1.5_f32,
            'x',
            "s",
            &name,
            Cow::Borrowed("c"),
            bytes,
            [1_u8, 2],
            vec![3_u8],
            None::<i64>,
            Some("o"),
            &&7,
            Json([1, 2])
        ];
        let wanted = [
            Value::Integer(1),
            Value::Integer(1),
            Value::Integer(-1),
            Value::Integer(4_294_967_295),
            Value::Real(1.5),
            text("x"),
            text("s"),
            text("a"),
            text("c"),
            Value::Blob(vec![1]),
            Value::Blob(vec![1, 2]),
            Value::Blob(vec![3]),
            Value::Null,
            text("o"),
            Value::Integer(7),
            text("[1,2]"),
        ];
        assert_eq!(cases.into_values().unwrap(), wanted);
    }

    #[test]
    fn json_becomes_what_it_holds() {
        let json = vec![
            json!(null),
            json!(true),
            json!(7),
            json!(7.0),
            json!("t"),
            json!({"a": [1]}),
        ];
        let wanted = [
            Value::Null,
            Value::Integer(1),
            Value::Integer(7),
            Value::Real(7.0),
            text("t"),
            text(r#"{"a":[1]}"#),
        ];
        assert_eq!(json.into_values().unwrap(), wanted);
    }

    #[test]
    fn an_integer_without_room_is_an_error() {
        for error in [
            (1, u64::MAX).into_values().unwrap_err(),
            params![1, u64::MAX, 2].into_values().unwrap_err(),
            [json!(u64::MAX)].into_values().unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Mismatch);
            assert!(error.message().contains("18446744073709551615"), "{error}");
        }
        assert_eq!(
            [i64::MAX as u64].into_values().unwrap(),
            [Value::Integer(i64::MAX)]
        );
    }

    #[cfg(feature = "chrono")]
    #[test]
    fn times_are_text_that_sorts() {
        let time = chrono::DateTime::parse_from_rfc3339("2026-02-03T04:05:06+02:00").unwrap();
        let day = chrono::NaiveDate::from_ymd_opt(2026, 2, 3).unwrap();
        let wanted = [text("2026-02-03T02:05:06.000000Z"), text("2026-02-03")];
        assert_eq!((time, day).into_values().unwrap(), wanted);
    }
}
