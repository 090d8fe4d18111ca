//! Section: how long an event may keep its object to itself.
//!
//! Polled by `awake` between turns. Wall time, because a section mostly waits.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::clock::{Clock, Sleep};
use crate::event::Reset;
use crate::guest::SectionId;

/// Cloudflare's limit.
const LIMIT: Duration = Duration::from_secs(30);

/// Runs while a section is open; a new section begins anew.
#[derive(Default)]
pub(super) struct SectionTimer(Option<(SectionId, Sleep)>);

impl SectionTimer {
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        open: Option<SectionId>,
        clock: &Clock,
    ) -> Poll<Reset> {
        let Some(open) = open else {
            self.0 = None;
            return Poll::Pending;
        };
        self.0 = self.0.take().filter(|(timed, _)| *timed == open);
        let (_, timer) = self.0.get_or_insert_with(|| (open, clock.sleep(LIMIT)));
        let limit_ms = LIMIT.as_millis() as u64;
        Pin::new(timer)
            .poll(cx)
            .map(|()| Reset::SectionTimeout { limit_ms })
    }
}
