//! Line: what waits to be written on one socket.
//!
//! Filled by the hub and by the pump's reading side, emptied by its writing side.
//! Bytes of messages count as buffered until the network has taken them.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::message::Outgoing;

/// Replies to the peer's own frames that may wait; then its frames do.
const MAX_REPLIES: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Line {
    waiting: Mutex<VecDeque<Outgoing>>,
    /// Something waits.
    filled: Notify,
    buffered: AtomicU64,
    replies: AtomicUsize,
    /// Some replies are being written.
    replied: Notify,
    is_closing: AtomicBool,
    /// It closes.
    closes: Notify,
}

impl Line {
    pub(super) fn push(&self, outgoing: Outgoing) {
        self.lock().push_back(outgoing);
        self.filled.notify_one();
    }

    /// Queues an answer to something the peer sent. Waits while the peer does not
    /// read its answers.
    pub(super) async fn reply(&self, outgoing: Outgoing) {
        while self.replies.load(Ordering::Relaxed) >= MAX_REPLIES {
            self.replied.notified().await;
        }
        self.replies.fetch_add(1, Ordering::Relaxed);
        self.push(outgoing);
    }

    /// Everything that waits, once there is something.
    pub(super) async fn take(&self) -> VecDeque<Outgoing> {
        loop {
            let waiting = std::mem::take(&mut *self.lock());
            if !waiting.is_empty() {
                self.replies.store(0, Ordering::Relaxed);
                self.replied.notify_one();
                return waiting;
            }
            self.filled.notified().await;
        }
    }

    /// A close frame is queued, or will be.
    pub(super) fn set_closing(&self) {
        self.is_closing.store(true, Ordering::Release);
        self.closes.notify_waiters();
    }

    pub(super) async fn closing(&self) {
        let mut closes = pin!(self.closes.notified());
        closes.as_mut().enable();
        if !self.is_closing.load(Ordering::Acquire) {
            closes.await;
        }
    }

    pub(super) fn buffered(&self) -> u64 {
        self.buffered.load(Ordering::Relaxed)
    }

    /// The guest has sent a message; it is pushed when it has passed the gate.
    pub(super) fn reserve(&self, bytes: u64) {
        self.buffered.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The network has taken it.
    pub(super) fn release(&self, bytes: u64) {
        self.buffered.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Outgoing>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
