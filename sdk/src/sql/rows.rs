//! A whole result, and one row of it.

use std::fmt;

use serde::de::DeserializeOwned;

use super::row::{self, Columns};
use super::{Error, ErrorKind, Value};
use crate::bindings::dormouse::object::sql as wit;

/// The rows that a statement answered with.
///
/// A statement that answers with none, such as an INSERT, has no columns.
#[derive(Clone, Debug)]
pub struct Rows {
    columns: Columns,
    rows: Vec<Vec<Value>>,
    rows_read: u64,
    rows_written: u64,
}

impl Rows {
    pub(crate) fn from_wit(set: wit::ResultSet) -> Self {
        Self {
            columns: Columns::new(set.columns),
            rows: values(set.rows),
            rows_read: set.rows_read,
            rows_written: set.rows_written,
        }
    }

    pub(crate) fn new(
        columns: Vec<String>,
        rows: Vec<Vec<Value>>,
        (rows_read, rows_written): (u64, u64),
    ) -> Self {
        Self {
            columns: Columns::new(columns),
            rows,
            rows_read,
            rows_written,
        }
    }

    /// All rows, each as a `T`.
    pub fn all<T: DeserializeOwned>(self) -> Result<Vec<T>, Error> {
        let Self { columns, rows, .. } = self;
        rows.into_iter()
            .map(|row| row::read(&columns, row))
            .collect()
    }

    /// The only row, as a `T`. No row, or more than one, is an error.
    pub fn one<T: DeserializeOwned>(self) -> Result<T, Error> {
        self.optional()?.ok_or_else(|| {
            Error::new(
                ErrorKind::NoRows,
                "Expected exactly one result from SQL query, but got no results.",
            )
        })
    }

    /// The only row, as a `T`, or `None`. More than one is an error.
    pub fn optional<T: DeserializeOwned>(self) -> Result<Option<T>, Error> {
        if self.rows.len() > 1 {
            return Err(Error::new(
                ErrorKind::ManyRows,
                "Expected exactly one result from SQL query, but got multiple results.",
            ));
        }
        let Self { columns, rows, .. } = self;
        rows.into_iter()
            .next()
            .map(|row| row::read(&columns, row))
            .transpose()
    }

    /// The names of the columns.
    pub fn columns(&self) -> &[String] {
        self.columns.names()
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Row after row.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Row<'_>> {
        self.into_iter()
    }

    /// Row after row, as plain values.
    pub fn into_values(self) -> Vec<Vec<Value>> {
        self.rows
    }

    /// How many rows and index entries SQLite stood on.
    pub fn rows_read(&self) -> u64 {
        self.rows_read
    }

    /// How many rows and index entries SQLite wrote, those of triggers included. To know
    /// how many rows a statement changed, ask `changes()`.
    pub fn rows_written(&self) -> u64 {
        self.rows_written
    }
}

impl<'a> IntoIterator for &'a Rows {
    type Item = Row<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Self::IntoIter {
        Iter {
            columns: &self.columns,
            rows: self.rows.iter(),
        }
    }
}

/// Goes through [`Rows`].
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    columns: &'a Columns,
    rows: std::slice::Iter<'a, Vec<Value>>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Row<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let values = self.rows.next()?;
        Some(Row {
            columns: self.columns,
            values,
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.rows.size_hint()
    }
}

impl ExactSizeIterator for Iter<'_> {}

/// One row of [`Rows`].
#[derive(Clone, Copy)]
pub struct Row<'a> {
    columns: &'a Columns,
    values: &'a [Value],
}

impl<'a> Row<'a> {
    /// The column of that name, as a `T`.
    pub fn get<T: DeserializeOwned>(&self, column: &str) -> Result<T, Error> {
        let at = self.columns.position(column)?;
        row::read_value(column, self.values[at].clone())
    }

    /// The whole row, as a `T`.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        row::read(self.columns, self.values.to_vec())
    }

    /// The plain values, by position.
    pub fn values(&self) -> &'a [Value] {
        self.values
    }
}

impl fmt::Debug for Row<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_map()
            .entries(self.columns.names().iter().zip(self.values))
            .finish()
    }
}

pub(super) fn values(rows: Vec<Vec<wit::Value>>) -> Vec<Vec<Value>> {
    rows.into_iter()
        .map(|row| row.into_iter().map(Value::from).collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: i64) -> Rows {
        Rows::from_wit(wit::ResultSet {
            columns: vec!["n".to_owned(), "n".to_owned()],
            rows: (0..count)
                .map(|n| vec![wit::Value::Integer(n), wit::Value::Integer(n * 10)])
                .collect(),
            rows_read: 0,
            rows_written: 0,
        })
    }

    #[test]
    fn one_wants_exactly_one() {
        let texts = [0, 2].map(|count| rows(count).one::<(i64, i64)>().unwrap_err().to_string());
        assert_eq!(
            texts,
            [
                "Expected exactly one result from SQL query, but got no results.",
                "Expected exactly one result from SQL query, but got multiple results.",
            ]
        );
        assert_eq!(rows(1).one::<(i64, i64)>().unwrap(), (0, 0));
        assert_eq!(rows(0).optional::<(i64, i64)>().unwrap(), None);
    }

    #[test]
    fn the_last_of_two_columns_with_one_name_counts() {
        let rows = rows(3);
        let by_name: Vec<i64> = rows.iter().map(|row| row.get("n").unwrap()).collect();
        assert_eq!(by_name, [0, 10, 20]);
        let error = rows.iter().next().unwrap().get::<i64>("m").unwrap_err();
        assert_eq!(
            error.message(),
            "the result has no column `m`; its columns are `n`, `n`"
        );
    }
}
