//! Exchange: files on their way in or out, in a folder of their own in the data folder.
//!
//! A file goes when its last user lets go of it, and what a process that was killed has
//! left goes at the next start.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use bytes::BytesMut;
use futures_util::stream;
use http_body_util::BodyExt as _;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const FOLDER: &str = "exchange";
const CHUNK_BYTES: usize = 256 << 10;

/// One file that is on its way.
#[derive(Debug)]
pub(super) struct Passing(PathBuf);

/// Why a body could not be taken in.
#[derive(Debug)]
pub(super) enum TakeError {
    TooLarge,
    /// The client stopped sending.
    Broken(String),
    Disk(io::Error),
}

/// Removes what is left of an earlier process.
pub(super) fn clear(data: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(data.join(FOLDER)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl Passing {
    /// A name that nobody uses, in a folder that is there.
    pub(super) fn new(data: &Path) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let folder = data.join(FOLDER);
        std::fs::create_dir_all(&folder)?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Ok(Self(folder.join(format!("{number}.sqlite"))))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// The file's content and length. Its name goes now, so nothing of it is left when
    /// the reader is done.
    pub(super) async fn into_body(self) -> io::Result<(Body, u64)> {
        let file = File::open(&self.0).await?;
        let bytes = file.metadata().await?.len();
        drop(self);
        let chunks = stream::unfold(file, |mut file| async move {
            let mut chunk = BytesMut::with_capacity(CHUNK_BYTES);
            match file.read_buf(&mut chunk).await {
                Ok(0) => None,
                read => Some((read.map(|_| chunk.freeze()), file)),
            }
        });
        Ok((Body::from_stream(chunks), bytes))
    }

    /// Writes a body to the file, `most` bytes at the most.
    pub(super) async fn take(&self, mut body: Body, most: u64) -> Result<u64, TakeError> {
        let mut file = File::create(&self.0).await.map_err(TakeError::Disk)?;
        let mut bytes = 0;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| TakeError::Broken(error.to_string()))?;
            let Some(data) = frame.data_ref() else {
                continue;
            };
            bytes += data.len() as u64;
            if bytes > most {
                return Err(TakeError::TooLarge);
            }
            file.write_all(data).await.map_err(TakeError::Disk)?;
        }
        file.flush().await.map_err(TakeError::Disk)?;
        Ok(bytes)
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        // It may never have been made; what stays goes at the next start.
        let _ = std::fs::remove_file(&self.0);
    }
}
