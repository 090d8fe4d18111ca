//! A compiled statement: parameters in, rows out.
//!
//! Whoever holds it keeps the connection it came from and uses both from one thread.

#![allow(unsafe_code)]

use std::ffi::{CStr, c_int};
use std::ptr::NonNull;
use std::slice;

use rusqlite::ffi;

use crate::value::{Row, Value};

#[derive(Debug)]
pub(crate) struct Statement {
    raw: NonNull<ffi::sqlite3_stmt>,
}

// SAFETY: as for the connection it belongs to.
unsafe impl Send for Statement {}

impl Statement {
    pub(crate) fn new(raw: *mut ffi::sqlite3_stmt) -> Option<Statement> {
        NonNull::new(raw).map(|raw| Statement { raw })
    }

    pub(crate) fn step(&self) -> c_int {
        // SAFETY: raw is a live statement.
        unsafe { ffi::sqlite3_step(self.raw.as_ptr()) }
    }

    pub(crate) fn is_readonly(&self) -> bool {
        // SAFETY: raw is a live statement.
        unsafe { ffi::sqlite3_stmt_readonly(self.raw.as_ptr()) != 0 }
    }

    pub(crate) fn parameter_count(&self) -> usize {
        // SAFETY: raw is a live statement.
        unsafe { ffi::sqlite3_bind_parameter_count(self.raw.as_ptr()) as usize }
    }

    pub(crate) fn column_count(&self) -> usize {
        // SAFETY: raw is a live statement.
        unsafe { ffi::sqlite3_column_count(self.raw.as_ptr()) as usize }
    }

    pub(crate) fn column_names(&self) -> Vec<String> {
        let name = |index| {
            // SAFETY: raw is a live statement and the index in range; null on out of memory.
            unsafe {
                let name = ffi::sqlite3_column_name(self.raw.as_ptr(), index as c_int);
                if name.is_null() {
                    String::new()
                } else {
                    CStr::from_ptr(name).to_string_lossy().into_owned()
                }
            }
        };
        (0..self.column_count()).map(name).collect()
    }

    /// Binds without copying: `value` must stay until `reset`.
    ///
    /// # Safety
    /// The caller keeps text and blob of `value` unchanged until the statement is reset.
    pub(crate) unsafe fn bind_borrowed(&self, index: usize, value: &Value) -> c_int {
        // SAFETY: promised by the caller.
        unsafe { self.bind_with(index, value, None) }
    }

    /// Binds a copy of the value.
    pub(crate) fn bind(&self, index: usize, value: &Value) -> c_int {
        // SAFETY: SQLITE_TRANSIENT makes SQLite copy the bytes during the call.
        unsafe { self.bind_with(index, value, ffi::SQLITE_TRANSIENT()) }
    }

    unsafe fn bind_with(
        &self,
        index: usize,
        value: &Value,
        destructor: ffi::sqlite3_destructor_type,
    ) -> c_int {
        let (raw, at) = (self.raw.as_ptr(), index as c_int);
        // SAFETY: raw is live; an index out of range is answered with SQLITE_RANGE; lengths are the slices' own.
        unsafe {
            match value {
                Value::Null => ffi::sqlite3_bind_null(raw, at),
                Value::Integer(value) => ffi::sqlite3_bind_int64(raw, at, *value),
                Value::Real(value) => ffi::sqlite3_bind_double(raw, at, *value),
                Value::Text(text) => ffi::sqlite3_bind_text64(
                    raw,
                    at,
                    text.as_ptr().cast(),
                    text.len() as u64,
                    destructor,
                    ffi::SQLITE_UTF8 as u8,
                ),
                // A null pointer would bind NULL; an empty slice's pointer is never null.
                Value::Blob(bytes) => ffi::sqlite3_bind_blob64(
                    raw,
                    at,
                    bytes.as_ptr().cast(),
                    bytes.len() as u64,
                    destructor,
                ),
            }
        }
    }

    /// The current row. Text that is not UTF-8 (a blob cast to text) comes out with
    /// replacement characters.
    pub(crate) fn row(&self) -> Row {
        // SAFETY: raw is a live statement.
        let columns = unsafe { ffi::sqlite3_data_count(self.raw.as_ptr()) };
        (0..columns).map(|index| self.column(index)).collect()
    }

    fn column(&self, index: c_int) -> Value {
        let raw = self.raw.as_ptr();
        // SAFETY: the statement stands on a row and the index is in range; pointers are read
        // before any other call on this column, with the length SQLite gives for them.
        unsafe {
            match ffi::sqlite3_column_type(raw, index) {
                ffi::SQLITE_INTEGER => Value::Integer(ffi::sqlite3_column_int64(raw, index)),
                ffi::SQLITE_FLOAT => Value::Real(ffi::sqlite3_column_double(raw, index)),
                ffi::SQLITE_TEXT => {
                    let at = ffi::sqlite3_column_text(raw, index);
                    let bytes = bytes(at, ffi::sqlite3_column_bytes(raw, index));
                    Value::Text(String::from_utf8_lossy(bytes).into_owned())
                }
                ffi::SQLITE_BLOB => {
                    let at = ffi::sqlite3_column_blob(raw, index);
                    Value::Blob(bytes(at.cast(), ffi::sqlite3_column_bytes(raw, index)).to_vec())
                }
                _ => Value::Null,
            }
        }
    }

    /// Lets a statement that reads programs read this one.
    pub(crate) fn bind_statement(&self, index: usize, other: &Statement) {
        let (raw, other) = (self.raw.as_ptr(), other.raw.as_ptr());
        // SAFETY: both are live; the name is the one that `bytecode` asks for and lives for
        // ever. An index out of range is an answer that nobody needs: the table stays empty.
        unsafe {
            let name = c"stmt-pointer".as_ptr();
            ffi::sqlite3_bind_pointer(raw, index as c_int, other.cast(), name, None)
        };
    }

    pub(crate) fn integer(&self, index: usize) -> i64 {
        // SAFETY: raw is live and stands on a row; NULL comes out as 0.
        unsafe { ffi::sqlite3_column_int64(self.raw.as_ptr(), index as c_int) }
    }

    /// Shows a text to `read` without copying it.
    pub(crate) fn text_with<T>(&self, index: usize, read: impl FnOnce(&str) -> T) -> T {
        let (raw, index) = (self.raw.as_ptr(), index as c_int);
        // SAFETY: as in `column`; the bytes stay while `read` runs, which cannot step.
        let bytes = unsafe {
            let at = ffi::sqlite3_column_text(raw, index);
            bytes(at, ffi::sqlite3_column_bytes(raw, index))
        };
        read(std::str::from_utf8(bytes).unwrap_or_default())
    }

    /// Makes the statement ready for another run and lets go of its parameters.
    pub(crate) fn reset(&self) {
        // SAFETY: raw is live. The code repeats the error of the last step, already reported.
        unsafe {
            ffi::sqlite3_reset(self.raw.as_ptr());
            ffi::sqlite3_clear_bindings(self.raw.as_ptr());
        }
        for counter in MOVES {
            self.status(counter, true);
        }
    }

    /// How often this run has moved a cursor to another row.
    pub(crate) fn moves(&self) -> u64 {
        let moves = MOVES.map(|counter| u64::from(self.status(counter, false)));
        moves.iter().sum()
    }

    /// Whether the tables have changed since it was compiled, and it with them.
    pub(crate) fn is_recompiled(&self) -> bool {
        self.status(ffi::SQLITE_STMTSTATUS_REPREPARE, false) > 0
    }

    pub(crate) fn forget_recompiled(&self) {
        self.status(ffi::SQLITE_STMTSTATUS_REPREPARE, true);
    }

    fn status(&self, counter: c_int, reset: bool) -> u32 {
        // SAFETY: raw is a live statement.
        unsafe { ffi::sqlite3_stmt_status(self.raw.as_ptr(), counter, c_int::from(reset)) as u32 }
    }
}

/// Each step of a scan is counted in one of these: 0, which has no name, takes those within
/// an index or a part of a table.
const MOVES: [c_int; 3] = [
    0,
    ffi::SQLITE_STMTSTATUS_FULLSCAN_STEP,
    ffi::SQLITE_STMTSTATUS_AUTOINDEX,
];

/// # Safety
/// `at` is null or points to `length` bytes that live as long as the caller uses them.
unsafe fn bytes<'a>(at: *const u8, length: c_int) -> &'a [u8] {
    if at.is_null() {
        return &[];
    }
    // SAFETY: promised by the caller.
    unsafe { slice::from_raw_parts(at, length as usize) }
}

impl Drop for Statement {
    fn drop(&mut self) {
        // SAFETY: raw is live and not used afterwards.
        unsafe { ffi::sqlite3_finalize(self.raw.as_ptr()) };
    }
}
