//! Index: when which object wants to be looked at, in memory.
//!
//! Filled from the hints in the object files at the start, then by what each
//! object says after its commits. Emptied by the scheduler. One entry for each
//! object, whatever its number of alarms. Times are milliseconds since 1970.
//!
//! Invariant: an object with an alarm has an entry that is never later than the
//! alarm, except while an event of ours is on its way to the object or its host
//! had no room for it lately ([`Alarms::postpone`]).

use std::collections::{BTreeSet, HashMap, hash_map};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dormouse_storage::AlarmSummary;
use tokio::sync::Notify;

use super::retry;
use crate::chance::Chance;
use crate::id::ObjectId;

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    pub class: Arc<str>,
    pub id: ObjectId,
}

/// The index. Cheap to clone; clones are the same.
#[derive(Clone, Debug)]
pub struct Alarms(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// The app's name, for the log.
    app: Arc<str>,
    index: Mutex<Index>,
    /// The earliest entry is another one.
    pub(super) changed: Notify,
    /// For jitter.
    chance: Chance,
}

impl Default for Alarms {
    fn default() -> Self {
        Self::new("app", Chance::system())
    }
}

#[derive(Debug, Default)]
struct Index {
    queue: BTreeSet<(i64, Address)>,
    entries: HashMap<Address, Entry>,
    dead: BTreeSet<Address>,
    last_fire: u64,
}

#[derive(Debug, Default)]
struct Entry {
    due_ms: Option<i64>,
    /// Not before this time, whatever is due: the host is at fault.
    hold_ms: Option<i64>,
    faults: u32,
    /// The event on its way to the object; it is not in the queue meanwhile.
    fired: Option<u64>,
}

impl Entry {
    fn queued_at(&self) -> Option<i64> {
        let due = self.due_ms.filter(|_| self.fired.is_none())?;
        Some(due.max(self.hold_ms.unwrap_or(due)))
    }

    const fn is_empty(&self) -> bool {
        self.due_ms.is_none() && self.fired.is_none() && self.hold_ms.is_none()
    }
}

/// What the index has next.
#[derive(Debug)]
pub(super) enum Next {
    Fire(Fire),
    At(i64),
    Nothing,
}

/// An event's side: an object's time has come.
#[derive(Debug)]
pub struct Fire {
    note: Note,
    number: u64,
    /// How often faults of the host came between since the last run.
    pub faults: u32,
    /// Others wait for a place to start.
    pub crowded: bool,
}

/// An object's side of the index.
#[derive(Clone, Debug)]
pub struct Note {
    alarms: Alarms,
    address: Address,
}

impl Alarms {
    #[must_use]
    pub fn new(app: &str, chance: Chance) -> Self {
        Self(Arc::new(Shared {
            app: app.into(),
            index: Mutex::default(),
            changed: Notify::new(),
            chance,
        }))
    }

    #[must_use]
    pub fn note(&self, address: Address) -> Note {
        Note {
            alarms: self.clone(),
            address,
        }
    }

    /// The object may have an alarm from then on. Adds to what is known.
    pub fn hint(&self, address: Address, not_before_ms: Option<i64>, dead: bool) {
        self.update(&address, |index, entry| {
            if dead {
                index.insert(address.clone());
            }
            if let Some(hint) = not_before_ms {
                entry.due_ms = Some(entry.due_ms.map_or(hint, |due| due.min(hint)));
            }
        });
    }

    /// Objects with dead letters.
    #[must_use]
    pub fn dead(&self) -> Vec<Address> {
        self.lock().dead.iter().cloned().collect()
    }

    /// How many objects have an entry.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().entries.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// When the first entry is due, or held back until.
    #[must_use]
    pub fn next_ms(&self) -> Option<i64> {
        self.lock().queue.first().map(|(at, _)| *at)
    }

    /// Whatever held alarms back may be over, such as code without their class.
    pub fn retry_now(&self) {
        let mut index = self.lock();
        let held = index
            .entries
            .iter()
            .filter(|(_, entry)| entry.hold_ms.is_some());
        let held: Vec<_> = held.map(|(address, _)| address.clone()).collect();
        for address in held {
            index.change(&address, |_, entry| {
                entry.hold_ms = None;
                entry.faults = 0;
            });
        }
        drop(index);
        self.0.changed.notify_one();
    }

    /// A number for jitter, from one place.
    #[must_use]
    pub fn random(&self) -> u64 {
        self.0.chance.number()
    }

    pub(super) async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// The earliest entry, taken out of the queue if it is due.
    pub(super) fn take_due(&self, now_ms: i64) -> Next {
        let mut index = self.lock();
        match index.queue.first() {
            None => return Next::Nothing,
            Some((at, _)) if *at > now_ms => return Next::At(*at),
            Some(_) => (),
        }
        let (_, address) = index.queue.pop_first().expect("the first was just seen");
        index.last_fire += 1;
        let number = index.last_fire;
        let entry = index.entries.entry(address.clone()).or_default();
        entry.fired = Some(number);
        entry.hold_ms = None;
        let faults = entry.faults;
        drop(index);
        Next::Fire(Fire {
            note: self.note(address),
            number,
            faults,
            crowded: false,
        })
    }

    /// The object was not reached, through no fault of its own.
    fn postpone(&self, address: &Address, now_ms: i64) {
        let random = self.random();
        self.update(address, |_, entry| {
            let due = entry.due_ms.unwrap_or(now_ms).min(now_ms);
            entry.due_ms = Some(due);
            entry.hold_ms = Some(now_ms.saturating_add(retry::hold_ms(entry.faults, random)));
            entry.faults = entry.faults.saturating_add(1);
            entry.fired = None;
        });
    }

    fn update(&self, address: &Address, change: impl FnOnce(&mut BTreeSet<Address>, &mut Entry)) {
        let first = self.lock().change(address, change);
        if first {
            self.0.changed.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        self.0.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index {
    /// Whether the earliest entry is this one now.
    fn change(
        &mut self,
        address: &Address,
        change: impl FnOnce(&mut BTreeSet<Address>, &mut Entry),
    ) -> bool {
        let mut place = match self.entries.entry(address.clone()) {
            hash_map::Entry::Occupied(place) => place,
            hash_map::Entry::Vacant(place) => place.insert_entry(Entry::default()),
        };
        let entry = place.get_mut();
        let before = entry.queued_at();
        change(&mut self.dead, entry);
        let after = entry.queued_at();
        if entry.is_empty() {
            place.remove();
        }
        if before == after {
            return false;
        }
        let key = |at| (at, address.clone());
        if let Some(at) = before {
            self.queue.remove(&key(at));
        }
        let Some(at) = after else { return false };
        self.queue.insert(key(at));
        self.queue
            .first()
            .is_some_and(|(_, first)| first == address)
    }
}

impl Note {
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    #[must_use]
    pub(crate) fn app(&self) -> &str {
        &self.alarms.0.app
    }

    #[must_use]
    pub fn random(&self) -> u64 {
        self.alarms.random()
    }

    /// What the object has committed.
    pub fn set(&self, summary: AlarmSummary) {
        self.alarms.update(&self.address, |dead, entry| {
            self.apply(summary, dead, entry);
        });
    }

    /// An alarm could not be brought to an end; look again later.
    pub fn postpone(&self, now_ms: i64) {
        self.alarms.postpone(&self.address, now_ms);
    }

    fn apply(&self, summary: AlarmSummary, dead: &mut BTreeSet<Address>, entry: &mut Entry) {
        entry.due_ms = summary.next_ms;
        if summary.dead {
            dead.insert(self.address.clone());
        } else {
            dead.remove(&self.address);
        }
    }
}

impl Fire {
    #[must_use]
    pub const fn note(&self) -> &Note {
        &self.note
    }

    /// The object has looked at its database; `summary` is what it found beside
    /// the alarm that runs from now on.
    pub fn taken(&self, summary: AlarmSummary) {
        self.note.alarms.update(&self.note.address, |dead, entry| {
            self.note.apply(summary, dead, entry);
            entry.fired = entry.fired.filter(|number| *number != self.number);
        });
    }

    /// What remains to be known when the event itself travels on.
    pub(super) fn receipt(&self) -> Receipt {
        Receipt {
            note: self.note.clone(),
            number: self.number,
        }
    }
}

/// The scheduler's side of a [`Fire`].
#[derive(Debug)]
pub(super) struct Receipt {
    note: Note,
    number: u64,
}

impl Receipt {
    pub(super) const fn address(&self) -> &Address {
        &self.note.address
    }

    /// The event was handled, whatever came of it.
    pub(super) fn done(&self) {
        let Note { alarms, address } = &self.note;
        alarms.update(address, |_, entry| {
            entry.faults = 0;
            entry.fired = entry.fired.filter(|number| *number != self.number);
        });
    }

    /// The event failed. The object has put its failure down itself, if it got as
    /// far as looking at its alarms and `counted` is set.
    pub(super) fn failed(&self, counted: bool, now_ms: i64) {
        let Note { alarms, address } = &self.note;
        let entered = alarms.lock().entries.get(address).map(|entry| entry.fired);
        let taken = entered.flatten() != Some(self.number);
        if counted && taken {
            self.done();
        } else {
            alarms.postpone(address, now_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Namespace;

    fn address(name: &str) -> Address {
        Address {
            class: "Probe".into(),
            id: Namespace::new("Probe", "probe/Probe").id_from_name(name).id,
        }
    }

    fn at(ms: i64) -> AlarmSummary {
        AlarmSummary {
            next_ms: Some(ms),
            dead: false,
        }
    }

    fn fire(alarms: &Alarms, now_ms: i64) -> Fire {
        match alarms.take_due(now_ms) {
            Next::Fire(fire) => fire,
            next => panic!("{next:?}"),
        }
    }

    fn waits_until(alarms: &Alarms) -> i64 {
        match alarms.take_due(0) {
            Next::At(ms) => ms,
            next => panic!("{next:?}"),
        }
    }

    fn is_quiet(alarms: &Alarms) -> bool {
        matches!(alarms.take_due(i64::MAX), Next::Nothing)
    }

    #[test]
    fn the_earliest_comes_first_and_never_early() {
        let alarms = Alarms::default();
        let (a, b) = (alarms.note(address("a")), alarms.note(address("b")));
        a.set(at(2_000));
        b.set(at(1_000));
        assert!(matches!(alarms.take_due(999), Next::At(1_000)));
        assert_eq!(fire(&alarms, 1_000).note.address, b.address);
        a.set(at(3_000));
        assert!(matches!(alarms.take_due(2_999), Next::At(3_000)));
        a.set(AlarmSummary::default());
        assert!(is_quiet(&alarms));
    }

    #[test]
    fn an_object_is_fired_at_once_and_then_as_it_says() {
        let alarms = Alarms::default();
        let a = alarms.note(address("a"));
        a.set(at(1_000));
        let first = fire(&alarms, 1_000);
        a.set(at(500));
        assert!(is_quiet(&alarms), "an event is on its way");
        first.taken(at(4_000));
        assert_eq!(waits_until(&alarms), 4_000);
        first.receipt().done();
        assert_eq!(waits_until(&alarms), 4_000);
        a.set(AlarmSummary::default());
        assert!(alarms.is_empty());
    }

    #[test]
    fn faults_of_the_host_hold_alarms_back_longer_and_longer() {
        let alarms = Alarms::default();
        let a = alarms.note(address("a"));
        a.set(at(0));
        let mut now = 1_000;
        for fault in 0..12 {
            let fire = fire(&alarms, now);
            assert_eq!(fire.faults, fault);
            fire.receipt().failed(false, now);
            let plain = 2_000 << fault.min(9);
            let held = waits_until(&alarms) - now;
            assert!(
                (plain..=plain + plain / 4).contains(&held),
                "{fault}: {held}"
            );
            now += held;
        }
        alarms.retry_now();
        assert_eq!(fire(&alarms, 0).faults, 0);
    }

    #[test]
    fn an_event_that_fails_before_it_is_seen_is_not_lost() {
        let alarms = Alarms::default();
        alarms.hint(address("a"), Some(1_000), false);
        let fire = fire(&alarms, 1_000);
        fire.receipt().failed(true, 1_000);
        assert!(waits_until(&alarms) >= 3_000);
    }

    #[test]
    fn an_object_puts_down_its_own_failures() {
        let alarms = Alarms::default();
        alarms.hint(address("a"), Some(1_000), false);
        let fire = fire(&alarms, 1_000);
        fire.taken(AlarmSummary::default());
        fire.note.set(at(1_100));
        fire.receipt().failed(true, 1_000);
        assert_eq!(waits_until(&alarms), 1_100);
        fire.receipt().failed(false, 1_100);
        assert!(waits_until(&alarms) >= 3_100, "unless the host is at fault");
    }

    #[test]
    fn hints_add_to_what_is_known() {
        let alarms = Alarms::default();
        alarms.note(address("a")).set(at(5_000));
        alarms.hint(address("a"), Some(9_000), true);
        assert_eq!(waits_until(&alarms), 5_000);
        alarms.hint(address("a"), Some(4_000), false);
        assert_eq!(waits_until(&alarms), 4_000);
        assert_eq!(alarms.dead(), [address("a")]);
        alarms.note(address("a")).set(AlarmSummary::default());
        assert_eq!(alarms.dead(), []);
    }
}
