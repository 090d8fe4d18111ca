//! Blobs: files by their SHA-256, and folders of assets made of them.
//!
//! Used by `catalog`. A blob is durable before anything names it. A folder of assets
//! has its name only when it is whole; it is made of links to blobs where the file
//! system can link, and can be made again at any time.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Error;

const BLOBS: &str = "blobs";
const ASSETS: &str = "assets";
/// Of a path in a list of assets.
const MAX_PATH_BYTES: usize = 1024;

/// What a list of assets says of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asset {
    pub sha256: String,
    pub bytes: u64,
}

/// The files of `[assets]` by their paths, with `/` between names. Kept as a blob.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssetList {
    pub files: BTreeMap<String, Asset>,
}

impl AssetList {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a list is plain data")
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let list: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        for (path, asset) in &list.files {
            if !is_plain(path) {
                return Err(format!("it names the file {path:?}"));
            }
            if !is_digest(&asset.sha256) {
                return Err(format!("{path:?} has the digest {:?}", asset.sha256));
            }
        }
        Ok(list)
    }
}

#[derive(Debug)]
pub(super) struct Blobs {
    blobs: PathBuf,
    assets: PathBuf,
    /// Two may send the same at the same time.
    uploads: AtomicU64,
}

impl Blobs {
    pub(super) fn in_folder(folder: &Path) -> Self {
        Self {
            blobs: folder.join(BLOBS),
            assets: folder.join(ASSETS),
            uploads: AtomicU64::new(0),
        }
    }

    /// The file of a blob.
    pub(super) fn find(&self, digest: &str) -> Result<PathBuf, Error> {
        let path = self.blobs.join(digest);
        match is_digest(digest) && path.is_file() {
            true => Ok(path),
            false => Err(Error::NoBlob {
                digest: digest.to_owned(),
            }),
        }
    }

    pub(super) fn put(&self, named: &str, bytes: &[u8]) -> Result<(), Error> {
        let found = digest(bytes);
        if found != named {
            return Err(Error::WrongDigest {
                named: named.to_owned(),
                found,
            });
        }
        if self.find(named).is_ok() {
            return Ok(());
        }
        let number = self.uploads.fetch_add(1, Ordering::Relaxed);
        let partial = self.blobs.join(format!("{named}.{number}.partial"));
        replace_by(&self.blobs.join(named), &partial, bytes)
    }

    pub(super) fn size(&self, digest: &str) -> Result<u64, Error> {
        let path = self.find(digest)?;
        let size = fs::metadata(&path).map(|metadata| metadata.len());
        size.map_err(io_error("reading", &path))
    }

    pub(super) fn asset_list(&self, digest: &str) -> Result<AssetList, Error> {
        let path = self.find(digest)?;
        let bytes = fs::read(&path).map_err(io_error("reading", &path))?;
        AssetList::read(&bytes).map_err(|why| Error::BadAssets { why })
    }

    /// The folder of a list's files; makes it unless it is there.
    pub(super) fn asset_folder(&self, digest: &str) -> Result<PathBuf, Error> {
        let folder = self.assets.join(digest);
        if is_digest(digest) && folder.is_dir() {
            return Ok(folder);
        }
        let list = self.asset_list(digest)?;
        let partial = self.assets.join(format!("{digest}.partial"));
        remove(&partial)?;
        let mut folders = BTreeSet::from([partial.clone()]);
        for (path, asset) in &list.files {
            let (from, to) = (self.find(&asset.sha256)?, partial.join(path));
            let parents = to.ancestors().skip(1);
            folders.extend(
                parents
                    .take_while(|one| **one != *self.assets)
                    .map(PathBuf::from),
            );
            let parent = to.parent().expect("it is in a folder");
            fs::create_dir_all(parent).map_err(io_error("making", parent))?;
            copy(&from, &to).map_err(io_error("writing", &to))?;
        }
        fs::create_dir_all(&partial).map_err(io_error("making", &partial))?;
        for folder in &folders {
            sync(folder).map_err(io_error("syncing", folder))?;
        }
        fs::rename(&partial, &folder)
            .and_then(|()| sync(&self.assets))
            .map_err(io_error("writing", &folder))?;
        Ok(folder)
    }

    /// Removes what is not named here; the bytes of blobs that went.
    pub(super) fn keep_only(
        &self,
        blobs: &BTreeSet<String>,
        assets: &BTreeSet<String>,
    ) -> Result<u64, Error> {
        for (path, name) in entries(&self.assets)? {
            if !assets.contains(&name) {
                remove(&path)?;
            }
        }
        let mut bytes = 0;
        for (path, name) in entries(&self.blobs)? {
            if blobs.contains(&name) {
                continue;
            }
            bytes += fs::metadata(&path).map_or(0, |metadata| metadata.len());
            fs::remove_file(&path).map_err(io_error("deleting", &path))?;
        }
        Ok(bytes)
    }
}

fn entries(folder: &Path) -> Result<Vec<(PathBuf, String)>, Error> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(io_error("reading", folder)(source)),
    };
    let name = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    let entries = entries.flatten().map(|entry| (entry.path(), name(&entry)));
    Ok(entries.collect())
}

fn remove(folder: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(io_error("deleting", folder)(error))
        }
        _ => Ok(()),
    }
}

/// A second name for a file, or a second file where the file system has no links.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    fs::copy(from, to)?;
    File::open(to)?.sync_all()
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// SHA-256 in hexadecimal digits.
pub(crate) fn digest(bytes: &[u8]) -> String {
    let sum = Sha256::digest(bytes);
    sum.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_digest(text: &str) -> bool {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == 64 && text.bytes().all(digit)
}

/// Whether a path stays inside its folder, on any system.
fn is_plain(path: &str) -> bool {
    let mut parts = Path::new(path).components();
    path.len() <= MAX_PATH_BYTES
        && !path.contains(['\\', '\0'])
        && path.split('/').all(|name| !name.is_empty() && name != ".")
        && parts.all(|part| matches!(part, Component::Normal(_)))
}

/// Writes a file as a whole, durably; one at a time.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    replace_by(path, &path.with_extension("partial"), bytes)
}

fn replace_by(path: &Path, partial: &Path, bytes: &[u8]) -> Result<(), Error> {
    let folder = path.parent().expect("the file is in a folder");
    let write = || {
        fs::create_dir_all(folder)?;
        let mut file = File::create(partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(partial, path)?;
        sync(folder)
    };
    write().map_err(io_error("writing", path))
}

pub(super) fn io_error(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> Error + use<> {
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

    fn kept(blobs: &Blobs, files: &[(&str, &[u8])]) -> String {
        let mut list = AssetList::default();
        for (path, bytes) in files {
            let sha256 = digest(bytes);
            blobs.put(&sha256, bytes).unwrap();
            let bytes = bytes.len() as u64;
            list.files
                .insert((*path).to_owned(), Asset { sha256, bytes });
        }
        let bytes = list.to_bytes();
        blobs.put(&digest(&bytes), &bytes).unwrap();
        digest(&bytes)
    }

    #[test]
    fn a_folder_is_made_of_blobs_and_swept_with_them() {
        let data = tempfile::tempdir().unwrap();
        let blobs = Blobs::in_folder(data.path());
        let list = kept(
            &blobs,
            &[("a.txt", b"a"), ("b/c/d.txt", b"d"), ("b/same", b"a")],
        );
        let folder = blobs.asset_folder(&list).unwrap();
        assert_eq!(fs::read(folder.join("b/c/d.txt")).unwrap(), b"d");
        assert_eq!(fs::read(folder.join("b/same")).unwrap(), b"a");
        assert_eq!(blobs.asset_folder(&list).unwrap(), folder);
        // One that a crash left half is made anew.
        fs::rename(&folder, folder.with_extension("partial")).unwrap();
        assert!(blobs.asset_folder(&list).unwrap().join("a.txt").is_file());

        let none = BTreeSet::new();
        let bytes = blobs.keep_only(&BTreeSet::from([digest(b"d")]), &none);
        assert!(bytes.unwrap() > 1 && !folder.exists());
        assert!(blobs.find(&digest(b"d")).is_ok() && blobs.find(&digest(b"a")).is_err());
    }

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        for path in ["../a", "/a", "a/../b", "", "a//b", "a/./b", "a\\b", "a/"] {
            let list = AssetList {
                files: BTreeMap::from([(
                    path.to_owned(),
                    Asset {
                        sha256: digest(b""),
                        bytes: 0,
                    },
                )]),
            };
            let read = AssetList::read(&list.to_bytes());
            assert!(read.is_err(), "{path:?}");
        }
    }
}
