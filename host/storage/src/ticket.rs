//! Ticket: opens when what an object has committed or seen is durable.
//!
//! Given out by `Database::gate`, awaited by the host's outbox before anything leaves.
//! Never opens early; `Dead` is an outcome that every waiter handles. A ticket is a
//! position in the log and nothing else, so it may travel with messages between objects.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::log::Log;

/// The log can make nothing durable any more; the process should end and restart.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the commit log is dead: {reason}; nothing more is acknowledged, restart the host to recover"
)]
pub struct Dead {
    pub reason: String,
}

/// A place in a log: which log, and how far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pos {
    pub log: u64,
    pub off: u64,
}

pub struct Ticket {
    log: Arc<Log>,
    off: u64,
    /// Under which number a waker waits in the log.
    waiter: Option<u64>,
}

impl Ticket {
    pub(crate) fn new(log: Arc<Log>, off: u64) -> Ticket {
        Ticket {
            log,
            off,
            waiter: None,
        }
    }

    /// The position that must be durable.
    pub fn position(&self) -> Pos {
        Pos {
            log: self.log.id(),
            off: self.off,
        }
    }

    pub fn is_open(&self) -> bool {
        self.log.is_durable(self.off)
    }

    /// Blocks the thread until the gate opens or the log dies; for tests and tools.
    pub fn wait(&self) -> Result<(), Dead> {
        self.log.wait(self.off)
    }
}

impl Future for Ticket {
    type Output = Result<(), Dead>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.log.poll(this.off, &mut this.waiter, context.waker())
    }
}

impl Clone for Ticket {
    fn clone(&self) -> Self {
        Ticket::new(Arc::clone(&self.log), self.off)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(waiter) = self.waiter {
            self.log.forget(self.off, waiter);
        }
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket")
            .field("off", &self.off)
            .field("open", &self.is_open())
            .finish()
    }
}
