//! Another disk, asked for leave before it does something: for tests that make a real disk
//! fail, fill or wait.

use std::any::Any;
use std::fmt;
use std::io;
use std::sync::Arc;

use crate::disk::{Disk, DiskFile, Entry, Env};

/// What is asked before an operation, which an error prevents. A hook may also wait.
pub trait Hooks: Send + Sync + fmt::Debug {
    fn before_read(&self, _path: &str) -> io::Result<()> {
        Ok(())
    }

    /// Before a write that makes a file `bytes` longer.
    fn before_growth(&self, _bytes: u64) -> io::Result<()> {
        Ok(())
    }

    /// Before a file or the names in a folder are synced.
    fn before_sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// The same world, its disk behind `hooks`.
pub fn hooked(env: Env, hooks: Arc<dyn Hooks>) -> Env {
    let disk = Arc::clone(&env.disk);
    Env {
        disk: Arc::new(HookedDisk { disk, hooks }),
        ..env
    }
}

#[derive(Debug)]
struct HookedDisk {
    disk: Arc<dyn Disk>,
    hooks: Arc<dyn Hooks>,
}

#[derive(Debug)]
struct HookedFile {
    path: String,
    file: Arc<dyn DiskFile>,
    hooks: Arc<dyn Hooks>,
}

impl Disk for HookedDisk {
    fn open(&self, path: &str, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(HookedFile {
            path: path.to_owned(),
            file: self.disk.open(path, create)?,
            hooks: Arc::clone(&self.hooks),
        }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn make_dir(&self, path: &str) -> io::Result<bool> {
        self.disk.make_dir(path)
    }

    fn list(&self, path: &str) -> io::Result<Vec<Entry>> {
        self.disk.list(path)
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        self.hooks.before_sync()?;
        self.disk.sync_dir(path)
    }

    fn lock(&self, path: &str) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        self.disk.lock(path)
    }
}

impl DiskFile for HookedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.hooks.before_read(&self.path)?;
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let end = offset + bytes.len() as u64;
        let grows = end.saturating_sub(self.file.len()?);
        if grows > 0 {
            self.hooks.before_growth(grows)?;
        }
        self.file.write_at(bytes, offset)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn sync(&self) -> io::Result<()> {
        self.hooks.before_sync()?;
        self.file.sync()
    }
}
