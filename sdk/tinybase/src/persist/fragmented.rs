//! Fragmented mode: a row of the database for each row and each value.
//!
//! Rows of older versions of TinyBase, one for each cell, are read, too; a row in
//! the new form hides them, and they go when their row changes.

use std::cell::Cell;
use std::collections::BTreeSet;

use dormouse_sdk::Result;
use dormouse_sdk::sql::Value;

use super::{Commands, Layout, quoted, text};
use crate::core::{
    Cells, Changes, Form, Hlc, Leaf, Node, Store, cells_from_json, content_from_json, encode,
};

/// The content of a row that stands for a container.
const CONTAINER: &str = "[0]";

pub(super) struct Fragmented {
    commands: Commands,
    sql: Texts,
    /// Some row is still in the form of one database row for each cell.
    has_cell_rows: Cell<bool>,
}

struct Texts {
    create: String,
    select_tables: String,
    select_values: String,
    update_tables: String,
    insert_tables: String,
    delete_cells: String,
    update_values: String,
    insert_values: String,
}

/// `table_id`, `row_id`, `cell_id`, `value_data`, `timestamp`, `hash`.
type TablesRow = (
    Option<String>,
    Option<String>,
    Option<String>,
    String,
    String,
    u32,
);
/// `value_id`, `value_data`, `timestamp`, `hash`.
type ValuesRow = (Option<String>, String, String, u32);

impl Fragmented {
    pub(super) fn new(commands: Commands, prefix: &str) -> Self {
        Self {
            commands,
            sql: Texts::new(&encode_prefix(prefix)),
            has_cell_rows: Cell::new(false),
        }
    }

    fn load_tables(&self, store: &mut Store) -> Result<usize> {
        let rows = self.commands.run(&self.sql.select_tables, Vec::new())?;
        let rows: Vec<TablesRow> = rows.all()?;
        let count = rows.len();
        let mut whole = BTreeSet::new();
        let mut cells = Vec::new();
        let tables = &mut store.tables;
        for (table, row, cell, data, time, hash) in rows {
            let hlc = stamp(&time)?;
            match (table, row, cell) {
                (None, ..) => tables.mark(hlc, hash),
                (Some(table), None, _) => tables.child(&table).mark(hlc, hash),
                (Some(table), Some(row), None) => {
                    let own = tables.child(&table).child(&row);
                    own.mark(hlc, hash);
                    if is_object(&data) {
                        own.children = cells_from_json(only(&data)?)?;
                        whole.insert((table, row));
                    }
                }
                (Some(table), Some(row), Some(cell)) => {
                    cells.push(((table, row), cell, leaf(&data, hlc, hash)?));
                }
            }
        }
        self.has_cell_rows.set(!cells.is_empty());
        for (row, cell, leaf) in cells {
            if !whole.contains(&row) {
                let row = tables.child(&row.0).child(&row.1);
                row.children.insert(cell, leaf);
            }
        }
        Ok(count)
    }

    fn load_values(&self, store: &mut Store) -> Result<usize> {
        let rows = self.commands.run(&self.sql.select_values, Vec::new())?;
        let rows: Vec<ValuesRow> = rows.all()?;
        let count = rows.len();
        for (id, data, time, hash) in rows {
            let hlc = stamp(&time)?;
            match id {
                None => store.values.mark(hlc, hash),
                Some(id) => {
                    let leaf = leaf(&data, hlc, hash)?;
                    store.values.children.insert(id, leaf);
                }
            }
        }
        Ok(count)
    }

    fn save_tables(&self, store: &Store, changes: &Changes) -> Result<()> {
        self.put_tables_row(None, None, CONTAINER.to_owned(), &store.tables)?;
        for (table_id, rows) in &changes.tables {
            let Some(table) = store.tables.children.get(table_id) else {
                continue;
            };
            self.put_tables_row(Some(table_id), None, CONTAINER.to_owned(), table)?;
            let rows = rows.keys();
            for (row_id, row) in rows.filter_map(|id| table.children.get_key_value(id)) {
                self.save_row(table_id, row_id, row)?;
            }
        }
        Ok(())
    }

    fn save_row(&self, table_id: &str, row_id: &str, row: &Cells) -> Result<()> {
        if self.has_cell_rows.get() {
            let ids = vec![text(table_id), text(row_id)];
            self.commands.run(&self.sql.delete_cells, ids)?;
        }
        let cells = encode(&row.children, Form::Stored);
        self.put_tables_row(Some(table_id), Some(row_id), format!("[{cells}]"), row)
    }

    fn put_tables_row<C>(
        &self,
        table_id: Option<&str>,
        row_id: Option<&str>,
        data: String,
        node: &Node<C>,
    ) -> Result<()> {
        let mut values = vec![text(data), text(node.hlc.as_str()), hash(node.hash)];
        values.extend([table_id, row_id].map(nullable));
        let texts = &self.sql;
        self.commands
            .put(&texts.update_tables, &texts.insert_tables, values)
    }

    fn save_values(&self, store: &Store, changes: &Changes) -> Result<()> {
        let values = &store.values;
        self.put_values_row(None, CONTAINER.to_owned(), values.hlc, values.hash)?;
        let ids = changes.values.iter();
        for (id, leaf) in ids.filter_map(|id| values.children.get_key_value(id)) {
            let data = format!("[{}]", leaf.content.json());
            self.put_values_row(Some(id), data, leaf.hlc, leaf.hash)?;
        }
        Ok(())
    }

    fn put_values_row(&self, id: Option<&str>, data: String, hlc: Hlc, own: u32) -> Result<()> {
        let values = vec![text(data), text(hlc.as_str()), hash(own), nullable(id)];
        let texts = &self.sql;
        self.commands
            .put(&texts.update_values, &texts.insert_values, values)
    }
}

impl Layout for Fragmented {
    fn load(&self) -> Result<Option<Store>> {
        self.commands.run(&self.sql.create, Vec::new())?;
        let mut store = Store::default();
        let rows = self.load_tables(&mut store)? + self.load_values(&mut store)?;
        Ok((rows > 0).then_some(store))
    }

    fn save(&self, store: &Store, changes: &Changes) -> Result<()> {
        // Then it is a container's stamp that changed, or all of an empty store.
        let nothing_but_stamps = changes.tables.is_empty() && changes.values.is_empty();
        if !changes.tables.is_empty() || nothing_but_stamps {
            self.save_tables(store, changes)?;
        }
        if !changes.values.is_empty() || nothing_but_stamps {
            self.save_values(store, changes)?;
        }
        Ok(())
    }
}

impl Texts {
    fn new(prefix: &str) -> Self {
        let tables = quoted(&format!("{prefix}tinybase_tables"));
        let values = quoted(&format!("{prefix}tinybase_values"));
        Self {
            create: format!(
                "CREATE TABLE IF NOT EXISTS {tables} (type TEXT NOT NULL, table_id TEXT, \
                 row_id TEXT, cell_id TEXT, value_data TEXT NOT NULL, timestamp TEXT NOT NULL, \
                 hash INTEGER NOT NULL, PRIMARY KEY (type, table_id, row_id, cell_id)); \
                 CREATE TABLE IF NOT EXISTS {values} (value_id TEXT, value_data TEXT NOT NULL, \
                 timestamp TEXT NOT NULL, hash INTEGER NOT NULL)"
            ),
            select_tables: format!(
                "SELECT table_id, row_id, cell_id, value_data, timestamp, hash \
                 FROM {tables} WHERE type = 't'"
            ),
            select_values: format!("SELECT value_id, value_data, timestamp, hash FROM {values}"),
            update_tables: format!(
                "UPDATE {tables} SET value_data = ?1, timestamp = ?2, hash = ?3 \
                 WHERE type = 't' AND table_id IS ?4 AND row_id IS ?5 AND cell_id IS NULL"
            ),
            insert_tables: format!(
                "INSERT INTO {tables} (value_data, timestamp, hash, table_id, row_id, type) \
                 VALUES (?1, ?2, ?3, ?4, ?5, 't')"
            ),
            delete_cells: format!(
                "DELETE FROM {tables} WHERE type = 't' AND table_id = ?1 AND row_id = ?2 \
                 AND cell_id IS NOT NULL"
            ),
            update_values: format!(
                "UPDATE {values} SET value_data = ?1, timestamp = ?2, hash = ?3 \
                 WHERE value_id IS ?4"
            ),
            insert_values: format!(
                "INSERT INTO {values} (value_data, timestamp, hash, value_id) \
                 VALUES (?1, ?2, ?3, ?4)"
            ),
        }
    }
}

/// A prefix that is no plain name is written in hexadecimal, as TinyBase does it.
fn encode_prefix(prefix: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if prefix.bytes().all(plain) {
        return prefix.to_owned();
    }
    let units = prefix.encode_utf16();
    let units: String = units.map(|unit| format!("${unit:04x}")).collect();
    format!("$tinybase${units}$")
}

fn nullable(id: Option<&str>) -> Value {
    id.map_or(Value::Null, text)
}

fn hash(hash: u32) -> Value {
    Value::Integer(hash.into())
}

fn stamp(time: &str) -> Result<Hlc> {
    Hlc::parse(time).ok_or_else(|| dormouse_sdk::Error::msg(format!("{time:?} is no stamp")))
}

/// The text of the only element of a list.
fn only(data: &str) -> Result<&str> {
    let inner = data.trim().strip_prefix('[');
    let inner = inner.and_then(|data| data.strip_suffix(']'));
    inner
        .map(str::trim)
        .ok_or_else(|| dormouse_sdk::Error::msg("a row's `value_data` is no list"))
}

fn is_object(data: &str) -> bool {
    only(data).is_ok_and(|inner| inner.starts_with('{'))
}

fn leaf(data: &str, hlc: Hlc, hash: u32) -> Result<Leaf> {
    let content = content_from_json(only(data)?)?;
    Ok(Leaf { content, hlc, hash })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_written_as_tinybase_writes_them() {
        assert_eq!(encode_prefix("my_app_"), "my_app_");
        assert_eq!(encode_prefix(""), "");
        assert_eq!(encode_prefix("A-é"), "$tinybase$$0041$002d$00e9$");
    }
}
