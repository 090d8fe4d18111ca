//! Subfolder: a folder on a disk as a disk of its own, for the data of one more app.

use std::any::Any;
use std::io;
use std::sync::Arc;

use dormouse_storage::{Disk, DiskFile, Entry, Env};

#[derive(Debug)]
struct Subfolder {
    disk: Arc<dyn Disk>,
    /// Relative to the disk.
    folder: String,
}

/// The same world with another folder, which is made if it is missing.
pub(super) fn subfolder(env: &Env, folder: &str) -> io::Result<Env> {
    let mut parent = String::new();
    for part in folder.split('/') {
        let path = match parent.is_empty() {
            true => part.to_owned(),
            false => format!("{parent}/{part}"),
        };
        env.disk.make_dir(&path)?;
        env.disk.sync_dir(&parent)?;
        parent = path;
    }
    let disk = Arc::new(Subfolder {
        disk: env.disk.clone(),
        folder: folder.to_owned(),
    });
    Ok(Env {
        disk,
        ..env.clone()
    })
}

impl Subfolder {
    fn path(&self, path: &str) -> String {
        match path {
            "" => self.folder.clone(),
            path => format!("{}/{path}", self.folder),
        }
    }
}

impl Disk for Subfolder {
    fn open(&self, path: &str, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open(&self.path(path), create)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(&self.path(from), &self.path(to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.disk.remove(&self.path(path))
    }

    fn make_dir(&self, path: &str) -> io::Result<bool> {
        self.disk.make_dir(&self.path(path))
    }

    fn list(&self, path: &str) -> io::Result<Vec<Entry>> {
        self.disk.list(&self.path(path))
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        self.disk.sync_dir(&self.path(path))
    }

    fn sync_files(&self, files: &[Arc<dyn DiskFile>]) -> io::Result<()> {
        self.disk.sync_files(files)
    }

    fn lock(&self, path: &str) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        self.disk.lock(&self.path(path))
    }
}
