//! `dormouse sql`.

use anyhow::Context as _;
use serde_json::Value as Json;

use super::args;
use super::client::{Client, Lines, Named, segment};
use super::{prompt, show};
use crate::admin::api::{ClassSql, ObjectRows, Rows, Sql};
use crate::cli::terminal;

pub(super) async fn run(args: args::Sql) -> anyhow::Result<()> {
    let client = Client::new(&args.reach)?;
    let of = if args.object.contains('/') {
        Of::Object(Named::parse(&args.object)?.path())
    } else {
        anyhow::ensure!(
            !args.write,
            "--write is for one object at a time; write {}/NAME",
            args.object
        );
        Of::Class {
            path: format!("/classes/{}", segment(&args.object)),
            prefix: args.prefix,
        }
    };
    let session = Session {
        client,
        of,
        rows: args.rows,
        dry_run: args.dry_run,
        json: args.reach.json,
    };
    let params = args.params.iter().map(|text| param(text)).collect();
    match args.sql {
        Some(sql) => session.run(sql, params, args.write).await,
        None => prompt::run(&session, &args.object, args.write).await,
    }
}

/// SQL on one object, or on all of a class, once or again and again.
pub(super) struct Session {
    client: Client,
    of: Of,
    rows: u32,
    dry_run: bool,
    json: bool,
}

/// Paths within the app.
enum Of {
    Object(String),
    Class { path: String, prefix: String },
}

impl Session {
    pub(super) async fn run(
        &self,
        sql: String,
        params: Vec<Json>,
        write: bool,
    ) -> anyhow::Result<()> {
        match &self.of {
            Of::Object(path) => self.ask(path, sql, params, write).await,
            Of::Class { path, prefix } => {
                anyhow::ensure!(
                    !write,
                    "a class is only read; name one of its objects to write"
                );
                self.ask_all(path, sql, params, prefix).await
            }
        }
    }

    async fn ask(
        &self,
        path: &str,
        sql: String,
        params: Vec<Json>,
        write: bool,
    ) -> anyhow::Result<()> {
        let sql = Sql {
            sql,
            params,
            write,
            dry_run: write && self.dry_run,
            max_rows: Some(self.rows),
        };
        let path = self.client.in_app(&format!("{path}/sql")).await?;
        let rows: Rows = self.client.post(&path, &sql).await?;
        if self.json {
            return show::json(&rows);
        }
        for step in &rows.plan {
            terminal::status("Plan", step);
        }
        show(rows);
        if sql.dry_run {
            terminal::status("Undone", "nothing was written; run it without --dry-run");
        }
        Ok(())
    }

    async fn ask_all(
        &self,
        path: &str,
        sql: String,
        params: Vec<Json>,
        prefix: &str,
    ) -> anyhow::Result<()> {
        let sql = ClassSql {
            sql,
            params,
            prefix: prefix.to_owned(),
            max_rows: Some(self.rows),
        };
        let path = self.client.in_app(&format!("{path}/sql")).await?;
        let mut answers = Lines::of(self.client.post_stream(&path, &sql).await?);
        let mut all = Together::default();
        while let Some(line) = answers.next().await? {
            if self.json {
                terminal::print(String::from_utf8_lossy(&line));
            } else {
                let answer = serde_json::from_slice(&line);
                all.add(answer.context("an answer that this version cannot read")?);
            }
        }
        if !self.json {
            all.show();
        }
        Ok(())
    }
}

/// The answers of all objects as one table, each row behind its object's name.
#[derive(Default)]
struct Together {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
    objects: usize,
    read: u64,
    more: bool,
}

impl Together {
    fn add(&mut self, answer: ObjectRows) {
        self.objects += 1;
        self.read += answer.rows_read;
        self.more |= answer.more;
        let object = show::clean(&answer.object);
        if let Some(error) = answer.error {
            terminal::warning(format_args!("{object}: {}", show::clean(&error)));
            return;
        }
        if self.columns.is_empty() {
            self.columns = answer.columns;
        }
        self.rows.extend(answer.rows.into_iter().map(|row| {
            let cells = row.into_iter().map(cell);
            std::iter::once(object.clone()).chain(cells).collect()
        }));
    }

    fn show(self) {
        let (rows, objects, read) = (self.rows.len(), self.objects, self.read);
        if !self.columns.is_empty() {
            let heads: Vec<_> = std::iter::once("object".to_owned())
                .chain(self.columns)
                .collect();
            show::result(&heads, self.rows);
        }
        let more = if self.more { MORE } else { "" };
        terminal::status(
            "Rows",
            format_args!("{rows}{more} of {objects} objects ({read} read)"),
        );
    }
}

const MORE: &str = ", and there are more; --rows shows them";

fn show(rows: Rows) {
    let count = rows.rows.len();
    if !rows.columns.is_empty() {
        let cells = |row: Vec<Json>| row.into_iter().map(cell).collect();
        show::result(&rows.columns, rows.rows.into_iter().map(cells));
    }
    let more = if rows.more { MORE } else { "" };
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
