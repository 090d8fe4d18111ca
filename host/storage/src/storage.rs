//! Storage: a data folder and the databases in it.
//!
//! Made once per host; clones share it. Invariant: one open connection per object, which
//! the host's registry keeps by having at most one awake instance per id.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::database::Database;
use crate::error::Error;
use crate::key::{ObjectKey, unhex};
use crate::options::{Limits, Options};
use crate::sqlite::{Connection, start};

pub(crate) const PAGE_BYTES: u64 = 4096;

/// Handle to a data folder.
#[derive(Debug, Clone)]
pub struct Storage {
    shared: Arc<Shared>,
}

/// One object that has a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub id: [u8; 32],
    pub name: Option<String>,
    pub bytes: u64,
}

#[derive(Debug)]
pub(crate) struct Shared {
    options: Options,
}

impl Storage {
    pub fn open(options: Options) -> Result<Storage, Error> {
        start();
        std::fs::create_dir_all(&options.dir)
            .map_err(|source| Error::io("creating", &options.dir, source))?;
        Ok(Storage {
            shared: Arc::new(Shared { options }),
        })
    }

    /// Names a database; opens nothing yet.
    pub fn database(&self, key: ObjectKey) -> Database {
        Database::new(key, Arc::clone(&self.shared))
    }

    /// All objects of a namespace that have written something, by id.
    pub fn list(&self, namespace: &str) -> Result<Vec<Listed>, Error> {
        let mut listed = Vec::new();
        for slot in entries(&self.shared.options.dir.join("slots"))? {
            for file in entries(&slot.join(namespace))? {
                listed.extend(self.shared.describe(&file)?);
            }
        }
        listed.sort_by_key(|object| object.id);
        Ok(listed)
    }

    /// Writes out what is still in memory; for an orderly end.
    pub fn close(&self) -> Result<(), Error> {
        Ok(())
    }
}

impl Shared {
    pub(crate) fn limits(&self) -> &Limits {
        &self.options.limits
    }

    pub(crate) fn connect(&self, key: &ObjectKey) -> Result<Connection, Error> {
        let namespace = check_namespace(&key.namespace)?;
        let dir = self
            .options
            .dir
            .join("slots")
            .join(format!("{:03x}", key.slot()))
            .join(namespace);
        std::fs::create_dir_all(&dir).map_err(|source| Error::io("creating", &dir, source))?;
        let connection = Connection::open(&dir.join(format!("{}.db", key.id_hex())), None)?;
        let pages = self.options.limits.database_bytes / PAGE_BYTES;
        connection.run_trusted(&format!(
            "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; \
             PRAGMA cache_size=-256; PRAGMA max_page_count={pages}"
        ))?;
        if let Some(name) = &key.name {
            let name = name.replace('\'', "''").replace('\0', "");
            connection.run_trusted(&format!(
                "CREATE TABLE IF NOT EXISTS _dormouse_meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID; \
                 INSERT OR IGNORE INTO _dormouse_meta VALUES ('name', '{name}')"
            ))?;
        }
        Ok(connection)
    }

    fn describe(&self, file: &Path) -> Result<Option<Listed>, Error> {
        let stem = file
            .file_stem()
            .and_then(|stem| stem.to_str())
            .and_then(unhex);
        let Some(id) = stem.filter(|_| file.extension().is_some_and(|ext| ext == "db")) else {
            return Ok(None);
        };
        let bytes = file
            .metadata()
            .map_err(|source| Error::io("reading", file, source))?
            .len();
        Ok(Some(Listed {
            id,
            name: name_in(file),
            bytes,
        }))
    }
}

/// The object's name from its file, `None` also when the file is in use.
fn name_in(file: &Path) -> Option<String> {
    let connection =
        rusqlite::Connection::open_with_flags(file, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)
            .ok()?;
    connection
        .query_row(
            "SELECT value FROM _dormouse_meta WHERE key = 'name'",
            [],
            |row| row.get(0),
        )
        .ok()
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |source| Error::io("listing", dir, source);
    match std::fs::read_dir(dir) {
        Ok(entries) => entries
            .map(|entry| entry.map(|entry| entry.path()).map_err(failed))
            .collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed(error)),
    }
}

/// Namespaces are folder names on every file system.
fn check_namespace(namespace: &str) -> Result<&str, Error> {
    let fits = (1..=200).contains(&namespace.len())
        && !namespace.starts_with('.')
        && namespace
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if fits {
        Ok(namespace)
    } else {
        Err(Error::Namespace {
            namespace: namespace.into(),
        })
    }
}
