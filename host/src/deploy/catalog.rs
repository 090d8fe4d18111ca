//! Catalog: `deployments/` in an app's data folder.
//!
//! `catalog.json` lists the versions, names the current one and the one that is being
//! rolled out, and knows where classes keep their objects; `blobs/` holds files by their
//! SHA-256. A blob is durable before a version names it, and the list is replaced as a
//! whole, so a crash leaves the old list or the new one. One process writes: the one that
//! holds the data folder.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::blobs::{AssetList, Blobs, digest, io_error, replace};
use super::classes::Classes;
use super::parcel::Parcel;
use crate::host::App;
use crate::manifest::{Manifest, Mistake};

const FOLDER: &str = "deployments";
const LIST: &str = "catalog.json";
/// The ids of objects that are being deleted, by root.
const DELETING: &str = "deleting";
/// 1 had versions of one component alone.
const FORMAT: u32 = 2;

/// Digests of what a version consists of beside its manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parts {
    pub component: String,
    /// `worker.component`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// The list of the files in `assets.folder`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assets: Option<String>,
    /// `outgoing.ca`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
}

impl Parts {
    /// All of them, but for the files that the list of assets names.
    pub fn digests(&self) -> impl Iterator<Item = &String> {
        let others = [&self.worker, &self.assets, &self.ca];
        [&self.component]
            .into_iter()
            .chain(others.into_iter().flatten())
    }
}

/// One deployment. Immutable; only which one is current changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    pub number: u64,
    pub app: String,
    /// The text of `dormouse.toml`.
    pub manifest: String,
    #[serde(flatten)]
    pub parts: Parts,
    /// Size of the component.
    pub bytes: u64,
    /// Size of the files in `[assets]`, and their number.
    #[serde(default)]
    pub asset_bytes: u64,
    #[serde(default)]
    pub asset_files: u64,
    pub classes: Vec<String>,
    /// Since 1970.
    pub created_ms: i64,
    /// Who deployed it.
    pub by: String,
    pub note: String,
    /// Why its rollout was taken back, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returned: Option<Returned>,
}

/// The end of a rollout before its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Returned {
    pub at_ms: i64,
    pub percent: u8,
    pub reason: String,
}

/// A version that some objects and requests have, beside the current one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    pub version: u64,
    /// 1 to 99.
    pub percent: u8,
    pub since_ms: i64,
}

/// A version that has no number yet; its parts need not be kept yet.
#[derive(Clone, Debug)]
pub struct NewVersion {
    pub app: String,
    pub manifest: String,
    pub parts: Parts,
    pub by: String,
    pub note: String,
}

impl NewVersion {
    /// The same for the same parts under the same manifest.
    #[must_use]
    pub fn identity(&self) -> String {
        let Parts {
            component,
            worker,
            assets,
            ca,
        } = &self.parts;
        let mut text = format!("{}\n{component}\n{}", self.app, self.manifest);
        for (key, part) in [("worker", worker), ("assets", assets), ("ca", ca)] {
            if let Some(part) = part {
                text = format!("{text}\n{key} {part}");
            }
        }
        digest(text.as_bytes())
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct List {
    format: u32,
    next: u64,
    current: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rollout: Option<Rollout>,
    #[serde(default)]
    classes: Classes,
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
    blobs: Blobs,
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
    #[error("no version is being rolled out; begin with `dormouse deploy --percent 10`")]
    NoRollout,
    #[error("the bytes sent have the digest {found}, not {named}; send them again")]
    WrongDigest { named: String, found: String },
    #[error("no file {digest} has been uploaded")]
    NoBlob { digest: String },
    #[error("the files of `assets.folder` cannot be kept: {why}")]
    BadAssets { why: String },
    #[error("the manifest names `{key}`, and it was not sent; deploy with a newer `dormouse`")]
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
                rollout: None,
                classes: Classes::default(),
                seed: None,
                versions: Vec::new(),
            },
            Err(source) => return Err(io_error("reading", &path)(source)),
        };
        Ok(Self {
            blobs: Blobs::in_folder(&folder),
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
        let earlier = older.find(|version| version.number < number && version.returned.is_none());
        earlier.cloned().ok_or(Error::NoEarlier { number })
    }

    /// The version that is being rolled out beside the current one.
    #[must_use]
    pub fn rollout(&self) -> Option<Rollout> {
        self.lock().rollout
    }

    /// Where classes keep their objects.
    #[must_use]
    pub fn classes(&self) -> Classes {
        self.lock().classes.clone()
    }

    /// What a version serves; makes the folder of its assets if need be.
    pub fn app(&self, version: &Version) -> Result<App, Error> {
        self.assemble(&version.app, &version.manifest, &version.parts)
    }

    /// What a version would serve. Everything that the manifest names must be there.
    pub fn assemble(&self, app: &str, manifest: &str, parts: &Parts) -> Result<App, Error> {
        let mut manifest = read_manifest(manifest, app)?;
        let part = |key, named: bool, part: &Option<String>| match (named, part) {
            (true, None) => Err(Error::NotWhole { key }),
            (true, Some(digest)) => self.blob(digest).map(Some),
            (false, _) => Ok(None),
        };
        let worker = part(
            "worker.component",
            manifest.worker.component.is_some(),
            &parts.worker,
        )?;
        manifest.outgoing.ca = part("outgoing.ca", manifest.outgoing.ca.is_some(), &parts.ca)?;
        if manifest.assets.is_some() {
            let key = "assets.folder";
            let list = parts.assets.as_deref().ok_or(Error::NotWhole { key })?;
            manifest.assets = Some(self.blobs.asset_folder(list)?);
        }
        Ok(App {
            manifest,
            component: self.blob(&parts.component)?,
            worker,
        })
    }

    /// The file of something that was uploaded.
    pub fn blob(&self, digest: &str) -> Result<PathBuf, Error> {
        self.blobs.find(digest)
    }

    /// Its size.
    pub fn blob_bytes(&self, digest: &str) -> Result<u64, Error> {
        self.blobs.size(digest)
    }

    /// Keeps bytes under their digest, durably.
    pub fn put_blob(&self, named: &str, bytes: &[u8]) -> Result<(), Error> {
        self.blobs.put(named, bytes)
    }

    /// The files of a version's `[assets]`.
    pub fn assets(&self, version: &Version) -> Result<AssetList, Error> {
        let list = version.parts.assets.as_deref();
        let list = list.map(|digest| self.blobs.asset_list(digest));
        Ok(list.transpose()?.unwrap_or_default())
    }

    /// Writes a version down and makes it the current one, with the classes as they are
    /// from then on; one write, so a crash leaves both or neither.
    pub fn add(
        &self,
        new: NewVersion,
        served: Vec<String>,
        classes: Classes,
        now_ms: i64,
    ) -> Result<Version, Error> {
        let version = self.describe(new, served, now_ms)?;
        self.change(|list| {
            list.take_back("another version was deployed", now_ms);
            let version = list.push(version);
            list.current = Some(version.number);
            list.classes = classes;
            version
        })
    }

    /// Writes a version down that is to be rolled out beside the current one.
    pub fn add_rollout(
        &self,
        new: NewVersion,
        served: Vec<String>,
        percent: u8,
        now_ms: i64,
    ) -> Result<Version, Error> {
        let version = self.describe(new, served, now_ms)?;
        self.change(|list| {
            list.take_back("another version was deployed", now_ms);
            let version = list.push(version);
            list.rollout = Some(Rollout {
                version: version.number,
                percent,
                since_ms: now_ms,
            });
            version
        })
    }

    /// As `add`, for what the command line named.
    pub fn add_seed(
        &self,
        new: NewVersion,
        parcel: &Parcel,
        served: Vec<String>,
        now_ms: i64,
    ) -> Result<Version, Error> {
        let seed = new.identity();
        for file in &parcel.files {
            if self.blob(&file.digest).is_err() {
                self.put_blob(&file.digest, &file.read()?)?;
            }
        }
        let version = self.describe(new, served, now_ms)?;
        self.change(|list| {
            list.take_back("another version was deployed", now_ms);
            let version = list.push(version);
            list.current = Some(version.number);
            list.seed = Some(seed);
            version
        })
    }

    fn describe(
        &self,
        new: NewVersion,
        classes: Vec<String>,
        now_ms: i64,
    ) -> Result<Version, Error> {
        for digest in new.parts.digests() {
            self.blob(digest)?;
        }
        let list = new.parts.assets.as_deref();
        let list = list
            .map(|digest| self.blobs.asset_list(digest))
            .transpose()?;
        let assets = list.unwrap_or_default().files;
        for asset in assets.values() {
            self.blob(&asset.sha256)?;
        }
        Ok(Version {
            number: 0,
            app: new.app,
            manifest: new.manifest,
            bytes: self.blobs.size(&new.parts.component)?,
            asset_bytes: assets.values().map(|asset| asset.bytes).sum(),
            asset_files: assets.len() as u64,
            parts: new.parts,
            classes,
            created_ms: now_ms,
            by: new.by,
            note: new.note,
            returned: None,
        })
    }

    /// Makes a version the current one for all.
    pub fn set_current(&self, number: u64, classes: Classes) -> Result<(), Error> {
        self.version(number)?;
        self.change(|list| {
            list.current = Some(number);
            list.rollout = None;
            list.classes = classes;
        })
    }

    /// Gives the version that is being rolled out to so many of a hundred.
    pub fn set_percent(&self, percent: u8) -> Result<Rollout, Error> {
        let mut rollout = self.rollout().ok_or(Error::NoRollout)?;
        rollout.percent = percent;
        self.change(|list| list.rollout = Some(rollout))?;
        Ok(rollout)
    }

    /// Ends a rollout; the current version is everybody's.
    pub fn take_back(&self, reason: &str, now_ms: i64) -> Result<Rollout, Error> {
        let rollout = self.rollout().ok_or(Error::NoRollout)?;
        self.change(|list| list.take_back(reason, now_ms))?;
        Ok(rollout)
    }

    /// The classes as they are from now on, for code that is no version.
    pub fn set_classes(&self, classes: Classes) -> Result<(), Error> {
        if self.lock().classes == classes {
            return Ok(());
        }
        self.change(|list| list.classes = classes)
    }

    /// The ids of a root's objects, which are about to be deleted. They are written down
    /// first: what a crash leaves half deleted is found in no list any more.
    pub fn begin_deletion(
        &self,
        root: &str,
        ids: BTreeSet<[u8; 32]>,
    ) -> Result<BTreeSet<[u8; 32]>, Error> {
        let path = self.folder.join(DELETING).join(root);
        let mut all = ids;
        match fs::read(&path) {
            Ok(bytes) => all.extend(bytes.chunks_exact(32).map(|id| {
                <[u8; 32]>::try_from(id).expect("chunks have the size that was asked for")
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (),
            Err(source) => return Err(io_error("reading", &path)(source)),
        }
        let bytes: Vec<u8> = all.iter().flatten().copied().collect();
        replace(&path, &bytes)?;
        Ok(all)
    }

    /// No byte of a root's objects is left.
    pub fn end_deletion(&self, root: &str) -> Result<(), Error> {
        self.change(|list| list.classes.deleted(root))?;
        let path = self.folder.join(DELETING).join(root);
        fs::remove_file(&path).map_err(io_error("deleting", &path))
    }

    /// Forgets all versions but the newest `keep`, the current one and the one that is
    /// being rolled out.
    pub fn prune(&self, keep: usize) -> Result<Pruned, Error> {
        let mut pruned = Pruned::default();
        self.change(|list| {
            let newest = list.versions.iter().rev().take(keep);
            let mut kept: BTreeSet<u64> = newest.map(|version| version.number).collect();
            kept.extend(list.current);
            kept.extend(list.rollout.map(|rollout| rollout.version));
            let gone = list
                .versions
                .iter()
                .filter(|one| !kept.contains(&one.number));
            pruned.versions = gone.map(|version| version.number).collect();
            list.versions.retain(|one| kept.contains(&one.number));
        })?;
        let (mut blobs, mut lists) = (BTreeSet::new(), BTreeSet::new());
        for version in self.versions() {
            blobs.extend(version.parts.digests().cloned());
            let assets = self.assets(&version)?.files.into_values();
            blobs.extend(assets.map(|asset| asset.sha256));
            lists.extend(version.parts.assets);
        }
        pruned.bytes = self.blobs.keep_only(&blobs, &lists)?;
        Ok(pruned)
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the list on the disk, then here.
    fn change<T>(&self, change: impl FnOnce(&mut List) -> T) -> Result<T, Error> {
        let mut list = self.lock();
        let mut changed = list.clone();
        changed.format = FORMAT;
        let answer = change(&mut changed);
        let text = serde_json::to_vec_pretty(&changed).expect("a list is plain data");
        replace(&self.folder.join(LIST), &text)?;
        *list = changed;
        Ok(answer)
    }
}

impl List {
    fn take_back(&mut self, reason: &str, now_ms: i64) {
        let Some(rollout) = self.rollout.take() else {
            return;
        };
        let mut versions = self.versions.iter_mut();
        let version = versions.find(|one| one.number == rollout.version);
        if let Some(version) = version {
            version.returned = Some(Returned {
                at_ms: now_ms,
                percent: rollout.percent,
                reason: reason.to_owned(),
            });
        }
    }

    fn push(&mut self, mut version: Version) -> Version {
        version.number = self.next;
        self.next += 1;
        self.versions.push(version.clone());
        version
    }

    fn find(&self, number: u64) -> Option<&Version> {
        self.versions
            .iter()
            .find(|version| version.number == number)
    }
}

/// The manifest of a version, checked.
fn read_manifest(text: &str, app: &str) -> Result<Manifest, Error> {
    Manifest::parse(text, Some(app)).map_err(|mistakes| Error::Manifest { mistakes })
}

fn read_list(path: &Path, text: &[u8]) -> Result<List, Error> {
    let damaged = |why: String| Error::Damaged {
        path: path.to_owned(),
        why,
    };
    let list: List = serde_json::from_slice(text).map_err(|error| damaged(error.to_string()))?;
    if !(1..=FORMAT).contains(&list.format) {
        return Err(damaged(format!(
            "its format is {}, this host knows 1 to {FORMAT}",
            list.format
        )));
    }
    Ok(list)
}

#[cfg(test)]
mod tests;
