//! `dormouse backup`.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bytes::{Buf as _, Bytes};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::json;
use tokio::sync::mpsc;

use super::args::Reach;
use super::client::Client;
use super::show;
use super::travel::{partial, refuse_existing, save};
use crate::cli::terminal;

const CHUNKS: usize = 8;

/// Copy a whole host while it runs
///
/// Every write that was acknowledged before is in the copy, and no half of a turn: all
/// objects with their histories, alarms, deployments, and the hashes of tokens. Nobody
/// waits for it. The copy is a data folder: `dormouse serve --data DIR` serves it. Keep it
/// where only its owner may read.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  dormouse backup copy                                    a folder
  dormouse serve --data copy                              serves it
  dormouse backup host.tar --to https://host:8788         an archive, of another machine's host
  mkdir data && tar -xf host.tar -C data                  unpacks it

The token needs the scope `admin`.")]
pub(in crate::cli) struct Args {
    /// The folder or the archive to make; nothing may be there yet
    #[arg(value_name = "DIR|FILE.tar")]
    target: PathBuf,
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let client = Client::new(&args.reach)?;
    let target = args.target;
    refuse_existing(&target).await?;
    let body = client.stream("/v1/backup").await?;
    let is_archive = target.extension().is_some_and(|kind| kind == "tar");
    let bytes = match is_archive {
        true => save(body, &target).await?,
        false => unpack(body, &target).await?,
    };
    if args.reach.json {
        return show::json(&json!({"target": target, "bytes": bytes}));
    }
    let size = terminal::bytes(bytes);
    terminal::answer(
        "Copied",
        format_args!("the host to {}, {size}", target.display()),
    );
    if !is_archive {
        let serve = format!("dormouse serve --data {}", target.display());
        terminal::status("Next", serve);
    }
    Ok(())
}

/// Makes a folder of an archive, which has its name only once it is whole and durable.
async fn unpack(mut body: Incoming, to: &Path) -> anyhow::Result<u64> {
    let (sender, chunks) = mpsc::channel(CHUNKS);
    let (folder, name) = (partial(to), to.to_owned());
    let unpacking = tokio::task::spawn_blocking(move || {
        let unpacked = unpack_into(&folder, chunks);
        let done = unpacked.and_then(|bytes| {
            fs::rename(&folder, &name)?;
            Ok(bytes)
        });
        if done.is_err() {
            // Its name says that it is not whole.
            let _ = fs::remove_dir_all(&folder);
        }
        done
    });
    while let Some(frame) = body.frame().await {
        let chunk = frame.map(|frame| frame.into_data().unwrap_or_default());
        // Who unpacks has met an error, and tells it.
        if sender.send(chunk.map_err(io::Error::other)).await.is_err() {
            break;
        }
    }
    drop(sender);
    let done = unpacking.await.context("unpacking failed")?;
    done.with_context(|| format!("cannot make {}", to.display()))
}

fn unpack_into(folder: &Path, chunks: mpsc::Receiver<io::Result<Bytes>>) -> io::Result<u64> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => (),
    }
    let mut options = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut options, 0o700);
    options.create(folder)?;
    let mut bytes = 0;
    let mut reader = Chunks {
        chunks,
        now: Bytes::new(),
    };
    for entry in tar::Archive::new(&mut reader).entries()? {
        let mut entry = entry?;
        bytes += entry.size();
        if !entry.unpack_in(folder)? {
            return Err(io::Error::other(
                "the archive names a file outside of the folder",
            ));
        }
    }
    // The rest, whose end says that nothing was cut off.
    io::copy(&mut reader, &mut io::sink())?;
    if !folder.join("MANIFEST").is_file() {
        return Err(io::Error::other("the archive is not whole; try again"));
    }
    sync(folder)?;
    Ok(bytes)
}

/// Makes a folder durable with all that is in it.
fn sync(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => sync(&entry.path())?,
            false => File::open(entry.path())?.sync_all()?,
        }
    }
    File::open(folder)?.sync_all()
}

/// What comes over the network, as a reader that blocks.
struct Chunks {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    now: Bytes,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.now.is_empty() {
            match self.chunks.blocking_recv() {
                None => return Ok(0),
                Some(chunk) => self.now = chunk?,
            }
        }
        let count = self.now.len().min(buffer.len());
        self.now.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}
