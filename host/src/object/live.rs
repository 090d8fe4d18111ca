//! Live: the task behind one slot. Wakes the object, feeds it, puts it to sleep.
//!
//! Started by the registry with the first event; ends when the object sleeps and
//! its mailbox is empty. The only place that makes and drops an instance.

use std::sync::Arc;

use dormouse_storage::{Database, ObjectKey};
use tokio::sync::OwnedSemaphorePermit;

use super::alarm::{self, Asleep};
use super::awake::{Awake, Surroundings};
use super::caller::Caller;
use super::held::Hold;
use super::mailbox::{Given, Mailbox};
use super::native::Native;
use super::registry::{Inner, Key, Registry, Served};
use super::signal::{EVICT, REPLACE, RESET, Signal};
use crate::alarm::{Address, Note};
use crate::builtin::Builtin;
use crate::event::{Event, Fault};
use crate::guest::{Identity, Instance};
use crate::id::ObjectName;
use crate::socket::Hub;

pub(super) struct Live {
    registry: Arc<Inner>,
    key: Key,
    /// By the name its class has now; the key has the root.
    who: Identity,
    mailbox: Mailbox,
    signal: Arc<Signal>,
    hub: Arc<Hub>,
}

impl Live {
    pub(super) fn new(
        registry: Arc<Inner>,
        key: Key,
        object: ObjectName,
        mailbox: Mailbox,
        signal: Arc<Signal>,
        hub: Arc<Hub>,
    ) -> Self {
        let who = Identity {
            app: registry.app.clone(),
            class: key.class.clone(),
            object,
        };
        Self {
            registry,
            key,
            who,
            mailbox,
            signal,
            hub,
        }
    }

    pub(super) async fn run(mut self) {
        while let Some(given) = self.mailbox.next().await {
            match given {
                Given::Event(event) => self.live_once(event).await,
                Given::Hold(hold) => self.sleep_through(hold).await,
            }
            if self.registry.retire(&self.key, &self.mailbox) {
                return;
            }
        }
    }

    /// One instance, from the event that wakes it to its end.
    async fn live_once(&mut self, event: Event) {
        self.signal.lower(REPLACE | EVICT | RESET);
        let served = self.registry.served_for(&self.key.id);
        if let Some(class) = served.class_of(&self.key.class) {
            self.who.class = class.clone();
        }
        let note = self.note();
        let mut database = self.database();
        let event = match alarm::look(&mut database, event, &note, self.registry.clock.unix_ms()) {
            Asleep::Wake(event) => event,
            Asleep::Answered(answered) => {
                drop(database);
                return answered.deliver(&self.who).await;
            }
        };
        self.learn_name(&mut database);
        if let Some(class) = Builtin::of(&self.key.class) {
            return self
                .live_natively(class, &served, &note, database, event)
                .await;
        }
        let (mut instance, room) = match self.wake(&served, database).await {
            Ok(awoken) => awoken,
            Err(fault) => return Caller::of(event, &self.who).0.answer(&self.who, Err(fault)),
        };
        if alarm::is_crowded(&event) {
            // Thousands that stay awake without work would take the room and the memory
            // of those that wait.
            self.signal.raise(EVICT);
        }
        self.registry.measures.wake(&self.key.class);
        let object = tracing::field::display(&self.who.object);
        let (app, class) = (&*self.who.app, &*self.who.class);
        tracing::debug!(target: crate::object::WAKES, app, class, object, "woken");
        let registry = Registry::from(self.registry.clone());
        let around = Surroundings {
            who: &self.who,
            registry: &registry,
            signal: &self.signal,
            hub: &self.hub,
            note: &note,
            clock: &self.registry.clock,
            options: &served.options,
            tally: &served.tally,
        };
        let mut awake = Awake::new(&mut self.mailbox, instance.id(), around, event);
        let exit = instance.run(&mut awake).await;
        let finished = awake.finish(exit).await;
        let runs = instance.take_alarm_runs();
        drop(instance);
        drop(room);
        if let Some(dead) = finished.dead {
            self.registry.dead.send_replace(Some(dead));
        }
        if let Some(ended) = finished.ended {
            self.registry.measures.reset(&self.key.class, &ended.fault);
            let now_ms = self.registry.clock.unix_ms();
            alarm::after(self.database(), &ended, &runs, &note, now_ms);
        }
    }

    /// The same for an object of a built-in class.
    async fn live_natively(
        &mut self,
        class: Builtin,
        served: &Served,
        note: &Note,
        database: Database,
        event: Event,
    ) {
        let registry = Registry::from(self.registry.clone());
        let around = Surroundings {
            who: &self.who,
            registry: &registry,
            signal: &self.signal,
            hub: &self.hub,
            note,
            clock: &self.registry.clock,
            options: &served.options,
            tally: &served.tally,
        };
        let native = Native::new(class, &mut self.mailbox, around, database);
        if let Some(dead) = native.run(event).await {
            self.registry.dead.send_replace(Some(dead));
        }
    }

    async fn sleep_through(&self, hold: Hold) {
        let (storage, note) = (self.registry.storage.clone(), self.note());
        let now_ms = self.registry.clock.unix_ms();
        hold.run(storage, self.database(), note, now_ms).await;
    }

    fn database(&self) -> Database {
        self.registry.storage.database(ObjectKey {
            namespace: self.key.class.to_string(),
            id: *self.key.id.bytes(),
            name: self.who.object.name.as_deref().map(str::to_owned),
        })
    }

    fn note(&self) -> Note {
        self.registry.alarms.note(Address {
            class: self.key.class.clone(),
            id: self.key.id,
        })
    }

    /// What opened the slot may have known no name (an alarm, an operator); the
    /// object's file may.
    fn learn_name(&mut self, database: &mut Database) {
        if self.who.object.name.is_none() {
            // An error comes again with the first statement, and is told there.
            self.who.object.name = database.name().ok().flatten().map(Into::into);
        }
    }

    /// An instance and the room it takes. Nothing of the guest has run yet.
    async fn wake(
        &self,
        served: &Served,
        database: Database,
    ) -> Result<(Instance, OwnedSemaphorePermit), Fault> {
        if served.class_of(&self.key.class).is_none() {
            let gone = "its class is no longer served by the deployed code";
            return Err(Fault::Guest(gone.into()));
        }
        let room = self.registry.room().await?;
        let options = &served.options;
        let clock = &self.registry.clock;
        let (environment, limits) = (&served.environment, &options.limits);
        let (who, hub) = (self.who.clone(), self.hub.clone());
        let instance = served
            .code
            .instantiate(who, database, environment, limits, clock, hub)
            .await;
        let instance = instance.map_err(|error| {
            Fault::Exhausted(format!("no instance could be made: {error}").into())
        })?;
        Ok((instance, room))
    }
}
