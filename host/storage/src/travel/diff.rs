//! Differences: which rows of an object changed between two moments.
//!
//! Both states are opened in memory, and SQLite compares them table by table, by primary
//! key or rowid. Virtual tables are left out; the tables they keep their content in are not.

use std::collections::{BTreeMap, BTreeSet};

use super::Moment;
use crate::error::Error;
use crate::key::ObjectKey;
use crate::log::delta::PAGE_BYTES;
use crate::sqlite::Connection;
use crate::storage::Storage;
use crate::value::{Row, Value};

/// What happened to a row, or to a table itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    Added,
    Removed,
    Updated,
    /// The table's definition: `before` and `after` are its SQL.
    Schema,
}

/// One difference. `before` and `after` have a value for each of `columns`.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    pub table: String,
    pub changed: Changed,
    pub columns: Vec<String>,
    pub before: Option<Row>,
    pub after: Option<Row>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Diff {
    /// By table; within one removed, then added, then updated rows.
    pub changes: Vec<Change>,
    /// Whether there are more than were asked for.
    pub more: bool,
}

impl Storage {
    /// What changed in an object from one moment to another, or to now; at most `limit` rows.
    pub fn diff(
        &self,
        key: &ObjectKey,
        from: &str,
        to: Option<&str>,
        limit: usize,
    ) -> Result<Diff, Error> {
        let shared = self.shared();
        let connection = Connection::open_memory()?;
        connection.run_trusted("ATTACH ':memory:' AS later")?;
        for (schema, bookmark) in [(c"main", Some(from)), (c"later", to)] {
            let bytes = flatten(&shared.moment_of(key, bookmark)?)?;
            if !bytes.is_empty() {
                connection.deserialize(schema, &bytes)?;
            }
        }
        compare(&connection, limit)
    }
}

fn flatten(moment: &Moment<'_>) -> Result<Vec<u8>, Error> {
    let image = moment.image("comparing")?;
    let mut bytes = Vec::with_capacity(image.len() * PAGE_BYTES);
    image
        .iter()
        .for_each(|page| bytes.extend_from_slice(&page[..]));
    Ok(bytes)
}

/// A table at one moment.
#[derive(Debug, Default, PartialEq)]
struct Table {
    sql: String,
    columns: Vec<String>,
    /// Columns of the primary key; empty for a table that is known by its rowid.
    key: Vec<String>,
}

fn compare(connection: &Connection, limit: usize) -> Result<Diff, Error> {
    let before = tables(connection, "main")?;
    let after = tables(connection, "later")?;
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let mut diff = Diff::default();
    for name in names {
        let (old, new) = (before.get(name), after.get(name));
        if old.map(|table| &table.sql) != new.map(|table| &table.sql) {
            let sql = |table: Option<&Table>| Some(vec![table?.sql.as_str().into()]);
            diff.changes.push(Change {
                table: name.clone(),
                changed: Changed::Schema,
                columns: vec!["sql".into()],
                before: sql(old),
                after: sql(new),
            });
        }
        let left = (limit + 1).saturating_sub(diff.changes.len());
        match (old, new) {
            (Some(old), Some(new)) => both(connection, name, old, new, left, &mut diff)?,
            (Some(old), None) => one_sided(connection, "main", name, old, "1", left, &mut diff)?,
            (None, Some(new)) => one_sided(connection, "later", name, new, "1", left, &mut diff)?,
            (None, None) => (),
        }
    }
    diff.more = diff.changes.len() > limit;
    diff.changes.truncate(limit);
    Ok(diff)
}

fn tables(connection: &Connection, schema: &str) -> Result<BTreeMap<String, Table>, Error> {
    let sql = format!(
        "SELECT name, sql FROM {schema}.sqlite_master WHERE type = 'table' \
         AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND sql NOT LIKE 'CREATE VIRTUAL%'"
    );
    let mut tables = BTreeMap::new();
    for row in connection.rows(&sql, &[])? {
        let [Value::Text(name), Value::Text(sql)] = &row[..] else {
            continue;
        };
        let info = format!(
            "SELECT name, pk FROM pragma_table_xinfo({}, '{schema}') WHERE hidden <> 1",
            literal(name)
        );
        let mut table = Table {
            sql: sql.clone(),
            ..Table::default()
        };
        let mut key = BTreeMap::new();
        for row in connection.rows(&info, &[])? {
            if let [Value::Text(column), Value::Integer(place)] = &row[..] {
                table.columns.push(column.clone());
                if *place > 0 {
                    key.insert(*place, column.clone());
                }
            }
        }
        table.key = key.into_values().collect();
        tables.insert(name.clone(), table);
    }
    Ok(tables)
}

/// Rows of a table that is there at both moments.
fn both(
    connection: &Connection,
    name: &str,
    old: &Table,
    new: &Table,
    limit: usize,
    diff: &mut Diff,
) -> Result<(), Error> {
    let target = diff.changes.len() + limit;
    if old.key != new.key {
        one_sided(connection, "main", name, old, "1", limit, diff)?;
        let left = target - diff.changes.len();
        return one_sided(connection, "later", name, new, "1", left, diff);
    }
    let key: Vec<String> = match old.key.is_empty() {
        true => vec!["rowid".into()],
        false => old.key.iter().map(|column| quoted(column)).collect(),
    };
    let all = |condition: &dyn Fn(&String) -> String, by: &str| {
        key.iter().map(condition).collect::<Vec<_>>().join(by)
    };
    let same = all(&|column| format!("m.{column} IS l.{column}"), " AND ");
    let table = quoted(name);
    let missing = |schema: &str, alias: &str| {
        format!("NOT EXISTS (SELECT 1 FROM {schema}.{table} AS {alias} WHERE {same})")
    };
    one_sided(
        connection,
        "main",
        name,
        old,
        &missing("later", "l"),
        limit,
        diff,
    )?;
    let left = target - diff.changes.len();
    one_sided(
        connection,
        "later",
        name,
        new,
        &missing("main", "m"),
        left,
        diff,
    )?;
    let columns: Vec<String> = new
        .columns
        .iter()
        .filter(|column| old.columns.contains(column))
        .cloned()
        .collect();
    let list = |alias: &str| {
        let of = |column: &String| format!("{alias}.{}", quoted(column));
        columns.iter().map(of).collect::<Vec<_>>().join(", ")
    };
    let differs = |column: &String| {
        let column = quoted(column);
        format!(
            "m.{column} COLLATE BINARY IS NOT l.{column} OR typeof(m.{column}) <> typeof(l.{column})"
        )
    };
    let differs = columns.iter().map(differs).collect::<Vec<_>>().join(" OR ");
    let sql = format!(
        "SELECT {}, {} FROM main.{table} AS m JOIN later.{table} AS l ON {same} \
         WHERE {differs} LIMIT {}",
        list("m"),
        list("l"),
        target - diff.changes.len(),
    );
    for mut before in connection.rows(&sql, &[])? {
        let after = before.split_off(columns.len());
        diff.changes.push(Change {
            table: name.to_owned(),
            changed: Changed::Updated,
            columns: columns.clone(),
            before: Some(before),
            after: Some(after),
        });
    }
    Ok(())
}

/// Rows that only one of the two moments has.
fn one_sided(
    connection: &Connection,
    schema: &str,
    name: &str,
    table: &Table,
    condition: &str,
    limit: usize,
    diff: &mut Diff,
) -> Result<(), Error> {
    let alias = &schema[..1];
    let columns: Vec<String> = table.columns.iter().map(|column| quoted(column)).collect();
    let sql = format!(
        "SELECT {} FROM {schema}.{} AS {alias} WHERE {condition} LIMIT {limit}",
        columns.join(", "),
        quoted(name)
    );
    for row in connection.rows(&sql, &[])? {
        let (changed, before, after) = match schema {
            "main" => (Changed::Removed, Some(row), None),
            _ => (Changed::Added, None, Some(row)),
        };
        diff.changes.push(Change {
            table: name.to_owned(),
            changed,
            columns: table.columns.clone(),
            before,
            after,
        });
    }
    Ok(())
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
