//! Signal: what the registry tells the task of one slot, outside its mailbox.
//!
//! Flags and a waker; the task looks at them between turns. Also carries when the
//! object fell idle, so that the registry can find the one idle longest.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::Context;
use std::time::Duration;

use futures_util::task::AtomicWaker;

use crate::clock::Moment;

/// Newer code is there: finish what runs, then start afresh with it.
pub(super) const REPLACE: u8 = 1;
/// Somebody else needs the place: sleep now if idle.
pub(super) const EVICT: u8 = 2;
/// The host goes down: finish what runs and sleep.
pub(super) const CLOSE: u8 = 4;
/// The operator wants the instance gone, whatever it does.
pub(super) const RESET: u8 = 8;

const BUSY: u64 = u64::MAX;

#[derive(Debug)]
pub(super) struct Signal {
    flags: AtomicU8,
    idle_since_ms: AtomicU64,
    waker: AtomicWaker,
}

impl Default for Signal {
    fn default() -> Self {
        Self {
            flags: AtomicU8::new(0),
            idle_since_ms: AtomicU64::new(BUSY),
            waker: AtomicWaker::new(),
        }
    }
}

impl Signal {
    pub(super) fn raise(&self, flag: u8) {
        self.flags.fetch_or(flag, Ordering::AcqRel);
        self.waker.wake();
    }

    pub(super) fn lower(&self, flag: u8) {
        self.flags.fetch_and(!flag, Ordering::AcqRel);
    }

    /// Keeps the waker, then looks: a flag raised in between is not missed.
    pub(super) fn poll(&self, cx: &Context<'_>) -> u8 {
        self.waker.register(cx.waker());
        self.flags.load(Ordering::Acquire)
    }

    pub(super) fn set_idle_since(&self, moment: Option<Moment>) {
        let value = moment.map_or(BUSY, |moment| moment.as_millis() as u64);
        self.idle_since_ms.store(value, Ordering::Relaxed);
    }

    pub(super) fn idle_since(&self) -> Option<Moment> {
        let value = self.idle_since_ms.load(Ordering::Relaxed);
        (value != BUSY).then(|| Duration::from_millis(value))
    }
}
