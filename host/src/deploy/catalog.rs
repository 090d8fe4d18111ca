//! Catalog: `deployments/` in an app's data folder.
//!
//! `catalog.json` lists the versions and names the current one; `blobs/` holds
//! components by their SHA-256. A blob is durable before a version names it, and the
//! list is replaced as a whole, so a crash leaves the old list or the new one.
//! One process writes: the one that holds the data folder.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::host::App;
use crate::manifest::{Manifest, Mistake};

const FOLDER: &str = "deployments";
const LIST: &str = "catalog.json";
const BLOBS: &str = "blobs";
const FORMAT: u32 = 1;

/// One deployment. Immutable; only which one is current changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    pub number: u64,
    pub app: String,
    /// The text of `dormouse.toml`.
    pub manifest: String,
    /// SHA-256 of the component.
    pub component: String,
    /// Size of the component.
    pub bytes: u64,
    pub classes: Vec<String>,
    /// Since 1970.
    pub created_ms: i64,
    /// Who deployed it.
    pub by: String,
    pub note: String,
}

/// A version that has no number yet; its component need not be kept yet.
#[derive(Clone, Debug)]
pub struct NewVersion {
    pub app: String,
    pub manifest: String,
    pub component: String,
    pub by: String,
    pub note: String,
}

impl NewVersion {
    /// The same for the same component under the same manifest.
    #[must_use]
    pub fn identity(&self) -> String {
        digest(format!("{}\n{}\n{}", self.app, self.component, self.manifest).as_bytes())
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct List {
    format: u32,
    next: u64,
    current: Option<u64>,
    /// What the command line named when it last named something new.
    seed: Option<String>,
    versions: Vec<Version>,
}

/// What `prune` took away.
#[derive(Clone, Debug, Default)]
pub struct Pruned {
    pub versions: Vec<u64>,
    pub bytes: u64,
}

#[derive(Debug)]
pub struct Catalog {
    folder: PathBuf,
    list: Mutex<List>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{action} {} failed: {source}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{} is damaged: {why}; put back a copy, or move it away and deploy again", path.display())]
    Damaged { path: PathBuf, why: String },
    #[error(
        "nothing has been deployed to {} yet; name an app (`dormouse serve DIR`)",
        folder.display()
    )]
    Nothing { folder: PathBuf },
    #[error("there is no version {number}; `dormouse versions` lists those there are")]
    NoVersion { number: u64 },
    #[error("there is no version before {number} to go back to")]
    NoEarlier { number: u64 },
    #[error("the bytes sent have the digest {found}, not {named}; send them again")]
    WrongDigest { named: String, found: String },
    #[error("no component {digest} has been uploaded")]
    NoBlob { digest: String },
    #[error(
        "`{key}` names a file beside the component, and only the component is sent; serve the app \
         from its folder, `dormouse serve DIR` on the host's machine"
    )]
    NotWhole { key: &'static str },
    #[error("the manifest has mistakes:{}", lines(mistakes))]
    Manifest { mistakes: Vec<Mistake> },
}

fn lines(mistakes: &[Mistake]) -> String {
    let lines = mistakes.iter().map(|mistake| format!("\n  {mistake}"));
    lines.collect()
}

impl Catalog {
    /// Reads the catalog of a data folder; makes nothing.
    pub fn open(data: &Path) -> Result<Self, Error> {
        let folder = data.join(FOLDER);
        let path = folder.join(LIST);
        let list = match fs::read(&path) {
            Ok(text) => read_list(&path, &text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => List {
                format: FORMAT,
                next: 1,
                current: None,
                seed: None,
                versions: Vec::new(),
            },
            Err(source) => return Err(io_error("reading", &path)(source)),
        };
        Ok(Self {
            folder,
            list: Mutex::new(list),
        })
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Newest first.
    #[must_use]
    pub fn versions(&self) -> Vec<Version> {
        self.lock().versions.iter().rev().cloned().collect()
    }

    #[must_use]
    pub fn current(&self) -> Option<Version> {
        let list = self.lock();
        list.find(list.current?).cloned()
    }

    #[must_use]
    pub(super) fn seed(&self) -> Option<String> {
        self.lock().seed.clone()
    }

    pub fn version(&self, number: u64) -> Result<Version, Error> {
        let list = self.lock();
        list.find(number)
            .cloned()
            .ok_or(Error::NoVersion { number })
    }

    /// The version that was deployed before the current one.
    pub fn earlier(&self) -> Result<Version, Error> {
        let list = self.lock();
        let number = list.current.unwrap_or_default();
        let mut older = list.versions.iter().rev();
        let earlier = older.find(|version| version.number < number);
        earlier.cloned().ok_or(Error::NoEarlier { number })
    }

    /// What a version serves.
    pub fn app(&self, version: &Version) -> Result<App, Error> {
        let component = self.blob(&version.component)?;
        Ok(App {
            manifest: read_manifest(&version.manifest, &version.app)?,
            component,
            worker: None,
        })
    }

    /// The file of a component that was uploaded.
    pub fn blob(&self, digest: &str) -> Result<PathBuf, Error> {
        let path = self.blob_path(digest);
        match is_digest(digest) && path.is_file() {
            true => Ok(path),
            false => Err(Error::NoBlob {
                digest: digest.to_owned(),
            }),
        }
    }

    /// Keeps bytes under their digest, durably.
    pub fn put_blob(&self, named: &str, bytes: &[u8]) -> Result<(), Error> {
        let found = digest(bytes);
        if found != named {
            return Err(Error::WrongDigest {
                named: named.to_owned(),
                found,
            });
        }
        if self.blob(named).is_ok() {
            return Ok(());
        }
        replace(&self.blob_path(named), bytes)
    }

    /// Writes a version down and makes it the current one.
    pub fn add(
        &self,
        new: NewVersion,
        classes: Vec<String>,
        now_ms: i64,
    ) -> Result<Version, Error> {
        let bytes = self.blob(&new.component)?;
        let bytes = fs::metadata(&bytes)
            .map_err(io_error("reading", &bytes))?
            .len();
        self.change(|list| {
            let version = Version {
                number: list.next,
                app: new.app,
                manifest: new.manifest,
                component: new.component,
                bytes,
                classes,
                created_ms: now_ms,
                by: new.by,
                note: new.note,
            };
            list.next += 1;
            list.current = Some(version.number);
            list.versions.push(version.clone());
            version
        })
    }

    /// As `add`, for what the command line named.
    pub fn add_seed(
        &self,
        new: NewVersion,
        component: &[u8],
        classes: Vec<String>,
        now_ms: i64,
    ) -> Result<Version, Error> {
        let seed = new.identity();
        self.put_blob(&new.component, component)?;
        let version = self.add(new, classes, now_ms)?;
        self.change(|list| list.seed = Some(seed))?;
        Ok(version)
    }

    pub fn set_current(&self, number: u64) -> Result<(), Error> {
        self.version(number)?;
        self.change(|list| list.current = Some(number))
    }

    /// Forgets all versions but the newest `keep` and the current one.
    pub fn prune(&self, keep: usize) -> Result<Pruned, Error> {
        let mut pruned = Pruned::default();
        self.change(|list| {
            let newest = list.versions.iter().rev().take(keep);
            let mut kept: BTreeSet<u64> = newest.map(|version| version.number).collect();
            kept.extend(list.current);
            let gone = list
                .versions
                .iter()
                .filter(|one| !kept.contains(&one.number));
            pruned.versions = gone.map(|version| version.number).collect();
            list.versions.retain(|one| kept.contains(&one.number));
        })?;
        let blobs = self.folder.join(BLOBS);
        let used: BTreeSet<String> = self
            .versions()
            .into_iter()
            .map(|one| one.component)
            .collect();
        let entries = match fs::read_dir(&blobs) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(pruned),
            Err(source) => return Err(io_error("reading", &blobs)(source)),
        };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if used.contains(&name) {
                continue;
            }
            let path = entry.path();
            pruned.bytes += entry.metadata().map_or(0, |metadata| metadata.len());
            fs::remove_file(&path).map_err(io_error("deleting", &path))?;
        }
        Ok(pruned)
    }

    fn blob_path(&self, digest: &str) -> PathBuf {
        self.folder.join(BLOBS).join(digest)
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the list on the disk, then here.
    fn change<T>(&self, change: impl FnOnce(&mut List) -> T) -> Result<T, Error> {
        let mut list = self.lock();
        let mut changed = list.clone();
        let answer = change(&mut changed);
        let text = serde_json::to_vec_pretty(&changed).expect("a list is plain data");
        replace(&self.folder.join(LIST), &text)?;
        *list = changed;
        Ok(answer)
    }
}

impl List {
    fn find(&self, number: u64) -> Option<&Version> {
        self.versions
            .iter()
            .find(|version| version.number == number)
    }
}

/// Whether the component is all there is to an app.
pub(crate) fn check_whole(manifest: &Manifest) -> Result<(), Error> {
    let keys = [
        ("worker.component", manifest.worker.component.is_some()),
        ("assets.folder", manifest.assets.is_some()),
        ("outgoing.ca", manifest.outgoing.ca.is_some()),
    ];
    match keys.into_iter().find(|(_, given)| *given) {
        Some((key, _)) => Err(Error::NotWhole { key }),
        None => Ok(()),
    }
}

/// The manifest of a version, checked.
pub(crate) fn read_manifest(text: &str, app: &str) -> Result<Manifest, Error> {
    Manifest::parse(text, Some(app)).map_err(|mistakes| Error::Manifest { mistakes })
}

fn read_list(path: &Path, text: &[u8]) -> Result<List, Error> {
    let damaged = |why: String| Error::Damaged {
        path: path.to_owned(),
        why,
    };
    let list: List = serde_json::from_slice(text).map_err(|error| damaged(error.to_string()))?;
    if list.format != FORMAT {
        return Err(damaged(format!(
            "its format is {}, this host knows {FORMAT}",
            list.format
        )));
    }
    Ok(list)
}

/// SHA-256 in hexadecimal digits.
pub(crate) fn digest(bytes: &[u8]) -> String {
    let sum = Sha256::digest(bytes);
    sum.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|digit| digit.is_ascii_hexdigit())
}

/// Writes a file as a whole, durably.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let folder = path.parent().expect("the file is in a folder");
    let partial = path.with_extension("partial");
    let write = || {
        fs::create_dir_all(folder)?;
        let mut file = fs::File::create(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&partial, path)?;
        fs::File::open(folder)?.sync_all()
    };
    write().map_err(io_error("writing", path))
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::Io {
        action,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(component: &[u8]) -> NewVersion {
        NewVersion {
            app: "a".to_owned(),
            manifest: String::new(),
            component: digest(component),
            by: "test".to_owned(),
            note: String::new(),
        }
    }

    fn filled(data: &Path) -> Catalog {
        let catalog = Catalog::open(data).unwrap();
        for component in [&b"one"[..], b"two", b"three"] {
            catalog.put_blob(&digest(component), component).unwrap();
            catalog.add(new(component), Vec::new(), 0).unwrap();
        }
        catalog
    }

    #[test]
    fn versions_are_there_after_a_restart() {
        let data = tempfile::tempdir().unwrap();
        filled(data.path()).set_current(2).unwrap();
        let catalog = Catalog::open(data.path()).unwrap();
        let numbers: Vec<u64> = catalog.versions().iter().map(|one| one.number).collect();
        assert_eq!(numbers, [3, 2, 1]);
        assert_eq!(catalog.current().unwrap().number, 2);
        assert_eq!(catalog.earlier().unwrap().number, 1);
        let app = catalog.app(&catalog.version(2).unwrap()).unwrap();
        assert_eq!(fs::read(app.component).unwrap(), b"two");
    }

    #[test]
    fn pruning_keeps_the_newest_and_the_current() {
        let data = tempfile::tempdir().unwrap();
        let catalog = filled(data.path());
        catalog.set_current(1).unwrap();
        let pruned = catalog.prune(1).unwrap();
        assert_eq!((pruned.versions, pruned.bytes), (vec![2], 3));
        assert!(catalog.blob(&digest(b"two")).is_err());
        assert!(catalog.blob(&digest(b"one")).is_ok());
        // Numbers are not used again.
        catalog.put_blob(&digest(b"four"), b"four").unwrap();
        assert_eq!(catalog.add(new(b"four"), Vec::new(), 0).unwrap().number, 4);
    }

    #[test]
    fn bytes_that_are_not_what_they_are_called_are_refused() {
        let data = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(data.path()).unwrap();
        let wrong = catalog.put_blob(&digest(b"other"), b"bytes");
        assert!(matches!(wrong, Err(Error::WrongDigest { .. })), "{wrong:?}");
        assert!(catalog.blob("../catalog.json").is_err());
        let unknown = catalog.add(new(b"never sent"), Vec::new(), 0);
        assert!(matches!(unknown, Err(Error::NoBlob { .. })), "{unknown:?}");
    }

    #[test]
    fn what_the_command_line_names_counts_when_it_is_new() {
        let data = tempfile::tempdir().unwrap();
        let catalog = filled(data.path());
        let app = || App {
            manifest: Manifest::named("a"),
            component: "named".into(),
            worker: None,
        };
        let choose = |named: &[u8]| super::super::choose(&catalog, Some((app(), new(named))));
        let first = choose(b"built").unwrap();
        assert!(first.new.is_some() && first.app.component == Path::new("named"));
        catalog
            .add_seed(new(b"built"), b"built", Vec::new(), 0)
            .unwrap();
        // Deployed since then: a restart with the same words keeps it.
        catalog.set_current(2).unwrap();
        let again = choose(b"built").unwrap();
        assert!(again.new.is_none() && again.app.component.ends_with(digest(b"two")));
        assert!(choose(b"rebuilt").unwrap().new.is_some());
    }
}
