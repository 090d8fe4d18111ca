//! Inspect: what an operator sees of objects, without waking them.

use std::collections::BTreeMap;

use dormouse::builtin::{from_json, pair_to_json, to_json};
use dormouse::event::SqlText;
use dormouse::host::{AskError, ObjectQuery};
use dormouse_storage::Value;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use crate::host::TestHost;
use crate::object::Object;

/// An object that has written something, is awake or has sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listed {
    /// Its class.
    pub class: String,
    /// Its name, or `id:` and 64 hexadecimal digits if nobody knows one.
    pub name: String,
    /// Size of its database; 0 if it has written nothing.
    pub bytes: u64,
    /// Whether it has an instance.
    pub awake: bool,
    /// How many of its WebSockets are open.
    pub sockets: usize,
}

/// What a statement answers.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Rows {
    /// Their names, in order.
    pub columns: Vec<String>,
    /// Numbers, texts and `null`; a blob is `{"blob": "hexadecimal digits"}`.
    pub rows: Vec<Vec<Json>>,
    /// How many rows the statement changed.
    pub written: u64,
}

/// A WebSocket, as the host keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenSocket {
    /// Those that the object gave it.
    pub tags: Vec<String>,
    /// What the object attached to it.
    pub attachment: Option<Vec<u8>>,
    /// What waits for its reader.
    pub buffered_bytes: u64,
}

impl TestHost {
    /// Every object there is, by class and name; wakes nobody.
    #[must_use]
    pub fn objects(&self) -> Vec<Listed> {
        self.settle();
        let host = self.handle();
        let all = host.objects(ObjectQuery {
            class: None,
            prefix: String::new(),
            state: None,
            after: None,
            limit: usize::MAX,
        });
        let found = self.run("listing the objects", all);
        let found = found.unwrap_or_else(|error| panic!("{error}"));
        let list = found.objects.into_iter().map(|one| Listed {
            class: one.class.to_string(),
            name: one.key(),
            bytes: one.bytes,
            awake: one.awake,
            sockets: one.sockets,
        });
        list.collect()
    }
}

impl Object {
    /// Rows of the object's database, as it is between two turns; wakes nobody.
    ///
    /// # Panics
    /// When the statement fails, writes, or the object has never written anything.
    #[must_use]
    #[track_caller]
    pub fn sql(&self, statement: &str) -> Rows {
        self.operate(statement, &(), false)
    }

    /// The same with parameters: a tuple, one element for each `?`.
    ///
    /// # Panics
    /// As [`sql`](Self::sql).
    #[must_use]
    #[track_caller]
    pub fn sql_with(&self, statement: &str, params: impl Serialize) -> Rows {
        self.operate(statement, &params, false)
    }

    /// A statement that may write, as an operator's hand: to bring about what the
    /// object's own code would take long for.
    ///
    /// # Panics
    /// When the statement fails, or the object has never written anything.
    #[track_caller]
    pub fn sql_write(&self, statement: &str, params: impl Serialize) -> Rows {
        self.operate(statement, &params, true)
    }

    #[track_caller]
    fn operate(&self, sql: &str, params: &impl Serialize, writes: bool) -> Rows {
        self.host().settle();
        let text = SqlText {
            sql: sql.to_owned(),
            params: values(params),
            writes,
            max_rows: 100_000,
        };
        let (host, key) = (self.host().handle(), self.key());
        let asked = host.sql(self.class(), &key, text);
        let answer = self.host().run("SQL", asked);
        let answer = answer.unwrap_or_else(|error| panic!("{self}: {sql}: {error}"));
        let rows = answer.rows.into_iter();
        Rows {
            columns: answer.columns,
            rows: rows
                .map(|row| row.into_iter().map(to_json).collect())
                .collect(),
            written: answer.rows_written,
        }
    }

    /// The object's key-value pairs; bytes are `{"blob": "hexadecimal digits"}`.
    #[must_use]
    #[track_caller]
    pub fn kv(&self) -> BTreeMap<String, Json> {
        self.host().settle();
        let (host, key) = (self.host().handle(), self.key());
        let asked = host.pairs(self.class(), &key);
        let pairs = match self.host().run("reading key-value pairs", asked) {
            Ok(pairs) => pairs,
            Err(AskError::NoObject(_)) => Vec::new(),
            Err(error) => panic!("{self}: {error}"),
        };
        let pair = |(key, value)| (key, pair_to_json(value));
        pairs.into_iter().map(pair).collect()
    }

    /// The object's open WebSockets, in the order in which they were opened.
    #[must_use]
    pub fn sockets(&self) -> Vec<OpenSocket> {
        self.host().settle();
        let (host, address) = (self.host().handle(), self.address());
        let sockets = host.sockets(&address).into_iter();
        let describe = |socket: dormouse::socket::SocketInfo| OpenSocket {
            attachment: host.attachment(&address, socket.id),
            tags: socket.tags,
            buffered_bytes: socket.buffered_bytes,
        };
        sockets.map(describe).collect()
    }

    /// How many instances the object has had so far, crashes of the host included.
    #[must_use]
    pub fn instances(&self) -> usize {
        self.host().settle();
        self.host().wakes(self.class(), self.name())
    }
}

#[track_caller]
fn values(params: &impl Serialize) -> Vec<Value> {
    let json = serde_json::to_value(params).expect("parameters that JSON can hold");
    let all = match json {
        Json::Null => Vec::new(),
        Json::Array(all) => all,
        other => panic!("the parameters are no tuple: {other}; write `({other},)`"),
    };
    let value = |one| from_json(one).unwrap_or_else(|error| panic!("{error}"));
    all.into_iter().map(value).collect()
}

impl Rows {
    /// The only value there is.
    ///
    /// # Panics
    /// When there is not just one row with one column, or it is no `T`.
    #[must_use]
    #[track_caller]
    pub fn one<T: DeserializeOwned>(&self) -> T {
        match &self.rows[..] {
            [row] if row.len() == 1 => read(row[0].clone()),
            rows => panic!("one value was expected, these came: {rows:?}"),
        }
    }

    /// Each row as a tuple, or as a type with the same fields in the same order.
    ///
    /// # Panics
    /// When a row is no `T`.
    #[must_use]
    #[track_caller]
    pub fn all<T: DeserializeOwned>(&self) -> Vec<T> {
        let rows = self.rows.iter().cloned();
        rows.map(|row| read(Json::Array(row))).collect()
    }
}

#[track_caller]
fn read<T: DeserializeOwned>(value: Json) -> T {
    let shown = value.to_string();
    serde_json::from_value(value).unwrap_or_else(|error| panic!("{error}; there is {shown}"))
}

impl OpenSocket {
    /// What the SDK attached, which is JSON.
    ///
    /// # Panics
    /// When nothing is attached, or no `T`.
    #[must_use]
    #[track_caller]
    pub fn attached<T: DeserializeOwned>(&self) -> T {
        let bytes = self.attachment.as_deref();
        let bytes = bytes.unwrap_or_else(|| panic!("nothing is attached to the socket"));
        let shown = String::from_utf8_lossy(bytes);
        serde_json::from_slice(bytes).unwrap_or_else(|error| panic!("{error}; there is {shown}"))
    }
}
