//! Backup of the whole host while it runs: storage's copy of the objects, then
//! everything else in the data folder, as a tar archive. Unpacked, it is a data folder.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use dormouse_storage::Error as StorageError;
use tar::{Builder, EntryType, Header};

use super::list::FOLDER;
use super::{Apps, Handle};
use crate::deploy::Classes;

/// What is not copied: storage's own, which it hands out itself, and what is of this
/// machine or of this process. Names in the data folder.
const LEFT_OUT: [&str; 11] = [
    "LOCK",
    "MANIFEST",
    "MANIFEST.tmp",
    "NAMES",
    "NAMES.tmp",
    "log",
    "slots",
    "history",
    "cache",
    "exchange",
    "apps",
];
/// Second names of files that are copied.
const ASSETS: &str = "deployments/assets";
/// The address and the token of this process.
const LOCAL: &str = "admin/local.json";
/// Only the owner may read a copy: it holds everything.
const MODE: u32 = 0o600;

/// A backup that was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackedUp {
    /// The position of the main app's log up to which commits are in it.
    pub position: u64,
    pub files: u64,
    pub bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The table of classes would be another one than that of the objects.
    #[error("a migration of classes was applied meanwhile; back up again")]
    Migrated,
    #[error("copying {} failed: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl Apps {
    /// Writes a tar archive of the data folder with all apps. Objects go on meanwhile;
    /// every write that was acknowledged before is in it, and no half of a turn; each app
    /// is as it was at a moment of its own. Of entries with the same name the last counts.
    /// Blocks its thread; `spool` is a file for what is set aside.
    pub fn back_up(&self, spool: &Path, to: impl Write) -> Result<BackedUp, BackupError> {
        let mut archive = Builder::new(to);
        let mut all = BackedUp::default();
        // Before the apps: one that is deleted meanwhile is only not whole.
        let list = self.list_file();
        let (main, others): (Vec<_>, Vec<_>) = self.list().into_iter().partition(|app| app.is_main);
        for app in others {
            let folder = format!("{FOLDER}/{}/", app.name);
            if let Some(handle) = app.handle {
                all.add(handle.back_up(&folder, spool, &mut archive)?);
            }
        }
        for handle in main.into_iter().filter_map(|app| app.handle) {
            if let Some((path, text)) = &list {
                let mtime = handle.registry.clock().unix().as_secs();
                let bytes = text.len() as u64;
                append(&mut archive, path, bytes, mtime, &mut &text[..])
                    .map_err(|source| failed(path, source))?;
                all.add(BackedUp {
                    files: 1,
                    bytes,
                    position: 0,
                });
            }
            // Its end says that the archive is whole.
            let written = handle.back_up("", spool, &mut archive)?;
            all.add(written);
            all.position = written.position;
        }
        archive
            .finish()
            .map_err(|source| failed("the end", source))?;
        Ok(all)
    }
}

impl BackedUp {
    const fn add(&mut self, more: Self) {
        self.files += more.files;
        self.bytes += more.bytes;
    }
}

impl Handle {
    /// Writes what belongs to the app, under a folder's name that ends with `/` or is empty.
    fn back_up(
        &self,
        folder: &str,
        spool: &Path,
        archive: &mut Builder<impl Write>,
    ) -> Result<BackedUp, BackupError> {
        let classes = self.catalog.classes();
        let mtime = self.registry.clock().unix().as_secs();
        let copied = self.storage.backup(spool, &mut |path, bytes, content| {
            append(archive, &format!("{folder}{path}"), bytes, mtime, content)
        })?;
        let mut written = BackedUp {
            position: copied.position,
            files: copied.files + 1,
            bytes: copied.bytes + copied.manifest.len() as u64,
        };
        // Behind the objects: code that is newer than their data can bring them up to date.
        for (path, file, bytes) in self.others(&classes)? {
            written.files += 1;
            written.bytes += bytes;
            let whole = format!("{folder}{path}");
            let appended = append(archive, &whole, bytes, mtime, &mut &file);
            appended.map_err(|source| failed(&path, source))?;
        }
        let manifest = &mut &copied.manifest[..];
        let bytes = manifest.len() as u64;
        append(
            archive,
            &format!("{folder}MANIFEST"),
            bytes,
            mtime,
            manifest,
        )
        .map_err(|source| failed("MANIFEST", source))?;
        Ok(written)
    }

    /// Every other file, opened while no deployment changes them. They are replaced as a
    /// whole, so what is open stays as it is.
    fn others(&self, classes: &Classes) -> Result<Vec<(String, File, u64)>, BackupError> {
        let _quiet = self.deploying.blocking_lock();
        if self.catalog.classes() != *classes {
            return Err(BackupError::Migrated);
        }
        let mut found = Vec::new();
        let mut folders = vec![String::new()];
        while let Some(folder) = folders.pop() {
            let at = self.data.join(&folder);
            let entries = fs::read_dir(&at).map_err(|source| failed(&folder, source))?;
            for entry in entries {
                let entry = entry.map_err(|source| failed(&folder, source))?;
                // All names are the host's own.
                let name = entry.file_name().to_string_lossy().into_owned();
                let path = match folder.is_empty() {
                    true if LEFT_OUT.contains(&&*name) => continue,
                    true => name,
                    false => format!("{folder}/{name}"),
                };
                let kind = entry.file_type().map_err(|source| failed(&path, source))?;
                if kind.is_dir() {
                    // Made of blobs, and made again when it is missing.
                    if path != ASSETS {
                        folders.push(path);
                    }
                } else if kind.is_file() && path != LOCAL && !path.ends_with(".partial") {
                    let opened = File::open(entry.path());
                    let file = opened.map_err(|source| failed(&path, source))?;
                    let length = file.metadata().map_err(|source| failed(&path, source))?;
                    found.push((path, file, length.len()));
                }
            }
        }
        Ok(found)
    }
}

fn append(
    archive: &mut Builder<impl Write>,
    path: &str,
    bytes: u64,
    mtime: u64,
    content: &mut dyn Read,
) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_size(bytes);
    header.set_mode(MODE);
    header.set_mtime(mtime);
    archive.append_data(&mut header, path, content)
}

fn failed(path: &str, source: io::Error) -> BackupError {
    BackupError::Io {
        path: path.into(),
        source,
    }
}
