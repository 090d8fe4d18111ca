//! A connection: opening, compiling, hooks, and what it reports.
//!
//! Statements are dropped before their connection; if one were not, closing would fail and
//! leak, never free. The guard is asked for every compilation unless `trusted` is on.

#![allow(unsafe_code)]

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::fmt;
use std::ptr;
use std::sync::Once;

use rusqlite::ffi;

use super::Statement;
use crate::error::Error;
use crate::guard::{Action, Guard};
use crate::options::Limits;
use crate::value::{Row, Value};

/// How many virtual machine instructions run between two questions to the interrupt check.
const OPS_PER_CHECK: c_int = 4000;

type Check = Box<dyn FnMut() -> bool + Send>;

pub(crate) struct Connection {
    db: *mut ffi::sqlite3,
    // Both boxes are pointed to by SQLite until `drop`; boxed so that moving keeps them still.
    guard: Box<Guard>,
    check: Option<Box<Check>>,
    /// Reads the programs of other statements; compiled when it is first needed.
    ops: RefCell<Option<Statement>>,
    /// Asks which version the tables have; compiled when it is first needed.
    cookie: RefCell<Option<Statement>>,
    /// An error met in reading either that ends the turn, until it is taken.
    failure: RefCell<Option<Error>>,
}

// SAFETY: a connection opened with NOMUTEX may move between threads as long as one uses it
// at a time, which `&mut self` in `Database` guarantees; guard and check are Send.
unsafe impl Send for Connection {}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("autocommit", &self.autocommit())
            .finish_non_exhaustive()
    }
}

/// Sets what must be set before SQLite's first use in this process. Too late is harmless:
/// it costs 87 KB per open object and a global mutex per allocation, not correctness.
pub(crate) fn start() {
    static START: Once = Once::new();
    START.call_once(|| {
        // SAFETY: plain calls with the argument types the options ask for.
        unsafe {
            ffi::sqlite3_config(ffi::SQLITE_CONFIG_MEMSTATUS, 0 as c_int);
            ffi::sqlite3_config(
                ffi::SQLITE_CONFIG_PAGECACHE,
                ptr::null_mut::<c_void>(),
                0 as c_int,
                0 as c_int,
            );
            ffi::sqlite3_config(ffi::SQLITE_CONFIG_LOOKASIDE, 0 as c_int, 0 as c_int);
            ffi::sqlite3_initialize();
        }
    });
}

impl Connection {
    /// Opens the database `name` of the VFS `vfs`, leaving `reserved` bytes of each page alone.
    pub(crate) fn open(name: &CStr, vfs: &CStr, reserved: usize) -> Result<Connection, Error> {
        let flags = ffi::SQLITE_OPEN_READWRITE | ffi::SQLITE_OPEN_CREATE;
        let connection = Connection::open_with(name, Some(vfs), flags)?;
        connection.reserve(reserved);
        let db = connection.db;
        // SAFETY: db is open; the guard outlives it because `drop` closes first.
        unsafe {
            ffi::sqlite3_extended_result_codes(db, 1);
            ffi::sqlite3_db_config(
                db,
                ffi::SQLITE_DBCONFIG_DEFENSIVE,
                1 as c_int,
                ptr::null_mut::<c_int>(),
            );
            ffi::sqlite3_set_authorizer(
                db,
                Some(authorize),
                ptr::from_ref(&*connection.guard).cast_mut().cast(),
            );
        }
        Ok(connection)
    }

    /// Opens a file of SQLite's own VFS to read it; names of attached files may be URIs.
    pub(crate) fn open_plain(name: &CStr) -> Result<Connection, Error> {
        let flags = ffi::SQLITE_OPEN_READONLY | ffi::SQLITE_OPEN_URI;
        Connection::open_with(name, None, flags)
    }

    /// A database in memory.
    pub(crate) fn open_memory() -> Result<Connection, Error> {
        let flags = ffi::SQLITE_OPEN_READWRITE | ffi::SQLITE_OPEN_MEMORY;
        Connection::open_with(c":memory:", None, flags)
    }

    fn open_with(name: &CStr, vfs: Option<&CStr>, flags: c_int) -> Result<Connection, Error> {
        let (mut db, vfs) = (ptr::null_mut(), vfs.map_or(ptr::null(), CStr::as_ptr));
        let flags = flags | ffi::SQLITE_OPEN_NOMUTEX;
        // SAFETY: name and vfs are NUL-terminated (or vfs null, the default) and outlive the call.
        let rc = unsafe { ffi::sqlite3_open_v2(name.as_ptr(), &mut db, flags, vfs) };
        let connection = Connection {
            db,
            guard: Box::default(),
            check: None,
            ops: RefCell::default(),
            cookie: RefCell::default(),
            failure: RefCell::default(),
        };
        match rc {
            ffi::SQLITE_OK => Ok(connection),
            rc => Err(connection.error(rc)),
        }
    }

    /// Asks for `bytes` at the end of each page to be left alone, in new files.
    pub(crate) fn reserve(&self, bytes: usize) {
        let mut bytes = bytes as c_int;
        // SAFETY: db is open; SQLite reads and writes one int.
        unsafe {
            ffi::sqlite3_file_control(
                self.db,
                c"main".as_ptr(),
                ffi::SQLITE_FCNTL_RESERVE_BYTES,
                ptr::from_mut(&mut bytes).cast(),
            )
        };
    }

    /// Puts a database in the place of `schema`, to be read only.
    pub(crate) fn deserialize(&self, schema: &CStr, bytes: &[u8]) -> Result<(), Error> {
        let length = bytes.len() as i64;
        // SAFETY: db is open. The memory comes from SQLite's allocator, is filled before it is
        // handed over, and SQLite frees it, also when the call fails.
        let rc = unsafe {
            let memory = ffi::sqlite3_malloc64(bytes.len() as u64).cast::<u8>();
            if memory.is_null() {
                return Err(Error::sql(ffi::SQLITE_NOMEM, "out of memory", None));
            }
            ptr::copy_nonoverlapping(bytes.as_ptr(), memory, bytes.len());
            let flags = ffi::SQLITE_DESERIALIZE_FREEONCLOSE | ffi::SQLITE_DESERIALIZE_READONLY;
            ffi::sqlite3_deserialize(self.db, schema.as_ptr(), memory, length, length, flags)
        };
        match rc {
            ffi::SQLITE_OK => Ok(()),
            rc => Err(self.error(rc)),
        }
    }

    pub(crate) fn set_limits(&self, limits: &Limits) {
        let set = |id: c_int, value: u32| {
            // SAFETY: db is open.
            unsafe {
                ffi::sqlite3_limit(self.db, id, c_int::try_from(value).unwrap_or(c_int::MAX))
            };
        };
        set(ffi::SQLITE_LIMIT_LENGTH, limits.value_bytes);
        set(ffi::SQLITE_LIMIT_SQL_LENGTH, limits.statement_bytes);
        set(ffi::SQLITE_LIMIT_COLUMN, limits.columns);
        set(ffi::SQLITE_LIMIT_VARIABLE_NUMBER, limits.parameters);
        set(ffi::SQLITE_LIMIT_FUNCTION_ARG, limits.function_arguments);
        set(
            ffi::SQLITE_LIMIT_LIKE_PATTERN_LENGTH,
            limits.like_pattern_bytes,
        );
        set(
            ffi::SQLITE_LIMIT_COMPOUND_SELECT,
            limits.compound_select_terms,
        );
        set(ffi::SQLITE_LIMIT_EXPR_DEPTH, limits.expression_depth);
        set(ffi::SQLITE_LIMIT_TRIGGER_DEPTH, limits.trigger_depth);
        set(ffi::SQLITE_LIMIT_VDBE_OP, limits.program_ops);
        set(ffi::SQLITE_LIMIT_ATTACHED, 0);
        set(ffi::SQLITE_LIMIT_WORKER_THREADS, 0);
    }

    /// Compiles the first statement of `sql`; also says how many bytes it took. `None`
    /// when there was nothing but white space and comments.
    pub(crate) fn prepare(
        &self,
        sql: &str,
        keep: bool,
    ) -> Result<(Option<Statement>, usize), Error> {
        let length = c_int::try_from(sql.len()).unwrap_or(c_int::MAX);
        let flags = if keep {
            ffi::SQLITE_PREPARE_PERSISTENT
        } else {
            0
        };
        let (mut raw, mut tail): (_, *const c_char) = (ptr::null_mut(), ptr::null());
        // SAFETY: sql is `length` readable bytes; both out pointers are valid.
        let rc = unsafe {
            ffi::sqlite3_prepare_v3(
                self.db,
                sql.as_ptr().cast(),
                length,
                flags,
                &mut raw,
                &mut tail,
            )
        };
        if rc != ffi::SQLITE_OK {
            return Err(self.error(rc));
        }
        // SAFETY: SQLite sets tail into `sql` whenever it answers OK.
        let used =
            usize::try_from(unsafe { tail.offset_from(sql.as_ptr().cast()) }).unwrap_or(sql.len());
        Ok((Statement::new(raw), used))
    }

    /// Runs the host's own SQL, past the guard, dropping its rows.
    pub(crate) fn run_trusted(&self, sql: &str) -> Result<(), Error> {
        self.trusted(|| {
            let mut rest = sql;
            loop {
                let (statement, used) = self.prepare(rest, false)?;
                let Some(statement) = statement else {
                    return Ok(());
                };
                while self.step(&statement)? {}
                rest = &rest[used..];
            }
        })
    }

    /// Runs one statement of the host; all its rows.
    pub(crate) fn rows(&self, sql: &str, params: &[Value]) -> Result<Vec<Row>, Error> {
        self.trusted(|| {
            let (statement, _) = self.prepare(sql, false)?;
            let statement = statement.ok_or(Error::NoStatement)?;
            for (value, index) in params.iter().zip(1..) {
                match statement.bind(index, value) {
                    ffi::SQLITE_OK => (),
                    rc => return Err(self.error(rc)),
                }
            }
            let mut rows = Vec::new();
            while self.step(&statement)? {
                rows.push(statement.row());
            }
            Ok(rows)
        })
    }

    /// Runs `work` with the guard off. Statements may be compiled anew while they run,
    /// therefore running them belongs inside, too.
    pub(crate) fn trusted<T>(&self, work: impl FnOnce() -> T) -> T {
        let before = self.guard.set_trusted(true);
        let result = work();
        self.guard.set_trusted(before);
        result
    }

    /// One step; whether there is a row.
    pub(crate) fn step(&self, statement: &Statement) -> Result<bool, Error> {
        match statement.step() {
            ffi::SQLITE_ROW => Ok(true),
            ffi::SQLITE_DONE => Ok(false),
            rc => Err(self.error(rc)),
        }
    }

    /// The error of the call that has just failed with `rc`.
    pub(crate) fn error(&self, rc: c_int) -> Error {
        if self.db.is_null() {
            return Error::sql(ffi::SQLITE_NOMEM, "out of memory", None);
        }
        // SAFETY: db is open; the text is valid until the next call and copied at once.
        let (extended, offset, text) = unsafe {
            let text = CStr::from_ptr(ffi::sqlite3_errmsg(self.db))
                .to_string_lossy()
                .into_owned();
            (
                ffi::sqlite3_extended_errcode(self.db),
                ffi::sqlite3_error_offset(self.db),
                text,
            )
        };
        // A misused call leaves the connection's own code untouched.
        let code = if extended & 0xff == rc & 0xff {
            extended
        } else {
            rc
        };
        let error = Error::sql(code, &text, u32::try_from(offset).ok());
        match self.guard.take_refusal() {
            Some(refusal) => error.denied(refusal.reason),
            None => error,
        }
    }

    pub(crate) fn guard(&self) -> &Guard {
        &self.guard
    }

    /// SQLite may have rolled the transaction back, so nobody may go on.
    pub(super) fn fail(&self, error: Error) {
        if error.ends_turn() {
            self.failure.replace(Some(error));
        }
    }

    pub(crate) fn take_failure(&self) -> Option<Error> {
        self.failure.take()
    }

    /// Lets go of what reads programs, which takes 10 KB; the next turn may not need it.
    pub(crate) fn rest(&self) {
        self.ops.take();
    }

    pub(super) fn ops_statement(&self) -> &RefCell<Option<Statement>> {
        &self.ops
    }

    /// The version of the tables, as the open transaction sees them; `None` after an error,
    /// which is kept if it ends the turn.
    pub(crate) fn cookie(&self) -> Option<u32> {
        let cookie = self.trusted(|| self.read_cookie());
        cookie.map_err(|error| self.fail(error)).ok()
    }

    fn read_cookie(&self) -> Result<u32, Error> {
        let mut kept = self.cookie.borrow_mut();
        let reader = match &*kept {
            Some(reader) => reader,
            None => {
                let (reader, _) = self.prepare("PRAGMA schema_version", true)?;
                kept.insert(reader.ok_or(Error::NoStatement)?)
            }
        };
        let found = self.step(reader);
        // As SQLite does, a number over 31 bits is told as a negative one.
        let cookie = reader.integer(0) as u32;
        reader.reset();
        found.map(|_| cookie)
    }

    pub(crate) fn autocommit(&self) -> bool {
        // SAFETY: db is open.
        unsafe { ffi::sqlite3_get_autocommit(self.db) != 0 }
    }

    pub(crate) fn total_changes(&self) -> u64 {
        // SAFETY: db is open.
        unsafe { ffi::sqlite3_total_changes64(self.db) }.unsigned_abs()
    }

    /// Asks `check` now and then while statements run; true stops them.
    pub(crate) fn set_interrupt(&mut self, check: Check) {
        let mut check = Box::new(check);
        // SAFETY: the box is kept in self until it is replaced here or the connection is closed.
        unsafe {
            ffi::sqlite3_progress_handler(
                self.db,
                OPS_PER_CHECK,
                Some(ask),
                ptr::from_mut(&mut *check).cast(),
            )
        };
        self.check = Some(check);
    }
}

impl Connection {
    /// Stops asking, and gives the check back for another connection.
    pub(crate) fn take_interrupt(&mut self) -> Option<Check> {
        // SAFETY: db is open; without a handler nothing points to the box any more.
        unsafe { ffi::sqlite3_progress_handler(self.db, 0, None, ptr::null_mut()) };
        self.check.take().map(|check| *check)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Statements end before their connection.
        self.ops.take();
        self.cookie.take();
        // SAFETY: no hook can run after this call; a null pointer is allowed.
        unsafe { ffi::sqlite3_close(self.db) };
    }
}

unsafe extern "C" fn authorize(
    guard: *mut c_void,
    action: c_int,
    first: *const c_char,
    second: *const c_char,
    database: *const c_char,
    _trigger: *const c_char,
) -> c_int {
    // SAFETY: the pointer given to sqlite3_set_authorizer, alive as long as the connection.
    let guard = unsafe { &*guard.cast::<Guard>() };
    // SAFETY: null or NUL-terminated for the duration of the call.
    let text = |at: *const c_char| unsafe {
        if at.is_null() {
            ""
        } else {
            CStr::from_ptr(at).to_str().unwrap_or("\u{fffd}")
        }
    };
    let action = Action {
        code: action,
        first: text(first),
        second: text(second),
        database: text(database),
    };
    if guard.allows(&action) {
        ffi::SQLITE_OK
    } else {
        ffi::SQLITE_DENY
    }
}

unsafe extern "C" fn ask(check: *mut c_void) -> c_int {
    // SAFETY: the pointer given to sqlite3_progress_handler, alive until it is replaced.
    let check = unsafe { &mut *check.cast::<Check>() };
    c_int::from(check())
}
