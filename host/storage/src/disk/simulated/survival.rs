//! What of a file or a folder a crash leaves.

use std::collections::BTreeMap;

use super::{Crash, Rng, SECTOR};

#[derive(Debug, Clone)]
pub(super) enum Change {
    Sector { index: usize, bytes: Vec<u8> },
    Len(usize),
}

#[derive(Debug, Clone, Default)]
pub(super) struct Inode {
    pub(super) live: Vec<u8>,
    pub(super) stable: Vec<u8>,
    pub(super) pending: Vec<Change>,
}

#[derive(Debug, Clone)]
pub(super) enum NameChange {
    Link(String, u64),
    Unlink(String),
    Rename(String, String),
}

#[derive(Debug, Clone, Default)]
pub(super) struct Folder {
    pub(super) live: BTreeMap<String, u64>,
    pub(super) stable: BTreeMap<String, u64>,
    pub(super) pending: Vec<NameChange>,
}

impl Inode {
    pub(super) fn cut(&mut self, how: Crash, rng: &mut Rng) {
        if how == Crash::CutAll {
            let pending = std::mem::take(&mut self.pending);
            pending
                .iter()
                .for_each(|change| apply(&mut self.stable, change, true));
        } else if how == Crash::CutSome {
            self.keep_some(rng);
        }
        self.pending.clear();
        self.live = self.stable.clone();
    }

    /// After a failed sync: what was written counts as clean, whether it reached the disk
    /// or not. Lengths are metadata, which stays in the kernel's care.
    pub(super) fn forget_some(&mut self, rng: &mut Rng) {
        let lengths = self
            .pending
            .iter()
            .filter(|change| matches!(change, Change::Len(_)))
            .cloned()
            .collect();
        self.keep_some(rng);
        self.pending = lengths;
    }

    fn keep_some(&mut self, rng: &mut Rng) {
        for change in std::mem::take(&mut self.pending) {
            if rng.percent(50) {
                let zeros = rng.percent(50);
                apply(&mut self.stable, &change, zeros);
            }
        }
    }
}

pub(super) fn apply(content: &mut Vec<u8>, change: &Change, zeros: bool) {
    match change {
        Change::Len(len) => content.resize(*len, if zeros { 0 } else { 0xa5 }),
        Change::Sector { index, bytes } => {
            let start = index * SECTOR;
            if start < content.len() {
                let end = (start + bytes.len()).min(content.len());
                content[start..end].copy_from_slice(&bytes[..end - start]);
            }
        }
    }
}

impl Folder {
    pub(super) fn cut(&mut self, how: Crash, rng: &mut Rng) {
        for change in std::mem::take(&mut self.pending) {
            if how == Crash::CutAll || (how == Crash::CutSome && rng.percent(50)) {
                rename(&mut self.stable, &change);
            }
        }
        self.live = self.stable.clone();
    }
}

pub(super) fn rename(names: &mut BTreeMap<String, u64>, change: &NameChange) {
    match change {
        NameChange::Link(name, node) => drop(names.insert(name.clone(), *node)),
        NameChange::Unlink(name) => drop(names.remove(name)),
        NameChange::Rename(from, to) => {
            if let Some(node) = names.remove(from) {
                names.insert(to.clone(), node);
            }
        }
    }
}
