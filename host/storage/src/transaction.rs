//! Transactions that last longer than a turn, and how guests opt out of waiting.
//!
//! Used by the guest imports while the object's gate is shut. While a transaction is
//! open the end of a turn commits nothing; its own end commits all of it or undoes all of
//! it. Transactions nest as savepoints do.

use crate::database::Database;
use crate::error::{Error, Kind};
use crate::ticket::Ticket;
use crate::turn::SavepointId;

impl Database {
    /// Commits the open turn, then opens a transaction; a nested one commits nothing.
    pub fn begin_transaction(&mut self) -> Result<SavepointId, Error> {
        if !self.in_transaction() {
            self.refuse_savepoints(
                "a transaction that waits cannot begin inside one that does not; open it first",
            )?;
            self.end_turn()?;
        }
        let id = self.open_savepoint()?;
        self.transactions.push(id);
        Ok(id)
    }

    /// Keeps what was written since; the outermost one commits it, which may fail as the
    /// end of a turn does.
    pub fn commit_transaction(&mut self, id: SavepointId) -> Result<(), Error> {
        let is_outermost = self.close_transaction(id)?;
        let released = self.release_savepoint(id);
        if is_outermost && released.is_err() {
            // Its beginning is gone, so no part of it may stay.
            self.abandon_turn();
        }
        released?;
        if is_outermost {
            self.end_turn()?;
        }
        Ok(())
    }

    /// Undoes what was written since; transactions inside it end with it.
    pub fn rollback_transaction(&mut self, id: SavepointId) -> Result<(), Error> {
        if self.close_transaction(id)? {
            self.abandon_turn();
            return Ok(());
        }
        self.rollback_savepoint(id)
    }

    /// Whether a transaction is open, so that the end of a turn commits nothing.
    pub fn in_transaction(&self) -> bool {
        !self.transactions.is_empty()
    }

    /// What the open turn has written and will write need not be durable before anything
    /// leaves the object. It still is committed whole, and in order.
    pub fn allow_unconfirmed(&mut self) {
        self.unconfirmed_turn = true;
    }

    /// Commits the open turn and answers when everything is durable that this object has
    /// committed, also what nothing else waits for.
    pub fn sync(&mut self) -> Result<Ticket, Error> {
        if self.in_transaction() {
            return Err(denied(
                "Cannot call sync() within a transaction; what it writes is durable after its end",
            ));
        }
        self.refuse_savepoints("Cannot call sync() within a transaction")?;
        self.end_turn()?;
        Ok(self.own_gate())
    }

    /// Says whether it was the outermost.
    fn close_transaction(&mut self, id: SavepointId) -> Result<bool, Error> {
        if let Some(error) = self.broken() {
            return Err(error.clone());
        }
        let at = self.transactions.iter().position(|open| *open == id);
        let at = at.ok_or(Error::Closed {
            what: "transaction",
            why: "it was ended before, or undone",
        })?;
        self.transactions.truncate(at);
        Ok(at == 0)
    }

    fn refuse_savepoints(&self, message: &'static str) -> Result<(), Error> {
        if self.has_savepoints() {
            return Err(denied(message));
        }
        Ok(())
    }
}

const fn denied(message: &'static str) -> Error {
    Error::Call {
        kind: Kind::Denied,
        message,
    }
}
