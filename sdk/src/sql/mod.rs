//! The object's own SQLite database.
//!
//! Every call is synchronous and fast; there is nothing to open and nothing to
//! await. All writes between two `.await`s land together, and nothing that the
//! object says leaves the host before the writes it depends on are durable.
//!
//! # Rows
//!
//! A row is read into any type that implements [`serde::Deserialize`]:
//!
//! | type | takes |
//! |---|---|
//! | a struct, a map | the columns by name; of two columns with one name, the last |
//! | a tuple, a tuple struct, a `Vec` | the columns by position |
//! | anything else, such as `i64`, `String`, `Vec<u8>` | the only column |
//! | `Option` of these | the same, or NULL in the only column |
//! | [`serde_json::Value`] | an object, the columns by name |
//!
//! ```no_run
//! # use dormouse_sdk::prelude::*;
//! # fn handler(sql: &Sql) -> Result<()> {
//! #[derive(serde::Deserialize)]
//! struct Message { id: i64, author: String, text: Option<String> }
//!
//! let messages: Vec<Message> = sql.all("SELECT id, author, text FROM messages", ())?;
//! let pairs: Vec<(i64, String)> = sql.all("SELECT id, author FROM messages", ())?;
//! let count: i64 = sql.one("SELECT count(*) FROM messages", ())?;
//! # Ok(())
//! # }
//! ```
//!
//! A column fits a type if nothing is lost: an INTEGER fits every integer type
//! that has room for it, `f64`, and `bool` if it is 0 or 1; TEXT fits strings,
//! enums without data, and [`Json`]; a BLOB fits `Vec<u8>`. TEXT stays text in a
//! `serde_json::Value`, and a BLOB does not fit one. A row that does not fit is
//! an [`Error`] that names the column.
//!
//! # Parameters
//!
//! One `?` after the other, as a tuple, an array, a list or [`params!`]; see
//! [`Params`] for the shapes and [`IntoValue`] for the types.

mod cursor;
mod error;
mod migrations;
mod params;
mod row;
mod rows;
mod value;

pub use cursor::Cursor;
pub use error::{Error, ErrorKind};
pub use migrations::Migrations;
pub use params::{IntoValue, ParamList, Params};
pub use rows::{Iter, Row, Rows};
pub use value::{Json, Value};

#[doc(inline)]
pub use crate::__params as params;

use serde::de::DeserializeOwned;

use crate::bindings::dormouse::object::sql as wit;

/// The database of the object at hand. Free to clone and to keep.
#[derive(Clone, Debug)]
pub struct Sql {
    _later: (),
}

impl Sql {
    pub(crate) fn new() -> Self {
        Self { _later: () }
    }

    /// Runs one statement or several, separated by `;`, and answers with the
    /// rows of the last one, to which the parameters belong, too.
    ///
    /// A statement that fails undoes itself only; those before it stand.
    ///
    /// ```no_run
    /// # use dormouse_sdk::prelude::*;
    /// # fn handler(sql: &Sql) -> Result<()> {
    /// sql.exec("INSERT INTO messages (author, text) VALUES (?, ?)", ("ada", "hello"))?;
    /// for row in &sql.exec("SELECT id, author FROM messages", ())? {
    ///     let author: String = row.get("author")?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn exec(&self, query: &str, params: impl Params) -> Result<Rows, Error> {
        let values = to_wit(params)?;
        Ok(Rows::from_wit(wit::exec(query, &values)?))
    }

    /// All rows, each as a `T`.
    pub fn all<T: DeserializeOwned>(
        &self,
        query: &str,
        params: impl Params,
    ) -> Result<Vec<T>, Error> {
        self.exec(query, params)?.all()
    }

    /// The only row, as a `T`. No row, or more than one, is an error.
    pub fn one<T: DeserializeOwned>(&self, query: &str, params: impl Params) -> Result<T, Error> {
        self.exec(query, params)?.one()
    }

    /// The only row, as a `T`, or `None`. More than one is an error.
    pub fn optional<T: DeserializeOwned>(
        &self,
        query: &str,
        params: impl Params,
    ) -> Result<Option<T>, Error> {
        self.exec(query, params)?.optional()
    }

    /// The rows of a result too large to hold, fetched in portions while they
    /// are iterated.
    ///
    /// A statement that writes runs to its end at once. Changes made while the
    /// cursor is open may or may not show in it, as SQLite has it.
    ///
    /// ```no_run
    /// # use dormouse_sdk::prelude::*;
    /// # fn handler(sql: &Sql) -> Result<()> {
    /// for row in sql.cursor::<(i64, String)>("SELECT id, text FROM messages", ())? {
    ///     let (id, text) = row?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn cursor<T: DeserializeOwned>(
        &self,
        query: &str,
        params: impl Params,
    ) -> Result<Cursor<T>, Error> {
        let values = to_wit(params)?;
        Ok(Cursor::new(wit::query(query, &values)?))
    }

    /// Keeps everything that `work` writes, or, if it answers with an error,
    /// nothing of it. The error is passed on.
    ///
    /// Transactions nest: an inner one that fails leaves the outer one's writes.
    /// A transaction cannot await; that is what makes it one.
    ///
    /// ```no_run
    /// # use dormouse_sdk::prelude::*;
    /// # fn handler(sql: &Sql) -> Result<()> {
    /// sql.transaction(|| {
    ///     sql.exec("UPDATE accounts SET cents = cents - 500 WHERE id = 1", ())?;
    ///     sql.exec("UPDATE accounts SET cents = cents + 500 WHERE id = 2", ())?;
    ///     let left: i64 = sql.one("SELECT cents FROM accounts WHERE id = 1", ())?;
    ///     ensure!(left >= 0, "account 1 is empty");
    ///     Ok(())
    /// })?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn transaction<T>(&self, work: impl FnOnce() -> crate::Result<T>) -> crate::Result<T> {
        let savepoint = wit::Savepoint::open().map_err(Error::from)?;
        match work() {
            Ok(value) => {
                wit::Savepoint::release(savepoint).map_err(Error::from)?;
                Ok(value)
            }
            Err(error) => match wit::Savepoint::rollback(savepoint).map_err(Error::from) {
                Ok(()) => Err(error),
                Err(second) => {
                    Err(error.context(format!("a transaction could not be undone: {second}")))
                }
            },
        }
    }

    /// Bytes in use in the database.
    pub fn database_size(&self) -> Result<u64, Error> {
        Ok(wit::database_size()?)
    }
}

fn to_wit(params: impl Params) -> Result<Vec<wit::Value>, Error> {
    Ok(params.into_values()?.into_iter().map(Into::into).collect())
}
