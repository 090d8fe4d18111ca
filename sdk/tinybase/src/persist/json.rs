//! JSON mode: the whole store in one row of one table.

use dormouse_sdk::sql::{Error, ErrorKind};
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
        let bytes = json.len();
        let saved = self.commands.run(&self.upsert, vec![text(ID), text(json)]);
        match saved {
            Err(error) if is_too_big(&error) => Err(error).with_context(|| {
                format!(
                    "in JSON mode the store is one row, and this one has {bytes} bytes; \
                     use the fragmented mode, or raise `limits.sql.value_bytes`"
                )
            }),
            saved => saved.map(drop),
        }
    }
}

fn is_too_big(error: &dormouse_sdk::Error) -> bool {
    let sql = error.downcast_ref::<Error>();
    sql.is_some_and(|error| error.kind() == ErrorKind::TooBig)
}
