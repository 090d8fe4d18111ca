//! Bodies: nothing, bytes at hand, or a stream.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;

use futures_channel::oneshot;
use serde::de::DeserializeOwned;
use wit_bindgen::{FutureReader, StreamReader, StreamResult, StreamWriter};

use crate::bindings::dormouse::object::types as wit;
use crate::bindings::{wit_future, wit_stream};
use crate::object::run_in_background;
use crate::{Context, Error, Result};

/// How a stream ended: as a whole, or cut short.
type End = Result<(), wit::Failure>;

/// Room for one portion of a stream; a portion is what was there, at most this.
const CHUNK_BYTES: usize = 64 * 1024;

/// The body of a request or response.
///
/// The host hands small bodies over at once and large or open-ended ones as a
/// stream; the methods read both alike. A body may be answered as it is, which
/// streams it through without holding it in memory:
///
/// ```no_run
/// # use dormouse_sdk::prelude::*;
/// # async fn handler(request: Request) -> Result<Response> {
/// Ok(Response::new(request.into_body()))
/// # }
/// ```
#[derive(Debug, Default)]
pub struct Body {
    content: Content,
}

#[derive(Default)]
enum Content {
    #[default]
    None,
    Bytes(Vec<u8>),
    /// Written by the host.
    Stream(StreamReader<u8>, FutureReader<End>),
    /// Written by this component. Its end becomes a future of the contract only
    /// on the way out: a component cannot read such a future that it writes.
    Written(StreamReader<u8>, oneshot::Receiver<End>),
    /// The stream is over; whether it was whole is not known yet.
    Ending(Pin<Box<dyn Future<Output = End>>>),
}

impl Body {
    /// No body.
    pub fn empty() -> Self {
        Self::default()
    }

    /// A body that is written while it is read; see also [`Response::stream`].
    ///
    /// The writer waits for the reader. [`BodyWriter::finish`] ends the body; a
    /// writer that is dropped before cuts it short.
    ///
    /// [`Response::stream`]: crate::http::Response::stream
    pub fn channel() -> (BodyWriter, Self) {
        let (stream, reader) = wit_stream::new();
        let (end, ended) = oneshot::channel();
        let writer = BodyWriter {
            stream,
            end: Some(end),
        };
        (writer, Content::Written(reader, ended).into())
    }

    /// A body that `producer` writes; its error cuts the body short.
    pub(super) fn produced<F>(producer: impl FnOnce(BodyWriter) -> F) -> Self
    where
        F: Future<Output = Result<()>> + 'static,
    {
        let (mut writer, body) = Self::channel();
        let end = writer.end.take();
        let producer = producer(writer);
        run_in_background(async {
            let outcome = producer.await;
            // Nobody waits for the end when the reader is gone.
            let _ = end.map(|end| end.send(outcome.as_ref().copied().map_err(failure)));
            outcome.context("a streamed body was cut short")
        });
        body
    }

    /// The next portion, at most 64 KiB of a stream; `None` at the end. A body
    /// that was cut short is an error, never an end.
    ///
    /// ```no_run
    /// # use dormouse_sdk::prelude::*;
    /// # async fn handler(request: Request) -> Result<()> {
    /// let mut body = request.into_body();
    /// let mut bytes = 0;
    /// while let Some(chunk) = body.chunk().await? {
    ///     bytes += chunk.len();
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn chunk(&mut self) -> Result<Option<Vec<u8>>, BodyError> {
        if let Content::Stream(stream, _) | Content::Written(stream, _) = &mut self.content {
            let chunk = next_chunk(stream).await;
            if chunk.is_some() {
                return Ok(chunk);
            }
        }
        match std::mem::take(&mut self.content) {
            Content::None => Ok(None),
            Content::Bytes(bytes) => Ok(Some(bytes).filter(|bytes| !bytes.is_empty())),
            Content::Stream(_, end) => self.end(Box::pin(end.into_future())).await,
            Content::Written(_, end) => self.end(Box::pin(written_end(end))).await,
            Content::Ending(end) => self.end(end).await,
        }
    }

    /// Keeps `end` in place while it waits: whoever drops the wait and reads on
    /// learns of a failure all the same.
    async fn end(
        &mut self,
        end: Pin<Box<dyn Future<Output = End>>>,
    ) -> Result<Option<Vec<u8>>, BodyError> {
        self.content = Content::Ending(end);
        let Content::Ending(end) = &mut self.content else {
            unreachable!("it was set above");
        };
        let outcome = end.await;
        self.content = Content::None;
        outcome
            .map(|()| None)
            .map_err(|failure| BodyError::CutShort(failure.message))
    }

    /// The whole body, of any length; see [`bytes_up_to`](Self::bytes_up_to).
    pub async fn bytes(self) -> Result<Vec<u8>, BodyError> {
        self.bytes_up_to(usize::MAX).await
    }

    /// The whole body, unless it is longer than `limit` bytes.
    pub async fn bytes_up_to(mut self, limit: usize) -> Result<Vec<u8>, BodyError> {
        let mut whole = self.chunk().await?.unwrap_or_default();
        while whole.len() <= limit
            && let Some(chunk) = self.chunk().await?
        {
            whole.extend_from_slice(&chunk);
        }
        if whole.len() > limit {
            return Err(BodyError::TooLarge { limit });
        }
        Ok(whole)
    }

    /// The whole body as text; an error if it is not UTF-8.
    pub async fn text(self) -> Result<String> {
        String::from_utf8(self.bytes().await?).context("the body is not UTF-8 text")
    }

    /// The whole body, read as JSON.
    pub async fn json<T: DeserializeOwned>(self) -> Result<T> {
        let bytes = self.bytes().await?;
        serde_json::from_slice(&bytes).context("the body is not the JSON that is wanted")
    }

    /// The length, as far as it is known without reading.
    pub fn known_length(&self) -> Option<usize> {
        match &self.content {
            Content::None | Content::Ending(_) => Some(0),
            Content::Bytes(bytes) => Some(bytes.len()),
            Content::Stream(..) | Content::Written(..) => None,
        }
    }

    pub(crate) fn from_wit(body: wit::Body) -> Self {
        match body {
            wit::Body::None => Content::None,
            wit::Body::Bytes(bytes) => Content::Bytes(bytes),
            wit::Body::Stream((stream, end)) => Content::Stream(stream, end),
        }
        .into()
    }

    pub(crate) fn into_wit(self) -> wit::Body {
        match self.content {
            Content::None | Content::Ending(_) => wit::Body::None,
            Content::Bytes(bytes) => wit::Body::Bytes(bytes),
            Content::Stream(stream, end) => wit::Body::Stream((stream, end)),
            Content::Written(stream, end) => wit::Body::Stream((stream, told_to_host(end))),
        }
    }
}

/// What has come, if the stream is not over.
async fn next_chunk(stream: &mut StreamReader<u8>) -> Option<Vec<u8>> {
    loop {
        let (result, chunk) = stream.read(Vec::with_capacity(CHUNK_BYTES)).await;
        if !chunk.is_empty() {
            return Some(chunk);
        }
        if result == StreamResult::Dropped {
            return None;
        }
    }
}

/// A writer that is dropped before it is finished has not written the whole.
async fn written_end(end: oneshot::Receiver<End>) -> End {
    end.await
        .unwrap_or_else(|_| Err(failure(&BodyError::Unfinished.into())))
}

/// The same end, as the host wants to hear it.
fn told_to_host(end: oneshot::Receiver<End>) -> FutureReader<End> {
    let (tell, told) = wit_future::new(|| Err(failure(&BodyError::Unfinished.into())));
    run_in_background(async {
        // Nobody listens when the reader is gone.
        let _ = tell.write(written_end(end).await).await;
        Ok(())
    });
    told
}

fn failure(error: &Error) -> wit::Failure {
    wit::Failure {
        message: format!("{error:#}"),
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => out.write_str("nothing"),
            Self::Bytes(bytes) => write!(out, "{} bytes", bytes.len()),
            Self::Stream(..) | Self::Written(..) | Self::Ending(_) => out.write_str("stream"),
        }
    }
}

impl From<Content> for Body {
    fn from(content: Content) -> Self {
        Self { content }
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Content::Bytes(bytes).into()
    }
}

impl From<&[u8]> for Body {
    fn from(bytes: &[u8]) -> Self {
        bytes.to_vec().into()
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        text.into_bytes().into()
    }
}

impl From<&str> for Body {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

/// The writing end of a streamed body.
#[derive(Debug)]
pub struct BodyWriter {
    stream: StreamWriter<u8>,
    /// Absent if somebody else says how the body ended.
    end: Option<oneshot::Sender<End>>,
}

impl BodyWriter {
    /// Writes all of `bytes`; waits while the reader is slow.
    pub async fn write(&mut self, bytes: impl Into<Vec<u8>>) -> Result<(), BodyError> {
        let unwritten = self.stream.write_all(bytes.into()).await;
        if unwritten.is_empty() {
            Ok(())
        } else {
            Err(BodyError::ReaderGone)
        }
    }

    /// Passes on all of another body.
    pub async fn write_body(&mut self, mut body: Body) -> Result<(), BodyError> {
        while let Some(chunk) = body.chunk().await? {
            self.write(chunk).await?;
        }
        Ok(())
    }

    /// Says that the body is whole. Not needed in a
    /// [`Response::stream`](crate::http::Response::stream), which says it when
    /// its producer is done.
    pub fn finish(self) {
        let Self { stream, end } = self;
        drop(stream);
        // Nobody waits for the end when the reader is gone.
        let _ = end.map(|end| end.send(Ok(())));
    }
}

/// Why a body could not be read or written to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BodyError {
    /// The sender stopped before the end; the text says why.
    CutShort(String),
    /// The body is longer than the limit that was given.
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// Whoever read the body went away; there is nobody left to write for.
    ReaderGone,
    /// The writer was dropped before [`BodyWriter::finish`].
    Unfinished,
}

impl fmt::Display for BodyError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CutShort(reason) => write!(out, "the body was cut short: {reason}"),
            Self::TooLarge { limit } => write!(out, "the body is longer than {limit} bytes"),
            Self::ReaderGone => out.write_str("the reader of the body is gone"),
            Self::Unfinished => out.write_str("the writer of the body was dropped before its end"),
        }
    }
}

impl std::error::Error for BodyError {}
