//! SQL databases: statements by call, several of them all or nothing.

use std::time::Instant;

use dormouse_storage::{Database, OperatorAnswer};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::arguments::{Arguments, answer as given, bad};
use super::{from_json, to_json, told};
use crate::event::{Fault, MethodAnswer, MethodCall};
use crate::slow;

/// Rows of one statement; more is an error, so that none is left out unseen.
const MAX_ROWS: u32 = 100_000;

/// One statement with its parameters, as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    pub sql: String,
    #[serde(default)]
    pub params: Vec<Json>,
}

/// The arguments of `batch`.
#[derive(Clone, Debug, Serialize)]
pub struct Statements(pub Vec<Statement>, pub BatchOptions);

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BatchOptions {
    /// Statements that write are refused.
    pub read_only: bool,
}

/// Hears of each statement that has run.
type Ran<'a> = &'a mut dyn FnMut(&slow::Statement<'_>);

pub(super) fn answer(
    database: &mut Database,
    call: MethodCall,
    ran: Ran<'_>,
) -> Result<MethodAnswer, Fault> {
    match &*call.method {
        "query" => query(database, Arguments::of(call, "[sql, [parameter, …]]")?, ran),
        "batch" => batch(
            database,
            Arguments::of(call, "[[{sql, params}, …], {read_only}]")?,
            ran,
        ),
        other => Err(bad(format!(
            "there is no method `{other}`; a database has query, batch"
        ))),
    }
}

/// `{"columns", "rows", "rows_read", "rows_written"}`
fn query(
    database: &mut Database,
    mut arguments: Arguments,
    ran: Ran<'_>,
) -> Result<MethodAnswer, Fault> {
    let sql = arguments.take("sql")?;
    let params = arguments.take_or_default("params")?;
    arguments.end()?;
    let statement = Statement { sql, params };
    Ok(given(&run(database, statement, true, ran)?))
}

/// A list of the same. When one fails, nothing of all of them stays.
fn batch(
    database: &mut Database,
    mut arguments: Arguments,
    ran: Ran<'_>,
) -> Result<MethodAnswer, Fault> {
    let statements: Vec<Statement> = arguments.take("statements")?;
    let options: BatchOptions = arguments.take_or_default("options")?;
    arguments.end()?;
    let statements = statements.into_iter();
    let results: Result<Vec<_>, _> = statements
        .map(|statement| run(database, statement, !options.read_only, ran))
        .collect();
    Ok(given(&results?))
}

fn run(
    database: &mut Database,
    statement: Statement,
    writes: bool,
    ran: Ran<'_>,
) -> Result<Json, Fault> {
    let params: Result<Vec<_>, String> = statement.params.into_iter().map(from_json).collect();
    let params = params.map_err(bad)?;
    let began = Instant::now();
    let answer = database.operate(&statement.sql, &params, writes, MAX_ROWS);
    let rows = |answer: &OperatorAnswer| slow::Rows {
        returned: answer.rows.len() as u64,
        read: answer.rows_read,
        written: answer.rows_written,
    };
    ran(&slow::Statement {
        took: began.elapsed(),
        text: &statement.sql,
        rows: answer.as_ref().map(rows).unwrap_or_default(),
    });
    match answer {
        Ok(OperatorAnswer { more: true, .. }) => Err(bad(format!(
            "the statement has more than {MAX_ROWS} rows; ask for parts with LIMIT"
        ))),
        Ok(answer) => Ok(described(answer)),
        Err(error) => Err(told(database, &error)),
    }
}

fn described(answer: OperatorAnswer) -> Json {
    let rows = answer.rows.into_iter();
    let rows: Vec<Vec<Json>> = rows
        .map(|row| row.into_iter().map(to_json).collect())
        .collect();
    json!({
        "columns": answer.columns,
        "rows": rows,
        "rows_read": answer.rows_read,
        "rows_written": answer.rows_written,
    })
}
