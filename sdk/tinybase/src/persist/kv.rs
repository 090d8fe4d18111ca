//! Key-value mode: a pair for each container, cell and value.
//!
//! A key is the prefix, `t` or `v`, and the ids as JSON texts with commas between
//! them. Pairs under other keys are left alone, so that other data can live beside.

use dormouse_sdk::kv::{Kv, ListOptions};
use dormouse_sdk::{Context as _, Result};
use serde_json::Value as Json;

use super::Layout;
use crate::core::{Changes, Form, Leaf, Node, Store, encode, leaf_from_json};

/// As many pairs as Cloudflare takes at a time; more would fit here.
const BATCH: usize = 128;

pub(super) struct KeyValue {
    kv: Kv,
    prefix: String,
}

/// What a key names.
#[derive(Debug, PartialEq, Eq)]
enum Named {
    Tables(Vec<String>),
    Values(Vec<String>),
}

impl KeyValue {
    pub(super) fn new(kv: Kv, prefix: &str) -> Self {
        Self {
            kv,
            prefix: prefix.to_owned(),
        }
    }

    fn key(&self, kind: char, ids: &[&str]) -> String {
        let ids: Vec<_> = ids.iter().map(|id| Json::from(*id).to_string()).collect();
        format!("{}{kind}{}", self.prefix, ids.join(","))
    }

    fn named(&self, key: &str) -> Option<Named> {
        let key = key.strip_prefix(&self.prefix)?;
        let (kind, ids) = key.split_at_checked(1)?;
        let ids: Vec<String> = serde_json::from_str(&format!("[{ids}]")).ok()?;
        match kind {
            "t" if ids.len() <= 3 => Some(Named::Tables(ids)),
            "v" if ids.len() <= 1 => Some(Named::Values(ids)),
            _ => None,
        }
    }
}

impl Layout for KeyValue {
    fn load(&self) -> Result<Option<Store>> {
        let mut store = Store::default();
        let mut found = false;
        for pair in self.kv.iter_bytes(ListOptions::prefix(&self.prefix)) {
            let (key, json) = pair?;
            let Some(named) = self.named(&key) else {
                continue;
            };
            let leaf = leaf_from_json(&json);
            let leaf = leaf.with_context(|| format!("the value of the key {key:?}"))?;
            put(&mut store, named, leaf);
            found = true;
        }
        Ok(found.then_some(store))
    }

    fn save(&self, store: &Store, changes: &Changes) -> Result<()> {
        let mut pairs = vec![
            (self.key('t', &[]), container(&store.tables)),
            (self.key('v', &[]), container(&store.values)),
        ];
        for (table_id, rows) in &changes.tables {
            let Some(table) = store.tables.children.get(table_id) else {
                continue;
            };
            pairs.push((self.key('t', &[table_id]), container(table)));
            for (row_id, cells) in rows {
                let Some(row) = table.children.get(row_id) else {
                    continue;
                };
                pairs.push((self.key('t', &[table_id, row_id]), container(row)));
                let cells = cells.iter();
                for (id, cell) in cells.filter_map(|id| row.children.get_key_value(id)) {
                    let key = self.key('t', &[table_id, row_id, id]);
                    pairs.push((key, encode(cell, Form::Stored)));
                }
            }
        }
        let ids = changes.values.iter();
        for (id, value) in ids.filter_map(|id| store.values.children.get_key_value(id)) {
            pairs.push((self.key('v', &[id]), encode(value, Form::Stored)));
        }
        for batch in pairs.chunks(BATCH) {
            let batch = batch.iter().map(|(key, json)| {
                let value: Json = serde_json::from_str(json).expect("it was written above");
                (key.as_str(), value)
            });
            self.kv.put_many(batch)?;
        }
        Ok(())
    }
}

/// A container's pair: 0 where a leaf has its content.
fn container<C>(node: &Node<C>) -> String {
    format!("[0,\"{}\",{}]", node.hlc, node.hash)
}

fn put(store: &mut Store, named: Named, leaf: Leaf) {
    let (tables, values) = (&mut store.tables, &mut store.values);
    match named {
        Named::Tables(ids) => match ids.as_slice() {
            [] => tables.mark(leaf.hlc, leaf.hash),
            [table] => tables.child(table).mark(leaf.hlc, leaf.hash),
            [table, row] => tables.child(table).child(row).mark(leaf.hlc, leaf.hash),
            [table, row, cell, ..] => {
                let row = tables.child(table).child(row);
                row.children.insert(cell.clone(), leaf);
            }
        },
        Named::Values(ids) => match ids.into_iter().next() {
            None => values.mark(leaf.hlc, leaf.hash),
            Some(id) => drop(values.children.insert(id, leaf)),
        },
    }
}
