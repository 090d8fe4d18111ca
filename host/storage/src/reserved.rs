//! Reserved tables: what the host keeps in an object's own database.
//!
//! They share the guest's transaction and its fate. Names begin with `_dormouse_`, which
//! the guard keeps guests from.

use crate::error::Error;
use crate::sqlite::Connection;
use crate::value::Value;

/// Writes down what the object's id was made from, so that its file says it by itself.
pub(crate) fn write_name(connection: &Connection, name: &str) -> Result<(), Error> {
    connection
        .run_trusted("CREATE TABLE _dormouse_meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID")?;
    connection.trusted(|| {
        let (statement, _) =
            connection.prepare("INSERT INTO _dormouse_meta VALUES ('name', ?)", false)?;
        let statement = statement.ok_or(Error::NoStatement)?;
        statement.bind(1, &Value::from(name));
        connection.step(&statement).map(|_| ())
    })
}

/// The name in the file; `None` for an object that was never given one.
pub(crate) fn read_name(connection: &Connection) -> Result<Option<String>, Error> {
    connection.trusted(|| {
        let sql = "SELECT value FROM _dormouse_meta WHERE key = 'name'";
        let Ok((Some(statement), _)) = connection.prepare(sql, false) else {
            return Ok(None);
        };
        if !connection.step(&statement)? {
            return Ok(None);
        }
        Ok(match statement.row().pop() {
            Some(Value::Text(name)) => Some(name),
            _ => None,
        })
    })
}
