//! Writer: what waits on a line, written to the connection in its order.
//!
//! Used by the pump. Many frames leave with one call of the kernel. While the
//! socket is open a slow reader may take its time, since the hub bounds what waits
//! for it; once it is closing, each write must make progress.

use std::collections::VecDeque;
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::pin;

use bytes::{Buf as _, Bytes};
use futures_util::future::{Either, select};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::deflate::Deflate;
use super::line::Line;
use super::message::{Close, Frame, Outgoing};
use super::pump::{CLOSE_TIMEOUT, on_heap};
use crate::clock::Clock;

/// Frames written together.
const BATCH: usize = 64;

pub(super) struct Writer<W> {
    io: W,
    deflate: Option<Deflate>,
    clock: Clock,
}

impl<W: AsyncWrite + Unpin + Send> Writer<W> {
    pub(super) fn new(io: W, deflate: Option<Deflate>, clock: Clock) -> Self {
        Self { io, deflate, clock }
    }

    /// Writes what comes along the line, up to a close frame, which it gives back.
    pub(super) async fn write_all(&mut self, line: &Line) -> Result<Close> {
        loop {
            let mut waiting = line.take().await;
            let written = on_heap(self.write_waiting(&mut waiting, line));
            if let Some(close) = written.await? {
                return Ok(close);
            }
        }
    }

    async fn write_waiting(
        &mut self,
        waiting: &mut VecDeque<Outgoing>,
        line: &Line,
    ) -> Result<Option<Close>> {
        while !waiting.is_empty() {
            let close = self.write_batch(waiting, line).await?;
            if close.is_some() {
                return Ok(close);
            }
        }
        Ok(None)
    }

    pub(super) async fn shutdown(&mut self) {
        // The peer may be gone already.
        let _ = self.io.shutdown().await;
    }

    async fn write_batch(
        &mut self,
        waiting: &mut VecDeque<Outgoing>,
        line: &Line,
    ) -> Result<Option<Close>> {
        let mut pieces = VecDeque::new();
        let mut payload_bytes = 0;
        let mut close = None;
        for outgoing in waiting.drain(..waiting.len().min(BATCH)) {
            let Frame(frame) = match &outgoing {
                Outgoing::Message(message) => {
                    payload_bytes += message.bytes() as u64;
                    match &self.deflate {
                        Some(deflate) => message.deflated(deflate).await.clone(),
                        None => message.plain().clone(),
                    }
                }
                Outgoing::Pong(payload) => Frame::pong(payload.clone()),
                Outgoing::Close(close) => Frame::close(close),
            };
            pieces.extend(frame.into_iter().filter(|piece| !piece.is_empty()));
            if let Outgoing::Close(last) = outgoing {
                close = Some(last);
                break;
            }
        }
        while !pieces.is_empty() {
            self.write(&mut pieces, line).await?;
        }
        self.io.flush().await?;
        line.release(payload_bytes);
        Ok(close)
    }

    async fn write(&mut self, pieces: &mut VecDeque<Bytes>, line: &Line) -> Result<()> {
        let mut written = {
            let slices: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
            let writing = self.io.write_vectored(&slices);
            let clock = &self.clock;
            let stalled = async {
                line.closing().await;
                clock.sleep(CLOSE_TIMEOUT).await;
            };
            match select(pin!(writing), pin!(stalled)).await {
                Either::Left((Ok(0), _)) => return Err(ErrorKind::WriteZero.into()),
                Either::Left((written, _)) => written?,
                Either::Right(_) => return Err(Error::from(ErrorKind::TimedOut)),
            }
        };
        while let Some(piece) = pieces.front_mut() {
            let taken = written.min(piece.len());
            piece.advance(taken);
            written -= taken;
            if !piece.is_empty() {
                break;
            }
            pieces.pop_front();
        }
        Ok(())
    }
}
