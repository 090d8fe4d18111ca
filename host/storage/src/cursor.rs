//! Cursors: results read in portions.
//!
//! Opened by `Database::query`. A reading statement stays in mid-run between two batches,
//! one row ahead, so that `done` is known with the last row; a writing one has run to its
//! end and its rows are held here. A cursor lives until it is closed, its turn is undone
//! or the database is closed.

use std::collections::VecDeque;

use crate::cache::Prepared;
use crate::error::Error;
use crate::sqlite::Connection;
use crate::value::{Batch, Row, Value};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CursorId(pub(crate) u64);

#[derive(Debug)]
pub(crate) struct Cursor {
    pub(crate) columns: Vec<String>,
    pub(crate) rows_read: u64,
    pub(crate) rows_written: u64,
    /// Rows fetched and not yet given out; for a running statement at most one.
    ahead: VecDeque<Row>,
    running: Option<(Box<str>, Prepared)>,
}

impl Cursor {
    /// A cursor over rows that are already here.
    pub(crate) fn drained(
        columns: Vec<String>,
        rows: Vec<Row>,
        rows_read: u64,
        rows_written: u64,
    ) -> Cursor {
        Cursor {
            columns,
            rows_read,
            rows_written,
            ahead: rows.into(),
            running: None,
        }
    }

    /// A cursor over a statement that is bound and has not run yet; runs it to its first row.
    pub(crate) fn start(
        connection: &Connection,
        text: Box<str>,
        prepared: Prepared,
    ) -> Result<Cursor, Error> {
        let running = Some((text, prepared));
        let mut cursor = Cursor {
            columns: Vec::new(),
            rows_read: 0,
            rows_written: 0,
            ahead: VecDeque::new(),
            running,
        };
        cursor.look_ahead(connection)?;
        // Only now: the first step compiles anew what was compiled for older tables.
        if let Some((_, prepared)) = &cursor.running {
            cursor.columns = prepared.statement.column_names();
        }
        Ok(cursor)
    }

    /// At most `max_rows` rows, fewer when they weigh more than `max_bytes`, at least one.
    pub(crate) fn next_batch(
        &mut self,
        connection: &Connection,
        max_rows: u32,
        max_bytes: u64,
    ) -> Result<Batch, Error> {
        let mut batch = Batch::default();
        let mut bytes = 0;
        while batch.rows.len() < max_rows.max(1) as usize && bytes < max_bytes {
            let Some(row) = self.ahead.pop_front() else {
                break;
            };
            bytes += row
                .iter()
                .map(|value| Value::weight_bytes(value) as u64)
                .sum::<u64>();
            batch.rows.push(row);
            if self.ahead.is_empty() {
                self.look_ahead(connection)?;
            }
        }
        batch.done = self.ahead.is_empty();
        Ok(batch)
    }

    fn look_ahead(&mut self, connection: &Connection) -> Result<(), Error> {
        let Some((_, prepared)) = &self.running else {
            return Ok(());
        };
        let row = connection
            .step(&prepared.statement)?
            .then(|| prepared.statement.row());
        self.rows_read = prepared
            .statement
            .rows_read(self.rows_read + u64::from(row.is_some()));
        self.ahead.extend(row);
        Ok(())
    }

    /// Whether the end of a running statement was reached, so it can serve again.
    pub(crate) fn is_at_end(&self) -> bool {
        self.ahead.is_empty()
    }

    pub(crate) fn take_statement(&mut self) -> Option<(Box<str>, Prepared)> {
        self.running.take()
    }
}
