//! One object's database: statements, cursors, turns, gate.
//!
//! Used by the guest imports of one awake object, one call at a time. Opened by its
//! first use. Invariant: a transaction is open exactly while `in_turn`; once broken it
//! answers every call with the same error until it is dropped.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::alarm::AlarmState;
use crate::cache::{Cache, Prepared};
use crate::cursor::{Cursor, CursorId};
use crate::error::{Error, Kind};
use crate::files;
use crate::guard::{refused_word, renames_to_reserved};
use crate::key::ObjectKey;
use crate::log::delta::PAGE_BYTES;
use crate::options::Limits;
use crate::pages::Pages;
use crate::reserved;
use crate::sqlite::Connection;
use crate::storage::Owner;
use crate::text::skip_blank;
use crate::ticket::Ticket;
use crate::turn::{SavepointId, Turn};
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

/// What exists while the file is open. Statements stand before the connection, so they
/// are dropped before it.
#[derive(Debug)]
struct Open {
    cursors: BTreeMap<CursorId, Cursor>,
    last_cursor: u64,
    cache: Cache,
    /// Statements of the host, which the guard has not seen; no guest may find them.
    reserved: Cache,
    turn: Turn,
    limits: Limits,
    name: Option<String>,
    shared: Arc<Owner>,
    connection: Connection,
    pages: Arc<Pages>,
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
    /// `rows_written` is what SQLite counts as changed rows, including those of triggers and
    /// foreign key actions, by the last statement. `rows_read` is the number of rows stepped
    /// over in full scans by the last statement, and at least the number of rows answered.
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
        self.cursor(id)
            .map(|cursor| (cursor.rows_read, cursor.rows_written))
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
        if self.in_transaction() {
            return Ok(());
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

const CLOSED_CURSOR: Error = Error::Closed {
    what: "cursor",
    why: "it was closed, or its turn was undone",
};

impl Open {
    fn new(
        key: &ObjectKey,
        pages: Arc<Pages>,
        connection: Connection,
        shared: Arc<Owner>,
    ) -> Result<Open, Error> {
        let turn = Turn::new(&connection)?;
        let limits = shared.limits().clone();
        connection.set_limits(&limits);
        Ok(Open {
            cursors: BTreeMap::new(),
            last_cursor: 0,
            cache: Cache::default(),
            reserved: Cache::default(),
            turn,
            limits,
            name: key.name.clone(),
            shared,
            connection,
            pages,
        })
    }

    /// Opens the turn, unless it is open. The first one of a database writes its name down.
    fn begin(&mut self) -> Result<(), Error> {
        if self.turn.is_open() {
            return Ok(());
        }
        self.shared.admit()?;
        let is_new = self.pages.size() == 0;
        self.turn.begin(&self.connection)?;
        match &self.name {
            Some(name) if is_new => reserved::write_name(&self.connection, name),
            _ => Ok(()),
        }
    }

    fn run_reserved(
        &mut self,
        sql: &str,
        params: &[Value],
        writes: bool,
        visit: &mut dyn FnMut(Row) -> bool,
    ) -> Result<(), Error> {
        if writes {
            self.begin()?;
        }
        let (text, prepared) = match self.reserved.take(sql) {
            Some(hit) => hit,
            None => (sql.into(), self.prepare_reserved(sql, writes)?),
        };
        self.bind_copies(&prepared, params)?;
        let result = self.connection.trusted(|| {
            while self.connection.step(&prepared.statement)? {
                if !visit(prepared.statement.row()) {
                    break;
                }
            }
            Ok(())
        });
        prepared.statement.reset();
        self.reserved.put(text, prepared);
        result
    }

    fn prepare_reserved(&self, sql: &str, writes: bool) -> Result<Prepared, Error> {
        let (statement, _) = self
            .connection
            .trusted(|| self.connection.prepare(sql, true))?;
        let statement = statement.ok_or(Error::NoStatement)?;
        Ok(Prepared {
            writes,
            parameters: statement.parameter_count(),
            columns: statement.column_count(),
            statement,
        })
    }

    fn exec(&mut self, sql: &str, params: &[Value]) -> Result<ResultSet, Error> {
        let (text, prepared) = self.last_statement(sql, params)?;
        if prepared.writes && prepared.columns > 0 {
            return self.exec_returning(text, prepared, params);
        }
        let result = self.collect(&prepared, params);
        self.recycle(text, prepared);
        result
    }

    /// A writing statement that answers rows may be refused for their size after it has
    /// done its work, so its work is wrapped to be undone.
    fn exec_returning(
        &mut self,
        text: Box<str>,
        prepared: Prepared,
        params: &[Value],
    ) -> Result<ResultSet, Error> {
        let savepoint = self.turn.open_savepoint(&self.connection)?;
        let result = self.collect(&prepared, params);
        self.recycle(text, prepared);
        match &result {
            Ok(_) => self.turn.release(&self.connection, savepoint)?,
            Err(Error::ResultTooBig { .. }) => {
                self.turn.rollback_to(&self.connection, savepoint)?
            }
            // The transaction may be gone, and the savepoint with it; the first error counts.
            Err(_) if self.connection.autocommit() => (),
            Err(_) => self.turn.release(&self.connection, savepoint)?,
        }
        result
    }

    fn query(&mut self, sql: &str, params: &[Value]) -> Result<CursorId, Error> {
        let (text, prepared) = self.last_statement(sql, params)?;
        let cursor = if prepared.writes {
            let result = self.exec_returning(text, prepared, params)?;
            Cursor::drained(
                result.columns,
                result.rows,
                result.rows_read,
                result.rows_written,
            )
        } else {
            self.bind_copies(&prepared, params)?;
            Cursor::start(&self.connection, text, prepared)?
        };
        self.last_cursor += 1;
        let id = CursorId(self.last_cursor);
        self.cursors.insert(id, cursor);
        Ok(id)
    }

    fn next_batch(&mut self, id: CursorId, max_rows: u32) -> Result<Batch, Error> {
        let cursor = self.cursors.get_mut(&id).ok_or(CLOSED_CURSOR)?;
        let result = cursor.next_batch(&self.connection, max_rows, self.limits.result_bytes);
        if result.is_err() {
            self.cursors.remove(&id);
        } else if cursor.is_at_end() {
            // The statement can serve again; the cursor stays for its counters.
            if let Some((text, prepared)) = cursor.take_statement() {
                self.recycle(text, prepared);
            }
        }
        result
    }

    fn close_cursor(&mut self, id: CursorId) {
        let statement = self
            .cursors
            .remove(&id)
            .and_then(|mut cursor| cursor.take_statement());
        if let Some((text, prepared)) = statement {
            self.recycle(text, prepared);
        }
    }

    /// Runs all statements of `sql` but the last; compiles the last one, checks its
    /// parameters and opens the turn if it writes.
    fn last_statement(
        &mut self,
        sql: &str,
        params: &[Value],
    ) -> Result<(Box<str>, Prepared), Error> {
        let (text, prepared) = match self.cache.take(sql) {
            Some(hit) => hit,
            None => self.run_all_but_last(sql)?,
        };
        if prepared.parameters != params.len() {
            self.cache.put(text, prepared);
            return Err(Error::ParameterCount);
        }
        if prepared.writes {
            self.begin()?;
        }
        Ok((text, prepared))
    }

    fn run_all_but_last(&mut self, sql: &str) -> Result<(Box<str>, Prepared), Error> {
        if let Some(at) = sql.bytes().position(|byte| byte == 0) {
            return Err(Error::NulInText { offset: at as u32 });
        }
        let mut rest = skip_blank(sql);
        loop {
            let (prepared, used) = self.compile(rest)?;
            let (text, behind) = rest.split_at(used);
            rest = skip_blank(behind);
            if rest.is_empty() {
                return Ok((text.into(), prepared));
            }
            if prepared.parameters > 0 {
                return Err(Error::ParametersNotLast);
            }
            if prepared.writes {
                self.begin()?;
            }
            while self.connection.step(&prepared.statement)? {}
        }
    }

    fn compile(&self, sql: &str) -> Result<(Prepared, usize), Error> {
        if let Some(message) = refused_word(sql) {
            return Err(Error::Denied {
                message: message.into(),
            });
        }
        self.connection.guard().take_notes();
        let (statement, used) = self.connection.prepare(sql, true)?;
        let statement = statement.ok_or(Error::NoStatement)?;
        let notes = self.connection.guard().take_notes();
        if renames_to_reserved(&sql[..used], notes) {
            let message = "not authorized: a new name may not contain `_dormouse_`; choose another: SQLITE_AUTH";
            return Err(Error::Denied {
                message: message.into(),
            });
        }
        let writes = !statement.is_readonly() || notes.needs_turn;
        let (parameters, columns) = (statement.parameter_count(), statement.column_count());
        Ok((
            Prepared {
                statement,
                writes,
                parameters,
                columns,
            },
            used,
        ))
    }

    /// Runs a statement to its end and keeps its rows. Leaves it to be reset.
    fn collect(&self, prepared: &Prepared, params: &[Value]) -> Result<ResultSet, Error> {
        let Prepared { statement, .. } = prepared;
        for (value, index) in params.iter().zip(1..) {
            // SAFETY: `params` outlives this call, and callers reset the statement right after it.
            #[allow(unsafe_code)]
            let rc = unsafe { statement.bind_borrowed(index, value) };
            self.bound(rc)?;
        }
        let mut result = ResultSet::default();
        let (mut bytes, before) = (0, self.connection.total_changes());
        let mut more = self.connection.step(statement)?;
        // The first step compiles anew what was compiled for older tables.
        result.columns = statement.column_names();
        while more {
            let row = statement.row();
            bytes += row
                .iter()
                .map(|value| Value::weight_bytes(value) as u64)
                .sum::<u64>();
            if result.rows.len() as u64 >= self.limits.result_rows {
                return Err(Error::ResultTooBig {
                    limit: self.limits.result_rows,
                    unit: "rows",
                });
            }
            if bytes > self.limits.result_bytes {
                return Err(Error::ResultTooBig {
                    limit: self.limits.result_bytes,
                    unit: "bytes",
                });
            }
            result.rows.push(row);
            more = self.connection.step(statement)?;
        }
        result.rows_read = statement.rows_read(result.rows.len() as u64);
        result.rows_written = self.connection.total_changes() - before;
        Ok(result)
    }

    fn bind_copies(&self, prepared: &Prepared, params: &[Value]) -> Result<(), Error> {
        params
            .iter()
            .zip(1..)
            .try_for_each(|(value, index)| self.bound(prepared.statement.bind(index, value)))
    }

    fn bound(&self, rc: i32) -> Result<(), Error> {
        if rc == 0 {
            Ok(())
        } else {
            Err(self.connection.error(rc))
        }
    }

    fn recycle(&mut self, text: Box<str>, prepared: Prepared) {
        prepared.statement.reset();
        self.cache.put(text, prepared);
    }

    fn undo(&mut self) {
        if self.turn.is_open() {
            self.cursors.clear();
            self.turn.rollback(&self.connection);
            // SQLite may have written restored pages back; none of them counts.
            self.pages.discard();
        }
    }

    fn database_size(&self) -> Result<u64, Error> {
        let number = |pragma| -> Result<u64, Error> {
            self.connection.trusted(|| {
                let (statement, _) = self.connection.prepare(pragma, false)?;
                let statement = statement.ok_or(Error::NoStatement)?;
                self.connection.step(&statement)?;
                Ok(match statement.row().first() {
                    Some(Value::Integer(number)) => number.unsigned_abs(),
                    _ => 0,
                })
            })
        };
        let pages = number("PRAGMA page_count")?;
        Ok((pages - number("PRAGMA freelist_count")?.min(pages)) * PAGE_BYTES as u64)
    }
}
