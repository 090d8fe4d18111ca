//! Reads one value into any `Deserialize` type.

use serde::de::value::{SeqDeserializer, StringDeserializer};
use serde::de::{self, Deserializer, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;

use super::fault::RowError;
use crate::sql::Value;

/// The name by which serde reads a [`std::time::SystemTime`].
pub(super) const SYSTEM_TIME: &str = "SystemTime";

/// One value; whoever reads it names its column in errors.
pub(super) struct Column {
    pub(super) value: Value,
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
        unit unit_struct tuple_struct map identifier
    }

    /// A `SystemTime` asks for its two fields; it is kept as milliseconds since 1970.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, RowError> {
        match self.value {
            Value::Integer(ms) if name == SYSTEM_TIME => {
                let ms = u64::try_from(ms).map_err(|_| {
                    let wanted = &"milliseconds since 1970";
                    de::Error::invalid_value(Unexpected::Signed(ms), wanted)
                })?;
                let parts = [ms / 1000, ms % 1000 * 1_000_000];
                visitor.visit_seq(SeqDeserializer::<_, RowError>::new(parts.into_iter()))
            }
            _ => self.visit(visitor),
        }
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
                let list = SeqDeserializer::<_, RowError>::new(bytes.into_iter());
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
