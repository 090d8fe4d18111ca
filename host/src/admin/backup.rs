//! Backup: the whole data folder as a tar archive, while the host runs.

use std::io::{self, BufWriter, Write};

use axum::body::Body;
use axum::extract::State as From;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use dormouse_storage::Error as StorageError;
use futures_util::stream;
use http::{HeaderValue, StatusCode, header};
use tokio::sync::mpsc;

use super::State;
use super::exchange::Passing;
use super::extract::{Admin, May};
use super::refusal::Refusal;
use crate::host::BackupError;
use crate::server::Problem;

const CHUNK_BYTES: usize = 256 << 10;
/// Chunks on their way to a client that reads slowly.
const CHUNKS: usize = 8;

type Chunk = io::Result<Bytes>;

/// The data folder as a tar archive, made while the host runs. It holds every write that
/// was acknowledged before the request, the deployments, and the hashes of tokens. Of
/// entries with the same name the last counts. An archive that is not whole breaks off.
#[utoipa::path(get, path = "/v1/backup", tag = "host",
    responses((status = OK, body = Vec<u8>, content_type = "application/x-tar"),
        (status = "4XX", body = Problem)))]
pub(super) async fn backup(may: May<Admin>, From(state): From<State>) -> Result<Response, Refusal> {
    let apps = state.0.apps.clone();
    let spool =
        Passing::new(state.0.host.data()).map_err(|error| Refusal::failed(&error.into()))?;
    let (sender, mut chunks) = mpsc::channel::<Chunk>(CHUNKS);
    tracing::info!(token = may.token.id, "a backup begins");
    let done = tokio::task::spawn_blocking(move || {
        let mut to = BufWriter::with_capacity(CHUNK_BYTES, Sender(sender.clone()));
        let written = apps.back_up(spool.path(), &mut to).and_then(|written| {
            let flushed = to.flush();
            flushed.map_err(|source| BackupError::Io {
                path: "the archive".into(),
                source,
            })?;
            Ok(written)
        });
        match &written {
            Ok(written) => tracing::info!(
                files = written.files,
                bytes = written.bytes,
                "a backup was written"
            ),
            Err(error) => {
                tracing::error!("a backup failed: {error}");
                // Breaks the answer off. The client may be what is gone.
                let _ = sender.blocking_send(Err(io::Error::other(error.to_string())));
            }
        }
        written
    });
    // Until something is sent, what fails can still be told in words.
    let Some(Ok(first)) = chunks.recv().await else {
        return Err(match done.await {
            Ok(Err(error)) => refusal(error),
            Ok(Ok(_)) => Refusal::failed(&anyhow::anyhow!("the backup is empty")),
            Err(panic) => Refusal::failed(&panic.into()),
        });
    };
    let rest = stream::unfold(chunks, |mut chunks| async move {
        let chunk = chunks.recv().await?;
        Some((chunk, chunks))
    });
    let all = stream::StreamExt::chain(stream::iter([Ok(first)]), rest);
    let kind = (
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/x-tar"),
    );
    Ok(([kind], Body::from_stream(all)).into_response())
}

fn refusal(error: BackupError) -> Refusal {
    match error {
        BackupError::Storage(StorageError::BackupRuns) => Refusal::new(
            StatusCode::CONFLICT,
            "urn:dormouse:problem:backup-runs",
            "A backup runs already",
            error.to_string(),
        ),
        error => Refusal::failed(&error.into()),
    }
}

struct Sender(mpsc::Sender<Chunk>);

impl Write for Sender {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the client is gone"))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
