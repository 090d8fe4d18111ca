//! The mergeable store: tables of rows of cells, and values, every leaf stamped.
//!
//! The last writer of a leaf wins, by stamp; a delete keeps a stamped tombstone.
//! Every container carries a hash of all below it, so that two stores find what
//! differs without sending everything. The hashes are changed leaf by leaf as
//! TinyBase does it; `rehash` computes them anew from the leaves alone.

use std::collections::{BTreeMap, BTreeSet};

use super::content::Content;
use super::decode::store_from_json;
use super::encode::{Form, encode};
use super::hash::{hash, hash_of_child};
use super::hlc::Hlc;

/// A cell or a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leaf {
    pub content: Content,
    pub hlc: Hlc,
    /// 0 in a difference, where nobody asks for it.
    pub hash: u32,
}

/// A container: children by id, and its own stamp, which only stores of TinyBase 5
/// gave to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node<C> {
    pub children: BTreeMap<String, C>,
    pub hlc: Hlc,
    pub hash: u32,
}

/// Leaves by id: a row, or the values.
pub type Cells = Node<Leaf>;
pub type Row = Cells;
pub type Values = Cells;
pub type Table = Node<Row>;
pub type Tables = Node<Table>;

/// All content, or a difference: what is to be merged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Store {
    pub tables: Tables,
    pub values: Values,
}

/// A part of a store, on its way into another one.
pub type Diff = Store;

/// Which leaves a merge changed, and which containers it touched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub tables: BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
    pub values: BTreeSet<String>,
    /// Something is different from before: a leaf, a stamp or a hash.
    pub any: bool,
}

impl<C> Default for Node<C> {
    fn default() -> Self {
        Self::stamped(Hlc::NONE)
    }
}

impl Changes {
    /// As if all had changed.
    #[must_use]
    pub fn all(store: &Store) -> Self {
        let ids = |cells: &Cells| cells.children.keys().cloned().collect();
        let tables = store.tables.children.iter().map(|(id, table)| {
            let rows = table.children.iter();
            let rows = rows.map(|(id, row)| (id.clone(), ids(row)));
            (id.clone(), rows.collect())
        });
        Self {
            tables: tables.collect(),
            values: ids(&store.values),
            any: true,
        }
    }

    /// Those of two merges.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        for (id, rows) in other.tables {
            let own = self.tables.entry(id).or_default();
            for (id, cells) in rows {
                own.entry(id).or_default().extend(cells);
            }
        }
        self.values.extend(other.values);
        self.any |= other.any;
        self
    }
}

impl Store {
    /// Reads what TinyBase's persisters store as JSON, hashes included.
    pub fn from_stored(json: &str) -> serde_json::Result<Self> {
        store_from_json(json)
    }

    /// Writes the same.
    #[must_use]
    pub fn to_stored(&self) -> String {
        encode(self, Form::Stored)
    }

    /// Takes every leaf that is newer than the own one.
    pub fn merge(&mut self, diff: Diff) -> Changes {
        let before = self.marks();
        let mut changes = Changes::default();
        for (id, table) in diff.tables.children {
            if let Some(rows) = self.tables.merge_table(&id, table) {
                changes.tables.insert(id, rows);
            }
        }
        self.tables.take_stamp(diff.tables.hlc);
        changes.values = self.values.merge_leaves(diff.values);
        let leaves = !changes.tables.is_empty() || !changes.values.is_empty();
        changes.any = leaves || self.marks() != before;
        changes
    }

    /// The latest stamp anywhere in it.
    #[must_use]
    pub fn latest(&self) -> Hlc {
        let tables = self.tables.children.values();
        let rows = tables.clone().flat_map(|table| table.children.values());
        let stamps = rows.map(Cells::latest).chain(tables.map(|table| table.hlc));
        let latest = stamps.chain([self.tables.hlc, self.values.latest()]).max();
        latest.unwrap_or_default()
    }

    /// The hashes of tables and values, which stand for all content.
    #[must_use]
    pub fn hashes(&self) -> (u32, u32) {
        (self.tables.hash, self.values.hash)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tables.children.is_empty() && self.values.children.is_empty()
    }

    /// A cell that exists and was not deleted.
    #[must_use]
    pub fn cell(&self, table: &str, row: &str, cell: &str) -> Option<&Content> {
        let row = self.tables.children.get(table)?.children.get(row)?;
        row.content(cell)
    }

    /// A value that exists and was not deleted.
    #[must_use]
    pub fn value(&self, id: &str) -> Option<&Content> {
        self.values.content(id)
    }

    /// Computes every hash from the leaves. Answers whether one was different.
    pub fn rehash(&mut self) -> bool {
        let mut wrong = false;
        for table in self.tables.children.values_mut() {
            for row in table.children.values_mut() {
                wrong |= row.rehash_leaves();
            }
            wrong |= table.rehash_from(|row| row.hash);
        }
        wrong |= self.tables.rehash_from(|table| table.hash);
        wrong | self.values.rehash_leaves()
    }

    fn marks(&self) -> [(Hlc, u32); 2] {
        [
            (self.tables.hlc, self.tables.hash),
            (self.values.hlc, self.values.hash),
        ]
    }
}

impl<C> Node<C> {
    pub(super) fn stamped(hlc: Hlc) -> Self {
        Self {
            children: BTreeMap::new(),
            hlc,
            hash: 0,
        }
    }

    /// Sets what stood beside the children when they were stored.
    pub(crate) fn mark(&mut self, hlc: Hlc, hash: u32) {
        self.hlc = hlc;
        self.hash = hash;
    }

    /// The child of that id, made if it is missing.
    pub(crate) fn child(&mut self, id: &str) -> &mut C
    where
        C: Default,
    {
        child(&mut self.children, id)
    }

    /// A later stamp takes the place of the earlier one, in the hash, too.
    fn take_stamp(&mut self, hlc: Hlc) {
        if hlc > self.hlc {
            self.hash ^= stamp_hash(self.hlc) ^ stamp_hash(hlc);
            self.hlc = hlc;
        }
    }

    /// Exchanges a child's hash; a child of hash 0 counts as new.
    fn exchange(&mut self, id: &str, old: u32, new: u32) {
        if old != 0 {
            self.hash ^= hash_of_child(id, old);
        }
        self.hash ^= hash_of_child(id, new);
    }

    fn rehash_from(&mut self, hash_of: impl Fn(&C) -> u32) -> bool {
        let children = self.children.iter();
        let hash = children.fold(stamp_hash(self.hlc), |hash, (id, child)| {
            hash ^ hash_of_child(id, hash_of(child))
        });
        std::mem::replace(&mut self.hash, hash) != hash
    }
}

impl Tables {
    /// The rows that changed, with their cells; `None` if nothing did.
    fn merge_table(&mut self, id: &str, diff: Table) -> Option<BTreeMap<String, BTreeSet<String>>> {
        let table = child(&mut self.children, id);
        let (old, old_hlc) = (table.hash, table.hlc);
        let mut changes = BTreeMap::new();
        for (id, diff) in diff.children {
            let row = child(&mut table.children, &id);
            let (old, old_hlc) = (row.hash, row.hlc);
            let leaves = row.merge_leaves(diff);
            let (new, new_hlc) = (row.hash, row.hlc);
            table.exchange(&id, old, new);
            if !leaves.is_empty() || old_hlc != new_hlc {
                changes.insert(id, leaves);
            }
        }
        table.take_stamp(diff.hlc);
        let (new, new_hlc) = (table.hash, table.hlc);
        self.exchange(id, old, new);
        (!changes.is_empty() || old_hlc != new_hlc).then_some(changes)
    }
}

impl Cells {
    /// The ids of the leaves that were taken.
    fn merge_leaves(&mut self, diff: Cells) -> BTreeSet<String> {
        let mut taken = BTreeSet::new();
        for (id, incoming) in diff.children {
            let own = child(&mut self.children, &id);
            if own.hlc.is_none() || incoming.hlc > own.hlc {
                let old = own.hash;
                own.hash = incoming.content.hash(incoming.hlc);
                own.hlc = incoming.hlc;
                own.content = incoming.content;
                self.hash ^= hash_of_child(&id, old) ^ hash_of_child(&id, own.hash);
                taken.insert(id);
            }
        }
        self.take_stamp(diff.hlc);
        taken
    }

    fn content(&self, id: &str) -> Option<&Content> {
        let leaf = self.children.get(id)?;
        Some(&leaf.content).filter(|content| !content.is_undefined())
    }

    fn latest(&self) -> Hlc {
        let leaves = self.children.values().map(|leaf| leaf.hlc);
        leaves.chain([self.hlc]).max().unwrap_or_default()
    }

    fn rehash_leaves(&mut self) -> bool {
        let mut wrong = false;
        let mut hash = stamp_hash(self.hlc);
        for (id, leaf) in &mut self.children {
            let right = leaf.content.hash(leaf.hlc);
            wrong |= std::mem::replace(&mut leaf.hash, right) != right;
            hash ^= hash_of_child(id, 0) ^ hash_of_child(id, right);
        }
        wrong | (std::mem::replace(&mut self.hash, hash) != hash)
    }
}

/// The child of that id, made if it is missing; allocates only then.
fn child<'a, C: Default>(children: &'a mut BTreeMap<String, C>, id: &str) -> &'a mut C {
    if !children.contains_key(id) {
        children.insert(id.to_owned(), C::default());
    }
    children.get_mut(id).expect("it was inserted above")
}

fn stamp_hash(hlc: Hlc) -> u32 {
    if hlc.is_none() { 0 } else { hash(hlc.as_str()) }
}
