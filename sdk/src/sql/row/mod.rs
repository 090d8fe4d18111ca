//! Reads a row of values into any `Deserialize` type.
//!
//! Which shape takes what is told in the docs of [`crate::sql`]. Consumes the
//! values, so text and bytes are moved, not copied. What does not fit is told by
//! `fault`.

mod column;
mod fault;

use std::marker::PhantomData;

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess,
    Visitor,
};

use super::{Error, Value};
use column::{Column, SYSTEM_TIME};
use fault::{Fault, RowError};

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
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, RowError> {
        if name == SYSTEM_TIME && self.values.len() == 1 {
            return self.single()?.deserialize_struct(name, fields, visitor);
        }
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

#[cfg(test)]
mod tests;
