//! Key-value stores: JSON or bytes by key, each with a time to live if it is asked for.
//!
//! One table of the store's own database, which an operator can read as any other. What
//! is past its time is not seen any more, and is deleted by later writes.

use bytes::Bytes;
use dormouse_storage::{Database, Error, Row, Value};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::arguments::{Arguments, answer as given, bad};
use super::told;
use crate::event::{Body, Fault, MethodAnswer, MethodCall};

const MAX_KEY_BYTES: usize = 512;
/// Keys of one `list`.
const MAX_KEYS: u32 = 1_000;
/// How many entries past their time a write deletes.
const SWEEP: i64 = 100;

const TABLE: &str = "\
    CREATE TABLE IF NOT EXISTS entries (key TEXT PRIMARY KEY, value, expires_ms INTEGER); \
    CREATE INDEX IF NOT EXISTS entries_by_expiry ON entries (expires_ms) \
        WHERE expires_ms IS NOT NULL";

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PutOptions {
    /// How long it stays.
    ttl_ms: Option<i64>,
    /// Or until when; milliseconds since 1970.
    expires_ms: Option<i64>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ListOptions {
    prefix: String,
    limit: Option<u32>,
    /// Keys behind this one: `next` of the page before.
    after: Option<String>,
}

pub(super) fn answer(
    database: &mut Database,
    call: MethodCall,
    now_ms: i64,
) -> Result<MethodAnswer, Fault> {
    let mut store = Store { database, now_ms };
    match &*call.method {
        "get" => store.get(Arguments::of(call, "[key]")?),
        "put" => store.put(Arguments::of(
            call,
            "[key, value, {ttl_ms} or {expires_ms} or nothing], or bytes as the body",
        )?),
        "delete" => store.delete(Arguments::of(call, "[key]")?),
        "list" => store.list(Arguments::of(
            call,
            "[{prefix, limit, after}], all optional",
        )?),
        other => Err(bad(format!(
            "there is no method `{other}`; a key-value store has get, put, delete, list"
        ))),
    }
}

struct Store<'a> {
    database: &'a mut Database,
    now_ms: i64,
}

impl Store<'_> {
    /// `null`, or what is there: `{"value": …, "expires_ms": …}`, with bytes as the body.
    fn get(&mut self, mut arguments: Arguments) -> Result<MethodAnswer, Fault> {
        let key = key(&mut arguments)?;
        arguments.end()?;
        let sql = "SELECT value, expires_ms FROM entries \
                   WHERE key = ? AND (expires_ms IS NULL OR expires_ms > ?)";
        let params = [Value::Text(key), Value::Integer(self.now_ms)];
        let mut rows = self.read(sql, &params)?.into_iter();
        let Some(row) = rows.next() else {
            return Ok(given(&Json::Null));
        };
        let mut row = row.into_iter();
        let (value, expires) = (row.next(), row.next());
        let expires_ms = expires.and_then(number);
        match value {
            Some(Value::Blob(bytes)) => Ok(MethodAnswer {
                value: json!({"expires_ms": expires_ms}).to_string(),
                body: Body::Bytes(bytes.into()),
            }),
            Some(Value::Text(text)) => {
                let value: Result<Json, _> = serde_json::from_str(&text);
                let value = value.map_err(|error| {
                    Fault::Guest(format!("the value is no JSON any more: {error}").into())
                })?;
                Ok(given(&json!({"value": value, "expires_ms": expires_ms})))
            }
            _ => Ok(given(&Json::Null)),
        }
    }

    fn put(&mut self, mut arguments: Arguments) -> Result<MethodAnswer, Fault> {
        let key = key(&mut arguments)?;
        let value: Json = arguments.take("value")?;
        let options: PutOptions = arguments.take_or_default("options")?;
        let value = match bytes(&mut arguments)? {
            Some(bytes) => Value::Blob(bytes.into()),
            None => Value::Text(value.to_string()),
        };
        let expires_ms = self.expiry(&options)?;
        arguments.end()?;
        self.run(TABLE, &[])?;
        let sql = "DELETE FROM entries WHERE key IN (SELECT key FROM entries \
                   WHERE expires_ms <= ? ORDER BY expires_ms LIMIT ?)";
        self.run(sql, &[Value::Integer(self.now_ms), Value::Integer(SWEEP)])?;
        let sql = "INSERT INTO entries (key, value, expires_ms) VALUES (?, ?, ?) \
                   ON CONFLICT (key) DO UPDATE \
                   SET value = excluded.value, expires_ms = excluded.expires_ms";
        let expires = expires_ms.map_or(Value::Null, Value::Integer);
        self.run(sql, &[Value::Text(key), value, expires])?;
        Ok(given(&Json::Null))
    }

    /// Whether it was there.
    fn delete(&mut self, mut arguments: Arguments) -> Result<MethodAnswer, Fault> {
        let key = key(&mut arguments)?;
        arguments.end()?;
        if !self.exists()? {
            return Ok(given(&false));
        }
        let sql = "DELETE FROM entries WHERE key = ? \
                   RETURNING expires_ms IS NULL OR expires_ms > ?";
        let params = [Value::Text(key), Value::Integer(self.now_ms)];
        let rows = self.run(sql, &params)?;
        let was_there = rows.first().and_then(|row| row.first());
        Ok(given(&(was_there == Some(&Value::Integer(1)))))
    }

    /// `{"keys": [{"name": …, "expires_ms": …}], "next": …}`; `next` if there are more.
    fn list(&mut self, mut arguments: Arguments) -> Result<MethodAnswer, Fault> {
        let options: ListOptions = arguments.take_or_default("options")?;
        arguments.end()?;
        let limit = options.limit.unwrap_or(MAX_KEYS);
        if !(1..=MAX_KEYS).contains(&limit) {
            return Err(bad(format!("`limit` is {limit}, not 1 to {MAX_KEYS}")));
        }
        let sql = "SELECT key, expires_ms FROM entries \
                   WHERE key >= ?1 AND (?1 = '' OR key < ?1 || char(1114111)) \
                   AND (?2 IS NULL OR key > ?2) \
                   AND (expires_ms IS NULL OR expires_ms > ?3) ORDER BY key LIMIT ?4";
        let after = options.after.map_or(Value::Null, Value::Text);
        let params = [
            Value::Text(options.prefix),
            after,
            Value::Integer(self.now_ms),
            Value::Integer(i64::from(limit) + 1),
        ];
        let rows = self.read(sql, &params)?;
        let more = rows.len() > limit as usize;
        let keys: Vec<_> = rows.into_iter().take(limit as usize).map(listed).collect();
        let next = keys
            .last()
            .filter(|_| more)
            .map(|last| last["name"].clone());
        Ok(given(&json!({"keys": keys, "next": next})))
    }

    fn expiry(&self, options: &PutOptions) -> Result<Option<i64>, Fault> {
        let expires_ms = match (options.ttl_ms, options.expires_ms) {
            (Some(_), Some(_)) => {
                return Err(bad("give `ttl_ms` or `expires_ms`, not both".to_owned()));
            }
            (Some(ttl_ms), None) => Some(self.now_ms.saturating_add(ttl_ms)),
            (None, expires_ms) => expires_ms,
        };
        match expires_ms {
            Some(past) if past <= self.now_ms => Err(bad(format!(
                "the entry would expire at {past}, and it is {} already (ms since 1970)",
                self.now_ms
            ))),
            expires_ms => Ok(expires_ms),
        }
    }

    /// Nothing was ever put into a store without its table.
    fn exists(&mut self) -> Result<bool, Fault> {
        let sql = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'entries'";
        Ok(!self.run(sql, &[])?.is_empty())
    }

    fn read(&mut self, sql: &str, params: &[Value]) -> Result<Vec<Row>, Fault> {
        match self.exists()? {
            true => self.run(sql, params),
            false => Ok(Vec::new()),
        }
    }

    fn run(&mut self, sql: &str, params: &[Value]) -> Result<Vec<Row>, Fault> {
        let result = self.database.exec(sql, params);
        match result {
            Ok(set) => Ok(set.rows),
            Err(error) => Err(self.told(&error)),
        }
    }

    fn told(&self, error: &Error) -> Fault {
        told(self.database, error)
    }
}

fn key(arguments: &mut Arguments) -> Result<String, Fault> {
    let key: String = arguments.take("key")?;
    match key.len() {
        1..=MAX_KEY_BYTES => Ok(key),
        bytes => Err(bad(format!(
            "the key has {bytes} bytes, not 1 to {MAX_KEY_BYTES}"
        ))),
    }
}

fn bytes(arguments: &mut Arguments) -> Result<Option<Bytes>, Fault> {
    match std::mem::replace(&mut arguments.body, Body::None) {
        Body::None => Ok(None),
        Body::Bytes(bytes) => Ok(Some(bytes)),
        Body::Stream(_) => Err(bad("a store takes bytes as a whole, no stream".to_owned())),
    }
}

fn number(value: Value) -> Option<i64> {
    match value {
        Value::Integer(number) => Some(number),
        _ => None,
    }
}

fn listed(row: Row) -> Json {
    let mut row = row.into_iter();
    let name = match row.next() {
        Some(Value::Text(name)) => name,
        _ => String::new(),
    };
    json!({"name": name, "expires_ms": row.next().and_then(number)})
}
