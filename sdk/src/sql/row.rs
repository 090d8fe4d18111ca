//! Reads a row of values into any `Deserialize` type.
//!
//! Which shape takes what is told in the docs of [`crate::sql`]. Consumes the
//! values, so text and bytes are moved, not copied. Every error names its
//! column, the type found and the type wanted, and never the text or bytes in
//! it: errors end up in logs.

use std::fmt::{self, Display};
use std::marker::PhantomData;

use serde::de::value::StringDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;

use super::{Error, Value};

/// The name by which `Value` asks a row for its only column.
pub(super) const ONE_VALUE: &str = "$dormouse::Value";

/// The columns of a result.
#[derive(Clone, Debug)]
pub(super) struct Columns {
    names: Vec<String>,
    /// Whether a later column bears the same name.
    shadowed: Vec<bool>,
}

impl Columns {
    pub(super) fn new(names: Vec<String>) -> Self {
        let shadowed = names
            .iter()
            .enumerate()
            .map(|(at, name)| names[at + 1..].contains(name))
            .collect();
        Self { names, shadowed }
    }

    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// The last column of that name.
    pub(super) fn position(&self, name: &str) -> Result<usize, Error> {
        self.names
            .iter()
            .rposition(|column| column == name)
            .ok_or_else(|| {
                Error::mismatch(format!(
                    "the result has no column `{name}`; {}",
                    self.listed()
                ))
            })
    }

    fn listed(&self) -> String {
        match self.names.as_slice() {
            [] => "it has none".to_owned(),
            [only] => format!("its only column is `{only}`"),
            names => format!("its columns are `{}`", names.join("`, `")),
        }
    }
}

/// Reads a whole row.
pub(super) fn read<T: DeserializeOwned>(columns: &Columns, values: Vec<Value>) -> Result<T, Error> {
    let only = match values.as_slice() {
        [value] => Some((columns.names[0].as_str(), value.type_name())),
        _ => None,
    };
    T::deserialize(RowDeserializer { columns, values }).map_err(|error| {
        Error::mismatch(match (error.fault, only) {
            (Fault::MissingField(name), _) => {
                format!("the result has no column `{name}`; {}", columns.listed())
            }
            (fault, Some((column, found))) => RowError { fault }.at(column, found).to_string(),
            (fault, None) => RowError { fault }.to_string(),
        })
    })
}

/// Reads one column.
pub(super) fn read_value<T: DeserializeOwned>(column: &str, value: Value) -> Result<T, Error> {
    let read = read_column(PhantomData::<T>, column, value);
    read.map_err(|error| Error::mismatch(error.to_string()))
}

/// What a type said to a row, before it is put into words for the author.
#[derive(Debug)]
struct RowError {
    fault: Fault,
}

#[derive(Debug)]
enum Fault {
    /// A value is of the wrong type, or of the right one and out of range.
    Unfit {
        wanted: String,
        number: Option<String>,
    },
    /// A struct has a field that the row has not.
    MissingField(String),
    /// Anything else that a type says.
    Other(String),
    /// The column is named already.
    Told(String),
}

impl RowError {
    fn told(message: String) -> Self {
        Self {
            fault: Fault::Told(message),
        }
    }

    /// Names the column, once.
    fn at(self, column: &str, found: &'static str) -> Self {
        let message = match self.fault {
            told @ Fault::Told(_) => return Self { fault: told },
            Fault::Unfit { wanted, number } => {
                let number = number
                    .map(|number| format!(" {number}"))
                    .unwrap_or_default();
                let advice = advice(found, &wanted);
                format!(
                    "column `{column}` holds {found}{number}, which does not fit {wanted}{advice}"
                )
            }
            Fault::MissingField(name) => {
                format!("column `{column}` holds {found}, which has no field `{name}`")
            }
            Fault::Other(text) => format!("column `{column}` holds {found}: {text}"),
        };
        Self::told(message)
    }
}

/// The next step for the mistakes that everybody makes once.
fn advice(found: &str, wanted: &str) -> &'static str {
    let one_value = ["struct ", "a map", "a sequence", "a tuple", "tuple "];
    match found {
        "NULL" => "; read it into an `Option`",
        "TEXT" if one_value.iter().any(|start| wanted.starts_with(start)) => {
            "; if it is JSON, read it into `Json<…>`"
        }
        _ => "",
    }
}

impl Display for RowError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.fault {
            Fault::Unfit { wanted, .. } => write!(out, "does not fit {wanted}"),
            Fault::MissingField(name) => write!(out, "has no column `{name}`"),
            Fault::Told(message) | Fault::Other(message) => out.write_str(message),
        }
    }
}

impl std::error::Error for RowError {}

impl de::Error for RowError {
    fn custom<M: Display>(message: M) -> Self {
        Self {
            fault: Fault::Other(message.to_string()),
        }
    }

    fn invalid_type(_found: Unexpected<'_>, wanted: &dyn de::Expected) -> Self {
        Self {
            fault: Fault::Unfit {
                wanted: wanted.to_string(),
                number: None,
            },
        }
    }

    fn invalid_value(found: Unexpected<'_>, wanted: &dyn de::Expected) -> Self {
        let number = match found {
            Unexpected::Signed(number) => Some(number.to_string()),
            Unexpected::Unsigned(number) => Some(number.to_string()),
            _ => None,
        };
        Self {
            fault: Fault::Unfit {
                wanted: wanted.to_string(),
                number,
            },
        }
    }

    fn invalid_length(length: usize, wanted: &dyn de::Expected) -> Self {
        Self::custom(format_args!("{length} columns do not fit {wanted}"))
    }

    fn missing_field(name: &'static str) -> Self {
        Self {
            fault: Fault::MissingField(name.to_owned()),
        }
    }
}

struct RowDeserializer<'a> {
    columns: &'a Columns,
    values: Vec<Value>,
}

impl<'a> RowDeserializer<'a> {
    /// The only column.
    fn single(self) -> Result<Column, RowError> {
        let Ok([value]) = <[Value; 1]>::try_from(self.values) else {
            return Err(RowError::told(format!(
                "one value is wanted, but the result has {} columns; {}",
                self.columns.names.len(),
                self.columns.listed()
            )));
        };
        Ok(Column { value })
    }

    fn is_one_blob(&self) -> bool {
        matches!(self.values.as_slice(), [Value::Blob(_)])
    }

    fn is_one_null(&self) -> bool {
        matches!(self.values.as_slice(), [Value::Null])
    }

    fn by_position(self) -> ByPosition<'a> {
        ByPosition {
            columns: self.columns,
            values: self.values.into_iter().enumerate(),
        }
    }

    fn by_name(self) -> ByName<'a> {
        ByName {
            columns: self.columns,
            values: self.values.into_iter().enumerate(),
            next: None,
        }
    }

    /// All columns in a type of fixed length: none may be left over.
    fn tuple<'de, V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, RowError> {
        if self.values.len() == length {
            return visitor.visit_seq(self.by_position());
        }
        if self.is_one_blob() {
            return self.single()?.deserialize_tuple(length, visitor);
        }
        Err(RowError::told(format!(
            "a row of {length} is wanted, but the result has {}; {}",
            self.values.len(),
            self.columns.listed()
        )))
    }
}

macro_rules! as_single {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
            self.single()?.$method(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for RowDeserializer<'_> {
    type Error = RowError;

    as_single! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_i128 deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
        deserialize_u128 deserialize_f32 deserialize_f64 deserialize_char deserialize_str
        deserialize_string deserialize_bytes deserialize_byte_buf deserialize_identifier
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        visitor.visit_map(self.by_name())
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        if self.is_one_null() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, RowError> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, RowError> {
        if name == ONE_VALUE {
            return self.single()?.deserialize_newtype_struct(name, visitor);
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        if self.is_one_blob() {
            return self.single()?.deserialize_seq(visitor);
        }
        visitor.visit_seq(self.by_position())
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, RowError> {
        self.tuple(length, visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, RowError> {
        self.tuple(length, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        visitor.visit_map(self.by_name())
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, RowError> {
        visitor.visit_map(self.by_name())
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, RowError> {
        self.single()?.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        visitor.visit_unit()
    }
}

type Numbered = std::iter::Enumerate<std::vec::IntoIter<Value>>;

struct ByPosition<'a> {
    columns: &'a Columns,
    values: Numbered,
}

impl<'de> SeqAccess<'de> for ByPosition<'_> {
    type Error = RowError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, RowError> {
        let next = self.values.next();
        next.map(|(at, value)| read_column(seed, &self.columns.names[at], value))
            .transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.values.len())
    }
}

struct ByName<'a> {
    columns: &'a Columns,
    values: Numbered,
    next: Option<(&'a str, Value)>,
}

impl<'de> MapAccess<'de> for ByName<'_> {
    type Error = RowError;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, RowError> {
        let shadowed = &self.columns.shadowed;
        let Some((at, value)) = self.values.find(|(at, _)| !shadowed[*at]) else {
            return Ok(None);
        };
        let name = &self.columns.names[at];
        self.next = Some((name, value));
        seed.deserialize(name.as_str().into_deserializer())
            .map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, RowError> {
        let (name, value) = self.next.take().expect("a key comes before its value");
        read_column(seed, name, value)
    }
}

fn read_column<'de, S: DeserializeSeed<'de>>(
    seed: S,
    name: &str,
    value: Value,
) -> Result<S::Value, RowError> {
    let found = value.type_name();
    let read = seed.deserialize(Column { value });
    read.map_err(|error| error.at(name, found))
}

/// One value; whoever reads it names its column in errors.
struct Column {
    value: Value,
}

impl Column {
    fn visit<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Integer(number) => visitor.visit_i64(number),
            Value::Real(number) => visitor.visit_f64(number),
            Value::Text(text) => visitor.visit_string(text),
            Value::Blob(bytes) => visitor.visit_byte_buf(bytes),
        }
    }
}

impl<'de> Deserializer<'de> for Column {
    type Error = RowError;

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct tuple_struct map struct identifier
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        self.visit(visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        match self.value {
            Value::Integer(0) => visitor.visit_bool(false),
            Value::Integer(1) => visitor.visit_bool(true),
            Value::Integer(number) => Err(de::Error::invalid_value(
                Unexpected::Signed(number),
                &"a boolean, 0 or 1",
            )),
            _ => self.visit(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, RowError> {
        visitor.visit_newtype_struct(self)
    }

    /// `Vec<u8>` and `[u8; N]` ask for a list, not for bytes.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        match self.value {
            Value::Blob(bytes) => {
                let list = de::value::SeqDeserializer::<_, RowError>::new(bytes.into_iter());
                visitor.visit_seq(list)
            }
            _ => self.visit(visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, RowError> {
        match &self.value {
            Value::Blob(bytes) if bytes.len() != length => {
                let found = bytes.len();
                Err(de::Error::custom(format_args!(
                    "{found} bytes where {length} are wanted"
                )))
            }
            _ => self.deserialize_seq(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, RowError> {
        match self.value {
            Value::Text(text) => {
                let text: StringDeserializer<RowError> = text.into_deserializer();
                text.deserialize_enum(name, variants, visitor)
            }
            _ => self.visit(visitor),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        visitor.visit_unit()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use crate::sql::{ErrorKind, Json};

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

        let three = [("a", Value::Null), ("b", Value::Null), ("c", Value::Null)];
        let cases = [
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
                row::<(i64, [u8; 3])>(&[("a", Value::Integer(1)), ("b", Value::Blob(vec![1]))])
                    .err(),
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
}
