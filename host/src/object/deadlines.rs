//! Deadlines: until when handlers must have answered.
//!
//! Used by `awake`. Alarms have a fixed limit, sockets the one that their object
//! has set. Past it the instance is reset.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::awake::Surroundings;
use crate::alarm::RUN_LIMIT;
use crate::clock::Sleep;
use crate::event::{Kind, Reset};
use crate::guest::CallId;

#[derive(Default)]
pub(super) struct Deadlines(Vec<Deadline>);

struct Deadline {
    call: CallId,
    over: Sleep,
    late: Reset,
}

impl Deadlines {
    /// Begins to count, if there is a limit for this kind of event.
    pub(super) fn add(&mut self, call: CallId, kind: &Kind, around: &Surroundings<'_>) {
        let (limit, late): (_, fn(u64) -> Reset) = match kind {
            Kind::Alarm(_) => (Some(RUN_LIMIT), |limit_ms| Reset::AlarmTimeout { limit_ms }),
            Kind::Socket(..) => {
                let limit = around.hub.event_timeout();
                (limit, |limit_ms| Reset::SocketTimeout { limit_ms })
            }
            _ => return,
        };
        let Some(limit) = limit else { return };
        self.0.push(Deadline {
            call,
            over: around.clock.sleep(limit),
            late: late(limit.as_millis() as u64),
        });
    }

    pub(super) fn remove(&mut self, call: CallId) {
        self.0.retain(|deadline| deadline.call != call);
    }

    /// The first that is missed.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Reset> {
        for deadline in &mut self.0 {
            if Pin::new(&mut deadline.over).poll(cx).is_ready() {
                return Poll::Ready(deadline.late.clone());
            }
        }
        Poll::Pending
    }
}
