//! `dormouse sql`.

use serde_json::Value as Json;

use super::args;
use super::client::{Client, Named};
use super::{prompt, show};
use crate::admin::api::{Rows, Sql};
use crate::cli::terminal;

pub(super) async fn run(args: args::Sql) -> anyhow::Result<()> {
    let client = Client::new(&args.reach)?;
    let object = Named::parse(&args.object)?;
    let path = client.in_app(&format!("{}/sql", object.path())).await?;
    let session = Session {
        client,
        path,
        rows: args.rows,
        json: args.reach.json,
    };
    let params = args.params.iter().map(|text| param(text)).collect();
    match args.sql {
        Some(sql) => session.run(sql, params, args.write).await,
        None => prompt::run(&session, &args.object, args.write).await,
    }
}

/// SQL on one object, once or again and again.
pub(super) struct Session {
    client: Client,
    path: String,
    rows: u32,
    json: bool,
}

impl Session {
    pub(super) async fn run(
        &self,
        sql: String,
        params: Vec<Json>,
        write: bool,
    ) -> anyhow::Result<()> {
        let sql = Sql {
            sql,
            params,
            write,
            max_rows: Some(self.rows),
        };
        let rows: Rows = self.client.post(&self.path, &sql).await?;
        if self.json {
            return show::json(&rows);
        }
        show(rows);
        Ok(())
    }
}

fn show(rows: Rows) {
    let count = rows.rows.len();
    if !rows.columns.is_empty() {
        let cells = |row: Vec<Json>| row.into_iter().map(cell).collect();
        show::result(&rows.columns, rows.rows.into_iter().map(cells));
    }
    let more = if rows.more {
        ", and there are more; --rows shows them"
    } else {
        ""
    };
    terminal::status(
        "Rows",
        format_args!(
            "{count}{more} ({} read, {} written)",
            rows.rows_read, rows.rows_written
        ),
    );
}

pub(super) fn cell(value: Json) -> String {
    match value {
        Json::Null => "NULL".to_owned(),
        Json::String(text) => show::clean(&text),
        Json::Object(object) => match object.get("blob").and_then(Json::as_str) {
            Some(hex) => format!("x'{hex}'"),
            None => object.values().map(Json::to_string).collect(),
        },
        other => other.to_string(),
    }
}

/// A parameter as somebody types it.
fn param(text: &str) -> Json {
    match text {
        "null" | "NULL" => Json::Null,
        text => match serde_json::from_str(text) {
            Ok(Json::Number(number)) => Json::Number(number),
            _ => text.into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_numbers_null_or_texts() {
        let read = [
            "1",
            "-0.5",
            "null",
            "true",
            "bob",
            "{}",
            "9223372036854775807",
        ]
        .map(param);
        let wanted = serde_json::json!([1, -0.5, null, "true", "bob", "{}", i64::MAX]);
        assert_eq!(Json::from(read.to_vec()), wanted);
    }
}
