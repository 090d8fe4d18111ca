//! Waiting for a condition, within a bound.

use std::future::Future;
use std::time::{Duration, Instant};

/// Longer than anything takes that works, also on a machine with much to do.
const BOUND: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(2);

/// The result of `future`, which is part of what a test claims to end.
pub(crate) async fn bounded<T>(what: &str, future: impl Future<Output = T>) -> T {
    let ended = tokio::time::timeout(BOUND, future).await;
    ended.unwrap_or_else(|_| panic!("{what}: not within {BOUND:?}"))
}

/// Asks until `condition` has an answer.
pub(crate) async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = condition().await {
            return answer;
        }
        assert!(began.elapsed() < BOUND, "{what}: not within {BOUND:?}");
        tokio::time::sleep(PAUSE).await;
    }
}
