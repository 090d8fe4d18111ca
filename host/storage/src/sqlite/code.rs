//! SQLite's result codes: their names and what they mean to a guest.
//!
//! Pure; used when an error is made. Source: sqlite.org/rescode.html.

use rusqlite::ffi;

use crate::error::Kind;

pub(crate) const AUTH: i32 = ffi::SQLITE_AUTH;

macro_rules! names {
    ($code:expr, $($name:ident),* $(,)?) => {
        match $code { $(ffi::$name => Some(stringify!($name)),)* _ => None }
    };
}

/// The symbol of a primary or extended code.
pub(crate) fn name(code: i32) -> Option<&'static str> {
    names!(
        code,
        SQLITE_ERROR,
        SQLITE_INTERNAL,
        SQLITE_PERM,
        SQLITE_ABORT,
        SQLITE_BUSY,
        SQLITE_LOCKED,
        SQLITE_NOMEM,
        SQLITE_READONLY,
        SQLITE_INTERRUPT,
        SQLITE_IOERR,
        SQLITE_CORRUPT,
        SQLITE_NOTFOUND,
        SQLITE_FULL,
        SQLITE_CANTOPEN,
        SQLITE_PROTOCOL,
        SQLITE_SCHEMA,
        SQLITE_TOOBIG,
        SQLITE_CONSTRAINT,
        SQLITE_MISMATCH,
        SQLITE_MISUSE,
        SQLITE_AUTH,
        SQLITE_FORMAT,
        SQLITE_RANGE,
        SQLITE_NOTADB,
        SQLITE_ABORT_ROLLBACK,
        SQLITE_CONSTRAINT_CHECK,
        SQLITE_CONSTRAINT_COMMITHOOK,
        SQLITE_CONSTRAINT_FOREIGNKEY,
        SQLITE_CONSTRAINT_FUNCTION,
        SQLITE_CONSTRAINT_NOTNULL,
        SQLITE_CONSTRAINT_PRIMARYKEY,
        SQLITE_CONSTRAINT_TRIGGER,
        SQLITE_CONSTRAINT_UNIQUE,
        SQLITE_CONSTRAINT_VTAB,
        SQLITE_CONSTRAINT_ROWID,
        SQLITE_CONSTRAINT_DATATYPE,
        SQLITE_CORRUPT_VTAB,
        SQLITE_CORRUPT_INDEX,
        SQLITE_IOERR_DATA,
        SQLITE_IOERR_READ,
        SQLITE_IOERR_SHORT_READ,
        SQLITE_IOERR_WRITE,
        SQLITE_IOERR_FSYNC,
        SQLITE_IOERR_TRUNCATE,
        SQLITE_IOERR_FSTAT,
        SQLITE_IOERR_NOMEM,
        SQLITE_READONLY_DBMOVED,
        SQLITE_CANTOPEN_ISDIR,
        SQLITE_CANTOPEN_FULLPATH,
    )
}

pub(crate) fn kind(code: i32) -> Kind {
    match code & 0xff {
        ffi::SQLITE_ERROR | ffi::SQLITE_RANGE => Kind::Invalid,
        ffi::SQLITE_CONSTRAINT | ffi::SQLITE_MISMATCH => Kind::Constraint,
        ffi::SQLITE_AUTH | ffi::SQLITE_READONLY => Kind::Denied,
        ffi::SQLITE_FULL => Kind::Full,
        ffi::SQLITE_TOOBIG => Kind::TooBig,
        ffi::SQLITE_INTERRUPT => Kind::Interrupted,
        _ => Kind::Other,
    }
}

/// Whether the code, met inside a transaction, leaves nothing to go on with.
pub(crate) fn ends_turn(code: i32) -> bool {
    matches!(
        code & 0xff,
        ffi::SQLITE_FULL
            | ffi::SQLITE_IOERR
            | ffi::SQLITE_NOMEM
            | ffi::SQLITE_INTERRUPT
            | ffi::SQLITE_CORRUPT
            | ffi::SQLITE_NOTADB
            | ffi::SQLITE_CANTOPEN
    )
}
