//! What can go wrong with a statement, its parameters or its rows.

use std::fmt;

use crate::bindings::dormouse::object::sql as wit;

/// Why a call of [`Sql`](crate::sql::Sql) failed.
///
/// `?` turns it into [`dormouse_sdk::Error`](crate::Error); to act on one, look
/// at its [`kind`](Self::kind):
///
/// ```no_run
/// # use dormouse_sdk::prelude::*;
/// use dormouse_sdk::sql::ErrorKind;
///
/// # fn handler(sql: &Sql) -> Result<Response> {
/// match sql.exec("INSERT INTO names (name) VALUES (?)", ("ada",)) {
///     Err(error) if error.kind() == ErrorKind::Constraint => {
///         Ok(Response::text("taken\n").with_status(409))
///     }
///     other => other.map(|_| Response::empty()).map_err(Error::from),
/// }
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    code: Option<i32>,
    offset: Option<u32>,
}

/// What a handler can tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The SQL text does not compile, names something that is not there, or
    /// has the wrong number of parameters.
    Invalid,
    /// A constraint (unique, not null, check, foreign key) refused the change;
    /// the statement changed nothing.
    Constraint,
    /// The statement, function, pragma or name is not allowed to objects.
    Denied,
    /// The database reached its size limit. The turn is undone and the object
    /// is reset.
    Full,
    /// A value, a text or a result is larger than its limit. Large results can
    /// be read with [`Sql::cursor`](crate::sql::Sql::cursor).
    TooBig,
    /// The statement used up the event's processor time.
    Interrupted,
    /// The cursor or transaction is no longer open.
    Closed,
    /// Anything else that SQLite reports.
    Other,
    /// There was no row where exactly one was wanted.
    NoRows,
    /// There were several rows where at most one was wanted.
    ManyRows,
    /// A parameter cannot be stored, or a row does not fit the type it is read
    /// into.
    Mismatch,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            code: None,
            offset: None,
        }
    }

    pub(crate) fn mismatch(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Mismatch, message)
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What was tried, what was found and what to do next.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// SQLite's extended result code, such as 2067 for a unique constraint.
    pub fn code(&self) -> Option<i32> {
        self.code
    }

    /// Where in the SQL text the mistake is, in bytes.
    pub fn offset(&self) -> Option<u32> {
        self.offset
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<wit::Error> for Error {
    fn from(error: wit::Error) -> Self {
        Self {
            kind: error.kind.into(),
            message: error.message,
            code: error.code,
            offset: error.offset,
        }
    }
}

impl From<wit::ErrorKind> for ErrorKind {
    fn from(kind: wit::ErrorKind) -> Self {
        match kind {
            wit::ErrorKind::Invalid => Self::Invalid,
            wit::ErrorKind::Constraint => Self::Constraint,
            wit::ErrorKind::Denied => Self::Denied,
            wit::ErrorKind::Full => Self::Full,
            wit::ErrorKind::TooBig => Self::TooBig,
            wit::ErrorKind::Interrupted => Self::Interrupted,
            wit::ErrorKind::Closed => Self::Closed,
            wit::ErrorKind::Other => Self::Other,
        }
    }
}
