//! The commit log: one per data folder, the truth about every object in it.
//!
//! Objects append records from their threads (memory only, total order); one committer
//! writes what has gathered and syncs it once, and so opens many gates. There is no
//! delay: while one sync runs, the next batch gathers.
//!
//! Invariants (numbers as in `docs/storage.md`): I2 `durable` rises only after a
//! successful sync of every byte below it; I8 positions are contiguous. A failed sync is
//! final: the log is dead, every ticket says so. A full disk is not: the batch waits.
//! Positions are bytes since the log began.

pub(crate) mod delta;
#[cfg(test)]
mod properties;
pub(crate) mod read;
pub(crate) mod record;
pub(crate) mod scan;
pub(crate) mod segment;

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::disk::Env;
use crate::fault::Fault;
use crate::ticket::Dead;
use segment::Writer;

/// A commit waits when this much has gathered, so a slow disk bounds memory.
const PENDING_BYTES: usize = 64 << 20;

/// Between two attempts to write to a full disk.
const RETRY: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) struct Log {
    env: Env,
    id: u64,
    epoch: u32,
    inner: Mutex<Inner>,
    /// Told when there is something to commit, and when something became durable.
    work: Condvar,
    progress: Condvar,
    writer: Mutex<Committer>,
    /// A copy of `Inner::durable`, so an open gate is seen without the lock.
    durable: AtomicU64,
}

#[derive(Debug)]
struct Inner {
    /// Records not yet taken by the committer, from `next - pending.len()` on.
    pending: Vec<u8>,
    next: u64,
    durable: u64,
    dead: Option<Dead>,
    /// Why the disk has no space for the batch that waits.
    starved: bool,
    /// Counts redo positions: a delta may not reach back over the last one.
    period: u64,
    last_time_ms: u64,
    /// Times of commits since redo, and where the first of each begins.
    times: Vec<(u64, u64)>,
    waiting: BTreeMap<(u64, u64), Waker>,
    last_waiter: u64,
    stopping: bool,
}

#[derive(Debug)]
struct Committer {
    writer: Writer,
    /// Taken from `pending` and not yet durable.
    batch: Vec<u8>,
}

/// What one attempt to commit did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    Idle,
    Synced,
    /// The disk is full; try again when there is space.
    Starved,
    Dead,
}

/// Where a record stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl Log {
    /// The log from `end` on; `last_ms` is the time of the last commit before.
    pub(crate) fn new(
        env: Env,
        id: u64,
        epoch: u32,
        writer: Writer,
        end: u64,
        last_ms: u64,
    ) -> Log {
        let inner = Inner {
            pending: Vec::new(),
            next: end,
            durable: end,
            dead: None,
            starved: false,
            period: 1,
            last_time_ms: last_ms,
            times: Vec::new(),
            waiting: BTreeMap::new(),
            last_waiter: 0,
            stopping: false,
        };
        Log {
            env,
            id,
            epoch,
            inner: Mutex::new(inner),
            work: Condvar::new(),
            progress: Condvar::new(),
            writer: Mutex::new(Committer {
                writer,
                batch: Vec::new(),
            }),
            durable: AtomicU64::new(end),
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A panic while the lock is held leaves no half-made state behind: every change
        // is complete before anything that could panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn committer(&self) -> MutexGuard<'_, Committer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn period(&self) -> u64 {
        self.inner().period
    }

    /// Gives `record` its place and queues it. `None` when the period has changed since
    /// the record was encoded: its deltas may reach too far back, encode again.
    pub(crate) fn append(&self, record: &mut Vec<u8>, period: u64) -> Option<Place> {
        let crc = record::payload_crc(record);
        let mut inner = self.inner();
        if inner.period != period {
            return None;
        }
        let time_ms = self.env.clock.now_ms().max(inner.last_time_ms);
        if time_ms > inner.last_time_ms || inner.times.is_empty() {
            let start = inner.next;
            inner.times.push((time_ms, start));
        }
        inner.last_time_ms = time_ms;
        let first = inner.pending.is_empty();
        if first {
            let batch = record::batch(inner.next, self.epoch, time_ms);
            inner.pending.extend_from_slice(&batch);
            inner.next += batch.len() as u64;
        }
        let start = inner.next;
        record::seal(record, crc, start, self.epoch, time_ms);
        record.resize(record::padded(record.len()), 0);
        inner.pending.extend_from_slice(record);
        inner.next += record.len() as u64;
        let end = inner.next;
        drop(inner);
        // Later ones find the committer awake, or about to look again.
        if first {
            self.work.notify_one();
        }
        Some(Place { start, end })
    }

    /// Begins a new period: records from the returned position on need none before it.
    pub(crate) fn begin_period(&self) -> u64 {
        let mut inner = self.inner();
        if !self.env.faults.is(Fault::DeltaAcrossRedo) {
            inner.period += 1;
        }
        inner.next
    }

    pub(crate) fn end(&self) -> u64 {
        self.inner().next
    }

    /// Whether a turn may begin. Waits while too much has gathered.
    pub(crate) fn admit(&self) -> Result<bool, Dead> {
        loop {
            let inner = self.inner();
            match &inner.dead {
                Some(dead) => return Err(dead.clone()),
                None if inner.starved && self.env.threads => return Ok(false),
                None if inner.starved => {
                    drop(inner);
                    if self.commit() == Progress::Starved {
                        return Ok(false);
                    }
                }
                None if inner.pending.len() < PENDING_BYTES => return Ok(true),
                None if self.env.threads => {
                    drop(
                        self.progress
                            .wait(inner)
                            .unwrap_or_else(PoisonError::into_inner),
                    );
                }
                None => {
                    drop(inner);
                    self.commit();
                }
            }
        }
    }

    /// Writes and syncs one batch.
    pub(crate) fn commit(&self) -> Progress {
        let mut committer = self.committer();
        let Committer { writer, batch } = &mut *committer;
        let position = {
            let mut inner = self.inner();
            if inner.dead.is_some() {
                return Progress::Dead;
            }
            if batch.is_empty() {
                std::mem::swap(batch, &mut inner.pending);
            }
            if batch.is_empty() {
                return Progress::Idle;
            }
            inner.next - inner.pending.len() as u64 - batch.len() as u64
        };
        let end = position + batch.len() as u64;
        match self.write(writer, batch, position, end) {
            Ok(()) => {
                batch.clear();
                // A burst should not hold its memory for ever.
                batch.shrink_to(1 << 20);
                self.advance(end, false);
                Progress::Synced
            }
            Err(Failure::Full) => {
                self.advance(position, true);
                Progress::Starved
            }
            Err(Failure::Final(error)) => {
                self.die(&format!("syncing it failed: {error}"));
                Progress::Dead
            }
        }
    }

    fn write(
        &self,
        writer: &mut Writer,
        batch: &[u8],
        position: u64,
        end: u64,
    ) -> Result<(), Failure> {
        writer.write(batch, position).map_err(Failure::of_write)?;
        if self.env.faults.is(Fault::GateAtWrite) {
            self.advance(end, false);
        }
        match writer.sync(batch.len() as u64) {
            Err(_) if self.env.faults.is(Fault::SyncErrorIgnored) => {
                writer.sync(batch.len() as u64).map_err(Failure::Final)
            }
            // No second try: after a failed sync the kernel may have dropped the bytes
            // and would report success for their absence.
            result => result.map_err(Failure::Final),
        }
    }

    fn advance(&self, durable: u64, starved: bool) {
        let mut inner = self.inner();
        inner.starved = starved;
        inner.durable = inner.durable.max(durable);
        self.durable.store(inner.durable, Ordering::Release);
        let first_shut = (inner.durable + 1, 0);
        let later = inner.waiting.split_off(&first_shut);
        let ready = std::mem::replace(&mut inner.waiting, later);
        drop(inner);
        self.progress.notify_all();
        ready.into_values().for_each(Waker::wake);
    }

    /// Ends the log: every gate that is not open stays shut.
    pub(crate) fn die(&self, reason: &str) {
        let mut inner = self.inner();
        inner.dead.get_or_insert_with(|| Dead {
            reason: reason.to_owned(),
        });
        let waiting = std::mem::take(&mut inner.waiting);
        drop(inner);
        self.progress.notify_all();
        self.work.notify_all();
        waiting.into_values().for_each(Waker::wake);
    }

    pub(crate) fn is_durable(&self, position: u64) -> bool {
        self.durable.load(Ordering::Acquire) >= position
    }

    /// Waits until `position` is durable; false when the disk is full first.
    pub(crate) fn settle(&self, position: u64) -> Result<bool, Dead> {
        loop {
            let inner = self.inner();
            if inner.durable >= position {
                return Ok(true);
            }
            match &inner.dead {
                Some(dead) => return Err(dead.clone()),
                None if inner.starved && self.env.threads => return Ok(false),
                None if self.env.threads => {
                    drop(
                        self.progress
                            .wait(inner)
                            .unwrap_or_else(PoisonError::into_inner),
                    );
                }
                None => {
                    drop(inner);
                    if self.commit() == Progress::Starved {
                        return Ok(false);
                    }
                }
            }
        }
    }

    /// Waits until `position` is durable, also for space on the disk.
    pub(crate) fn wait(&self, position: u64) -> Result<(), Dead> {
        while !self.settle(position)? {
            std::thread::sleep(RETRY);
        }
        Ok(())
    }

    pub(crate) fn poll(
        &self,
        position: u64,
        waiter: &mut Option<u64>,
        waker: &Waker,
    ) -> Poll<Result<(), Dead>> {
        if self.is_durable(position) {
            return Poll::Ready(Ok(()));
        }
        let mut inner = self.inner();
        if inner.durable >= position {
            return Poll::Ready(Ok(()));
        }
        if let Some(dead) = &inner.dead {
            return Poll::Ready(Err(dead.clone()));
        }
        let number = *waiter.get_or_insert_with(|| {
            inner.last_waiter += 1;
            inner.last_waiter
        });
        inner.waiting.insert((position, number), waker.clone());
        Poll::Pending
    }

    pub(crate) fn forget(&self, position: u64, waiter: u64) {
        self.inner().waiting.remove(&(position, waiter));
    }

    /// The committer's thread: until `stop`, one batch after the other.
    pub(crate) fn run(&self) {
        loop {
            let mut inner = self.inner();
            while inner.pending.is_empty()
                && !inner.starved
                && !inner.stopping
                && inner.dead.is_none()
            {
                inner = self
                    .work
                    .wait(inner)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            let stopping = inner.stopping;
            drop(inner);
            match self.commit() {
                Progress::Dead => return,
                Progress::Idle | Progress::Starved if stopping => return,
                Progress::Starved => std::thread::sleep(RETRY),
                Progress::Idle | Progress::Synced => (),
            }
        }
    }

    /// Lets the committer's thread end after what has gathered.
    pub(crate) fn stop(&self) {
        self.inner().stopping = true;
        self.work.notify_all();
    }

    /// Makes room on disk before the log needs it.
    pub(crate) fn prepare(&self, segment_bytes: u64) -> io::Result<()> {
        let wanted = self.committer().writer.wants_spare();
        let Some(name) = wanted else { return Ok(()) };
        // Not under the lock: filling takes as long as many commits.
        segment::fill(&self.env, &name, segment_bytes)?;
        self.committer().writer.add_spare(name);
        Ok(())
    }

    pub(crate) fn number_at(&self, position: u64) -> u64 {
        self.committer().writer.number_at(position)
    }

    pub(crate) fn trim(&self, redo: u64) -> io::Result<()> {
        let mut inner = self.inner();
        // The last one before redo is the time of what follows it, too.
        let before = inner.times.partition_point(|(_, start)| *start < redo);
        inner.times.drain(..before.saturating_sub(1));
        drop(inner);
        self.committer().writer.trim(redo)
    }

    /// Numbers and start positions of the segments, oldest first.
    pub(crate) fn segments(&self) -> Vec<(u64, u64)> {
        self.committer().writer.segments().to_vec()
    }

    /// Begins a new segment, so that the one so far can be let go of. False when the disk is
    /// full.
    pub(crate) fn rotate(&self) -> Result<bool, Dead> {
        let end = self.end();
        if !self.settle(end)? {
            return Ok(false);
        }
        let mut committer = self.committer();
        if !committer.batch.is_empty() {
            return Ok(false);
        }
        let durable = {
            let inner = self.inner();
            inner.next - inner.pending.len() as u64
        };
        match committer
            .writer
            .begin(durable, 0)
            .map_err(Failure::of_write)
        {
            Ok(()) => Ok(true),
            Err(Failure::Full) => Ok(false),
            Err(Failure::Final(error)) => {
                drop(committer);
                self.die(&format!("beginning a segment failed: {error}"));
                self.admit()
            }
        }
    }

    /// Removes recycled segments, durably: they hold what was written before.
    pub(crate) fn drop_spares(&self) -> io::Result<()> {
        self.committer().writer.drop_spares()
    }

    pub(crate) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// The position behind the last commit that was made up to `time_ms`, if a commit after
    /// the last checkpoint was made before that time or at it.
    pub(crate) fn position_at(&self, time_ms: u64) -> Option<u64> {
        let inner = self.inner();
        let later = inner.times.partition_point(|(time, _)| *time <= time_ms);
        let next = inner
            .times
            .get(later)
            .map_or(inner.next, |(_, start)| *start);
        (later > 0).then_some(next)
    }

    /// The time of the last commit.
    pub(crate) fn last_ms(&self) -> u64 {
        self.inner().last_time_ms
    }
}

enum Failure {
    Full,
    Final(io::Error),
}

impl Failure {
    fn of_write(error: io::Error) -> Failure {
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Failure::Full,
            _ => Failure::Final(error),
        }
    }
}
