//! Reserved tables: what the host keeps in an object's own database.
//!
//! They share the guest's transaction and its fate. Names begin with `_dormouse_`, which
//! the guard keeps guests from.

use crate::database::Database;
use crate::error::Error;
use crate::sqlite::Connection;
use crate::value::{Row, Value};

const META: &str =
    "CREATE TABLE IF NOT EXISTS _dormouse_meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID";

impl Database {
    /// The version of the guest's tables as the guest counts it; 0 unless it was set.
    pub fn schema_version(&mut self) -> Result<u32, Error> {
        let sql = "SELECT value FROM _dormouse_meta WHERE key = 'schema_version'";
        let mut version = 0;
        self.visit_if_there(sql, &[], &mut |row| {
            if let Some(Value::Integer(found)) = row.first() {
                version = u32::try_from(*found).unwrap_or_default();
            }
            false
        })?;
        Ok(version)
    }

    /// Part of the open turn, like the tables it speaks of.
    pub fn set_schema_version(&mut self, version: u32) -> Result<(), Error> {
        self.run_reserved(META, &[], true)?;
        let sql = "INSERT OR REPLACE INTO _dormouse_meta VALUES ('schema_version', ?)";
        self.run_reserved(sql, &[i64::from(version).into()], true)?;
        Ok(())
    }

    /// Reads rows of a reserved table until `visit` has seen enough; none if there is no
    /// such table.
    pub(crate) fn visit_if_there(
        &mut self,
        sql: &str,
        params: &[Value],
        visit: &mut dyn FnMut(Row) -> bool,
    ) -> Result<(), Error> {
        match self.visit_reserved(sql, params, false, visit) {
            Err(Error::Sql { message, .. }) if message.starts_with("no such table: _dormouse_") => {
                Ok(())
            }
            result => result,
        }
    }
}

/// Keys of the table.
const NAME: &str = "name";
const RESTORE: &str = "restore";

/// Statements that note or forget the bookmark which the next session shall begin with.
pub(crate) const NOTE_RESTORE: [&str; 2] = [
    META,
    "INSERT OR REPLACE INTO _dormouse_meta VALUES ('restore', ?)",
];

/// Writes down what the object's id was made from, so that its file says it by itself.
pub(crate) fn write_name(connection: &Connection, name: &str) -> Result<(), Error> {
    connection.run_trusted(META)?;
    let sql = "INSERT OR REPLACE INTO _dormouse_meta VALUES ('name', ?)";
    connection.rows(sql, &[name.into()]).map(|_| ())
}

/// The name in the file; `None` for an object that was never given one.
pub(crate) fn read_name(connection: &Connection) -> Result<Option<String>, Error> {
    read(connection, NAME)
}

/// The bookmark that the next session is to begin with.
pub(crate) fn read_restore(connection: &Connection) -> Result<Option<String>, Error> {
    read(connection, RESTORE)
}

fn read(connection: &Connection, key: &str) -> Result<Option<String>, Error> {
    connection.trusted(|| {
        let sql = "SELECT value FROM _dormouse_meta WHERE key = ?";
        let Ok((Some(statement), _)) = connection.prepare(sql, false) else {
            return Ok(None);
        };
        statement.bind(1, &Value::from(key));
        if !connection.step(&statement)? {
            return Ok(None);
        }
        Ok(match statement.row().pop() {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        })
    })
}

/// Makes content that came from elsewhere this object's own: its name, and no restore.
pub(crate) fn adopt(connection: &Connection, name: Option<&str>) -> Result<(), Error> {
    if has_table(connection, "_dormouse_meta")? {
        connection.rows("DELETE FROM _dormouse_meta WHERE key = 'restore'", &[])?;
        connection.rows("DELETE FROM _dormouse_meta WHERE key = 'name'", &[])?;
    }
    match name {
        Some(name) => write_name(connection, name),
        None => Ok(()),
    }
}

/// Forgets the bookmark that the next session was to begin with.
pub(crate) fn clear_restore(connection: &Connection) -> Result<(), Error> {
    if has_table(connection, "_dormouse_meta")? {
        connection.rows("DELETE FROM _dormouse_meta WHERE key = 'restore'", &[])?;
    }
    Ok(())
}

pub(crate) fn has_table(connection: &Connection, name: &str) -> Result<bool, Error> {
    let sql = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?";
    Ok(!connection.rows(sql, &[name.into()])?.is_empty())
}
