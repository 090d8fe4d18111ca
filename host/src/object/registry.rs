//! Registry: id → slot, and the code that is served at the moment.
//!
//! A slot exists while its object is awake or has mail; its task alone makes and
//! drops the instance, and leaves the table only after that, under the same lock
//! under which mail is put in. So there is never a second instance of an id, and
//! no mail is lost between sleep and wake.

use std::collections::{BTreeMap, BTreeSet, HashMap, hash_map};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use dormouse_storage::{Dead, Storage};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::caller::Caller;
use super::held::Hold;
use super::live::Live;
use super::mailbox::{self, Mailbox, mailbox};
use super::neighbours::Neighbours;
use super::room::Room;
use super::signal::{CLOSE, EVICT, REPLACE, RESET, Signal};
use crate::alarm::{Address, Alarms};
use crate::builtin::Builtin;
use crate::clock::{Clock, Moment};
use crate::deploy::Classes;
use crate::event::{Event, Fault, Reset};
use crate::guest::{Code, Environment, Identity, Limits};
use crate::id::{Namespace, ObjectId, ObjectName};
use crate::measures::Measures;
use crate::socket::Hub;
use crate::split::{Split, place};
use crate::tally::Tally;

const SHARDS: usize = 64;

/// How objects of an app live.
#[derive(Clone, Debug)]
pub struct Options {
    /// Nothing to do for this long: asleep.
    pub idle: Duration,
    /// Events waiting in one mailbox; one more is refused as overloaded.
    pub mailbox_events: usize,
    /// Events that run in one object at a time.
    pub concurrent_events: usize,
    /// How long events on replaced code, or at shutdown, may take to finish.
    pub drain: Duration,
    pub limits: Limits,
}

/// Code together with what it runs under: replaced as a whole by a deployment.
#[derive(Clone, Debug)]
pub struct Served {
    pub code: Arc<Code>,
    /// By class; a namespace is called by its root, which renaming a class leaves.
    pub namespaces: HashMap<Arc<str>, Namespace>,
    /// Classes by root, for those that have another one than their name.
    renamed: HashMap<Arc<str>, Arc<str>>,
    /// What its guests find by name.
    pub environment: Arc<Environment>,
    pub options: Options,
    /// Classes whose objects are named by the whole path behind the class.
    pub whole_path: BTreeSet<String>,
    /// Classes that objects and workers of other apps may call, by their roots, and of
    /// which apps.
    pub share: BTreeMap<String, BTreeSet<String>>,
    /// Why there is no code, if there is none.
    pub absent: Option<Arc<str>>,
    /// How its events end, while somebody wants to know.
    pub tally: Arc<Tally>,
}

/// What the registries of a host have in common.
#[derive(Clone, Debug)]
pub struct Around {
    pub room: Room,
    pub neighbours: Neighbours,
    pub measures: Measures,
    /// Set once: something cannot be made durable any more, and the host must start anew.
    pub dead: Arc<watch::Sender<Option<Dead>>>,
}

/// Every object of one app. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Registry(Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    /// The app's name.
    pub(super) app: Arc<str>,
    pub(super) storage: Storage,
    pub(super) clock: Clock,
    pub(super) alarms: Alarms,
    pub(super) measures: Measures,
    served: RwLock<Split<Served>>,
    shards: Vec<Mutex<HashMap<Key, Entry>>>,
    around: Around,
    paused: AtomicBool,
    closing: AtomicBool,
    /// Set once: nothing can be made durable any more.
    pub(super) dead: Arc<watch::Sender<Option<Dead>>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) class: Arc<str>,
    pub(super) id: ObjectId,
}

impl Key {
    fn of(object: &Address) -> Self {
        Self {
            class: object.class.clone(),
            id: object.id,
        }
    }
}

/// An object that is awake, has mail, or has sockets.
#[derive(Debug, Default)]
struct Entry {
    hub: Arc<Hub>,
    name: Option<Arc<str>>,
    /// Absent while the object sleeps behind its sockets.
    slot: Option<Slot>,
}

/// What the registry knows of one object.
#[derive(Clone, Debug)]
pub struct Present {
    pub class: Arc<str>,
    pub id: ObjectId,
    pub name: Option<Arc<str>>,
    /// Has an instance, or mail that is about to wake it.
    pub awake: bool,
    /// Since when it has nothing to do; on the host's clock.
    pub idle_since: Option<Moment>,
    pub sockets: usize,
}

impl Entry {
    fn describe(&self, key: &Key) -> Present {
        Present {
            class: key.class.clone(),
            id: key.id,
            name: self.name.clone(),
            awake: self.slot.is_some(),
            idle_since: self.slot.as_ref().and_then(|slot| slot.signal.idle_since()),
            sockets: self.hub.list(None).len(),
        }
    }
}

#[derive(Debug)]
struct Slot {
    mailbox: mailbox::Sender,
    signal: Arc<Signal>,
}

/// An event that no mailbox took.
struct Refused {
    event: Event,
    fault: Fault,
}

impl Refused {
    fn new(event: Event, fault: Fault) -> Box<Self> {
        Box::new(Self { event, fault })
    }
}

impl Served {
    #[must_use]
    pub fn new(
        code: Arc<Code>,
        classes: &Classes,
        environment: Arc<Environment>,
        options: Options,
    ) -> Self {
        let namespaces = namespaces(&code, classes);
        let renamed = namespaces
            .iter()
            .filter(|(class, own)| **class != own.class);
        Self {
            renamed: renamed
                .map(|(class, own)| (own.class.clone(), class.clone()))
                .collect(),
            namespaces,
            environment,
            code,
            options,
            whole_path: BTreeSet::new(),
            share: BTreeMap::new(),
            absent: None,
            tally: Arc::default(),
        }
    }

    /// The class whose objects are kept under a root.
    #[must_use]
    pub fn class_of<'a>(&'a self, root: &'a Arc<str>) -> Option<&'a Arc<str>> {
        let own = || self.namespaces.get(root).filter(|own| own.class == *root);
        match self.renamed.get(root) {
            None => own().map(|_| root),
            found => found,
        }
    }

    /// Whether another app may call the objects of a class.
    #[must_use]
    pub fn shares(&self, class: &str, app: &str) -> bool {
        self.share.get(class).is_some_and(|apps| apps.contains(app))
    }

    /// The objects of a class, built-in ones included.
    #[must_use]
    pub fn namespace(&self, class: &str) -> Option<&Namespace> {
        match self.namespaces.get(class) {
            None => Builtin::of(class).map(Builtin::namespace),
            found => found,
        }
    }
}

/// The classes of `code`, each with a namespace named after its root. The name of the
/// app has no part in ids: renaming it must not lose its objects from sight.
#[must_use]
pub fn namespaces(code: &Code, classes: &Classes) -> HashMap<Arc<str>, Namespace> {
    let namespace = |class: &Arc<str>| {
        let root = classes.root(class);
        (class.clone(), Namespace::new(root, root))
    };
    let all = code.classes().iter();
    all.map(|class| namespace(&class.name)).collect()
}

impl From<Arc<Inner>> for Registry {
    fn from(inner: Arc<Inner>) -> Self {
        Self(inner)
    }
}

impl Registry {
    #[must_use]
    pub fn new(
        app: &str,
        storage: Storage,
        clock: Clock,
        alarms: Alarms,
        around: Around,
        served: Served,
    ) -> Self {
        let app: Arc<str> = app.into();
        let inner = Arc::new(Inner {
            storage,
            clock,
            alarms,
            measures: around.measures.of_app(&app),
            served: RwLock::new(Split::all(Arc::new(served))),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            app,
            dead: around.dead.clone(),
            around,
            paused: AtomicBool::new(false),
            closing: AtomicBool::new(false),
        });
        inner.around.room.join(&inner);
        Self(inner)
    }

    /// The app's name.
    #[must_use]
    pub fn app(&self) -> &Arc<str> {
        &self.0.app
    }

    pub(super) fn entry(&self) -> (Arc<str>, Weak<Inner>) {
        (self.0.app.clone(), Arc::downgrade(&self.0))
    }

    #[must_use]
    pub fn neighbours(&self) -> &Neighbours {
        &self.0.around.neighbours
    }

    /// The registry of the app with this name, which may be this one.
    #[must_use]
    pub fn of_app(&self, app: &str) -> Option<Self> {
        match *self.0.app == *app {
            true => Some(self.clone()),
            false => self.0.around.neighbours.find(app),
        }
    }

    /// Whether doors and other apps turn away whoever asks.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.0.paused.load(Ordering::Relaxed)
    }

    /// Closes all sockets with 1012 and puts every object to sleep when it is done.
    /// What runs may call other objects of the app; who asks from outside must look at
    /// `is_paused` first.
    pub fn pause(&self) {
        self.0.paused.store(true, Ordering::Relaxed);
        self.close_sockets("the app is paused");
        self.evict_all();
    }

    pub fn resume(&self) {
        self.0.paused.store(false, Ordering::Relaxed);
    }

    /// The current version's.
    #[must_use]
    pub fn served(&self) -> Arc<Served> {
        self.0.served()
    }

    /// The current version's, and that of the one that is being rolled out.
    #[must_use]
    pub fn split(&self) -> Split<Served> {
        self.0.split()
    }

    /// Serves other code from the next event of each object on. What runs may
    /// finish on the old code within `options.drain`.
    pub fn replace(&self, served: Served) {
        self.serve(Split::all(Arc::new(served)));
    }

    /// The same, for those objects only that have other code now.
    pub fn serve(&self, split: Split<Served>) {
        let mut current = self
            .0
            .served
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *current, split.clone());
        drop(current);
        let of = |split: &Split<Served>, key: &Key| Arc::as_ptr(split.at(|| place(&key.id)));
        self.0
            .raise_where(REPLACE, |key| of(&before, key) != of(&split, key));
    }

    /// Puts an event into the object's mailbox; never waits. Whatever happens to
    /// it, its reply channel is answered or closed.
    pub fn deliver(&self, namespace: &Namespace, object: ObjectName, event: Event) {
        let (app, class) = (self.0.app.clone(), namespace.class.clone());
        self.call(Identity { app, class, object }, event);
    }

    /// The same for one object of a class, perhaps of another app.
    pub fn call(&self, who: Identity, event: Event) {
        if *who.app != *self.0.app {
            return self.call_neighbour(&who, event);
        }
        if let Err(refused) = self.0.try_deliver(&who.class, &who.object, event) {
            let Refused { event, fault } = *refused;
            Caller::of(event, &who).0.answer(&who, Err(fault));
        }
    }

    fn call_neighbour(&self, who: &Identity, event: Event) {
        let neighbours = &self.0.around.neighbours;
        match neighbours.shared(&self.0.app, &who.app, &who.class) {
            Ok(registry) => registry.call(who.clone(), event),
            // Told to who called alone: it is nothing for the other app's log. Nobody may
            // be left who waits.
            Err(fault) => drop(event.reply.send(Err(fault))),
        }
    }

    /// Does `work` while the object sleeps and nobody can wake it. Events at work have
    /// `drain` to finish; those that come meanwhile are handled afterwards.
    pub async fn while_asleep<T: Send + 'static>(
        &self,
        who: &Identity,
        work: impl FnOnce(&Storage) -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let (hold, done) = Hold::new(work);
        self.0.hold(who, hold)?;
        // Without an answer the task was torn down with the host, or the work failed.
        done.await
            .map_err(|_| Fault::Reset(Reset::Storage("the work on it was not finished".into())))
    }

    #[must_use]
    pub fn measures(&self) -> &Measures {
        &self.0.measures
    }

    /// Why nothing can be made durable any more, if that is so.
    #[must_use]
    pub fn dead(&self) -> Option<Dead> {
        self.0.dead.borrow().clone()
    }

    /// Ends when the commit log is dead: the host must stop and recover.
    pub async fn died(&self) -> Dead {
        let mut dead = self.0.dead.subscribe();
        let found = dead.wait_for(Option::is_some).await;
        let found = found.expect("the registry holds the sender").clone();
        found.expect("it was waited for")
    }

    /// Room for an instance that is no object; makes idle objects sleep if need be.
    pub async fn room(&self) -> Result<OwnedSemaphorePermit, Fault> {
        self.0.room().await
    }

    fn close_sockets(&self, why: &str) {
        for shard in &self.0.shards {
            let hubs = lock(shard)
                .values()
                .map(|entry| entry.hub.clone())
                .collect::<Vec<_>>();
            hubs.iter().for_each(|hub| hub.close_all(1012, why));
        }
    }

    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    pub(super) fn prune(&self, key: &Key) {
        self.0.prune(key);
    }

    /// How many objects have an instance or mail.
    #[must_use]
    pub fn awake(&self) -> usize {
        let awake = |entry: &&Entry| entry.slot.is_some();
        let shards = self.0.shards.iter();
        shards
            .map(|shard| lock(shard).values().filter(awake).count())
            .sum()
    }

    /// The objects that are awake, have mail or have sockets.
    #[must_use]
    pub fn present(&self) -> Vec<Present> {
        let mut present = Vec::new();
        for shard in &self.0.shards {
            let shard = lock(shard);
            present.extend(shard.iter().map(|(key, entry)| entry.describe(key)));
        }
        present
    }

    /// Puts an object to sleep as soon as it has nothing to do.
    pub fn evict(&self, object: &Address) {
        self.0.raise_one(object, EVICT);
    }

    /// Puts every object to sleep as soon as it has nothing to do.
    pub fn evict_all(&self) {
        self.0.raise(EVICT);
    }

    /// Ends an object's instance whatever it does; what it committed stays.
    pub fn reset(&self, object: &Address) {
        self.0.raise_one(object, RESET);
    }

    /// The sockets of an object, which may sleep.
    #[must_use]
    pub fn hub(&self, object: &Address) -> Option<Arc<Hub>> {
        let key = Key::of(object);
        let shard = self.0.shard(&key);
        shard.get(&key).map(|entry| entry.hub.clone())
    }

    /// Whether an object has an instance or mail.
    #[must_use]
    pub fn is_awake(&self, object: &Address) -> bool {
        let key = Key::of(object);
        let shard = self.0.shard(&key);
        shard.get(&key).is_some_and(|entry| entry.slot.is_some())
    }

    /// Takes no more events, lets those that run finish, puts every object to
    /// sleep. Returns when all sleep or when `within` is over.
    pub async fn close(&self, within: Duration) {
        self.close_sockets("the host is shutting down");
        self.0.closing.store(true, Ordering::Release);
        self.0.raise(CLOSE);
        let deadline = tokio::time::Instant::now() + within;
        while self.awake() > 0 && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

impl Inner {
    pub(super) fn served(&self) -> Arc<Served> {
        let served = self.served.read().unwrap_or_else(PoisonError::into_inner);
        served.main().clone()
    }

    fn split(&self) -> Split<Served> {
        let served = self.served.read().unwrap_or_else(PoisonError::into_inner);
        served.clone()
    }

    /// What an object runs on.
    pub(super) fn served_for(&self, id: &ObjectId) -> Arc<Served> {
        let served = self.served.read().unwrap_or_else(PoisonError::into_inner);
        served.at(|| place(id)).clone()
    }

    fn try_deliver(
        self: &Arc<Self>,
        class: &Arc<str>,
        object: &ObjectName,
        event: Event,
    ) -> Result<(), Box<Refused>> {
        if self.closing.load(Ordering::Acquire) {
            return Err(Refused::new(event, Fault::ShuttingDown));
        }
        let key = Key {
            class: class.clone(),
            id: object.id,
        };
        let mut shard = self.shard(&key);
        let slot = self.slot(&mut shard, &key, object);
        self.measures.event(&key.class, &event.kind);
        match slot.mailbox.try_send(event) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(event)) => {
                let events = slot.mailbox.capacity();
                Err(Refused::new(*event, Fault::Overloaded { events }))
            }
            Err(TrySendError::Closed(event)) => Err(Refused::new(*event, Fault::ShuttingDown)),
        }
    }

    fn hold(self: &Arc<Self>, who: &Identity, hold: Hold) -> Result<(), Fault> {
        if self.closing.load(Ordering::Acquire) {
            return Err(Fault::ShuttingDown);
        }
        let key = Key {
            class: who.class.clone(),
            id: who.object.id,
        };
        let mut shard = self.shard(&key);
        let slot = self.slot(&mut shard, &key, &who.object);
        slot.mailbox.hold(hold);
        // An instance looks at its mailbox again; the flag alone may be lowered unseen.
        slot.signal.raise(EVICT);
        Ok(())
    }

    /// The slot of an object, which is opened if need be.
    fn slot<'a>(
        self: &Arc<Self>,
        shard: &'a mut HashMap<Key, Entry>,
        key: &Key,
        object: &ObjectName,
    ) -> &'a Slot {
        let entry = shard.entry(key.clone()).or_default();
        if entry.name.is_none() {
            entry.name.clone_from(&object.name);
        }
        let hub = &entry.hub;
        let slot = &mut entry.slot;
        slot.get_or_insert_with(|| self.open_slot(key, object.clone(), hub.clone()))
    }

    fn open_slot(self: &Arc<Self>, key: &Key, object: ObjectName, hub: Arc<Hub>) -> Slot {
        let (sender, mailbox) = mailbox(self.served_for(&key.id).options.mailbox_events);
        let signal = Arc::new(Signal::default());
        let live = Live::new(
            self.clone(),
            key.clone(),
            object,
            mailbox,
            signal.clone(),
            hub,
        );
        tokio::spawn(live.run());
        Slot {
            mailbox: sender,
            signal,
        }
    }

    /// Closes the slot of an object that sleeps and has no mail. False: mail came.
    pub(super) fn retire(&self, key: &Key, mailbox: &Mailbox) -> bool {
        let mut shard = self.shard(key);
        if !mailbox.is_empty() {
            return false;
        }
        if let hash_map::Entry::Occupied(mut entry) = shard.entry(key.clone()) {
            entry.get_mut().slot = None;
            if entry.get().hub.is_empty() {
                entry.remove();
            }
        }
        true
    }

    /// Forgets an object that sleeps and whose last socket is gone.
    pub(super) fn prune(&self, key: &Key) {
        let mut shard = self.shard(key);
        let unused = |entry: &Entry| entry.slot.is_none() && entry.hub.is_empty();
        if shard.get(key).is_some_and(unused) {
            shard.remove(key);
        }
    }

    pub(super) async fn room(&self) -> Result<OwnedSemaphorePermit, Fault> {
        self.around.room.take().await
    }

    /// The objects with nothing to do, and since when.
    pub(super) fn idle(&self) -> Vec<(Moment, Arc<Signal>)> {
        let mut idle = Vec::new();
        for shard in &self.shards {
            for slot in lock(shard).values().filter_map(|entry| entry.slot.as_ref()) {
                if let Some(since) = slot.signal.idle_since() {
                    idle.push((since, slot.signal.clone()));
                }
            }
        }
        idle
    }

    fn raise(&self, flag: u8) {
        self.raise_where(flag, |_| true);
    }

    fn raise_where(&self, flag: u8, wanted: impl Fn(&Key) -> bool) {
        for shard in &self.shards {
            let shard = lock(shard);
            let slots = shard.iter().filter(|(key, _)| wanted(key));
            let slots = slots.filter_map(|(_, entry)| entry.slot.as_ref());
            slots.for_each(|slot| slot.signal.raise(flag));
        }
    }

    fn raise_one(&self, object: &Address, flag: u8) {
        let key = Key::of(object);
        let shard = self.shard(&key);
        let slot = shard.get(&key).and_then(|entry| entry.slot.as_ref());
        if let Some(slot) = slot {
            slot.signal.raise(flag);
        }
    }

    fn shard(&self, key: &Key) -> MutexGuard<'_, HashMap<Key, Entry>> {
        // Ids are the output of a keyed hash, so any byte spreads evenly.
        lock(&self.shards[usize::from(key.id.bytes()[0]) % SHARDS])
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
