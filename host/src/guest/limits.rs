//! Limits: processor time and memory of one instance.
//!
//! The meter counts the time spent inside polls of the instance, SQL included;
//! the epoch callback and SQLite's progress handler both ask it. Every event
//! starts the budget anew, as on the Workers platform. Times are wall time while
//! the instance runs on its thread, in nanoseconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, RuntimeFlavor};
use wasmtime::ResourceLimiter;

/// A statement keeps its thread to itself for so long.
const GIVE_WAY_NS: u64 = 10_000_000;
const HAND_OVER: Duration = Duration::from_micros(200);

/// What one instance may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// All linear memories of the instance together.
    pub memory_bytes: usize,
    /// Processor time for one event.
    pub cpu: Duration,
    /// Wall time for the constructor.
    pub construct: Duration,
    /// A statement that takes as long is logged.
    pub slow_sql: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 128 << 20,
            cpu: Duration::from_secs(30),
            construct: Duration::from_secs(30),
            slow_sql: Duration::from_millis(100),
        }
    }
}

/// Shared by the instance's poll loop, its epoch callback and its database.
/// All of them run on one thread at a time, so relaxed order is enough.
#[derive(Clone, Debug)]
pub(super) struct Meter(Arc<Counters>);

#[derive(Debug)]
struct Counters {
    origin: Instant,
    limit_ns: u64,
    /// Spent in polls that are over, since the budget was last renewed.
    spent_ns: AtomicU64,
    /// Where the running poll (or its part since the renewal) began.
    began_ns: AtomicU64,
    fresh_poll: AtomicBool,
    /// When the running statement next lets others have its thread.
    give_way_ns: AtomicU64,
    /// When an operator's statement is stopped; `u64::MAX` for those of the guest.
    statement_until_ns: AtomicU64,
}

impl Meter {
    pub(super) fn new(limit: Duration) -> Self {
        Self(Arc::new(Counters {
            origin: Instant::now(),
            limit_ns: limit.as_nanos() as u64,
            spent_ns: AtomicU64::new(0),
            began_ns: AtomicU64::new(0),
            fresh_poll: AtomicBool::new(true),
            give_way_ns: AtomicU64::new(0),
            statement_until_ns: AtomicU64::new(u64::MAX),
        }))
    }

    pub(super) fn poll_begins(&self) {
        let now = self.now();
        self.0.began_ns.store(now, Ordering::Relaxed);
        self.0.fresh_poll.store(true, Ordering::Relaxed);
        self.0
            .give_way_ns
            .store(now + GIVE_WAY_NS, Ordering::Relaxed);
    }

    pub(super) fn poll_ends(&self) {
        let ran = self.running();
        self.0.spent_ns.fetch_add(ran, Ordering::Relaxed);
    }

    /// True once per poll: the time for a new slice has come.
    pub(super) fn take_fresh_poll(&self) -> bool {
        self.0.fresh_poll.swap(false, Ordering::Relaxed)
    }

    /// A new event starts: the whole budget is there again.
    pub(super) fn renew(&self) {
        self.0.spent_ns.store(0, Ordering::Relaxed);
        self.0.began_ns.store(self.now(), Ordering::Relaxed);
    }

    pub(super) fn exhausted(&self) -> bool {
        self.0.spent_ns.load(Ordering::Relaxed) + self.running() > self.0.limit_ns
    }

    /// Runs an operator's statement for at most `most`, which the guest's budget does
    /// not pay for.
    pub(super) fn lend<T>(&self, most: Duration, statement: impl FnOnce() -> T) -> T {
        let until = self.now().saturating_add(most.as_nanos() as u64);
        self.0.statement_until_ns.store(until, Ordering::Relaxed);
        let answer = statement();
        self.0.statement_until_ns.store(u64::MAX, Ordering::Relaxed);
        self.renew();
        answer
    }

    pub(super) fn statement_is_late(&self) -> bool {
        self.now() > self.0.statement_until_ns.load(Ordering::Relaxed)
    }

    /// Asked in the middle of a statement, which cannot yield as guest code does:
    /// when it takes long, another thread goes on with the tasks of this one.
    pub(super) fn give_way(&self) {
        let now = self.now();
        if now >= self.0.give_way_ns.load(Ordering::Relaxed) {
            self.0
                .give_way_ns
                .store(now + GIVE_WAY_NS, Ordering::Relaxed);
            hand_tasks_over();
        }
    }

    fn running(&self) -> u64 {
        self.now()
            .saturating_sub(self.0.began_ns.load(Ordering::Relaxed))
    }

    fn now(&self) -> u64 {
        self.0.origin.elapsed().as_nanos() as u64
    }
}

/// tokio takes the thread's tasks back unless another thread has begun with them;
/// the pause gives it the time. A second time in one poll nothing is left to hand over.
fn hand_tasks_over() {
    let handle = Handle::try_current();
    if handle.is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread) {
        tokio::task::block_in_place(|| std::thread::sleep(HAND_OVER));
    }
}

/// A component is several core instances: its own, the shims of its toolchain, and for
/// interpreted languages the interpreter.
const CORE_INSTANCES: usize = 64;
const MEMORIES: usize = 4;
const TABLES: usize = 16;
const TABLE_ELEMENTS: usize = 100_000;

/// Refuses growth past the limit; the guest's allocator then gives up, which
/// traps. Remembers that it refused, so that the trap gets its real name.
#[derive(Debug)]
pub(super) struct MemoryLimiter {
    limit_bytes: usize,
    /// Of all memories together.
    used_bytes: usize,
    pub(super) refused: bool,
}

impl MemoryLimiter {
    pub(super) const fn new(limit_bytes: usize) -> Self {
        Self {
            limit_bytes,
            used_bytes: 0,
            refused: false,
        }
    }
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        let together = self.used_bytes.saturating_add(more);
        let fits = together <= self.limit_bytes;
        if fits {
            self.used_bytes = together;
        }
        self.refused |= !fits;
        Ok(fits)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS)
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES
    }

    fn tables(&self) -> usize {
        TABLES
    }

    fn memories(&self) -> usize {
        MEMORIES
    }
}
