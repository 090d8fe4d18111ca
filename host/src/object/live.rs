//! Live: the task behind one slot. Wakes the object, feeds it, puts it to sleep.
//!
//! Started by the registry with the first event; ends when the object sleeps and
//! its mailbox is empty. The only place that makes and drops an instance.

use std::sync::Arc;

use dormouse_storage::{Database, ObjectKey};
use tokio::sync::mpsc;

use super::alarm::{self, Asleep};
use super::awake::{Awake, answer};
use super::registry::{Inner, Key, Served};
use super::signal::{EVICT, REPLACE, Signal};
use crate::alarm::{Address, Note};
use crate::event::{Event, Fault};
use crate::guest::{Identity, Instance};
use crate::id::ObjectName;

pub(super) struct Live {
    registry: Arc<Inner>,
    key: Key,
    object: ObjectName,
    mailbox: mpsc::Receiver<Event>,
    signal: Arc<Signal>,
}

impl Live {
    pub(super) fn new(
        registry: Arc<Inner>,
        key: Key,
        object: ObjectName,
        mailbox: mpsc::Receiver<Event>,
        signal: Arc<Signal>,
    ) -> Self {
        Self {
            registry,
            key,
            object,
            mailbox,
            signal,
        }
    }

    pub(super) async fn run(mut self) {
        while let Some(event) = self.mailbox.recv().await {
            self.live_once(event).await;
            if self.registry.retire(&self.key, &self.mailbox) {
                return;
            }
        }
    }

    /// One instance, from the event that wakes it to its end.
    async fn live_once(&mut self, event: Event) {
        self.signal.lower(REPLACE | EVICT);
        let served = self.registry.served();
        if !served.namespaces.contains_key(&self.key.class) {
            let gone = "its class is no longer served by the deployed code";
            return answer(event.reply, Err(Fault::Guest(gone.into())));
        }
        let note = self.note();
        let mut database = self.database();
        let event = match alarm::look(&mut database, event, &note, self.registry.clock.unix_ms()) {
            Asleep::Answered { gate, reply, answer: result } => {
                drop(database);
                return alarm::answer_durable(gate, reply, result).await;
            }
            Asleep::Wake(event) => event,
        };
        let room = match self.registry.room().await {
            Ok(room) => room,
            Err(fault) => return answer(event.reply, Err(fault)),
        };
        self.learn_name(&event, &mut database);
        let mut instance = match self.wake(&served, database).await {
            Ok(instance) => instance,
            Err(fault) => return answer(event.reply, Err(fault)),
        };
        let clock = self.registry.clock.clone();
        let options = &served.options;
        let mut awake = Awake::new(&mut self.mailbox, &self.signal, &note, clock, options, event);
        let exit = instance.run(&mut awake).await;
        let ended = awake.finish(exit).await;
        let runs = instance.take_alarm_runs();
        drop(instance);
        drop(room);
        if let Some(ended) = ended {
            let now_ms = self.registry.clock.unix_ms();
            alarm::after(self.database(), ended, &runs, &note, now_ms);
        }
    }

    fn database(&self) -> Database {
        self.registry.storage.database(ObjectKey {
            namespace: self.key.class.to_string(),
            id: *self.key.id.bytes(),
            name: self.object.name.as_deref().map(str::to_owned),
        })
    }

    fn note(&self) -> Note {
        self.registry.alarms.note(Address {
            class: self.key.class.clone(),
            id: self.key.id,
        })
    }

    /// An alarm knows no name; the object's file may.
    fn learn_name(&mut self, event: &Event, database: &mut Database) {
        if self.object.name.is_none() && alarm::is_alarm(event) {
            // An error comes again with the first statement, and is told there.
            self.object.name = database.name().ok().flatten().map(Into::into);
        }
    }

    async fn wake(&self, served: &Served, database: Database) -> Result<Instance, Fault> {
        let identity = Identity {
            class: self.key.class.clone(),
            object: self.object.clone(),
        };
        let options = &served.options;
        let clock = &self.registry.clock;
        let instance = served
            .code
            .instantiate(identity, database, &options.vars, &options.limits, clock)
            .await;
        instance.map_err(|error| {
            let (class, object) = (&*self.key.class, tracing::field::display(&self.object));
            tracing::error!(class, object, "no instance could be made: {error}");
            Fault::Exhausted("no instance could be made".into())
        })
    }
}
