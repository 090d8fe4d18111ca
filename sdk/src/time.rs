//! Waiting, on the host's clock.

use std::time::Duration;

use crate::bindings::wasi::clocks::monotonic_clock;

/// Waits; other events of the object go on meanwhile.
///
/// `std::thread::sleep` would stop the whole object instead.
///
/// ```no_run
/// # use dormouse_sdk::prelude::*;
/// # use std::time::Duration;
/// # async fn handler() {
/// sleep(Duration::from_millis(250)).await;
/// # }
/// ```
pub async fn sleep(duration: Duration) {
    let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    monotonic_clock::wait_for(nanoseconds).await;
}
