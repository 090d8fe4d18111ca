//! Everything on a simulated disk, and the operations that a crash may cut.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::Weak;

use super::survival::{Folder, Inode, NameChange, apply, rename};
use super::{ROOT, Rng};

#[derive(Debug, Clone)]
pub(super) enum Node {
    File(Inode),
    Folder(Folder),
}

#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) nodes: BTreeMap<u64, Node>,
    pub(super) last_node: u64,
    pub(super) rng: Rng,
    /// Operations that change something, so far.
    pub(super) ops: u64,
    /// The operation during which everything ends.
    pub(super) end_at: u64,
    /// Syncs so far, of files and of folders.
    pub(super) syncs: u64,
    /// The sync before or after which everything ends.
    pub(super) end_at_sync: Option<(u64, bool)>,
    pub(super) ended: bool,
    /// Per thousand syncs that fail.
    pub(super) failing_syncs: u64,
    pub(super) failed_syncs: u64,
    pub(super) capacity: usize,
    pub(super) now: u64,
    /// Files that are open, and the most that were.
    pub(super) open: usize,
    pub(super) most_open: usize,
    /// Whoever has the lock keeps it alive.
    /// By path, as long as somebody holds them.
    pub(super) locks: BTreeMap<String, Weak<()>>,
}

fn missing() -> io::Error {
    io::Error::from(ErrorKind::NotFound)
}

impl State {
    /// Counts an operation; an error once everything has ended.
    pub(super) fn alive(&self) -> io::Result<()> {
        if self.ended {
            Err(io::Error::other("the simulated machine is off"))
        } else {
            Ok(())
        }
    }

    pub(super) fn tick(&mut self) -> io::Result<()> {
        self.alive()?;
        self.ops += 1;
        if self.ops >= self.end_at {
            self.ended = true;
        }
        Ok(())
    }

    /// Whether a sync that begins now does its work.
    pub(super) fn begin_sync(&mut self) -> io::Result<bool> {
        self.tick()?;
        self.syncs += 1;
        self.ended |= self.end_at_sync == Some((self.syncs, false));
        Ok(!self.ended)
    }

    pub(super) fn end_sync(&mut self) {
        self.ended |= self.end_at_sync == Some((self.syncs, true));
    }

    pub(super) fn used(&self) -> usize {
        let len = |node: &Node| {
            if let Node::File(inode) = node {
                inode.live.len()
            } else {
                0
            }
        };
        self.reachable()
            .iter()
            .map(|number| len(&self.nodes[number]))
            .sum()
    }

    pub(super) fn reachable(&self) -> Vec<u64> {
        let (mut found, mut next) = (Vec::new(), vec![ROOT]);
        while let Some(number) = next.pop() {
            found.push(number);
            if let Some(Node::Folder(folder)) = self.nodes.get(&number) {
                next.extend(folder.live.values());
            }
        }
        found
    }

    pub(super) fn folder(&mut self, path: &str) -> io::Result<&mut Folder> {
        let number = self.find(path)?;
        match self.nodes.get_mut(&number) {
            Some(Node::Folder(folder)) => Ok(folder),
            _ => Err(io::Error::from(ErrorKind::NotADirectory)),
        }
    }

    pub(super) fn find(&self, path: &str) -> io::Result<u64> {
        path.split('/')
            .filter(|part| !part.is_empty())
            .try_fold(ROOT, |number, part| match &self.nodes[&number] {
                Node::Folder(folder) => folder.live.get(part).copied().ok_or_else(missing),
                Node::File(_) => Err(missing()),
            })
    }

    pub(super) fn change_name(&mut self, parent: &str, change: NameChange) -> io::Result<()> {
        let folder = self.folder(parent)?;
        rename(&mut folder.live, &change);
        folder.pending.push(change);
        Ok(())
    }

    pub(super) fn add(&mut self, path: &str, node: Node) -> io::Result<u64> {
        let (parent, name) = split(path);
        self.folder(parent)?;
        self.last_node += 1;
        let number = self.last_node;
        self.nodes.insert(number, node);
        self.change_name(parent, NameChange::Link(name.to_owned(), number))?;
        Ok(number)
    }

    pub(super) fn inode(&mut self, number: u64) -> &mut Inode {
        match self.nodes.get_mut(&number) {
            Some(Node::File(inode)) => inode,
            _ => panic!("handles are given out for files only"),
        }
    }

    pub(super) fn sync(&mut self, number: u64) -> io::Result<()> {
        if !self.begin_sync()? {
            return Ok(());
        }
        let fails = self.failing_syncs > 0 && self.rng.below(1000) < self.failing_syncs;
        let mut rng = self.rng.clone();
        let inode = self.inode(number);
        if fails {
            inode.forget_some(&mut rng);
        } else {
            for change in std::mem::take(&mut inode.pending) {
                apply(&mut inode.stable, &change, true);
            }
        }
        self.rng = rng;
        self.failed_syncs += u64::from(fails);
        self.end_sync();
        if fails {
            Err(io::Error::other("a simulated sync error"))
        } else {
            Ok(())
        }
    }
}

pub(super) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}
