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

/// What statements would do that were undone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rehearsal {
    pub answer: Answer,
    /// A line for each step; none for several statements.
    pub plan: Vec<String>,
}

/// Steps of a plan that are kept.
const PLAN_ROWS: u32 = 100;
/// The columns of `EXPLAIN QUERY PLAN`.
const PLAN_COLUMNS: [&str; 4] = ["id", "parent", "notused", "detail"];

fn steps(plan: Answer) -> Vec<String> {
    if plan.columns != PLAN_COLUMNS {
        return Vec::new();
    }
    let details = plan.rows.into_iter().filter_map(|mut row| row.pop());
    let texts = details.filter_map(|detail| match detail {
        Value::Text(text) => Some(text),
        _ => None,
    });
    texts.collect()
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

    /// The same with everything undone before it returns: what the statements would
    /// answer, and how SQLite would go about it.
    pub fn rehearse(
        &mut self,
        sql: &str,
        params: &[Value],
        max_rows: u32,
    ) -> Result<Rehearsal, Error> {
        let before = self.open_savepoint()?;
        // Several statements have no plan, and fail one by one when they are run.
        let plan = self.operate(
            &format!("EXPLAIN QUERY PLAN {sql}"),
            params,
            true,
            PLAN_ROWS,
        );
        let undone = self.rollback_savepoint(before);
        let before = undone.and_then(|()| self.open_savepoint())?;
        let answer = self.operate(sql, params, true, max_rows);
        let undone = self.rollback_savepoint(before);
        let answer = answer?;
        undone?;
        Ok(Rehearsal {
            answer,
            plan: plan.map(steps).unwrap_or_default(),
        })
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
