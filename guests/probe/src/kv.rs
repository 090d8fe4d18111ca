//! Key-value steps: what each looks like and what it does.
//!
//! A value is JSON; one of the shape `{"hex": "00ff"}` is put as bytes, and bytes
//! are shown like that.

use dormouse_sdk::kv::ListOptions;
use dormouse_sdk::prelude::*;
use dormouse_sdk::sql;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::values::{self, hex, unhex};

/// A step on pairs.
#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum KvStep {
    /// Result: `{"value": what was found, or null}`.
    Get { kv_get: String },
    /// Result: `{"bytes": as hexadecimal digits, or null}`.
    GetBytes { kv_get_bytes: String },
    /// Reads a number. Result: `{"value": number or null}`.
    GetNumber { kv_get_number: String },
    /// Result: `{"values": {key: value}}`.
    GetMany { kv_get_many: Vec<String> },
    /// Result: `{"put": 1}`.
    Put { kv_put: String, value: Json },
    /// A value of so many bytes. Result: `{"put": 1}`.
    PutLarge { kv_put: String, bytes: usize },
    /// Result: `{"put": how many}`.
    PutMany { kv_put_many: Vec<(String, Json)> },
    /// Result: `{"deleted": whether it was there}`.
    Delete { kv_delete: String },
    /// Result: `{"deleted": how many were there}`.
    DeleteMany { kv_delete_many: Vec<String> },
    /// Result: `{"list": [[key, value]]}`.
    List { kv_list: Bounds },
    /// The same in small portions. Result: `{"keys": [key]}`.
    Iterate { kv_iterate: Bounds },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    start: Option<String>,
    start_after: Option<String>,
    end: Option<String>,
    prefix: Option<String>,
    #[serde(default)]
    reverse: bool,
    limit: Option<u32>,
}

pub fn step(kv: &Kv, step: KvStep) -> Json {
    run(kv, step).unwrap_or_else(|problem| values::error(&problem))
}

fn run(kv: &Kv, step: KvStep) -> Result<Json, sql::Error> {
    Ok(match step {
        KvStep::Get { kv_get } => json!({"value": kv.get::<Json>(&kv_get)?}),
        KvStep::GetBytes { kv_get_bytes } => {
            let bytes = kv.get_bytes(&kv_get_bytes)?;
            json!({"bytes": bytes.map(|bytes| hex(&bytes))})
        }
        KvStep::GetNumber { kv_get_number } => json!({"value": kv.get::<u64>(&kv_get_number)?}),
        KvStep::GetMany { kv_get_many } => json!({"values": kv.get_many::<Json>(kv_get_many)?}),
        KvStep::Put { kv_put, value } => {
            match unhex(&value) {
                Some(bytes) => kv.put_bytes(&kv_put, bytes)?,
                None => kv.put(&kv_put, &value)?,
            }
            json!({"put": 1})
        }
        KvStep::PutLarge { kv_put, bytes } => {
            kv.put_bytes(&kv_put, vec![1; bytes])?;
            json!({"put": 1})
        }
        KvStep::PutMany { kv_put_many } => {
            let count = kv_put_many.len();
            kv.put_many(kv_put_many)?;
            json!({"put": count})
        }
        KvStep::Delete { kv_delete } => json!({"deleted": kv.delete(&kv_delete)?}),
        KvStep::DeleteMany { kv_delete_many } => {
            json!({"deleted": kv.delete_many(kv_delete_many)?})
        }
        KvStep::List { kv_list } => json!({"list": kv.list::<Json>(kv_list)?}),
        KvStep::Iterate { kv_iterate } => {
            let keys = kv.iter_bytes(kv_iterate).map(|next| Ok(next?.0));
            json!({"keys": keys.collect::<Result<Vec<_>, sql::Error>>()?})
        }
    })
}

impl From<Bounds> for ListOptions {
    fn from(bounds: Bounds) -> Self {
        let set = |options: Self, key: Option<String>, with: fn(Self, String) -> Self| match key {
            Some(key) => with(options, key),
            None => options,
        };
        let mut options = Self::new();
        options = set(options, bounds.start, Self::start);
        options = set(options, bounds.start_after, Self::start_after);
        options = set(options, bounds.end, Self::end);
        options = set(options, bounds.prefix, Self::with_prefix);
        if bounds.reverse {
            options = options.reverse();
        }
        match bounds.limit {
            Some(limit) => options.limit(limit),
            None => options,
        }
    }
}
