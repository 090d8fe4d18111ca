//! What can go wrong, in words for the reader who has to act on it.
//!
//! [`Error::kind`] maps one to one onto `error-kind` of `wit/sql.wit`. The texts of
//! SQL errors are Cloudflare's: `<sqlite text>[ at offset N]: SQLITE_X[ (extended: …)]`.
//! Every error can be cloned, because a broken database repeats its own.

use std::path::PathBuf;
use std::sync::Arc;

use crate::sqlite::code;

/// What a guest can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Invalid,
    Constraint,
    Denied,
    Full,
    TooBig,
    Interrupted,
    Closed,
    Other,
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    #[error("{message}")]
    Sql {
        kind: Kind,
        message: String,
        code: i32,
        offset: Option<u32>,
    },
    #[error("SQL code did not contain a statement.")]
    NoStatement,
    #[error(
        "When executing multiple SQL statements in a single call, only the last statement can have parameters."
    )]
    ParametersNotLast,
    #[error("Wrong number of parameter bindings for SQL query.")]
    ParameterCount,
    #[error(
        "the SQL text has a NUL character at byte {offset}; remove it or pass the value as a parameter"
    )]
    NulInText { offset: u32 },
    #[error("{message}")]
    Denied { message: String },
    #[error(
        "the result is larger than {limit} {unit}; read it in portions through a cursor, or ask for less"
    )]
    ResultTooBig { limit: u64, unit: &'static str },
    #[error(
        "key and value have {bytes} bytes together and one entry holds at most {limit}; split the value over several keys"
    )]
    EntryTooBig { bytes: u64, limit: u64 },
    #[error("{message}")]
    Call { kind: Kind, message: &'static str },
    #[error("the {what} is no longer open: {why}")]
    Closed {
        what: &'static str,
        why: &'static str,
    },
    #[error(
        "the object was reset and its last turn undone, because it left the database in a state \
         where constraints were violated: {message}"
    )]
    Commit { message: String, code: i32 },
    #[error("{action} {path:?} failed: {source}")]
    Io {
        action: &'static str,
        path: PathBuf,
        source: Arc<std::io::Error>,
    },
    #[error("the disk of the data folder is full; nothing was written, make space and try again")]
    NoSpace,
    #[error("{path:?} is in use by another process; stop it, or choose another data folder")]
    InUse { path: PathBuf },
    #[error("{path:?} {found}; {advice}")]
    Format {
        path: PathBuf,
        found: String,
        advice: &'static str,
    },
    #[error("object {object} is awake; stop it, then try again")]
    Awake { object: String },
    #[error("object {object} has no data; check its class and its name or id")]
    Missing { object: String },
    #[error("object {object} has data already; delete it first, or choose another name")]
    Exists { object: String },
    #[error("{message}")]
    Bookmark { message: String },
    #[error("{path:?} cannot be imported: {found}")]
    Import { path: PathBuf, found: String },
    #[error("{what} would change more than {limit_bytes} bytes of pages at once; {advice}")]
    TooMuch {
        what: &'static str,
        limit_bytes: u64,
        advice: &'static str,
    },
    #[error("another backup runs on this data folder; wait until it is done")]
    BackupRuns,
    #[error(transparent)]
    Dead(#[from] crate::Dead),
    #[error(
        "namespace {namespace:?} cannot be a folder name; use 1 to 200 of A-Z a-z 0-9 . _ - not beginning with a dot"
    )]
    Namespace { namespace: String },
}

impl Error {
    pub fn kind(&self) -> Kind {
        match self {
            Error::Sql { kind, .. } | Error::Call { kind, .. } => *kind,
            Error::NoStatement
            | Error::ParametersNotLast
            | Error::ParameterCount
            | Error::NulInText { .. } => Kind::Invalid,
            Error::Bookmark { .. } => Kind::Invalid,
            Error::Denied { .. } => Kind::Denied,
            Error::NoSpace => Kind::Full,
            Error::ResultTooBig { .. } | Error::EntryTooBig { .. } | Error::TooMuch { .. } => {
                Kind::TooBig
            }
            Error::Closed { .. } => Kind::Closed,
            Error::Commit { .. } => Kind::Constraint,
            Error::Io { .. }
            | Error::InUse { .. }
            | Error::Format { .. }
            | Error::Dead(_)
            | Error::Awake { .. }
            | Error::Missing { .. }
            | Error::Exists { .. }
            | Error::Import { .. }
            | Error::BackupRuns
            | Error::Namespace { .. } => Kind::Other,
        }
    }

    /// SQLite's extended result code, where SQLite spoke.
    pub fn code(&self) -> Option<i32> {
        match self {
            Error::Sql { code, .. } | Error::Commit { code, .. } => Some(*code),
            Error::Denied { .. } => Some(code::AUTH),
            _ => None,
        }
    }

    /// Where in the SQL text the mistake is, in bytes.
    pub fn offset(&self) -> Option<u32> {
        match self {
            Error::Sql { offset, .. } => *offset,
            Error::NulInText { offset } => Some(*offset),
            _ => None,
        }
    }

    /// Makes the error of a failed call from what SQLite says about it.
    pub(crate) fn sql(extended: i32, text: &str, offset: Option<u32>) -> Error {
        let place = offset
            .map(|at| format!(" at offset {at}"))
            .unwrap_or_default();
        let primary = code::name(extended & 0xff).unwrap_or("SQLITE_ERROR");
        let detail = match code::name(extended) {
            Some(name) if extended > 0xff => format!(" (extended: {name})"),
            _ => String::new(),
        };
        Error::Sql {
            kind: code::kind(extended),
            message: format!("{text}{place}: {primary}{detail}"),
            code: extended,
            offset,
        }
    }

    /// The same failure, known to be the guard's doing.
    pub(crate) fn denied(self, reason: Option<&'static str>) -> Error {
        match (reason, self) {
            (Some(reason), _) => Error::Denied {
                message: reason.into(),
            },
            (
                None,
                Error::Sql {
                    message,
                    code,
                    offset,
                    ..
                },
            ) => Error::Sql {
                kind: Kind::Denied,
                message,
                code,
                offset,
            },
            (None, other) => other,
        }
    }

    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
        source: std::io::Error,
    ) -> Error {
        Error::Io {
            action,
            path: path.into(),
            source: Arc::new(source),
        }
    }

    /// Whether the failure leaves nothing of an open transaction to go on with.
    pub(crate) fn ends_turn(&self) -> bool {
        match self {
            Error::Sql { code, .. } => code::ends_turn(*code),
            Error::Io { .. } | Error::Dead(_) => true,
            _ => false,
        }
    }
}
