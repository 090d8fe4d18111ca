//! SQL databases of the whole app: [`Database`].
//!
//! The manifest's `[databases]` binds them, [`Env::database`] opens them, in workers and
//! in objects alike. A database is an object of a class that the host has built in: one
//! statement runs after another, each call is a transaction, and its answer leaves when
//! it is durable. An object's own SQL is [`Sql`](crate::sql::Sql), which waits for nobody.
//!
//! ```no_run
//! # use dormouse_sdk::prelude::*;
//! # async fn handler(env: &Env) -> Result<()> {
//! let db = env.database("DB")?;
//! db.query("CREATE TABLE IF NOT EXISTS people (name TEXT, born INTEGER)", ()).await?;
//! db.batch([
//!     Statement::new("INSERT INTO people VALUES (?, ?)", ("Ada", 1815))?,
//!     Statement::new("INSERT INTO people VALUES (?, ?)", ("Grace", 1906))?,
//! ])
//! .await?;
//! let first: Option<(String, i64)> =
//!     db.query("SELECT * FROM people ORDER BY born LIMIT 1", ()).await?.optional()?;
//! # Ok(())
//! # }
//! ```

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::api::call;
use crate::http::Body;
use crate::namespace::{CallError, Namespace, Stub, context};
use crate::object::Env;
use crate::sql::{Error, Params, Rows, Value};
use crate::{Result, bail};

/// One database of the app. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Database {
    stub: Stub,
}

/// SQL with its parameters, for [`Database::batch`].
#[derive(Clone, Debug, Serialize)]
pub struct Statement {
    sql: String,
    params: Vec<Json>,
}

#[derive(Deserialize)]
struct Answer {
    columns: Vec<String>,
    rows: Vec<Vec<Json>>,
    rows_read: u64,
    rows_written: u64,
}

impl Env {
    /// The database behind a binding of the manifest's `[databases]`.
    pub fn database(&self, binding: &str) -> Result<Database> {
        let database = Namespace::<Stub>::open(binding);
        let database = database.map_err(|error| context(binding, error))?;
        // The binding leads to one database, whatever it is called.
        let stub = database.get_by_name(binding);
        Ok(Database { stub })
    }
}

impl Database {
    /// Runs all statements of `sql`, with the rows and the parameters of the last one.
    /// All of them are one transaction.
    pub async fn query(&self, sql: &str, params: impl Params) -> Result<Rows> {
        let Statement { sql, params } = Statement::new(sql, params)?;
        let answer: Answer = call(&self.stub, "query", (sql, params), Body::empty()).await?;
        answer.into_rows()
    }

    /// Runs statements in order as one transaction: all of them, or none.
    pub async fn batch(
        &self,
        statements: impl IntoIterator<Item = Statement>,
    ) -> Result<Vec<Rows>> {
        let statements: Vec<_> = statements.into_iter().collect();
        let answers: Result<Vec<Answer>, CallError> =
            call(&self.stub, "batch", (statements,), Body::empty()).await;
        answers?.into_iter().map(Answer::into_rows).collect()
    }
}

impl Statement {
    /// Fails for a parameter that SQLite has no value for.
    pub fn new(sql: impl Into<String>, params: impl Params) -> Result<Self, Error> {
        let params = params.into_values()?.into_iter().map(to_json);
        Ok(Self {
            sql: sql.into(),
            params: params.collect(),
        })
    }
}

impl Answer {
    fn into_rows(self) -> Result<Rows> {
        let rows = self.rows.into_iter();
        let rows: Result<Vec<Vec<Value>>> = rows
            .map(|row| row.into_iter().map(from_json).collect())
            .collect();
        let counts = (self.rows_read, self.rows_written);
        Ok(Rows::new(self.columns, rows?, counts))
    }
}

/// As the admin door writes values.
fn to_json(value: Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Integer(number) => number.into(),
        Value::Real(number) if number.is_finite() => number.into(),
        Value::Real(number) => json!({"real": number.to_string()}),
        Value::Text(text) => text.into(),
        Value::Blob(bytes) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            json!({"blob": hex})
        }
    }
}

fn from_json(json: Json) -> Result<Value> {
    Ok(match json {
        Json::Null => Value::Null,
        Json::Bool(truth) => Value::Integer(truth.into()),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => Value::Integer(integer),
            (None, Some(real)) => Value::Real(real),
            (None, None) => bail!("the database answered {number}, which is no number of SQLite"),
        },
        Json::String(text) => Value::Text(text),
        Json::Object(object) => {
            let text = |key: &str| object.get(key).and_then(Json::as_str);
            match (text("blob").and_then(unhex), text("real").map(str::parse)) {
                (Some(bytes), _) => Value::Blob(bytes),
                (None, Some(Ok(real))) => Value::Real(real),
                _ => bail!("the database answered {object:?}, which is no value"),
            }
        }
        Json::Array(_) => bail!("the database answered a list as a value"),
    })
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let pairs = rest.is_empty().then_some(pairs)?.iter();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_go_to_json_and_back() {
        let values = [
            Value::Null,
            Value::Integer(i64::MAX),
            Value::Real(0.5),
            Value::Real(f64::INFINITY),
            Value::Text("ä".into()),
            Value::Blob(vec![0, 255]),
        ];
        for value in values {
            assert_eq!(from_json(to_json(value.clone())).unwrap(), value);
        }
        assert!(from_json(json!({"blob": "0"})).is_err());
        assert!(from_json(json!([1])).is_err());
    }
}
