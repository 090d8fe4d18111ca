//! Statement cache: compiled statements by their text, while they are not running.
//!
//! One per open database. A statement is taken out to run and put back afterwards,
//! so two runs of one text never share a statement. The least recently used goes.

use std::collections::HashMap;

use crate::sqlite::Statement;

const CAPACITY: usize = 32;

/// A compiled statement and what its compilation told the guard.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) statement: Statement,
    pub(crate) writes: bool,
    pub(crate) parameters: usize,
    pub(crate) columns: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Cache {
    entries: HashMap<Box<str>, (u64, Prepared)>,
    clock: u64,
}

impl Cache {
    pub(crate) fn take(&mut self, text: &str) -> Option<(Box<str>, Prepared)> {
        self.entries
            .remove_entry(text)
            .map(|(text, (_, prepared))| (text, prepared))
    }

    /// Keeps a statement for its next run. It must be reset and unbound.
    pub(crate) fn put(&mut self, text: Box<str>, prepared: Prepared) {
        if self.entries.len() >= CAPACITY && !self.entries.contains_key(&text) {
            let oldest = self
                .entries
                .iter()
                .min_by_key(|(_, (used, _))| *used)
                .map(|(text, _)| text.clone());
            oldest.and_then(|text| self.entries.remove(&text));
        }
        self.clock += 1;
        self.entries.insert(text, (self.clock, prepared));
    }
}
