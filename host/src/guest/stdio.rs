//! Standard output of a guest, cut into lines and written to the log.
//!
//! Given to WASI by `context`. A line longer than [`MAX_LINE_BYTES`] is cut in
//! several records; a line without an end is written when the instance ends.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use super::context::Who;
use crate::event::RequestId;

const MAX_LINE_BYTES: usize = 8 << 10;

/// One of the two output streams of an instance; clones are the same stream.
#[derive(Clone)]
pub(super) struct LogStream {
    shared: Arc<Shared>,
    source: Source,
}

#[derive(Clone, Copy)]
enum Source {
    Stdout,
    Stderr,
}

struct Shared {
    who: Arc<Who>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    request: Option<RequestId>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl LogStream {
    pub(super) fn stdout(who: Arc<Who>) -> Self {
        Self {
            shared: Arc::new(Shared {
                who,
                state: Mutex::default(),
            }),
            source: Source::Stdout,
        }
    }

    pub(super) fn stderr(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            source: Source::Stderr,
        }
    }

    /// Text from now on is logged with this event.
    pub(super) fn serve(&self, request: RequestId) {
        self.shared.lock().request = Some(request);
    }

    fn push(&self, bytes: &[u8]) {
        let mut guard = self.shared.lock();
        let state = &mut *guard;
        let buffer = match self.source {
            Source::Stdout => &mut state.stdout,
            Source::Stderr => &mut state.stderr,
        };
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            buffer.extend_from_slice(piece);
            if piece.ends_with(b"\n") || buffer.len() >= MAX_LINE_BYTES {
                self.source.record(&self.shared.who, state.request, buffer);
                buffer.clear();
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        Source::Stdout.record(&self.who, state.request, &state.stdout);
        Source::Stderr.record(&self.who, state.request, &state.stderr);
    }
}

impl Source {
    fn record(self, who: &Who, request: Option<RequestId>, line: &[u8]) {
        if line.is_empty() {
            return;
        }
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end_matches(['\n', '\r']);
        let (app, class, object) = (&**who.app(), who.class(), who.object());
        let request = request.map(tracing::field::display);
        match self {
            Self::Stdout => {
                tracing::info!(target: "guest", app, class, object, request, from = "stdout", "{text}");
            }
            Self::Stderr => {
                tracing::warn!(target: "guest", app, class, object, request, from = "stderr", "{text}");
            }
        }
    }
}

impl IsTerminal for LogStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl AsyncWrite for LogStream {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.push(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl OutputStream for LogStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(64 << 10)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for LogStream {
    async fn ready(&mut self) {}
}
