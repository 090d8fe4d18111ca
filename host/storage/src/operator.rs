//! Operator: SQL that somebody runs on an object from outside its code.
//!
//! Used by the host's admin door, between two turns of the object or while it sleeps.
//! The guard holds as for guests; unless writing was asked for, a statement that writes
//! is refused before its first step. Settings of the connection are never changed: they
//! would outlive the statement inside the object's own code.

use crate::database::Database;
use crate::error::Error;
use crate::value::{Row, Value};

/// Rows of one statement of an operator.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer {
    pub columns: Vec<String>,
    pub rows: Vec<Row>,
    pub rows_read: u64,
    pub rows_written: u64,
    /// Whether there are more rows than were asked for.
    pub more: bool,
}

impl Database {
    /// Runs all statements of `sql`; at most `max_rows` rows of the last one. With
    /// `writes`, the turn is left open for the caller to end.
    pub fn operate(
        &mut self,
        sql: &str,
        params: &[Value],
        writes: bool,
        max_rows: u32,
    ) -> Result<Answer, Error> {
        self.set_operator(Some(writes))?;
        let answer = self.first_rows(sql, params, max_rows);
        // An error means that the database is broken, which the answer says already.
        let _ = self.set_operator(None);
        answer
    }

    fn first_rows(&mut self, sql: &str, params: &[Value], max_rows: u32) -> Result<Answer, Error> {
        let cursor = self.query(sql, params)?;
        let batch = self.next_batch(cursor, max_rows);
        let counted = self.cursor_rows(cursor).unwrap_or_default();
        let columns = self.cursor_columns(cursor).map(<[String]>::to_vec);
        self.close_cursor(cursor);
        let batch = batch?;
        Ok(Answer {
            columns: columns?,
            rows: batch.rows,
            rows_read: counted.0,
            rows_written: counted.1,
            more: !batch.done,
        })
    }
}
