//! `dormouse:object/transaction`: transactions that last over awaits.
//!
//! Keeps the gate and the database in step: each transaction is a section.

use dormouse_storage::SavepointId;
use wasmtime::component::{Access, HasSelf, Resource};

use super::gate::calling;
use crate::guest::bindings::dormouse::object::sql::{Error, ErrorKind};
use crate::guest::bindings::dormouse::object::transaction::{
    Host, HostTransaction, HostTransactionWithStore,
};
use crate::guest::context::Context;
use crate::guest::gate::{Refusal, SectionId};

/// A guest's handle on a transaction.
#[derive(Debug)]
#[allow(unreachable_pub)] // the bindings re-export it
pub struct Transaction {
    section: SectionId,
    savepoint: SavepointId,
}

type Answer<T> = wasmtime::Result<Result<T, Error>>;

impl Host for Context {}

impl HostTransactionWithStore<Context> for HasSelf<Context> {
    fn begin(mut access: Access<'_, Context, Self>) -> Answer<Resource<Transaction>> {
        let by = calling(&mut access)?;
        let context = access.get();
        if let Err(refusal) = context.gate.check(by) {
            return Ok(Err(refusal.into()));
        }
        let effects = context.effects.len();
        let database = context.database()?;
        let is_outermost = !database.in_transaction();
        let savepoint = match database.begin_transaction() {
            Ok(savepoint) => savepoint,
            Err(error) => return Ok(Err(error.into())),
        };
        if is_outermost {
            context.gate.effects_before = effects;
        }
        let section = context.gate.enter(by, Some(savepoint));
        let transaction = Transaction { section, savepoint };
        Ok(Ok(context.table.push(transaction)?))
    }
}

impl HostTransaction for Context {
    fn commit(&mut self, transaction: Resource<Transaction>) -> Answer<()> {
        let transaction = self.table.delete(transaction)?;
        self.gate.leave(transaction.section);
        let committed = self.database()?.commit_transaction(transaction.savepoint);
        Ok(committed.map_err(Into::into))
    }

    fn rollback(&mut self, transaction: Resource<Transaction>) -> Answer<()> {
        let transaction = self.table.delete(transaction)?;
        self.gate.leave(transaction.section);
        let undone = self.database()?.rollback_transaction(transaction.savepoint);
        Ok(undone.map_err(Into::into))
    }

    fn drop(&mut self, transaction: Resource<Transaction>) -> wasmtime::Result<()> {
        // An error means that it is undone already.
        self.rollback(transaction).map(drop)
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self {
            kind: ErrorKind::Denied,
            message: refusal.to_string(),
            code: None,
            offset: None,
        }
    }
}
