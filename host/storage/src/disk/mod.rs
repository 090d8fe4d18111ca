//! The door to the outside: files and the clock come in here and nowhere else.
//!
//! The host passes [`Env::real`]; the crash suite passes a simulated disk, and so drives
//! the shipping code. Paths are relative to the data folder, with `/` between parts.
//! A write is durable only after `sync` of its file, a name only after `sync_dir` of its
//! folder; nothing else may be assumed by the callers.

mod real;
#[cfg(feature = "simulation")]
pub mod simulated;

use std::any::Any;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::fault::Faults;

/// A file that is open for reading and writing.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Reads until `buffer` is full or the file ends; answers how much was read.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `bytes`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    fn set_len(&self, bytes: u64) -> io::Result<()>;
    fn len(&self) -> io::Result<u64>;
    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|bytes| bytes == 0)
    }
    /// Makes content and length durable. After an error nothing is known about either.
    fn sync(&self) -> io::Result<()>;
}

/// An entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    pub name: String,
    pub is_dir: bool,
    /// Length of a file; 0 for a folder.
    pub bytes: u64,
}

/// A data folder.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Opens a file; `create` makes it when it is missing.
    fn open(&self, path: &str, create: bool) -> io::Result<Arc<dyn DiskFile>>;
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    fn remove(&self, path: &str) -> io::Result<()>;
    /// Makes one folder; whether it was missing.
    fn make_dir(&self, path: &str) -> io::Result<bool>;
    /// Entries by name; an empty list for a missing folder.
    fn list(&self, path: &str) -> io::Result<Vec<Entry>>;
    /// Makes the names in a folder durable.
    fn sync_dir(&self, path: &str) -> io::Result<()>;
    /// Makes many files durable, perhaps faster than one by one.
    fn sync_files(&self, files: &[Arc<dyn DiskFile>]) -> io::Result<()> {
        files.iter().try_for_each(|file| file.sync())
    }
    /// Takes a lock that ends with the returned value; `None` when another process has it.
    fn lock(&self, path: &str) -> io::Result<Option<Box<dyn Any + Send + Sync>>>;
}

/// Milliseconds since the Unix epoch.
pub trait Clock: Send + Sync + fmt::Debug {
    fn now_ms(&self) -> u64;
}

/// Everything storage takes from outside.
#[derive(Debug, Clone)]
pub struct Env {
    pub disk: Arc<dyn Disk>,
    pub clock: Arc<dyn Clock>,
    /// Whether threads of the crate commit and check point. Without them the owner calls
    /// `Storage::commit` and `Storage::checkpoint`, and every step happens where it says so.
    pub threads: bool,
    /// Orderings that are deliberately wrong; nothing in a normal build.
    pub faults: Faults,
}

impl Env {
    /// The file system under `dir` and the clock of this machine.
    pub fn real(dir: &Path) -> io::Result<Env> {
        let disk = Arc::new(real::RealDisk::new(dir)?);
        Ok(Env {
            disk,
            clock: Arc::new(SystemClock),
            threads: true,
            faults: Faults::default(),
        })
    }
}

#[derive(Debug)]
struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
    }
}
