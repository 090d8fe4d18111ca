//! Persisters: where a store is kept, in the very layouts of TinyBase's own
//! persisters for durable objects, so that either side reads what the other wrote.
//!
//! Used by `server`, which loads once, when the object wakes, and saves after each
//! change, in the turn of that change. Hashes are stored because TinyBase reads
//! them; they are computed anew from the leaves when a store is loaded.

mod fragmented;
mod json;
mod kv;

use std::fmt;

use dormouse_sdk::sql::{Rows, Sql, Value};
use dormouse_sdk::{Context as _, Result, State};

use crate::core::{Changes, Store};

pub(crate) trait Layout {
    /// `None`: nothing was ever saved here.
    fn load(&self) -> Result<Option<Store>>;

    fn save(&self, store: &Store, changes: &Changes) -> Result<()>;
}

/// Where a store is kept.
///
/// | constructor | layout of |
/// |---|---|
/// | [`json`](Self::json) | `createDurableObjectSqlStoragePersister(store, sql)` |
/// | [`fragmented`](Self::fragmented) | the same with `{mode: 'fragmented'}` |
/// | [`kv`](Self::kv) | `createDurableObjectStoragePersister(store, storage, prefix)` |
pub struct Persister {
    layout: Box<dyn Layout>,
    sql: Sql,
}

/// Called with each SQL command and its parameters, before it runs.
pub type CommandLog = Box<dyn Fn(&str, &[Value])>;

/// Names of the JSON mode.
#[derive(Clone, Debug)]
pub struct JsonNames {
    /// The table; `tinybase` by default.
    pub table: String,
    /// The column of the one row's id; `_id` by default.
    pub id_column: String,
    /// The column of the store; `store` by default.
    pub store_column: String,
}

impl Default for JsonNames {
    fn default() -> Self {
        Self {
            table: "tinybase".to_owned(),
            id_column: "_id".to_owned(),
            store_column: "store".to_owned(),
        }
    }
}

impl From<&str> for JsonNames {
    fn from(table: &str) -> Self {
        Self {
            table: table.to_owned(),
            ..Self::default()
        }
    }
}

impl Persister {
    /// The whole store as JSON in one row, written anew with each change: for
    /// stores up to some 100 kB. A change that makes it larger than a row may be
    /// (`limits.sql.value_bytes`, 4 MiB by default) is refused.
    ///
    /// `names` is the name of the table, or all names.
    pub fn json(sql: Sql, names: impl Into<JsonNames>, log: Option<CommandLog>) -> Self {
        let commands = Commands::new(sql.clone(), log);
        Self {
            layout: Box::new(json::Json::new(commands, &names.into())),
            sql,
        }
    }

    /// A row of the database for each row of the store, in two tables whose names
    /// begin with `prefix`.
    pub fn fragmented(sql: Sql, prefix: &str, log: Option<CommandLog>) -> Self {
        let commands = Commands::new(sql.clone(), log);
        Self {
            layout: Box::new(fragmented::Fragmented::new(commands, prefix)),
            sql,
        }
    }

    /// A key-value pair for each cell and value, under keys that begin with `prefix`.
    pub fn kv(state: &State, prefix: &str) -> Self {
        Self {
            layout: Box::new(kv::KeyValue::new(state.kv(), prefix)),
            sql: state.sql(),
        }
    }

    /// The store, with hashes that are right; an empty one is saved at once.
    ///
    /// What is there and cannot be read is an error, and stays as it is.
    pub(crate) fn load(&self) -> Result<Store> {
        let loaded = self.layout.load();
        let loaded = loaded.context("the stored TinyBase content cannot be read")?;
        let is_new = loaded.is_none();
        let mut store = loaded.unwrap_or_default();
        if store.rehash() || is_new {
            self.save(&store, &Changes::all(&store))?;
        }
        Ok(store)
    }

    /// Saves all changes or none.
    pub(crate) fn save(&self, store: &Store, changes: &Changes) -> Result<()> {
        self.sql
            .transaction(|| self.layout.save(store, changes))
            .context("the TinyBase content cannot be saved")
    }
}

impl fmt::Debug for Persister {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Persister").finish_non_exhaustive()
    }
}

/// The database, with the log of what it is told.
struct Commands {
    sql: Sql,
    log: Option<CommandLog>,
}

impl Commands {
    fn new(sql: Sql, log: Option<CommandLog>) -> Self {
        Self { sql, log }
    }

    fn run(&self, command: &str, values: Vec<Value>) -> Result<Rows> {
        if let Some(log) = &self.log {
            log(command, &values);
        }
        Ok(self.sql.exec(command, values)?)
    }

    /// Replaces what `update` finds; inserts if it finds nothing. Both take the
    /// same parameters.
    fn put(&self, update: &str, insert: &str, values: Vec<Value>) -> Result<()> {
        if self.run(update, values.clone())?.rows_written() == 0 {
            self.run(insert, values)?;
        }
        Ok(())
    }
}

fn text(text: impl Into<String>) -> Value {
    Value::Text(text.into())
}

/// A name in SQL, whatever it contains.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
