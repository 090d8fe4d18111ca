//! Turns: the implicit transaction of an object, and savepoints inside it.
//!
//! Part of `database`. A turn's first write opens the transaction; its end commits all or
//! nothing. Savepoints are a stack of names that guests never see: ending an outer one
//! ends those inside it.

use crate::error::Error;
use crate::sqlite::{Connection, Statement};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SavepointId(u64);

/// The transaction control of one connection.
#[derive(Debug)]
pub(crate) struct Turn {
    begin: Statement,
    commit: Statement,
    open: bool,
    savepoints: Vec<SavepointId>,
    last_savepoint: u64,
    /// By depth, compiled when first needed.
    levels: Vec<Level>,
}

/// The statements of the savepoints at one depth.
#[derive(Debug)]
struct Level {
    open: Statement,
    release: Statement,
}

impl Turn {
    pub(crate) fn new(connection: &Connection) -> Result<Turn, Error> {
        Ok(Turn {
            begin: prepare(connection, "BEGIN")?,
            commit: prepare(connection, "COMMIT")?,
            open: false,
            savepoints: Vec::new(),
            last_savepoint: 0,
            levels: Vec::new(),
        })
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    pub(crate) fn begin(&mut self, connection: &Connection) -> Result<(), Error> {
        if !self.open {
            run(connection, &self.begin)?;
            self.open = true;
        }
        Ok(())
    }

    /// Commits; savepoints that nobody ended are rolled back first. After an error the
    /// transaction is still there to be rolled back.
    pub(crate) fn commit(&mut self, connection: &Connection) -> Result<(), Error> {
        if let Some(&outermost) = self.savepoints.first() {
            self.rollback_to(connection, outermost)?;
        }
        run(connection, &self.commit)?;
        self.open = false;
        Ok(())
    }

    /// Undoes the whole turn. SQLite may have done so already; that it fails otherwise
    /// is harmless, because the connection is then given up.
    pub(crate) fn rollback(&mut self, connection: &Connection) {
        if !connection.autocommit() {
            let _ = connection.run_trusted("ROLLBACK");
        }
        self.forget();
    }

    /// SQLite ended the transaction by itself (`ON CONFLICT ROLLBACK`, or an error that ends turns).
    pub(crate) fn forget(&mut self) {
        self.open = false;
        self.savepoints.clear();
    }

    pub(crate) fn has_savepoints(&self) -> bool {
        !self.savepoints.is_empty()
    }

    pub(crate) fn last_savepoint(&self) -> SavepointId {
        SavepointId(self.last_savepoint)
    }

    /// Gives out ids behind this one only.
    pub(crate) fn go_on_from(&mut self, last: SavepointId) {
        self.last_savepoint = last.0;
    }

    pub(crate) fn open_savepoint(&mut self, connection: &Connection) -> Result<SavepointId, Error> {
        let depth = self.savepoints.len();
        if depth == self.levels.len() {
            self.levels.push(Level::new(connection, depth)?);
        }
        run(connection, &self.levels[depth].open)?;
        let id = SavepointId(self.last_savepoint + 1);
        self.last_savepoint = id.0;
        self.savepoints.push(id);
        Ok(id)
    }

    pub(crate) fn release(
        &mut self,
        connection: &Connection,
        id: SavepointId,
    ) -> Result<(), Error> {
        let depth = self.depth(id)?;
        run(connection, &self.levels[depth].release)?;
        self.savepoints.truncate(depth);
        Ok(())
    }

    pub(crate) fn rollback_to(
        &mut self,
        connection: &Connection,
        id: SavepointId,
    ) -> Result<(), Error> {
        let depth = self.depth(id)?;
        connection.run_trusted(&format!("ROLLBACK TO {}", name(depth)))?;
        run(connection, &self.levels[depth].release)?;
        self.savepoints.truncate(depth);
        Ok(())
    }

    fn depth(&self, id: SavepointId) -> Result<usize, Error> {
        let why = "it was ended before, or its turn is over";
        self.savepoints
            .iter()
            .position(|open| *open == id)
            .ok_or(Error::Closed {
                what: "savepoint",
                why,
            })
    }
}

impl Level {
    fn new(connection: &Connection, depth: usize) -> Result<Level, Error> {
        let name = name(depth);
        Ok(Level {
            open: prepare(connection, &format!("SAVEPOINT {name}"))?,
            release: prepare(connection, &format!("RELEASE {name}"))?,
        })
    }
}

fn name(depth: usize) -> String {
    format!("_dormouse_{depth}")
}

fn prepare(connection: &Connection, sql: &str) -> Result<Statement, Error> {
    let (statement, _) = connection.trusted(|| connection.prepare(sql, true))?;
    statement.ok_or(Error::NoStatement)
}

fn run(connection: &Connection, statement: &Statement) -> Result<(), Error> {
    let result = connection.trusted(|| connection.step(statement));
    statement.reset();
    result.map(|_| ())
}
