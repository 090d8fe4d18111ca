//! Testing: what a host for tests is given beyond others, and what may be done with it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::Handle;
use crate::machine::Quiet;

/// Makes a host one for tests of other programs, see `dormouse dev --test`. Its clock is
/// held, its outside is scripted.
#[derive(Clone, Debug)]
pub struct Testing {
    /// Of the one thread that the host runs on.
    pub quiet: Arc<Quiet>,
    /// Whoever holds the host ends it without any order, and starts it again.
    pub crash: Arc<Notify>,
    /// How often it has started, this time included.
    pub starts: u64,
}

impl Handle {
    /// `None` for a host that serves in earnest.
    #[must_use]
    pub const fn testing(&self) -> Option<&Testing> {
        self.around.testing.as_ref()
    }
}

impl Testing {
    /// Moves the clock, and lets everything happen that is due on the way.
    pub async fn advance(&self, host: &Handle, by: Duration) {
        self.quiet.advance(host.clock(), by, || false).await;
    }

    /// Moves the clock to the next alarm of any object, and lets it run. Its time in
    /// milliseconds since 1970; `None` if no alarm is set.
    pub async fn run_next_alarm(&self, host: &Handle) -> Option<i64> {
        self.quiet.reached().await;
        let next_ms = host.next_alarm_ms()?;
        let wait_ms = u64::try_from(next_ms - host.clock().unix_ms()).unwrap_or_default();
        self.advance(host, Duration::from_millis(wait_ms)).await;
        Some(next_ms)
    }
}
