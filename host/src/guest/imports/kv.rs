//! `dormouse:object/kv`: hands pairs to the object's database.
//!
//! Only translates; order, limits and errors are those of `storage`.

use dormouse_storage::{KvEntry, KvList, KvPage, KvValue};

use crate::guest::bindings::dormouse::object::kv::{Host, ListOptions, Page, Value};
use crate::guest::bindings::dormouse::object::sql::Error;
use crate::guest::context::Context;

type Answer<T> = wasmtime::Result<Result<T, Error>>;

impl Host for Context {
    fn get(&mut self, key: String) -> Answer<Option<Value>> {
        let found = self.database()?.kv_get(&key);
        Ok(found.map(|value| value.map(Into::into)).map_err(Into::into))
    }

    fn get_many(&mut self, keys: Vec<String>) -> Answer<Vec<(String, Value)>> {
        let found = self.database()?.kv_get_many(&keys);
        Ok(found.map(entries).map_err(Into::into))
    }

    fn put(&mut self, key: String, value: Value) -> Answer<()> {
        let put = self.database()?.kv_put(&key, value.into());
        Ok(put.map_err(Into::into))
    }

    fn put_many(&mut self, entries: Vec<(String, Value)>) -> Answer<()> {
        let entries = entries.into_iter().map(|(key, value)| (key, value.into()));
        let put = self.database()?.kv_put_many(entries.collect());
        Ok(put.map_err(Into::into))
    }

    fn delete(&mut self, key: String) -> Answer<bool> {
        Ok(self.database()?.kv_delete(&key).map_err(Into::into))
    }

    fn delete_many(&mut self, keys: Vec<String>) -> Answer<u64> {
        Ok(self.database()?.kv_delete_many(&keys).map_err(Into::into))
    }

    fn list(&mut self, options: ListOptions) -> Answer<Page> {
        let page = self.database()?.kv_list(&options.into());
        Ok(page.map(Into::into).map_err(Into::into))
    }
}

fn entries(entries: Vec<KvEntry>) -> Vec<(String, Value)> {
    let entries = entries.into_iter();
    entries.map(|(key, value)| (key, value.into())).collect()
}

impl From<Value> for KvValue {
    fn from(value: Value) -> Self {
        match value {
            Value::Json(text) => Self::Json(text),
            Value::Bytes(bytes) => Self::Bytes(bytes),
        }
    }
}

impl From<KvValue> for Value {
    fn from(value: KvValue) -> Self {
        match value {
            KvValue::Json(text) => Self::Json(text),
            KvValue::Bytes(bytes) => Self::Bytes(bytes),
        }
    }
}

impl From<ListOptions> for KvList {
    fn from(options: ListOptions) -> Self {
        Self {
            start: options.start,
            start_after: options.start_after,
            end: options.end,
            prefix: options.prefix,
            reverse: options.reverse,
            limit: options.limit,
        }
    }
}

impl From<KvPage> for Page {
    fn from(page: KvPage) -> Self {
        Self {
            entries: entries(page.entries),
            done: page.done,
        }
    }
}
