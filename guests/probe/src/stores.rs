//! Steps on the app's stores: what each looks like and what it does.
//!
//! Values are JSON. An error is the result `{"error": its words}`.

use std::time::Duration;

use dormouse_sdk::database::{Database, Statement};
use dormouse_sdk::kv_store::{KvStore, ListKeys};
use dormouse_sdk::prelude::*;
use dormouse_sdk::sql::{ParamList, Rows};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::steps::Lab;
use crate::values;

#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum StoreStep {
    /// Result: `{"value": what was found, or null}`.
    Get { store: String, get: String },
    /// Result: `{"bytes": as hexadecimal digits, or null}`.
    GetBytes { store: String, get_bytes: String },
    /// Result: `{"put": true}`.
    Put {
        store: String,
        put: String,
        value: Json,
        ttl_ms: Option<u64>,
    },
    /// Puts the bytes of a text. Result: `{"put": true}`.
    PutBytes {
        store: String,
        put_bytes: String,
        text: String,
        ttl_ms: Option<u64>,
    },
    /// Result: `{"deleted": whether it was there}`.
    Delete { store: String, delete: String },
    /// The keys that begin so. Result: `{"keys": [name], "next": …}`.
    List {
        store: String,
        list: String,
        limit: Option<u32>,
        after: Option<String>,
    },
    /// Result: `{"rows": …, "rows_written": n}`.
    Query {
        database: String,
        query: String,
        #[serde(default)]
        params: Vec<Json>,
    },
    /// Each `[sql, [parameter]]`. Result: `{"batch": [what `Query` has]}`.
    Batch {
        database: String,
        batch: Vec<(String, Vec<Json>)>,
    },
}

impl StoreStep {
    pub async fn run(self, lab: &Lab) -> Json {
        let result = match self {
            Self::Query { .. } | Self::Batch { .. } => self.on_database(lab).await,
            other => other.on_store(lab).await,
        };
        result.unwrap_or_else(|error| json!({"error": format!("{error:#}")}))
    }

    async fn on_store(self, lab: &Lab) -> Result<Json> {
        let open = |binding: &str| -> Result<KvStore> { lab.env().kv(binding) };
        Ok(match self {
            Self::Get { store, get } => json!({"value": open(&store)?.get::<Json>(&get).await?}),
            Self::GetBytes { store, get_bytes } => {
                let bytes = open(&store)?.get_bytes(&get_bytes).await?;
                json!({"bytes": bytes.map(|bytes| values::hex(&bytes))})
            }
            Self::Put {
                store,
                put,
                value,
                ttl_ms,
            } => {
                let store = open(&store)?;
                match ttl_ms.map(Duration::from_millis) {
                    Some(time) => store.put_for(&put, &value, time).await?,
                    None => store.put(&put, &value).await?,
                }
                json!({"put": true})
            }
            Self::PutBytes {
                store,
                put_bytes,
                text,
                ttl_ms,
            } => {
                let store = open(&store)?;
                match ttl_ms.map(Duration::from_millis) {
                    Some(time) => store.put_bytes_for(&put_bytes, text, time).await?,
                    None => store.put_bytes(&put_bytes, text).await?,
                }
                json!({"put": true})
            }
            Self::Delete { store, delete } => {
                json!({"deleted": open(&store)?.delete(&delete).await?})
            }
            Self::List {
                store,
                list,
                limit,
                after,
            } => {
                let mut which = ListKeys::prefix(list);
                if let Some(limit) = limit {
                    which = which.limit(limit);
                }
                if let Some(after) = after {
                    which = which.after(after);
                }
                let page = open(&store)?.list(which).await?;
                let keys: Vec<_> = page.keys.into_iter().map(|key| key.name).collect();
                json!({"keys": keys, "next": page.next})
            }
            Self::Query { .. } | Self::Batch { .. } => bail!("not a step on a store"),
        })
    }

    async fn on_database(self, lab: &Lab) -> Result<Json> {
        let open = |binding: &str| -> Result<Database> { lab.env().database(binding) };
        Ok(match self {
            Self::Query {
                database,
                query,
                params,
            } => shown(open(&database)?.query(&query, list(params)?).await?),
            Self::Batch { database, batch } => {
                let statements: Result<Vec<_>> = batch
                    .into_iter()
                    .map(|(sql, params)| Ok(Statement::new(sql, list(params)?)?))
                    .collect();
                let results = open(&database)?.batch(statements?).await?;
                json!({"batch": results.into_iter().map(shown).collect::<Vec<_>>()})
            }
            _ => bail!("not a step on a database"),
        })
    }
}

fn list(params: Vec<Json>) -> Result<ParamList> {
    Ok(values::params(params)?)
}

fn shown(rows: Rows) -> Json {
    let written = rows.rows_written();
    let rows: Vec<Json> = rows.into_values().into_iter().map(values::row).collect();
    json!({"rows": rows, "rows_written": written})
}
