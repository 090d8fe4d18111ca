//! What exists of a database while its file is open: connection, statements, cursors, turn.
//!
//! Used by `Database`, which settles what a call has left behind. Runs a guest's statements
//! past the guard and those of the host behind it; opens the turn before the first write.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cache::{Cache, Prepared};
use crate::cursor::{Cursor, CursorId};
use crate::error::Error;
use crate::guard::{refused_word, renames_to_reserved};
use crate::key::ObjectKey;
use crate::log::delta::PAGE_BYTES;
use crate::options::Limits;
use crate::pages::Pages;
use crate::reserved;
use crate::sqlite::{Connection, Tally};
use crate::storage::Owner;
use crate::tallies::Tables;
use crate::text::skip_blank;
use crate::turn::Turn;
use crate::value::{Batch, ResultSet, Row, Value, first_integer};

/// Statements stand before the connection, so they are dropped before it.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) cursors: BTreeMap<CursorId, Cursor>,
    pub(crate) last_cursor: u64,
    cache: Cache,
    /// Statements of the host, which the guard has not seen; no guest may find them.
    reserved: Cache,
    pub(crate) turn: Turn,
    limits: Limits,
    /// Set while an operator's text runs: whether it may write.
    pub(crate) operator: Option<bool>,
    name: Option<String>,
    /// The tables of the last commit that was looked at.
    tables: Option<Tables>,
    shared: Arc<Owner>,
    pub(crate) connection: Connection,
    pub(crate) pages: Arc<Pages>,
}

const READ_ONLY: &str = "this statement writes, and only reading was allowed; nothing has changed";

pub(crate) const CLOSED_CURSOR: Error = Error::Closed {
    what: "cursor",
    why: "it was closed, or its turn was undone",
};

impl Open {
    pub(crate) fn new(
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
            operator: None,
            name: key.name.clone(),
            tables: None,
            shared,
            connection,
            pages,
        })
    }

    /// Opens the turn, unless it is open. The first one of a database writes its name down.
    pub(crate) fn begin(&mut self) -> Result<(), Error> {
        if self.operator == Some(false) {
            return Err(Error::Denied {
                message: READ_ONLY.into(),
            });
        }
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

    pub(crate) fn run_reserved(
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
            tally: Tally::Unknown,
        })
    }

    pub(crate) fn exec(&mut self, sql: &str, params: &[Value]) -> Result<ResultSet, Error> {
        let (text, prepared) = self.last_statement(sql, params)?;
        if prepared.writes && prepared.columns > 0 {
            return self.exec_returning(text, prepared, params);
        }
        self.collect(text, prepared, params)
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
        let result = self.collect(text, prepared, params);
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

    pub(crate) fn query(&mut self, sql: &str, params: &[Value]) -> Result<CursorId, Error> {
        let (text, prepared) = self.last_statement(sql, params)?;
        let cursor = if prepared.writes {
            let result = self.exec_returning(text, prepared, params)?;
            Cursor::drained(result)
        } else {
            self.bind_copies(&prepared, params)?;
            Cursor::start(&self.connection, text, prepared)?
        };
        self.last_cursor += 1;
        let id = CursorId(self.last_cursor);
        self.cursors.insert(id, cursor);
        Ok(id)
    }

    pub(crate) fn next_batch(&mut self, id: CursorId, max_rows: u32) -> Result<Batch, Error> {
        let cursor = self.cursors.get_mut(&id).ok_or(CLOSED_CURSOR)?;
        let result = cursor.next_batch(&self.connection, max_rows, self.limits.result_bytes);
        if result.is_err() {
            self.cursors.remove(&id);
        } else if cursor.is_at_end() {
            // The statement can serve again; the cursor stays for its counters.
            if let Some((text, prepared)) = cursor.take_statement(&self.connection) {
                self.recycle(text, prepared);
            }
        }
        result
    }

    pub(crate) fn close_cursor(&mut self, id: CursorId) {
        let Some(mut cursor) = self.cursors.remove(&id) else {
            return;
        };
        if let Some((text, prepared)) = cursor.take_statement(&self.connection) {
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
        // What a guest has compiled may change settings.
        let cached = match self.operator {
            None => self.cache.take(sql),
            Some(_) => None,
        };
        let (text, mut prepared) = match cached {
            Some(hit) => hit,
            None => self.run_all_but_last(sql)?,
        };
        if prepared.tally == Tally::Unknown {
            prepared.tally = self.tally(&text, &prepared);
        }
        if prepared.parameters != params.len() {
            self.cache.put(text, prepared);
            return Err(Error::ParameterCount);
        }
        if prepared.writes {
            self.begin()?;
        }
        Ok((text, prepared))
    }

    /// How the rows of a statement are counted that was just compiled.
    fn tally(&mut self, text: &str, prepared: &Prepared) -> Tally {
        let tables = self.tables();
        let known = tables.and_then(|tables| self.shared.tallies().get(tables, text));
        if let Some(tally) = known {
            return tally;
        }
        let tally = Tally::of(&self.connection, &prepared.statement);
        if let Some(tables) = tables
            && tally != Tally::Unknown
        {
            self.shared.tallies().put(tables, text, tally);
        }
        tally
    }

    /// The tables as they are now, if they are those of the last commit and nothing but
    /// them tells what a statement is compiled to.
    fn tables(&mut self) -> Option<Tables> {
        if self.connection.guard().was_set() {
            return None;
        }
        let cookie = self.connection.cookie()?;
        if self.tables.is_none_or(|tables| tables.cookie != cookie) && !self.turn.is_open() {
            let tallies = self.shared.tallies();
            let read = self.pages.read(1, |page| tallies.tables(page));
            self.tables = read.ok().flatten().flatten();
        }
        self.tables.filter(|tables| tables.cookie == cookie)
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
                tally: Tally::Unknown,
            },
            used,
        ))
    }

    /// Runs a statement to its end and keeps its rows.
    fn collect(
        &mut self,
        text: Box<str>,
        mut prepared: Prepared,
        params: &[Value],
    ) -> Result<ResultSet, Error> {
        let before = self.connection.total_changes();
        let mut result = self.run(&prepared, params);
        if let Ok(result) = &mut result {
            let changes = self.connection.total_changes() - before;
            let rows = prepared.finish(&self.connection, changes, first_integer(&result.rows));
            (result.rows_read, result.rows_written) = (rows.read, rows.written);
        }
        // What a failed run has read may not be counted into the next one.
        if result.is_ok() || !prepared.tally.adds_up() {
            self.recycle(text, prepared);
        } else {
            prepared.statement.reset();
        }
        result
    }

    /// Binds and runs a statement to its end. Leaves it to be reset, before `params` go.
    fn run(&self, prepared: &Prepared, params: &[Value]) -> Result<ResultSet, Error> {
        let Prepared { statement, .. } = prepared;
        for (value, index) in params.iter().zip(1..) {
            // SAFETY: `params` outlives this call, and `collect` resets the statement right after it.
            #[allow(unsafe_code)]
            let rc = unsafe { statement.bind_borrowed(index, value) };
            self.bound(rc)?;
        }
        let mut result = ResultSet::default();
        let mut bytes = 0;
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

    pub(crate) fn undo(&mut self) {
        if self.turn.is_open() {
            self.cursors.clear();
            self.turn.rollback(&self.connection);
            // SQLite may have written restored pages back; none of them counts.
            self.pages.discard();
        }
    }

    pub(crate) fn database_size(&self) -> Result<u64, Error> {
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
