//! One object's database: statements, cursors, turns, gate.
//!
//! Used by the guest imports of one awake object, one call at a time. Opened by its
//! first use. Invariant: a transaction is open exactly while `in_turn`; once broken it
//! answers every call with the same error until it is dropped.

use std::fmt;
use std::sync::Arc;

use crate::alarm::AlarmState;
use crate::cursor::{Cursor, CursorId};
use crate::error::{Error, Kind};
use crate::fault::Fault;
use crate::files;
use crate::key::ObjectKey;
use crate::open::{CLOSED_CURSOR, Open};
use crate::options::Limits;
use crate::pages::Pages;
use crate::reserved;
use crate::storage::Owner;
use crate::ticket::Ticket;
use crate::turn::SavepointId;
use crate::value::{Batch, ResultSet, Row, Value};

/// One object's database. Closing or dropping it is putting the object to sleep.
pub struct Database {
    pub(crate) key: ObjectKey,
    pub(crate) shared: Arc<Owner>,
    pages: Option<Arc<Pages>>,
    open: Option<Open>,
    interrupt: Option<Box<dyn FnMut() -> bool + Send>>,
    broken: Option<Error>,
    /// The last cursor and savepoint before everything was deleted: no id is used twice.
    deleted: Option<(CursorId, SavepointId)>,
    /// Open transactions that outlast turns, the outermost first.
    pub(crate) transactions: Vec<SavepointId>,
    /// The open turn's writes hold nothing back.
    pub(crate) unconfirmed_turn: bool,
    /// The position that effects wait for, if it lies before the last commit.
    required: Option<u64>,
    /// How far the log must be durable for what others have told the object.
    observed: u64,
    /// Whether this database has committed, which matters to a wrong ordering only.
    wrote: bool,
    pub(crate) notice: Option<String>,
    pub(crate) alarm_state: AlarmState,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Database {
            key, open, broken, ..
        } = self;
        f.debug_struct("Database")
            .field("key", key)
            .field("open", open)
            .field("broken", broken)
            .finish_non_exhaustive()
    }
}

impl Database {
    pub(crate) fn new(key: ObjectKey, shared: Arc<Owner>) -> Database {
        Database {
            key,
            shared,
            pages: None,
            open: None,
            interrupt: None,
            broken: None,
            deleted: None,
            transactions: Vec::new(),
            unconfirmed_turn: false,
            required: None,
            observed: 0,
            wrote: false,
            notice: None,
            alarm_state: AlarmState::default(),
        }
    }

    pub fn key(&self) -> &ObjectKey {
        &self.key
    }

    /// Runs all statements of `sql` and answers with the rows of the last one. A statement
    /// that fails undoes itself only; those before it in the same call stand.
    ///
    /// `rows_read` and `rows_written` are those of the last statement: each row or index
    /// entry it stood on, and each that it wrote, by triggers and foreign keys, too.
    pub fn exec(&mut self, sql: &str, params: &[Value]) -> Result<ResultSet, Error> {
        let open = self.ready()?;
        let result = open.exec(sql, params);
        self.settle(result)
    }

    /// As `exec`, with the rows left to a cursor. A statement that writes runs to its end.
    pub fn query(&mut self, sql: &str, params: &[Value]) -> Result<CursorId, Error> {
        let open = self.ready()?;
        let result = open.query(sql, params);
        self.settle(result)
    }

    pub fn cursor_columns(&self, id: CursorId) -> Result<&[String], Error> {
        Ok(&self.cursor(id)?.columns)
    }

    /// Rows read and written so far, one row of look-ahead included.
    pub fn cursor_rows(&self, id: CursorId) -> Result<(u64, u64), Error> {
        let open = self.open.as_ref();
        let (cursor, open) = (self.cursor(id)?, open.expect("it has a cursor"));
        let rows = cursor.rows(&open.connection);
        Ok((rows.read, rows.written))
    }

    /// At most `max_rows` further rows; 0 is taken as 1. A batch that gets heavy is shorter.
    pub fn next_batch(&mut self, id: CursorId, max_rows: u32) -> Result<Batch, Error> {
        self.ready()?;
        self.cursor(id)?;
        let open = self.ready()?;
        let result = open.next_batch(id, max_rows);
        self.settle(result)
    }

    /// Closing twice, or after the turn was undone, is no mistake.
    pub fn close_cursor(&mut self, id: CursorId) {
        if let Some(open) = &mut self.open {
            open.close_cursor(id);
        }
    }

    pub fn open_savepoint(&mut self) -> Result<SavepointId, Error> {
        let open = self.ready()?;
        let result = open
            .begin()
            .and_then(|()| open.turn.open_savepoint(&open.connection));
        self.settle(result)
    }

    pub fn release_savepoint(&mut self, id: SavepointId) -> Result<(), Error> {
        let open = self.ready()?;
        let result = open.turn.release(&open.connection, id);
        self.settle(result)
    }

    pub fn rollback_savepoint(&mut self, id: SavepointId) -> Result<(), Error> {
        let open = self.ready()?;
        let result = open.turn.rollback_to(&open.connection, id);
        self.settle(result)
    }

    /// Bytes in use: pages that hold something, times the page size.
    pub fn database_size(&mut self) -> Result<u64, Error> {
        let open = self.ready()?;
        let result = open.database_size();
        self.settle(result)
    }

    /// Whether a transaction is open.
    pub fn in_turn(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.turn.is_open())
    }

    /// Commits the turn; nothing to do when nothing was written, or while a transaction
    /// is open. An error undoes the turn and breaks the database: the host resets the
    /// object.
    pub fn end_turn(&mut self) -> Result<(), Error> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        let open = self.open.as_ref().filter(|open| open.turn.is_open());
        if let Some(error) = open.and_then(|open| open.connection.take_failure()) {
            self.give_up(error.clone());
            return Err(error);
        }
        if self.in_transaction() {
            return Ok(());
        }
        if let Some(open) = &self.open {
            open.connection.rest();
        }
        let unconfirmed = std::mem::take(&mut self.unconfirmed_turn);
        let required = unconfirmed.then(|| self.required.unwrap_or_else(|| self.committed()));
        let Some(open) = self.open.as_mut().filter(|open| open.turn.is_open()) else {
            return Ok(());
        };
        let Err(error) = open.turn.commit(&open.connection) else {
            self.required = required;
            self.wrote = true;
            self.shared.after_commit();
            return Ok(());
        };
        let error = match (error.kind(), error.code()) {
            (Kind::Constraint, Some(code)) => Error::Commit {
                message: error.to_string(),
                code,
            },
            _ => error,
        };
        self.give_up(error.clone());
        Err(error)
    }

    /// Undoes the turn: a trap leaves nothing of it.
    pub fn abandon_turn(&mut self) {
        self.transactions.clear();
        self.unconfirmed_turn = false;
        if let Some(open) = &mut self.open {
            open.undo();
        }
    }

    /// Opens when everything this object has committed or seen so far is durable, also
    /// what it committed before it went to sleep, but for what was unconfirmed.
    pub fn gate(&self) -> Ticket {
        self.ticket(self.required.unwrap_or_else(|| self.committed()))
    }

    /// The same, for everything.
    pub(crate) fn own_gate(&self) -> Ticket {
        self.ticket(self.committed())
    }

    /// The position of the last commit.
    fn committed(&self) -> u64 {
        match &self.pages {
            Some(pages) => pages.gate(),
            None => self.shared.gate(&self.key),
        }
    }

    fn ticket(&self, own: u64) -> Ticket {
        let own = if self.shared.ungated(self.wrote) {
            0
        } else {
            own
        };
        self.shared.ticket(own.max(self.observed))
    }

    /// Something the object was told depends on `cause`: so does all it says from now on.
    /// Within one log no wait is needed, because causes survive their effects (I7).
    pub fn observe(&mut self, cause: &Ticket) {
        if self.shared.env().faults.is(Fault::CauseForgotten) {
            return;
        }
        self.observed = self.observed.max(cause.position().off);
    }

    /// Deletes everything in the database, alarms and pairs too, atomically; the open turn
    /// is undone first. The database is empty and usable afterwards. Refused while a
    /// savepoint is open.
    pub fn delete_all(&mut self) -> Result<(), Error> {
        self.ready()?;
        if self.has_savepoints() {
            return Err(Error::Call {
                kind: Kind::Denied,
                message: "Cannot call deleteAll() within a transaction",
            });
        }
        self.abandon_turn();
        self.shared.admit()?;
        if let Some(mut open) = self.open.take() {
            self.interrupt = open.connection.take_interrupt();
            self.deleted = Some((CursorId(open.last_cursor), open.turn.last_savepoint()));
        }
        if let Some(pages) = &self.pages {
            pages.truncate(0);
            pages.commit();
            self.wrote = true;
            self.required = None;
            self.shared.after_delete(pages);
        }
        self.alarm_state.changed = true;
        self.shared.after_commit();
        Ok(())
    }

    /// `check` is asked every few thousand instructions of a running statement; true stops
    /// the statement with [`Kind::Interrupted`].
    pub fn set_interrupt(&mut self, check: Box<dyn FnMut() -> bool + Send>) {
        match &mut self.open {
            Some(open) => open.connection.set_interrupt(check),
            None => self.interrupt = Some(check),
        }
    }

    /// The error that ended this database, if one did.
    pub fn broken(&self) -> Option<&Error> {
        self.broken.as_ref()
    }

    /// Undoes an open turn and closes the file.
    pub fn close(self) {}

    fn ready(&mut self) -> Result<&mut Open, Error> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        if self.open.is_none() {
            let (pages, connection) = self.connect()?;
            self.pages = Some(Arc::clone(&pages));
            let mut open = Open::new(&self.key, pages, connection, Arc::clone(&self.shared))?;
            if let Some((cursor, savepoint)) = self.deleted {
                open.last_cursor = cursor.0;
                open.turn.go_on_from(savepoint);
            }
            if let Some(check) = self.interrupt.take() {
                open.connection.set_interrupt(check);
            }
            self.open = Some(open);
        }
        Ok(self.open.as_mut().expect("opened above"))
    }

    /// Runs one statement of the host, past the guard; `writes` opens the turn.
    pub(crate) fn run_reserved(
        &mut self,
        sql: &str,
        params: &[Value],
        writes: bool,
    ) -> Result<Vec<Row>, Error> {
        let mut rows = Vec::new();
        self.visit_reserved(sql, params, writes, &mut |row| {
            rows.push(row);
            true
        })?;
        Ok(rows)
    }

    /// The same, row by row, until `visit` has seen enough.
    pub(crate) fn visit_reserved(
        &mut self,
        sql: &str,
        params: &[Value],
        writes: bool,
        visit: &mut dyn FnMut(Row) -> bool,
    ) -> Result<(), Error> {
        let open = self.ready()?;
        let result = open.run_reserved(sql, params, writes, visit);
        self.settle(result)
    }

    /// Says that an operator's text runs from now on, and whether it may write.
    pub(crate) fn set_operator(&mut self, operator: Option<bool>) -> Result<(), Error> {
        let open = self.ready()?;
        open.operator = operator;
        open.connection.guard().keep_settings(operator.is_some());
        Ok(())
    }

    pub(crate) fn limits(&self) -> &Limits {
        self.shared.limits()
    }

    /// Four bytes of the file's header, as committed.
    pub(crate) fn committed_header(&mut self, at: usize) -> Result<[u8; 4], Error> {
        let path = files::path(&self.key);
        let open = self.ready()?;
        let read = open.pages.read(1, |page| {
            let mut bytes = [0; 4];
            bytes.copy_from_slice(&page[at..at + 4]);
            bytes
        });
        let read = read.map_err(|source| Error::io("reading", path, source))?;
        Ok(read.unwrap_or_default())
    }

    /// What the object's id was made from, if that is known here or in the file.
    pub fn name(&mut self) -> Result<Option<String>, Error> {
        if self.key.name.is_some() {
            return Ok(self.key.name.clone());
        }
        reserved::read_name(&self.ready()?.connection)
    }

    pub fn has_savepoints(&self) -> bool {
        let open = self.open.as_ref();
        open.is_some_and(|open| open.turn.has_savepoints())
    }

    fn cursor(&self, id: CursorId) -> Result<&Cursor, Error> {
        self.open
            .as_ref()
            .and_then(|open| open.cursors.get(&id))
            .ok_or_else(|| self.closed_cursor(id))
    }

    fn closed_cursor(&self, id: CursorId) -> Error {
        match self.deleted {
            Some((last, _)) if id <= last => Error::Call {
                kind: Kind::Closed,
                message: "SQLite query was canceled because the database was deleted.",
            },
            _ => CLOSED_CURSOR,
        }
    }

    /// Brings turn and connection together again after a call.
    fn settle<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        let Some(open) = &mut self.open else {
            return result;
        };
        let result = match open.connection.take_failure() {
            Some(error) => result.and(Err(error)),
            None => result,
        };
        match &result {
            Err(error) if open.turn.is_open() && error.ends_turn() => self.give_up(error.clone()),
            _ if open.turn.is_open() && open.connection.autocommit() => open.undo(),
            _ => (),
        }
        result
    }

    fn give_up(&mut self, error: Error) {
        self.abandon_turn();
        self.open = None;
        self.broken = Some(error);
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.abandon_turn();
        self.open = None;
        if self.pages.take().is_some() {
            self.shared.disconnect(&self.key);
        }
    }
}
