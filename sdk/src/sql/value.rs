//! SQLite's five types, and JSON kept in one of them.

use std::fmt;

use serde::de::{self, DeserializeOwned, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::params::IntoValue;
use super::{Error, row};
use crate::bindings::dormouse::object::sql as wit;

/// One value as SQLite stores it, for parameters and columns whose type is
/// known only at run time.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// NULL.
    #[default]
    Null,
    /// INTEGER: 64 bits with sign.
    Integer(i64),
    /// REAL: a 64-bit float.
    Real(f64),
    /// TEXT.
    Text(String),
    /// BLOB: bytes.
    Blob(Vec<u8>),
}

impl Value {
    /// The name of the type in SQLite, as `typeof()` has it but in capitals.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "NULL",
            Self::Integer(_) => "INTEGER",
            Self::Real(_) => "REAL",
            Self::Text(_) => "TEXT",
            Self::Blob(_) => "BLOB",
        }
    }
}

impl From<wit::Value> for Value {
    fn from(value: wit::Value) -> Self {
        match value {
            wit::Value::Null => Self::Null,
            wit::Value::Integer(number) => Self::Integer(number),
            wit::Value::Real(number) => Self::Real(number),
            wit::Value::Text(text) => Self::Text(text),
            wit::Value::Blob(bytes) => Self::Blob(bytes),
        }
    }
}

impl From<Value> for wit::Value {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Integer(number) => Self::Integer(number),
            Value::Real(number) => Self::Real(number),
            Value::Text(text) => Self::Text(text),
            Value::Blob(bytes) => Self::Blob(bytes),
        }
    }
}

/// A BLOB becomes what the format makes of bytes; in JSON, a list of numbers.
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Integer(number) => serializer.serialize_i64(*number),
            Self::Real(number) => serializer.serialize_f64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Blob(bytes) => serializer.serialize_bytes(bytes),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The name tells a row to hand over its only column, not itself.
        deserializer.deserialize_newtype_struct(row::ONE_VALUE, ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("NULL, an integer of 64 bits, a number, text or bytes")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Value, D::Error> {
        inner.deserialize_any(self)
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        i64::try_from(value)
            .map(Value::Integer)
            .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(value), &self))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Real(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Value, E> {
        Ok(Value::Blob(value.to_vec()))
    }

    fn visit_byte_buf<E>(self, value: Vec<u8>) -> Result<Value, E> {
        Ok(Value::Blob(value))
    }
}

/// Keeps any serializable value as JSON in a TEXT column.
///
/// ```no_run
/// # use dormouse_sdk::prelude::*;
/// # fn handler(sql: &Sql) -> Result<()> {
/// sql.exec("INSERT INTO settings VALUES (?)", (Json(vec!["dark", "quiet"]),))?;
/// let Json(settings): Json<Vec<String>> = sql.one("SELECT * FROM settings", ())?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Json<T>(pub T);

impl<T: Serialize> IntoValue for Json<T> {
    fn into_value(self) -> Result<Value, Error> {
        match serde_json::to_string(&self.0) {
            Ok(text) => Ok(Value::Text(text)),
            Err(error) => Err(Error::mismatch(format!(
                "a parameter cannot be written as JSON: {error}"
            ))),
        }
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Json<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        serde_json::from_str(&text).map(Self).map_err(|error| {
            de::Error::custom(format_args!("it is not the JSON that is wanted: {error}"))
        })
    }
}
