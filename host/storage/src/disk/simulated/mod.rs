//! A disk that loses what was not synced.
//!
//! Content: each un-synced 512-byte sector survives a power cut or not by itself; a length
//! may survive without its data. Names: each un-synced change of a folder survives or not
//! by itself. A failed sync may drop what it should have kept, while reads go on to show
//! it, as Linux does. A kill keeps everything that a power cut could lose. Fully
//! determined by its seed and the calls made.

mod hooked;
mod state;
mod survival;

use std::any::Any;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Clock, Disk, DiskFile, Entry};
use state::{Node, State, split};
use survival::{Change, Folder, Inode, NameChange};

pub use hooked::{Hooks, hooked};

const SECTOR: usize = 512;

/// SplitMix64.
#[derive(Debug, Clone)]
pub struct Rng(pub u64);

impl Rng {
    #[allow(clippy::should_implement_trait, reason = "it has no end")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

/// What a crash does to what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// The process dies, the kernel goes on.
    Kill,
    /// All of it is lost.
    CutNone,
    /// All of it survives.
    CutAll,
    /// Every sector and every name for itself.
    CutSome,
}

#[derive(Debug, Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

const ROOT: u64 = 0;

impl SimDisk {
    pub fn new(seed: u64) -> SimDisk {
        let nodes = BTreeMap::from([(ROOT, Node::Folder(Folder::default()))]);
        let state = State {
            nodes,
            last_node: ROOT,
            rng: Rng(seed),
            ops: 0,
            end_at: u64::MAX,
            syncs: 0,
            end_at_sync: None,
            ended: false,
            failing_syncs: 0,
            failed_syncs: 0,
            capacity: usize::MAX,
            now: 1,
            open: 0,
            most_open: 0,
            locks: BTreeMap::new(),
        };
        SimDisk {
            state: Arc::new(Mutex::new(state)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A disk of its own with the same content.
    pub fn fork(&self) -> SimDisk {
        let state = State {
            locks: BTreeMap::new(),
            open: 0,
            ..self.state().clone()
        };
        SimDisk {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Lets chance fall otherwise.
    pub fn stir(&self, by: u64) {
        self.state().rng.0 ^= by.wrapping_mul(0x2545_f491_4f6c_dd1d);
    }

    pub fn ops(&self) -> u64 {
        self.state().ops
    }

    /// The most files that were open at a time.
    pub fn most_open(&self) -> usize {
        self.state().most_open
    }

    pub fn failed_syncs(&self) -> u64 {
        self.state().failed_syncs
    }

    /// Lets everything end during the `after`th operation from now.
    pub fn end_after(&self, after: u64) {
        let mut state = self.state();
        state.end_at = state.ops + after;
    }

    /// Lets everything end at the `nth` sync from now (from 1): before it does
    /// anything, or as soon as it is done.
    pub fn end_at_sync(&self, nth: u64, done: bool) {
        let mut state = self.state();
        state.end_at_sync = Some((state.syncs + nth, done));
    }

    /// Syncs so far, of files and of folders.
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    pub fn never_end(&self) {
        let mut state = self.state();
        state.end_at = u64::MAX;
        state.end_at_sync = None;
    }

    pub fn has_ended(&self) -> bool {
        self.state().ended
    }

    pub fn fail_syncs(&self, per_thousand: u64) {
        self.state().failing_syncs = per_thousand;
    }

    /// Bytes that all files together may take.
    pub fn set_capacity(&self, bytes: usize) {
        self.state().capacity = bytes;
    }

    pub fn used(&self) -> usize {
        self.state().used()
    }

    /// The moment after a crash: what is left is what the next start finds.
    pub fn crash(&self, how: Crash) {
        let mut state = self.state();
        state.ended = false;
        state.end_at = u64::MAX;
        state.end_at_sync = None;
        state.locks.clear();
        if how == Crash::Kill {
            return;
        }
        let State { nodes, rng, .. } = &mut *state;
        for node in nodes.values_mut() {
            match node {
                Node::File(inode) => inode.cut(how, rng),
                Node::Folder(folder) => folder.cut(how, rng),
            }
        }
    }

    /// Paths of all files, for those who want to damage them.
    pub fn files(&self) -> Vec<(String, usize)> {
        let state = self.state();
        let mut files = Vec::new();
        let mut folders = vec![(String::new(), ROOT)];
        while let Some((path, number)) = folders.pop() {
            let Some(Node::Folder(folder)) = state.nodes.get(&number) else {
                continue;
            };
            for (name, number) in &folder.live {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}/{name}")
                };
                match &state.nodes[number] {
                    Node::File(inode) => files.push((path, inode.live.len())),
                    Node::Folder(_) => folders.push((path, *number)),
                }
            }
        }
        files.sort();
        files
    }

    /// A file that holds these bytes somewhere.
    pub fn find_bytes(&self, wanted: &[u8]) -> Option<String> {
        let holds = |path: &str| {
            let state = self.state();
            let number = state.find(path).expect("a file of `files`");
            match &state.nodes[&number] {
                Node::File(inode) => inode
                    .live
                    .windows(wanted.len())
                    .any(|bytes| bytes == wanted),
                Node::Folder(_) => false,
            }
        };
        let mut paths = self.files().into_iter().map(|(path, _)| path);
        paths.find(|path| holds(path))
    }

    /// Changes a file as a bad disk would.
    pub fn damage(&self, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let number = state.find(path).expect("a file of `files`");
        let Some(Node::File(inode)) = state.nodes.get_mut(&number) else {
            panic!("{path} is a folder")
        };
        change(&mut inode.live);
        inode.stable = inode.live.clone();
        inode.pending.clear();
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    number: u64,
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.disk.state().open -= 1;
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.state();
        state.alive()?;
        let live = &state.inode(self.number).live;
        let from = (offset as usize).min(live.len());
        let length = buffer.len().min(live.len() - from);
        buffer[..length].copy_from_slice(&live[from..from + length]);
        Ok(length)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.tick()?;
        let (from, to) = (offset as usize, offset as usize + bytes.len());
        let grows = to.saturating_sub(state.inode(self.number).live.len());
        if grows > 0 && state.capacity != usize::MAX && state.used() + grows > state.capacity {
            return Err(io::Error::from(ErrorKind::StorageFull));
        }
        let inode = state.inode(self.number);
        if grows > 0 {
            inode.live.resize(to, 0);
            inode.pending.push(Change::Len(to));
        }
        inode.live[from..to].copy_from_slice(bytes);
        for index in from / SECTOR..to.div_ceil(SECTOR) {
            let end = ((index + 1) * SECTOR).min(inode.live.len());
            let bytes = inode.live[index * SECTOR..end].to_vec();
            inode.pending.push(Change::Sector { index, bytes });
        }
        Ok(())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.tick()?;
        let inode = state.inode(self.number);
        inode.live.resize(bytes as usize, 0);
        inode.pending.push(Change::Len(bytes as usize));
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let mut state = self.disk.state();
        state.alive()?;
        Ok(state.inode(self.number).live.len() as u64)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.state().sync(self.number)
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &str, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        state.alive()?;
        let number = match state.find(path) {
            Ok(number) => number,
            Err(error) if error.kind() == ErrorKind::NotFound && create => {
                state.tick()?;
                state.add(path, Node::File(Inode::default()))?
            }
            Err(error) => return Err(error),
        };
        if !matches!(state.nodes.get(&number), Some(Node::File(_))) {
            return Err(io::Error::from(ErrorKind::IsADirectory));
        }
        state.open += 1;
        state.most_open = state.most_open.max(state.open);
        Ok(Arc::new(SimFile {
            disk: self.clone(),
            number,
        }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.tick()?;
        state.find(from)?;
        let ((parent, old), (other, new)) = (split(from), split(to));
        assert_eq!(
            parent, other,
            "a rename between folders has no place in the format"
        );
        state.change_name(parent, NameChange::Rename(old.to_owned(), new.to_owned()))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut state = self.state();
        state.tick()?;
        state.find(path)?;
        let (parent, name) = split(path);
        state.change_name(parent, NameChange::Unlink(name.to_owned()))
    }

    fn make_dir(&self, path: &str) -> io::Result<bool> {
        let mut state = self.state();
        state.alive()?;
        if state.find(path).is_ok() {
            return Ok(false);
        }
        state.tick()?;
        state.add(path, Node::Folder(Folder::default()))?;
        Ok(true)
    }

    fn list(&self, path: &str) -> io::Result<Vec<Entry>> {
        let mut state = self.state();
        state.alive()?;
        let names = match state.folder(path) {
            Ok(folder) => folder.live.clone(),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let entry = |(name, number)| match &state.nodes[&number] {
            Node::File(inode) => Entry {
                name,
                is_dir: false,
                bytes: inode.live.len() as u64,
            },
            Node::Folder(_) => Entry {
                name,
                is_dir: true,
                bytes: 0,
            },
        };
        Ok(names.into_iter().map(entry).collect())
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        let mut state = self.state();
        if !state.begin_sync()? {
            return Ok(());
        }
        let folder = state.folder(path)?;
        folder.stable = folder.live.clone();
        folder.pending.clear();
        state.end_sync();
        Ok(())
    }

    fn lock(&self, path: &str) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        let mut state = self.state();
        state.alive()?;
        if state
            .locks
            .get(path)
            .is_some_and(|held| held.strong_count() > 0)
        {
            return Ok(None);
        }
        let lock = Arc::new(());
        state.locks.insert(path.to_owned(), Arc::downgrade(&lock));
        Ok(Some(Box::new(lock)))
    }
}

impl Clock for SimDisk {
    fn now_ms(&self) -> u64 {
        let mut state = self.state();
        state.now += 1;
        state.now
    }
}
