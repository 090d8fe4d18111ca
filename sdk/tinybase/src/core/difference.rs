//! What two stores tell each other to find where they differ: hashes of one, and
//! the other's answer with what is missing there and what differs.

use std::collections::BTreeMap;

use super::hash::Hash;
use super::message::{CellHashes, RowHashes, TableHashes, ValueHashes};
use super::store::{Cells, Node, Store, Tables, Values};

impl Store {
    pub(super) fn table_hashes(&self) -> TableHashes {
        self.tables.hashes(|table| table.hash)
    }

    pub(super) fn value_hashes(&self) -> ValueHashes {
        self.values.hashes(|value| value.hash)
    }

    /// The hashes of the rows of those tables whose own hash is another.
    pub(super) fn row_hashes(&self, theirs: &TableHashes) -> RowHashes {
        let tables = theirs.iter().filter_map(|(id, hash)| {
            let table = self.tables.children.get(id)?;
            let differs = table.hash != hash.0 && !table.children.is_empty();
            differs.then(|| (id.clone(), table.hashes(|row| row.hash)))
        });
        tables.collect()
    }

    /// The hashes of the cells of those rows whose own hash is another.
    pub(super) fn cell_hashes(&self, theirs: &RowHashes) -> CellHashes {
        let tables = theirs.iter().filter_map(|(id, rows)| {
            let table = self.tables.children.get(id)?;
            let rows = rows.iter().filter_map(|(id, hash)| {
                let row = table.children.get(id)?;
                let differs = row.hash != hash.0 && !row.children.is_empty();
                differs.then(|| (id.clone(), row.hashes(|cell| cell.hash)))
            });
            let rows: TableHashesByRow = rows.collect();
            (!rows.is_empty()).then(|| (id.clone(), rows))
        });
        tables.collect()
    }

    /// Tables that they lack, and the hashes of those that differ.
    pub(super) fn table_diff(&self, theirs: &TableHashes) -> (Tables, TableHashes) {
        let mut missing = Tables::stamped(self.tables.hlc);
        let mut differing = TableHashes::new();
        for (id, table) in &self.tables.children {
            match theirs.get(id) {
                None => {
                    missing.children.insert(id.clone(), table.clone());
                }
                Some(hash) if hash.0 != table.hash => {
                    differing.insert(id.clone(), Hash(table.hash));
                }
                Some(_) => {}
            }
        }
        (missing, differing)
    }

    /// Rows that they lack, and the hashes of those that differ.
    pub(super) fn row_diff(&self, theirs: &RowHashes) -> (Tables, RowHashes) {
        let mut missing = Tables::stamped(self.tables.hlc);
        let mut differing = RowHashes::new();
        for (table_id, their_rows) in theirs {
            let Some(table) = self.tables.children.get(table_id) else {
                continue;
            };
            for (id, row) in &table.children {
                match their_rows.get(id) {
                    None => {
                        let rows = &mut missing.child(table_id).children;
                        rows.insert(id.clone(), row.clone());
                    }
                    Some(hash) if hash.0 != row.hash => {
                        let rows = differing.entry(table_id.clone()).or_default();
                        rows.insert(id.clone(), Hash(row.hash));
                    }
                    Some(_) => {}
                }
            }
        }
        (missing, differing)
    }

    /// Cells that they lack or that differ.
    pub(super) fn cell_diff(&self, theirs: &CellHashes) -> Tables {
        let mut tables = Tables::stamped(self.tables.hlc);
        for (table_id, their_rows) in theirs {
            let Some(own_table) = self.tables.children.get(table_id) else {
                continue;
            };
            for (row_id, their_cells) in their_rows {
                let Some(own_row) = own_table.children.get(row_id) else {
                    continue;
                };
                let cells = own_row.other_than(their_cells);
                if !cells.children.is_empty() {
                    let table = tables.child(table_id);
                    table.hlc = own_table.hlc;
                    table.children.insert(row_id.clone(), cells);
                }
            }
        }
        tables
    }

    /// Values that they lack or that differ.
    pub(super) fn value_diff(&self, theirs: &ValueHashes) -> Values {
        self.values.other_than(theirs)
    }
}

type TableHashesByRow = BTreeMap<String, BTreeMap<String, Hash>>;

impl<C> Node<C> {
    fn hashes(&self, hash_of: impl Fn(&C) -> u32) -> BTreeMap<String, Hash> {
        let children = self.children.iter();
        children
            .map(|(id, child)| (id.clone(), Hash(hash_of(child))))
            .collect()
    }
}

impl Cells {
    /// The leaves whose hash is another there.
    fn other_than(&self, theirs: &BTreeMap<String, Hash>) -> Self {
        let mut others = Self::stamped(self.hlc);
        let differ = |id: &String, hash| theirs.get(id) != Some(&Hash(hash));
        let leaves = self.children.iter();
        let leaves = leaves.filter(|(id, leaf)| differ(id, leaf.hash));
        others.children = leaves
            .map(|(id, leaf)| (id.clone(), leaf.clone()))
            .collect();
        others
    }
}
