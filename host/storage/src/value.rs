//! Values, rows and results as guests see them (`wit/sql.wit`).
//!
//! Plain data; knows nothing of SQLite. Integers keep all 64 bits, reals stay reals.

/// One column of one row, or one parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
    Blob(Vec<u8>),
}

impl Value {
    /// What the value weighs against `Limits::result_bytes`.
    pub(crate) fn weight_bytes(&self) -> usize {
        match self {
            Value::Null => 1,
            Value::Integer(_) | Value::Real(_) => 8,
            Value::Text(text) => text.len(),
            Value::Blob(bytes) => bytes.len(),
        }
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Value::Integer(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Value::Real(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Value::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Value::Text(value)
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Value::Blob(value)
    }
}

pub type Row = Vec<Value>;

/// All rows of the last statement of a call.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ResultSet {
    pub columns: Vec<String>,
    pub rows: Vec<Row>,
    /// Rows visited; see `Database::exec` for how they are counted.
    pub rows_read: u64,
    /// Rows changed; see `Database::exec` for how they are counted.
    pub rows_written: u64,
}

/// A portion of an open result.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    pub rows: Vec<Row>,
    /// Whether the end has been reached; the cursor then holds no statement.
    pub done: bool,
}

/// The first column of the first row, if it is an integer.
pub(crate) fn first_integer(rows: &[Row]) -> Option<i64> {
    match rows.first()?.first()? {
        Value::Integer(number) => Some(*number),
        _ => None,
    }
}
