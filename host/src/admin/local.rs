//! Local: how the command line on this machine finds the door.
//!
//! A file in the data folder, readable by its owner alone, with the door's address
//! and a token that ends with the process. So `dormouse dev` in one terminal and
//! `dormouse sql` in another need no token at all.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

/// The door's own folder in the data folder.
pub(super) const FOLDER: &str = "admin";
const FILE: &str = "local.json";

/// Written while the door is open.
#[derive(Debug)]
pub struct Local {
    file: PathBuf,
}

/// What the file says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Found {
    pub url: String,
    pub token: String,
    pub pid: u32,
}

impl Local {
    pub(super) fn write(data: &Path, address: SocketAddr, token: &str) -> anyhow::Result<Self> {
        let file = data.join(FOLDER).join(FILE);
        let found = Found {
            url: format!("http://{address}"),
            token: token.to_owned(),
            pid: std::process::id(),
        };
        let text = serde_json::to_vec(&found).context("cannot write JSON")?;
        write_private(&file, &text)?;
        Ok(Self { file })
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        // A file that stays is found out: nobody answers there.
        let _ = fs::remove_file(&self.file);
    }
}

/// The door of the host that runs on this data folder.
pub fn find_local(data: &Path) -> anyhow::Result<Found> {
    let file = data.join(FOLDER).join(FILE);
    let text = match fs::read(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
            "no host runs on the data folder {}; start one with `dormouse dev`, or name another \
             one with --data DIR or --to URL",
            data.display()
        ),
        Err(error) => {
            return Err(error).with_context(|| {
                format!(
                    "cannot read {}; only its owner may, others need --to URL and DORMOUSE_TOKEN",
                    file.display()
                )
            });
        }
    };
    serde_json::from_slice(&text).with_context(|| format!("{} is damaged", file.display()))
}

/// Replaces a file as a whole; only its owner may read it.
pub(super) fn write_private(file: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let folder = file.parent().expect("the file is in a folder");
    let partial = file.with_extension("partial");
    let write = || {
        fs::create_dir_all(folder)?;
        // A leftover may have other rights.
        match fs::remove_file(&partial) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut opened = options.open(&partial)?;
        opened.write_all(bytes)?;
        opened.sync_all()?;
        fs::rename(&partial, file)
    };
    write().with_context(|| format!("cannot write {}", file.display()))
}
