//! Pages of one object: the open transaction, what is committed, what is in the file.
//!
//! SQLite reads and writes through `vfs`; a commit goes to the log from here; checkpoints
//! carry pages on to the file. It stays while the object sleeps, until a checkpoint has
//! emptied it. Pages are found in this order: `txn`, `base`, file.
//!
//! Invariants: I3 the file holds nothing that is not durable in the log; I9 a delta is
//! made only against a version that was logged in the current period.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::files::{self, Files};
use crate::key::ObjectKey;
use crate::log::delta::{self, PAGE_BYTES, Page};
use crate::log::{Log, record};

thread_local! {
    static RECORD: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The most a transaction that replaces a whole object may write; it lives in memory.
pub(crate) const WHOLE_BYTES: u64 = 1 << 30;

/// How an object that wakes waits for who works on it as a whole: up to five seconds.
const CLAIM_POLL: Duration = Duration::from_millis(1);
const CLAIM_POLLS: u32 = 5000;

/// What all objects of a folder share.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) log: Arc<Log>,
    pub(crate) files: Files,
    /// Bytes of all committed pages that wait for a checkpoint.
    pub(crate) overlay_bytes: AtomicU64,
    /// The most one transaction may write: it lives in memory.
    pub(crate) turn_bytes: u64,
}

#[derive(Debug)]
pub(crate) struct Pages {
    key: ObjectKey,
    number: u128,
    path: String,
    common: Arc<Common>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Pages written by the open transaction, and the size it has given the file.
    txn: BTreeMap<u32, Arc<Page>>,
    txn_size: Option<u32>,
    /// Committed pages that are newer than the file.
    base: BTreeMap<u32, Logged>,
    size: u32,
    /// How many leading pages of the file still count; what lies behind was cut off since.
    in_file: u32,
    /// The smallest size since the last snapshot.
    cut: u32,
    /// The period in which a record last carried the key.
    named_in: u64,
    /// Start of the last record of this period, 0 for none; end of the last record ever.
    previous: u64,
    gate: u64,
    /// Whether the file differs from the committed state.
    dirty: bool,
    /// Whether a connection reads and writes here; there can be only one.
    connected: bool,
    /// Whether somebody works on the object as a whole, and keeps its sessions out.
    claimed: bool,
    /// How the open transaction differs from those of a session.
    whole: Whole,
}

/// Who opens a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    /// An object that wakes.
    Session,
    /// Whoever has claimed the object.
    Claimant,
}

/// A transaction that replaces an object's content.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Whole {
    #[default]
    No,
    /// It goes on over connections: no commit of theirs ends it.
    Held { restored: bool },
    /// The next commit ends it.
    Last { restored: bool },
}

impl State {
    fn is_free(&self, holder: Holder) -> bool {
        !self.connected && self.claimed == (holder == Holder::Claimant)
    }

    fn discard(&mut self) {
        self.txn.clear();
        self.txn_size = None;
        self.whole = Whole::No;
    }
}

#[derive(Debug)]
struct Logged {
    page: Arc<Page>,
    period: u64,
}

/// What a checkpoint has to write for one object.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) pages: Vec<(u32, Arc<Page>)>,
    pub(crate) size: u32,
    pub(crate) in_file: u32,
    /// The position that must be durable first.
    pub(crate) gate: u64,
}

impl Pages {
    /// The pages of an object whose committed state is its file.
    pub(crate) fn open(key: ObjectKey, common: Arc<Common>) -> io::Result<Pages> {
        let (number, path) = (files::number(&key), files::path(&key));
        let size = common.files.pages(number, &path)?;
        let state = Mutex::new(State {
            size,
            in_file: size,
            cut: size,
            ..State::default()
        });
        Ok(Pages {
            key,
            number,
            path,
            common,
            state,
        })
    }

    pub(crate) fn key(&self) -> &ObjectKey {
        &self.key
    }

    pub(crate) fn number(&self) -> u128 {
        self.number
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The end of the object's last record: durable means that all it shows is durable.
    pub(crate) fn gate(&self) -> u64 {
        self.state().gate
    }

    /// Pages of the file as SQLite sees it now.
    pub(crate) fn size(&self) -> u32 {
        let state = self.state();
        state.txn_size.unwrap_or(state.size)
    }

    pub(crate) fn committed_bytes(&self) -> u64 {
        u64::from(self.state().size) * PAGE_BYTES as u64
    }

    /// Hands the page to `use_it`; `None` behind the end of the file.
    pub(crate) fn read<T>(
        &self,
        number: u32,
        use_it: impl FnOnce(&Page) -> T,
    ) -> io::Result<Option<T>> {
        let state = self.state();
        if number > state.txn_size.unwrap_or(state.size) {
            return Ok(None);
        }
        let page = state
            .txn
            .get(&number)
            .or_else(|| state.base.get(&number).map(|logged| &logged.page));
        if let Some(page) = page {
            return Ok(Some(use_it(page)));
        }
        let mut page = [0; PAGE_BYTES];
        if number <= state.in_file {
            self.common
                .files
                .read(self.number, &self.path, number, &mut page)?;
        }
        Ok(Some(use_it(&page)))
    }

    /// Writes into the open transaction; whether it fits.
    pub(crate) fn write(&self, number: u32, bytes: &Page) -> bool {
        let mut state = self.state();
        let most = match state.whole {
            Whole::No => self.common.turn_bytes,
            _ => WHOLE_BYTES,
        };
        if (state.txn.len() as u64 + 1) * PAGE_BYTES as u64 > most {
            return false;
        }
        let mut page = *bytes;
        // What a file's page was checked by says nothing about the next version.
        files::clear_checksum(&mut page);
        match state.txn.get_mut(&number).and_then(Arc::get_mut) {
            Some(old) => *old = page,
            None => drop(state.txn.insert(number, Arc::new(page))),
        }
        let size = state.txn_size.unwrap_or(state.size).max(number);
        state.txn_size = Some(size);
        true
    }

    pub(crate) fn truncate(&self, size: u32) {
        let mut state = self.state();
        state.txn.split_off(&(size + 1));
        state.txn_size = Some(size);
    }

    /// Whether there is no connection; waits for a claimant, who is not long as a rule.
    pub(crate) fn wait_until_free(&self, holder: Holder) -> bool {
        for _ in 0..CLAIM_POLLS {
            let state = self.state();
            if holder == Holder::Claimant || !state.claimed {
                return state.is_free(holder);
            }
            drop(state);
            std::thread::sleep(CLAIM_POLL);
        }
        false
    }

    /// Notes the one connection; false when there is one already.
    pub(crate) fn connect(&self, holder: Holder) -> bool {
        let mut state = self.state();
        let free = state.is_free(holder);
        state.connected |= free;
        free
    }

    pub(crate) fn disconnect(&self) {
        let mut state = self.state();
        if !matches!(state.whole, Whole::Held { .. }) {
            state.discard();
        }
        state.connected = false;
    }

    /// Keeps sessions out; false when one is there, or another claimant.
    pub(crate) fn claim(&self) -> bool {
        let mut state = self.state();
        let free = !state.connected && !state.claimed;
        state.claimed |= free;
        free
    }

    /// As `claim`; waits for another claimant, who is not long as a rule.
    pub(crate) fn claim_in_turn(&self) -> bool {
        for _ in 0..CLAIM_POLLS {
            if self.claim() {
                return true;
            }
            if !self.state().claimed {
                return false;
            }
            std::thread::sleep(CLAIM_POLL);
        }
        false
    }

    pub(crate) fn unclaim(&self) {
        let mut state = self.state();
        state.discard();
        state.claimed = false;
    }

    /// Begins a transaction that may be larger than a turn and outlive its connection.
    pub(crate) fn begin_whole(&self, restored: bool) {
        let mut state = self.state();
        state.discard();
        state.whole = Whole::Held { restored };
    }

    /// The next commit ends the transaction that `begin_whole` began.
    pub(crate) fn let_commit(&self) {
        let mut state = self.state();
        if let Whole::Held { restored } = state.whole {
            state.whole = Whole::Last { restored };
        }
    }

    /// Whether nothing of the object is kept here that its file does not have.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.state();
        !state.connected && !state.claimed && !state.dirty
    }

    /// Forgets the open transaction.
    pub(crate) fn discard(&self) {
        self.state().discard();
    }

    /// The transaction is final: its pages go to the log and become the committed state.
    pub(crate) fn commit(&self) {
        let mut state = self.state();
        if matches!(state.whole, Whole::Held { .. }) {
            return;
        }
        let size = state.txn_size.take().unwrap_or(state.size);
        if state.txn.is_empty() && size == state.size {
            return;
        }
        let period = self.log_commit(&mut state, size);
        state.whole = Whole::No;
        self.adopt(&mut state, size, period);
    }

    /// Encodes and appends; answers with the period the record belongs to.
    fn log_commit(&self, state: &mut State, size: u32) -> u64 {
        RECORD.with_borrow_mut(|record| {
            loop {
                let period = self.common.log.period();
                let first = state.named_in != period;
                let commit = record::Commit {
                    slot: self.key.slot(),
                    object: self.number,
                    previous: if first { 0 } else { state.previous },
                    size_pages: size,
                    restored: state.whole == Whole::Last { restored: true },
                    key: first.then_some(&self.key),
                    pages: state.txn.len() as u32,
                };
                commit.begin(record);
                for (number, page) in &state.txn {
                    let base = state
                        .base
                        .get(number)
                        .filter(|logged| logged.period == period);
                    delta::encode(*number, page, base.map(|logged| &*logged.page), record);
                }
                if let Some(place) = self.common.log.append(record, period) {
                    (state.previous, state.gate, state.named_in) = (place.start, place.end, period);
                    record.clear();
                    record.shrink_to(1 << 20);
                    return period;
                }
            }
        })
    }

    fn adopt(&self, state: &mut State, size: u32, period: u64) {
        let before = state.base.len();
        let State { txn, base, .. } = state;
        base.extend(
            std::mem::take(txn)
                .into_iter()
                .map(|(number, page)| (number, Logged { page, period })),
        );
        base.split_off(&(size + 1));
        (state.in_file, state.cut) = (state.in_file.min(size), state.cut.min(size));
        (state.size, state.dirty) = (size, true);
        self.count(before, state.base.len());
    }

    fn count(&self, before: usize, after: usize) {
        let total = &self.common.overlay_bytes;
        let bytes = before.abs_diff(after) as u64 * PAGE_BYTES as u64;
        match after >= before {
            true => total.fetch_add(bytes, Ordering::Relaxed),
            false => total.fetch_sub(bytes, Ordering::Relaxed),
        };
    }

    /// What the file lacks; `None` when it lacks nothing.
    pub(crate) fn snapshot(&self) -> Option<Snapshot> {
        let mut state = self.state();
        state.cut = state.size;
        state.dirty.then(|| Snapshot {
            pages: state
                .base
                .iter()
                .map(|(number, logged)| (*number, Arc::clone(&logged.page)))
                .collect(),
            size: state.size,
            in_file: state.in_file,
            gate: state.gate,
        })
    }

    /// The snapshot is in the file, durably: what has not changed since need not be kept.
    pub(crate) fn flushed(&self, snapshot: &Snapshot) {
        let mut state = self.state();
        let before = state.base.len();
        for (number, page) in &snapshot.pages {
            if state
                .base
                .get(number)
                .is_some_and(|logged| Arc::ptr_eq(&logged.page, page))
            {
                state.base.remove(number);
            }
        }
        state.dirty = state.gate != snapshot.gate;
        // Commits since may have cut off pages that the snapshot has put there.
        state.in_file = snapshot.size.min(state.cut);
        self.count(before, state.base.len());
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        let left = self.state().base.len();
        self.count(left, 0);
    }
}
