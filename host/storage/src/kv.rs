//! Key-value pairs: a reserved table beside the guest's own.
//!
//! Part of the open turn like any write, one transaction with SQL and alarms. Used by the
//! guest imports. Keys are ordered by their bytes. A value is JSON text or bytes, kept as
//! TEXT or BLOB, so that `SELECT * FROM _dormouse_kv` shows what a person can read. The
//! table is made by the first put; a database without it has no pairs.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::database::Database;
use crate::error::{Error, Kind};
use crate::value::{Row, Value};

const TABLE: &str = "CREATE TABLE IF NOT EXISTS _dormouse_kv \
    (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID";

/// What SQLite adds to a pair's key and value, which together must be within its limit.
const OVERHEAD_BYTES: u64 = 32;

/// What is kept under a key.
#[derive(Debug, Clone, PartialEq)]
pub enum KvValue {
    /// JSON text; nobody here reads it.
    Json(String),
    Bytes(Vec<u8>),
}

pub type KvEntry = (String, KvValue);

/// Which pairs to list, and how; without bounds, all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KvList {
    /// The smallest key that belongs to it. Not together with `start_after`.
    pub start: Option<String>,
    /// Keys up to this one, itself included, do not belong to it.
    pub start_after: Option<String>,
    /// This key and those behind it do not belong to it.
    pub end: Option<String>,
    pub prefix: Option<String>,
    /// From the last to the first; the bounds keep their meaning.
    pub reverse: bool,
    pub limit: Option<u32>,
}

/// A portion of a list.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct KvPage {
    pub entries: Vec<KvEntry>,
    /// False: there is more behind the last entry, and the portion would get too heavy.
    pub done: bool,
}

impl Database {
    pub fn kv_get(&mut self, key: &str) -> Result<Option<KvValue>, Error> {
        let sql = "SELECT value FROM _dormouse_kv WHERE key = ?";
        let mut found = None;
        self.visit_if_there(sql, &[key.into()], &mut |mut row| {
            found = row.pop().map(value);
            false
        })?;
        Ok(found)
    }

    /// The pairs that exist, by key, each once.
    pub fn kv_get_many(&mut self, keys: &[String]) -> Result<Vec<KvEntry>, Error> {
        let limit = self.limits().result_bytes;
        let (mut found, mut bytes) = (BTreeMap::new(), 0);
        for key in keys {
            let Some(value) = self.kv_get(key)? else {
                continue;
            };
            bytes += weight(key, &value);
            if bytes > limit {
                return Err(Error::ResultTooBig {
                    limit,
                    unit: "bytes",
                });
            }
            found.insert(key.clone(), value);
        }
        Ok(found.into_iter().collect())
    }

    pub fn kv_put(&mut self, key: &str, value: KvValue) -> Result<(), Error> {
        let limit = u64::from(self.limits().value_bytes).saturating_sub(OVERHEAD_BYTES);
        let bytes = weight(key, &value);
        if bytes > limit {
            return Err(Error::EntryTooBig { bytes, limit });
        }
        self.run_reserved(TABLE, &[], true)?;
        let sql = "INSERT OR REPLACE INTO _dormouse_kv VALUES (?, ?)";
        self.run_reserved(sql, &[key.into(), value.into()], true)?;
        Ok(())
    }

    /// All or none. Of two with one key, the last one counts.
    pub fn kv_put_many(&mut self, entries: Vec<KvEntry>) -> Result<(), Error> {
        self.kv_together(|db| {
            let mut entries = entries.into_iter();
            entries.try_for_each(|(key, value)| db.kv_put(&key, value))
        })
    }

    /// Whether the key was there.
    pub fn kv_delete(&mut self, key: &str) -> Result<bool, Error> {
        if self.kv_get(key)?.is_none() {
            return Ok(false);
        }
        let sql = "DELETE FROM _dormouse_kv WHERE key = ?";
        self.run_reserved(sql, &[key.into()], true).map(|_| true)
    }

    /// How many of the keys were there; all are deleted, or none.
    pub fn kv_delete_many(&mut self, keys: &[String]) -> Result<u64, Error> {
        self.kv_together(|db| {
            keys.iter()
                .try_fold(0, |count, key| Ok(count + u64::from(db.kv_delete(key)?)))
        })
    }

    /// The next portion of a list; a long one goes on behind its last key.
    pub fn kv_list(&mut self, list: &KvList) -> Result<KvPage, Error> {
        let list = list.checked()?;
        let (most_rows, most_bytes) = (self.limits().result_rows, self.limits().result_bytes);
        let limit = list.limit.map_or(u64::MAX, u64::from);
        let (mut page, mut bytes) = (KvPage::default(), 0);
        page.done = true;
        let (sql, params) = list.query();
        self.visit_if_there(sql, &params, &mut |row| {
            let Some(entry) = entry(row) else {
                return true;
            };
            let count = page.entries.len() as u64;
            let weight = weight(&entry.0, &entry.1);
            if count == most_rows || (count > 0 && bytes + weight > most_bytes) {
                page.done = false;
                return false;
            }
            bytes += weight;
            page.entries.push(entry);
            count + 1 < limit
        })?;
        Ok(page)
    }

    /// Undoes what `work` did if it fails.
    fn kv_together<T>(
        &mut self,
        work: impl FnOnce(&mut Database) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let savepoint = self.open_savepoint()?;
        let result = work(self);
        match &result {
            Ok(_) => self.release_savepoint(savepoint)?,
            // Fails only where the whole turn is undone already.
            Err(_) => drop(self.rollback_savepoint(savepoint)),
        }
        result
    }
}

impl KvList {
    fn checked(&self) -> Result<&KvList, Error> {
        let message = if self.limit == Some(0) {
            "List limit must be positive."
        } else if self.start.is_some() && self.start_after.is_some() {
            "list() cannot be called with both start and startAfter values."
        } else {
            return Ok(self);
        };
        Err(Error::Call {
            kind: Kind::Invalid,
            message,
        })
    }

    fn query(&self) -> (&'static str, Vec<Value>) {
        let prefix = self.prefix.as_deref().unwrap_or_default();
        let after = self.start_after.as_ref();
        // The key right behind another one has a NUL more.
        let after = after.map(|key| Cow::Owned(format!("{key}\0")));
        let start = self.start.as_deref().map(Cow::Borrowed).or(after);
        let from = start.map_or(prefix.into(), |start| start.max(prefix.into()));
        let ends = [self.end.clone(), behind(prefix)];
        let to = ends.into_iter().flatten().min();
        let sql = match (&to, self.reverse) {
            (None, false) => "SELECT key, value FROM _dormouse_kv WHERE key >= ? ORDER BY key",
            (None, true) => "SELECT key, value FROM _dormouse_kv WHERE key >= ? ORDER BY key DESC",
            (Some(_), false) => {
                "SELECT key, value FROM _dormouse_kv WHERE key >= ? AND key < ? ORDER BY key"
            }
            (Some(_), true) => {
                "SELECT key, value FROM _dormouse_kv WHERE key >= ? AND key < ? ORDER BY key DESC"
            }
        };
        let bounds = [Some(from.into_owned()), to];
        (sql, bounds.into_iter().flatten().map(Value::from).collect())
    }
}

/// The first key behind all that begin with `prefix`; UTF-8 has the order of its characters.
fn behind(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        if let Some(next) = (last..=char::MAX).nth(1) {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

fn weight(key: &str, value: &KvValue) -> u64 {
    let bytes = match value {
        KvValue::Json(text) => text.len(),
        KvValue::Bytes(bytes) => bytes.len(),
    };
    (key.len() + bytes) as u64
}

fn entry(row: Row) -> Option<KvEntry> {
    match <[Value; 2]>::try_from(row).ok()? {
        [Value::Text(key), found] => Some((key, value(found))),
        _ => None,
    }
}

/// What is neither text nor bytes was put there by hand.
fn value(value: Value) -> KvValue {
    match value {
        Value::Text(text) => KvValue::Json(text),
        Value::Blob(bytes) => KvValue::Bytes(bytes),
        Value::Null => KvValue::Json("null".into()),
        Value::Integer(integer) => KvValue::Json(integer.to_string()),
        Value::Real(real) => KvValue::Json(real.to_string()),
    }
}

impl From<KvValue> for Value {
    fn from(value: KvValue) -> Value {
        match value {
            KvValue::Json(text) => Value::Text(text),
            KvValue::Bytes(bytes) => Value::Blob(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_behind_a_prefix_is_the_least_that_does_not_begin_with_it() {
        let behind = |prefix| behind(prefix).unwrap_or_default();
        assert_eq!(behind("user:"), "user;");
        assert_eq!(behind("a\u{7f}"), "a\u{80}");
        assert_eq!(behind("a\u{d7ff}"), "a\u{e000}");
        assert_eq!(behind("a\u{10ffff}"), "b");
        assert_eq!(behind("\u{10ffff}"), "");
        assert_eq!(behind(""), "");
    }
}
