//! A disk that says nothing is durable until the test lets it.

use std::any::Any;
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use dormouse_storage::{Disk, DiskFile, Entry, Env};

/// Holds syncs back; dropped, it lets them go.
#[derive(Debug, Default)]
pub(crate) struct Latch(Arc<State>);

#[derive(Debug, Default)]
struct State {
    held: Mutex<bool>,
    changed: Condvar,
}

impl Latch {
    pub(crate) fn hold(&self) {
        self.set(true);
    }

    pub(crate) fn release(&self) {
        self.set(false);
    }

    fn set(&self, held: bool) {
        *self.0.held.lock().unwrap_or_else(PoisonError::into_inner) = held;
        self.0.changed.notify_all();
    }
}

impl Drop for Latch {
    fn drop(&mut self) {
        self.release();
    }
}

impl State {
    fn pass(&self) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = self.changed.wait_while(held, |held| *held);
        drop(passed.unwrap_or_else(PoisonError::into_inner));
    }
}

/// The file system under `folder`, its syncs behind `latch`.
pub(crate) fn held_disk(folder: &Path, latch: &Latch) -> io::Result<Env> {
    let real = Env::real(folder)?;
    let disk = HeldDisk {
        disk: Arc::clone(&real.disk),
        latch: Arc::clone(&latch.0),
    };
    Ok(Env {
        disk: Arc::new(disk),
        ..real
    })
}

#[derive(Debug)]
struct HeldDisk {
    disk: Arc<dyn Disk>,
    latch: Arc<State>,
}

#[derive(Debug)]
struct HeldFile {
    file: Arc<dyn DiskFile>,
    latch: Arc<State>,
}

impl Disk for HeldDisk {
    fn open(&self, path: &str, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.open(path, create)?;
        let latch = Arc::clone(&self.latch);
        Ok(Arc::new(HeldFile { file, latch }))
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
        self.latch.pass();
        self.disk.sync_dir(path)
    }

    fn lock(&self, path: &str) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        self.disk.lock(path)
    }
}

impl DiskFile for HeldFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn sync(&self) -> io::Result<()> {
        self.latch.pass();
        self.file.sync()
    }
}
