//! Cursors: results read in portions.
//!
//! Opened by `Database::query`. A reading statement stays in mid-run between two batches,
//! one row ahead, so that `done` is known with the last row; a writing one has run to its
//! end and its rows are held here. A cursor lives until it is closed, its turn is undone
//! or the database is closed.

use std::collections::VecDeque;

use crate::cache::Prepared;
use crate::error::Error;
use crate::sqlite::{Connection, Rows};
use crate::value::{Batch, ResultSet, Row, Value, first_integer};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CursorId(pub(crate) u64);

#[derive(Debug)]
pub(crate) struct Cursor {
    pub(crate) columns: Vec<String>,
    /// Of a statement that has ended.
    ended: Rows,
    /// The first column of the first row, which may say how many rows were read.
    first: Option<i64>,
    /// Rows fetched and not yet given out; for a running statement at most one.
    ahead: VecDeque<Row>,
    running: Option<(Box<str>, Prepared)>,
}

impl Cursor {
    /// A cursor over rows that are already here.
    pub(crate) fn drained(result: ResultSet) -> Cursor {
        Cursor {
            columns: result.columns,
            ended: Rows {
                read: result.rows_read,
                written: result.rows_written,
            },
            first: None,
            ahead: result.rows.into(),
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
            ended: Rows::default(),
            first: None,
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
        if self.first.is_none() {
            self.first = first_integer(row.as_slice());
        }
        self.ahead.extend(row);
        Ok(())
    }

    /// Rows read and written so far, one row of look-ahead included.
    pub(crate) fn rows(&self, connection: &Connection) -> Rows {
        match &self.running {
            Some((_, prepared)) => prepared.rows(connection, 0, self.first),
            None => self.ended,
        }
    }

    /// Whether the end of a running statement was reached, so it can serve again.
    pub(crate) fn is_at_end(&self) -> bool {
        self.ahead.is_empty()
    }

    /// The statement, to be used again; the cursor stays for its counters.
    pub(crate) fn take_statement(
        &mut self,
        connection: &Connection,
    ) -> Option<(Box<str>, Prepared)> {
        let (text, mut prepared) = self.running.take()?;
        self.ended = prepared.finish(connection, 0, self.first);
        Some((text, prepared))
    }
}
