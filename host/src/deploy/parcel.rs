//! Parcel: everything that an app consists of, by digest, as it lies in its folder.
//!
//! Made by the command line, for an upload or for the host it starts itself. Hidden
//! assets are left out: they would not be served.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::blobs::{Asset, AssetList, digest, io_error};
use super::{Error, Parts};
use crate::host::App;

/// Folders in each other, beyond which there must be a circle.
const MAX_DEPTH: usize = 32;

/// What an app consists of.
#[derive(Debug)]
pub struct Parcel {
    pub parts: Parts,
    /// Each digest once.
    pub files: Vec<Packed>,
}

/// One file of it.
#[derive(Debug)]
pub struct Packed {
    pub digest: String,
    pub bytes: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    File(PathBuf),
    Bytes(Vec<u8>),
}

impl Packed {
    /// What was packed; a file that has changed since has another digest.
    pub fn read(&self) -> Result<Vec<u8>, Error> {
        match &self.content {
            Content::File(path) => fs::read(path).map_err(io_error("reading", path)),
            Content::Bytes(bytes) => Ok(bytes.clone()),
        }
    }
}

impl Parcel {
    /// Looks at every file of an app whose paths are absolute.
    pub fn of(app: &App) -> Result<Self, Error> {
        let mut parcel = Self {
            parts: Parts::default(),
            files: Vec::new(),
        };
        parcel.parts.component = parcel.add(&app.component)?.sha256;
        if let Some(worker) = &app.worker {
            parcel.parts.worker = Some(parcel.add(worker)?.sha256);
        }
        if let Some(ca) = &app.manifest.outgoing.ca {
            parcel.parts.ca = Some(parcel.add(ca)?.sha256);
        }
        if let Some(folder) = &app.manifest.assets {
            let mut list = AssetList::default();
            parcel.add_folder(folder, "", 0, &mut list)?;
            let bytes = list.to_bytes();
            let sha256 = digest(&bytes);
            parcel.parts.assets = Some(sha256.clone());
            parcel.files.push(Packed {
                digest: sha256,
                bytes: bytes.len() as u64,
                content: Content::Bytes(bytes),
            });
        }
        let mut seen = BTreeSet::new();
        parcel.files.retain(|file| seen.insert(file.digest.clone()));
        Ok(parcel)
    }

    fn add(&mut self, path: &Path) -> Result<Asset, Error> {
        let content = fs::read(path).map_err(io_error("reading", path))?;
        let (sha256, bytes) = (digest(&content), content.len() as u64);
        self.files.push(Packed {
            digest: sha256.clone(),
            bytes,
            content: Content::File(path.to_owned()),
        });
        Ok(Asset { sha256, bytes })
    }

    fn add_folder(
        &mut self,
        folder: &Path,
        prefix: &str,
        depth: usize,
        list: &mut AssetList,
    ) -> Result<(), Error> {
        let bad = |why: String| Error::BadAssets { why };
        if depth > MAX_DEPTH {
            return Err(bad(format!("{} leads in a circle", folder.display())));
        }
        let entries = fs::read_dir(folder).map_err(io_error("reading", folder))?;
        for entry in entries {
            let path = entry.map_err(io_error("reading", folder))?.path();
            let name = path.file_name().unwrap_or_default().to_str();
            let name = name.ok_or_else(|| bad(format!("{} is not UTF-8", path.display())))?;
            if name.starts_with('.') && name != ".well-known" {
                continue;
            }
            let place = format!("{prefix}{name}");
            // Links are followed, as they are when the folder is served.
            if path.is_dir() {
                self.add_folder(&path, &format!("{place}/"), depth + 1, list)?;
            } else {
                list.files.insert(place, self.add(&path)?);
            }
        }
        Ok(())
    }
}
