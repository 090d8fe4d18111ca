//! `dormouse:object/sql`: hands statements to the object's database.
//!
//! Only translates; what a statement may do is decided in `storage`.

use std::time::{Duration, Instant};

use dormouse_storage as storage;
use wasmtime::component::Resource;

use crate::guest::bindings::dormouse::object::sql::{
    Batch, Error, ErrorKind, Host, HostCursor, HostSavepoint, ResultSet, Value,
};
use crate::guest::context::Context;

/// A guest's handle on an open result.
#[derive(Debug)]
#[allow(unreachable_pub)] // the bindings re-export it
pub struct Cursor(storage::CursorId);

/// A guest's handle on a savepoint; `None` once it is ended.
#[derive(Debug)]
#[allow(unreachable_pub)] // the bindings re-export it
pub struct Savepoint(storage::SavepointId);

/// A statement that takes as long is logged.
const SLOW: Duration = Duration::from_millis(100);
/// Of its text, what the record keeps.
const MAX_TEXT_BYTES: usize = 1_000;

impl Context {
    fn tell_if_slow(&self, began: Instant, text: &str) {
        let took = began.elapsed();
        if took >= SLOW {
            let app = &**self.who.app();
            let class = self.who.class();
            let object = self.who.object();
            let ms = took.as_millis() as u64;
            let text = &text[..text.floor_char_boundary(MAX_TEXT_BYTES)];
            tracing::warn!(app, class, object, ms, "slow SQL: {text}");
        }
    }
}

impl Host for Context {
    fn exec(
        &mut self,
        query: String,
        params: Vec<Value>,
    ) -> wasmtime::Result<Result<ResultSet, Error>> {
        let began = Instant::now();
        let result = self.database()?.exec(&query, &to_storage(params));
        self.tell_if_slow(began, &query);
        Ok(result.map(Into::into).map_err(Into::into))
    }

    fn query(
        &mut self,
        query: String,
        params: Vec<Value>,
    ) -> wasmtime::Result<Result<Resource<Cursor>, Error>> {
        let began = Instant::now();
        let cursor = self.database()?.query(&query, &to_storage(params));
        self.tell_if_slow(began, &query);
        match cursor {
            Ok(cursor) => Ok(Ok(self.table.push(Cursor(cursor))?)),
            Err(error) => Ok(Err(error.into())),
        }
    }

    fn database_size(&mut self) -> wasmtime::Result<Result<u64, Error>> {
        Ok(self.database()?.database_size().map_err(Into::into))
    }
}

impl HostCursor for Context {
    fn columns(&mut self, cursor: Resource<Cursor>) -> wasmtime::Result<Vec<String>> {
        let cursor = self.table.get(&cursor)?.0;
        let columns = self.database()?.cursor_columns(cursor);
        Ok(columns.map(<[_]>::to_vec).unwrap_or_default())
    }

    fn next_batch(
        &mut self,
        cursor: Resource<Cursor>,
        max_rows: u32,
    ) -> wasmtime::Result<Result<Batch, Error>> {
        let cursor = self.table.get(&cursor)?.0;
        let batch = self.database()?.next_batch(cursor, max_rows.max(1));
        Ok(batch
            .map(|batch| Batch {
                rows: rows(batch.rows),
                done: batch.done,
            })
            .map_err(Into::into))
    }

    fn rows_read(&mut self, cursor: Resource<Cursor>) -> wasmtime::Result<u64> {
        let cursor = self.table.get(&cursor)?.0;
        let rows = self.database()?.cursor_rows(cursor);
        Ok(rows.map_or(0, |(read, _)| read))
    }

    fn rows_written(&mut self, cursor: Resource<Cursor>) -> wasmtime::Result<u64> {
        let cursor = self.table.get(&cursor)?.0;
        let rows = self.database()?.cursor_rows(cursor);
        Ok(rows.map_or(0, |(_, written)| written))
    }

    fn drop(&mut self, cursor: Resource<Cursor>) -> wasmtime::Result<()> {
        let cursor = self.table.delete(cursor)?.0;
        self.database()?.close_cursor(cursor);
        Ok(())
    }
}

impl HostSavepoint for Context {
    fn open(&mut self) -> wasmtime::Result<Result<Resource<Savepoint>, Error>> {
        match self.database()?.open_savepoint() {
            Ok(savepoint) => Ok(Ok(self.table.push(Savepoint(savepoint))?)),
            Err(error) => Ok(Err(error.into())),
        }
    }

    fn release(&mut self, savepoint: Resource<Savepoint>) -> wasmtime::Result<Result<(), Error>> {
        let savepoint = self.table.delete(savepoint)?.0;
        Ok(self
            .database()?
            .release_savepoint(savepoint)
            .map_err(Into::into))
    }

    fn rollback(&mut self, savepoint: Resource<Savepoint>) -> wasmtime::Result<Result<(), Error>> {
        let savepoint = self.table.delete(savepoint)?.0;
        Ok(self
            .database()?
            .rollback_savepoint(savepoint)
            .map_err(Into::into))
    }

    fn drop(&mut self, savepoint: Resource<Savepoint>) -> wasmtime::Result<()> {
        let savepoint = self.table.delete(savepoint)?.0;
        // An error means that the turn is over or undone: nothing is left to undo.
        let _ = self.database()?.rollback_savepoint(savepoint);
        Ok(())
    }
}

fn to_storage(params: Vec<Value>) -> Vec<storage::Value> {
    params.into_iter().map(Into::into).collect()
}

fn rows(rows: Vec<Vec<storage::Value>>) -> Vec<Vec<Value>> {
    let row = |row: Vec<storage::Value>| row.into_iter().map(Into::into).collect();
    rows.into_iter().map(row).collect()
}

impl From<Value> for storage::Value {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Integer(integer) => Self::Integer(integer),
            Value::Real(real) => Self::Real(real),
            Value::Text(text) => Self::Text(text),
            Value::Blob(blob) => Self::Blob(blob),
        }
    }
}

impl From<storage::Value> for Value {
    fn from(value: storage::Value) -> Self {
        match value {
            storage::Value::Null => Self::Null,
            storage::Value::Integer(integer) => Self::Integer(integer),
            storage::Value::Real(real) => Self::Real(real),
            storage::Value::Text(text) => Self::Text(text),
            storage::Value::Blob(blob) => Self::Blob(blob),
        }
    }
}

impl From<storage::ResultSet> for ResultSet {
    fn from(set: storage::ResultSet) -> Self {
        Self {
            columns: set.columns,
            rows: rows(set.rows),
            rows_read: set.rows_read,
            rows_written: set.rows_written,
        }
    }
}

impl From<storage::Error> for Error {
    fn from(error: storage::Error) -> Self {
        Self {
            kind: match error.kind() {
                storage::Kind::Invalid => ErrorKind::Invalid,
                storage::Kind::Constraint => ErrorKind::Constraint,
                storage::Kind::Denied => ErrorKind::Denied,
                storage::Kind::Full => ErrorKind::Full,
                storage::Kind::TooBig => ErrorKind::TooBig,
                storage::Kind::Interrupted => ErrorKind::Interrupted,
                storage::Kind::Closed => ErrorKind::Closed,
                storage::Kind::Other => ErrorKind::Other,
            },
            message: error.to_string(),
            code: error.code(),
            offset: error.offset(),
        }
    }
}
