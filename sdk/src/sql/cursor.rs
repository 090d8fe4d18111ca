//! A result read in portions.

use std::fmt;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;

use super::row::{self, Columns};
use super::{Error, Value, rows};
use crate::bindings::dormouse::object::sql as wit;

/// Rows per call of the host: few enough to hold, enough to make the call cheap.
const BATCH_ROWS: u32 = 256;

/// Iterates over the rows of a large result; made by
/// [`Sql::cursor`](crate::sql::Sql::cursor).
///
/// Ends after the first error. A cursor kept across an `.await` ends with
/// [`ErrorKind::Closed`](crate::sql::ErrorKind::Closed) if its turn was undone.
pub struct Cursor<T> {
    open: wit::Cursor,
    columns: Columns,
    batch_rows: u32,
    rows: std::vec::IntoIter<Vec<Value>>,
    done: bool,
    row: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Cursor<T> {
    pub(super) fn new(open: wit::Cursor) -> Self {
        let columns = Columns::new(open.columns());
        Self {
            open,
            columns,
            batch_rows: BATCH_ROWS,
            rows: Vec::new().into_iter(),
            done: false,
            row: PhantomData,
        }
    }

    /// Fetches this many rows at a time, instead of 256.
    #[must_use]
    pub fn with_batch(mut self, rows: u32) -> Self {
        self.batch_rows = rows;
        self
    }

    /// The names of the columns.
    pub fn columns(&self) -> &[String] {
        self.columns.names()
    }

    /// How many rows and index entries SQLite has stood on so far.
    pub fn rows_read(&self) -> u64 {
        self.open.rows_read()
    }

    /// How many rows and index entries SQLite has written.
    pub fn rows_written(&self) -> u64 {
        self.open.rows_written()
    }

    fn next_row(&mut self) -> Result<Option<Vec<Value>>, Error> {
        loop {
            if let Some(row) = self.rows.next() {
                return Ok(Some(row));
            }
            if self.done {
                return Ok(None);
            }
            let batch = self.open.next_batch(self.batch_rows)?;
            self.done = batch.done;
            self.rows = rows::values(batch.rows).into_iter();
        }
    }
}

impl<T: DeserializeOwned> Iterator for Cursor<T> {
    type Item = Result<T, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.next_row().transpose()?;
        let row = row.and_then(|row| row::read(&self.columns, row));
        if row.is_err() {
            self.done = true;
            self.rows = Vec::new().into_iter();
        }
        Some(row)
    }
}

impl<T> fmt::Debug for Cursor<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Cursor")
            .field("columns", &self.columns.names())
            .field("done", &self.done)
            .finish_non_exhaustive()
    }
}
