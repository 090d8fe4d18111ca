//! Statement cache: compiled statements by their text, while they are not running.
//!
//! One per open database. A statement is taken out to run and put back afterwards,
//! so two runs of one text never share a statement. The least recently used goes.

use crate::sqlite::{Connection, Rows, Statement, Tally};

const CAPACITY: usize = 32;

/// A compiled statement and what its compilation told the guard.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) statement: Statement,
    pub(crate) writes: bool,
    pub(crate) parameters: usize,
    pub(crate) columns: usize,
    /// How its rows are counted; known when a guest first runs it.
    pub(crate) tally: Tally,
}

impl Prepared {
    /// The rows of the present run so far, which changed `changes` rows and whose first
    /// answer is `first`, if that is a number.
    pub(crate) fn rows(&self, connection: &Connection, changes: u64, first: Option<i64>) -> Rows {
        let mut tally = self.tally;
        if self.statement.is_recompiled() {
            tally = Tally::of(connection, &self.statement);
        }
        tally.rows(connection, &self.statement, changes, first)
    }

    /// The same at the end of the run; the next one is counted from here.
    pub(crate) fn finish(
        &mut self,
        connection: &Connection,
        changes: u64,
        first: Option<i64>,
    ) -> Rows {
        if self.statement.is_recompiled() {
            self.tally = Tally::of(connection, &self.statement);
            self.statement.forget_recompiled();
        }
        let tally = &mut self.tally;
        tally.finish(connection, &self.statement, changes, first)
    }
}

/// A few texts, so looking at each is cheaper than hashing one; the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    entries: Vec<(Box<str>, Prepared)>,
}

impl Cache {
    pub(crate) fn take(&mut self, text: &str) -> Option<(Box<str>, Prepared)> {
        let at = self.entries.iter().rposition(|(own, _)| **own == *text)?;
        Some(self.entries.remove(at))
    }

    /// Keeps a statement for its next run. It must be reset and unbound.
    pub(crate) fn put(&mut self, text: Box<str>, prepared: Prepared) {
        match self.entries.iter().position(|(own, _)| *own == text) {
            Some(at) => drop(self.entries.remove(at)),
            None if self.entries.len() >= CAPACITY => drop(self.entries.remove(0)),
            None => (),
        }
        self.entries.push((text, prepared));
    }
}
