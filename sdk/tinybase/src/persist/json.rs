//! JSON mode: the whole store in one row of one table.

use dormouse_sdk::{Context as _, Result};

use super::{Commands, JsonNames, Layout, quoted, text};
use crate::core::{Changes, Store};

/// The id of the one row.
const ID: &str = "_";

pub(super) struct Json {
    commands: Commands,
    create: String,
    select: String,
    upsert: String,
}

impl Json {
    pub(super) fn new(commands: Commands, names: &JsonNames) -> Self {
        let table = quoted(&names.table);
        let (id, store) = (quoted(&names.id_column), quoted(&names.store_column));
        Self {
            commands,
            create: format!("CREATE TABLE IF NOT EXISTS {table}({id} PRIMARY KEY,{store})"),
            select: format!("SELECT {store} FROM {table} WHERE {id}=?"),
            upsert: format!(
                "INSERT INTO {table}({id},{store})VALUES(?,?)\
                 ON CONFLICT({id})DO UPDATE SET {store}=excluded.{store}"
            ),
        }
    }
}

impl Layout for Json {
    fn load(&self) -> Result<Option<Store>> {
        self.commands.run(&self.create, Vec::new())?;
        let rows = self.commands.run(&self.select, vec![text(ID)])?;
        let json: Option<Option<String>> = rows.optional()?;
        let store = json.flatten().map(|json| Store::from_stored(&json));
        store.transpose().context("it is no mergeable content")
    }

    fn save(&self, store: &Store, _changes: &Changes) -> Result<()> {
        let json = store.to_stored();
        let saved = self.commands.run(&self.upsert, vec![text(ID), text(json)]);
        saved.context("in JSON mode a store has at most 4 MiB; use the fragmented mode")?;
        Ok(())
    }
}
