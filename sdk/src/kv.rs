//! The object's key-value pairs, beside its SQL in the same database.
//!
//! Every call is synchronous; pairs, SQL and alarms are committed together and
//! undone together, see [`Sql::transaction`](crate::sql::Sql::transaction).
//!
//! A typed value is anything that serde can write as JSON, and it is kept as JSON
//! text: other languages can read it, and so can `sqlite3`. Bytes are kept as they
//! are. Key and value have at most 4 MiB together, less 32 bytes.
//!
//! ```no_run
//! # use dormouse_sdk::prelude::*;
//! # fn handler(state: &State) -> Result<()> {
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Player { name: String, points: u32 }
//!
//! let kv = state.kv();
//! kv.put("player:ada", &Player { name: "Ada".into(), points: 3 })?;
//! if let Some(mut ada) = kv.get::<Player>("player:ada")? {
//!     ada.points += 1;
//!     kv.put("player:ada", &ada)?;
//! }
//! let first: Vec<(String, Player)> = kv.list(ListOptions::prefix("player:").limit(10))?;
//! kv.delete("player:ada")?;
//! # Ok(())
//! # }
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bindings::dormouse::object::kv as wit;
use crate::sql::{Error, ErrorKind};

/// How many pairs [`Kv::iter`] fetches at a time.
const BATCH: u32 = 256;

/// The pairs of the object at hand. Free to clone and to keep.
#[derive(Clone, Debug)]
pub struct Kv {
    _later: (),
}

impl Kv {
    pub(crate) fn new() -> Self {
        Self { _later: () }
    }

    /// The value of a key, or `None` if there is no such key. A value that does
    /// not fit the type is an error that names the key.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Error> {
        let value = wit::get(key)?;
        value.map(|value| from_json(key, value)).transpose()
    }

    /// The values of those keys that exist, by key.
    ///
    /// ```no_run
    /// # use dormouse_sdk::prelude::*;
    /// # fn handler(state: &State) -> Result<()> {
    /// let points = state.kv().get_many::<u32>(["ada", "bob"])?;
    /// let ada = points.get("ada").copied().unwrap_or_default();
    /// # Ok(())
    /// # }
    /// ```
    pub fn get_many<T: DeserializeOwned>(
        &self,
        keys: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<BTreeMap<String, T>, Error> {
        get_many(keys, from_json)
    }

    /// Puts a value, in place of the one that the key has.
    ///
    /// A float that is not a number or infinite has no place in JSON and becomes
    /// `null`; a `Vec<u8>` becomes a list of numbers, see
    /// [`put_bytes`](Self::put_bytes).
    pub fn put(&self, key: &str, value: &(impl Serialize + ?Sized)) -> Result<(), Error> {
        Ok(wit::put(key, &to_json(key, value)?)?)
    }

    /// Puts all, or, when one fails, none.
    ///
    /// ```no_run
    /// # use dormouse_sdk::prelude::*;
    /// # fn handler(state: &State) -> Result<()> {
    /// state.kv().put_many([("ada", 3), ("bob", 5)])?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn put_many(
        &self,
        entries: impl IntoIterator<Item = (impl Into<String>, impl Serialize)>,
    ) -> Result<(), Error> {
        let entries = entries.into_iter().map(|(key, value)| {
            let key = key.into();
            let value = to_json(&key, &value)?;
            Ok((key, value))
        });
        Ok(wit::put_many(&entries.collect::<Result<Vec<_>, Error>>()?)?)
    }

    /// Deletes a pair; answers whether it was there.
    pub fn delete(&self, key: &str) -> Result<bool, Error> {
        Ok(wit::delete(key)?)
    }

    /// Deletes pairs; answers how many were there.
    pub fn delete_many(
        &self,
        keys: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<u64, Error> {
        Ok(wit::delete_many(&texts(keys))?)
    }

    /// The pairs within bounds, ordered by key: `list(())` for all.
    pub fn list<T: DeserializeOwned>(
        &self,
        list: impl Into<ListOptions>,
    ) -> Result<Vec<(String, T)>, Error> {
        Iter::new(list.into(), u32::MAX, from_json).collect()
    }

    /// The same, fetched in portions while they are iterated: for more than fits
    /// into memory. Changes made meanwhile show behind the portion at hand.
    pub fn iter<T: DeserializeOwned>(&self, list: impl Into<ListOptions>) -> Iter<T> {
        Iter::new(list.into(), BATCH, from_json)
    }

    /// The bytes of a key. Those of a typed value are its JSON text.
    pub fn get_bytes(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        let value = wit::get(key)?;
        value.map(|value| from_bytes(key, value)).transpose()
    }

    /// The bytes of those keys that exist, by key.
    pub fn get_many_bytes(
        &self,
        keys: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<BTreeMap<String, Vec<u8>>, Error> {
        get_many(keys, from_bytes)
    }

    /// Puts bytes as they are.
    pub fn put_bytes(&self, key: &str, bytes: impl Into<Vec<u8>>) -> Result<(), Error> {
        Ok(wit::put(key, &wit::Value::Bytes(bytes.into()))?)
    }

    /// Puts all, or, when one fails, none.
    pub fn put_many_bytes(
        &self,
        entries: impl IntoIterator<Item = (impl Into<String>, impl Into<Vec<u8>>)>,
    ) -> Result<(), Error> {
        let entries = entries.into_iter();
        let entries = entries.map(|(key, bytes)| (key.into(), wit::Value::Bytes(bytes.into())));
        Ok(wit::put_many(&entries.collect::<Vec<_>>())?)
    }

    /// As [`iter`](Self::iter), for bytes.
    pub fn iter_bytes(&self, list: impl Into<ListOptions>) -> Iter<Vec<u8>> {
        Iter::new(list.into(), BATCH, from_bytes)
    }
}

/// Which pairs to list, and how.
///
/// ```no_run
/// # use dormouse_sdk::prelude::*;
/// # fn handler(state: &State) -> Result<()> {
/// // The ten newest, of keys that begin with a time.
/// let newest: Vec<(String, String)> = state.kv().list(ListOptions::new().reverse().limit(10))?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct ListOptions {
    start: Option<String>,
    start_after: Option<String>,
    end: Option<String>,
    prefix: Option<String>,
    reverse: bool,
    limit: Option<u32>,
}

impl ListOptions {
    /// All pairs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Those whose keys begin with `prefix`.
    pub fn prefix(prefix: impl Into<String>) -> Self {
        Self::new().with_prefix(prefix)
    }

    /// Only those whose keys begin with `prefix`, within the other bounds.
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// From this key on. Not together with [`start_after`](Self::start_after).
    pub fn start(mut self, key: impl Into<String>) -> Self {
        self.start = Some(key.into());
        self
    }

    /// Only keys behind this one.
    pub fn start_after(mut self, key: impl Into<String>) -> Self {
        self.start_after = Some(key.into());
        self
    }

    /// Only keys before this one.
    pub fn end(mut self, key: impl Into<String>) -> Self {
        self.end = Some(key.into());
        self
    }

    /// From the last key to the first. The bounds keep their meaning.
    pub fn reverse(mut self) -> Self {
        self.reverse = true;
        self
    }

    /// So many pairs at most; 0 is an error.
    pub fn limit(mut self, most: u32) -> Self {
        self.limit = Some(most);
        self
    }
}

impl From<()> for ListOptions {
    /// All pairs.
    fn from((): ()) -> Self {
        Self::new()
    }
}

type Decode<T> = fn(&str, wit::Value) -> Result<T, Error>;

/// Pairs, fetched in portions; ends after its first error.
pub struct Iter<T> {
    /// What is still to be fetched; `None` at the end.
    rest: Option<ListOptions>,
    batch: u32,
    ready: VecDeque<wit::Entry>,
    decode: Decode<T>,
}

impl<T> Iter<T> {
    fn new(list: ListOptions, batch: u32, decode: Decode<T>) -> Self {
        Self {
            rest: Some(list),
            batch,
            ready: VecDeque::new(),
            decode,
        }
    }

    fn fetch(&mut self) -> Result<(), Error> {
        let Some(list) = self.rest.take() else {
            return Ok(());
        };
        let asked = list.limit.unwrap_or(u32::MAX).min(self.batch);
        let page = wit::list(&list.portion(asked))?;
        let full = page.entries.len() >= asked as usize;
        if let Some((last, _)) = page.entries.last().filter(|_| full || !page.done) {
            self.rest = list.behind(last, page.entries.len());
        }
        self.ready = page.entries.into();
        Ok(())
    }
}

impl<T> Iterator for Iter<T> {
    type Item = Result<(String, T), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ready.is_empty()
            && let Err(error) = self.fetch()
        {
            return Some(Err(error));
        }
        let (key, value) = self.ready.pop_front()?;
        let decoded = (self.decode)(&key, value);
        if decoded.is_err() {
            self.rest = None;
            self.ready.clear();
        }
        Some(decoded.map(|value| (key, value)))
    }
}

impl<T> fmt::Debug for Iter<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Iter")
            .field("rest", &self.rest)
            .finish_non_exhaustive()
    }
}

impl ListOptions {
    fn portion(&self, limit: u32) -> wit::ListOptions {
        wit::ListOptions {
            start: self.start.clone(),
            start_after: self.start_after.clone(),
            end: self.end.clone(),
            prefix: self.prefix.clone(),
            reverse: self.reverse,
            limit: (limit < u32::MAX).then_some(limit),
        }
    }

    /// What is left behind a portion that ended with `last`.
    fn behind(mut self, last: &str, count: usize) -> Option<Self> {
        if let Some(limit) = &mut self.limit {
            *limit = limit.saturating_sub(u32::try_from(count).unwrap_or(u32::MAX));
            if *limit == 0 {
                return None;
            }
        }
        if self.reverse {
            self.end = Some(last.to_owned());
        } else {
            self.start = None;
            self.start_after = Some(last.to_owned());
        }
        Some(self)
    }
}

fn texts(keys: impl IntoIterator<Item = impl Into<String>>) -> Vec<String> {
    keys.into_iter().map(Into::into).collect()
}

fn get_many<T>(
    keys: impl IntoIterator<Item = impl Into<String>>,
    decode: Decode<T>,
) -> Result<BTreeMap<String, T>, Error> {
    let found = wit::get_many(&texts(keys))?.into_iter();
    found
        .map(|(key, value)| decode(&key, value).map(|value| (key, value)))
        .collect()
}

fn to_json(key: &str, value: &(impl Serialize + ?Sized)) -> Result<wit::Value, Error> {
    let text = serde_json::to_string(value);
    text.map(wit::Value::Json).map_err(|error| {
        let message = format!("the value for key `{key}` cannot be written as JSON: {error}");
        Error::new(ErrorKind::Mismatch, message)
    })
}

fn from_json<T: DeserializeOwned>(key: &str, value: wit::Value) -> Result<T, Error> {
    let fault = |found: String| Error::new(ErrorKind::Mismatch, found);
    match value {
        wit::Value::Json(text) => serde_json::from_str(&text).map_err(|error| {
            let wanted = std::any::type_name::<T>();
            fault(format!(
                "the value of key `{key}` does not fit `{wanted}`: {error}"
            ))
        }),
        wit::Value::Bytes(_) => Err(fault(format!(
            "the value of key `{key}` is bytes; read it with `get_bytes`"
        ))),
    }
}

fn from_bytes(_key: &str, value: wit::Value) -> Result<Vec<u8>, Error> {
    Ok(match value {
        wit::Value::Json(text) => text.into_bytes(),
        wit::Value::Bytes(bytes) => bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_goes_on_behind_its_last_key() {
        let next = ListOptions::prefix("a")
            .start("ab")
            .limit(3)
            .behind("ac", 2);
        let next = next.expect("one is left").portion(1);
        assert_eq!(next.start, None);
        assert_eq!(next.start_after.as_deref(), Some("ac"));
        assert_eq!(next.limit, Some(1));

        let next = ListOptions::new().start("a").reverse().behind("m", 5);
        let next = next.expect("no limit").portion(u32::MAX);
        assert_eq!(next.start.as_deref(), Some("a"));
        assert_eq!(next.end.as_deref(), Some("m"));
        assert_eq!(next.limit, None);

        assert!(ListOptions::new().limit(2).behind("b", 2).is_none());
    }

    #[test]
    fn a_value_that_does_not_fit_names_its_key() {
        let json = wit::Value::Json("\"three\"".to_owned());
        let error = from_json::<u32>("points", json).expect_err("no number");
        assert_eq!(error.kind(), ErrorKind::Mismatch);
        assert!(error.message().contains("`points`"), "{error}");
        let bytes = wit::Value::Bytes(vec![1]);
        let error = from_json::<u32>("points", bytes).expect_err("no JSON");
        assert!(error.message().contains("get_bytes"), "{error}");
    }
}
