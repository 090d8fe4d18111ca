//! SQL in JSON: rows and errors as a test reads them.
//!
//! Integers and reals are numbers, NULL is null; a BLOB is `{"hex": "00ff"}`,
//! as a parameter and as a result.

use dormouse_sdk::prelude::*;
use dormouse_sdk::sql::{self, IntoValue, ParamList, Value};
use serde_json::{Value as Json, json};

pub fn exec(sql: &Sql, text: &str, list: Vec<Json>) -> Json {
    let run = || {
        let rows = sql.exec(text, params(list)?)?;
        Ok(json!({
            "columns": rows.columns(),
            "rows_read": rows.rows_read(),
            "rows_written": rows.rows_written(),
            "rows": rows.into_values().into_iter().map(row).collect::<Json>(),
        }))
    };
    run().unwrap_or_else(|problem| error(&problem))
}

pub fn cursor(sql: &Sql, text: &str, list: Vec<Json>, batch: u32) -> Json {
    let run = || {
        let mut cursor = sql
            .cursor::<Vec<Value>>(text, params(list)?)?
            .with_batch(batch);
        let rows = cursor
            .by_ref()
            .map(|next| next.map(row))
            .collect::<Result<Json, _>>()?;
        Ok(json!({
            "columns": cursor.columns(),
            "rows_read": cursor.rows_read(),
            "rows_written": cursor.rows_written(),
            "rows": rows,
        }))
    };
    run().unwrap_or_else(|problem| error(&problem))
}

pub fn error(problem: &sql::Error) -> Json {
    json!({"error": {
        "kind": format!("{:?}", problem.kind()),
        "message": problem.message(),
        "code": problem.code(),
        "offset": problem.offset(),
    }})
}

pub fn params(list: Vec<Json>) -> Result<ParamList, sql::Error> {
    list.into_iter()
        .map(param)
        .try_fold(ParamList::new(), |list, param| Ok(list.with(param?)))
}

fn param(value: Json) -> Result<Value, sql::Error> {
    unhex(&value).map_or_else(|| value.into_value(), |bytes| Ok(Value::Blob(bytes)))
}

/// The bytes of `{"hex": "00ff"}`.
pub fn unhex(value: &Json) -> Option<Vec<u8>> {
    let object = value.as_object().filter(|object| object.len() == 1)?;
    let digits = object.get("hex")?.as_str()?.as_bytes();
    let pair = |pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.chunks(2).map(pair).collect()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn row(values: Vec<Value>) -> Json {
    values
        .into_iter()
        .map(|value| match value {
            Value::Null => Json::Null,
            Value::Integer(number) => number.into(),
            Value::Real(number) => number.into(),
            Value::Text(text) => text.into(),
            Value::Blob(bytes) => json!({"hex": hex(&bytes)}),
        })
        .collect()
}
