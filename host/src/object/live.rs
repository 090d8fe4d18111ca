//! Live: the task behind one slot. Wakes the object, feeds it, puts it to sleep.
//!
//! Started by the registry with the first event; ends when the object sleeps and
//! its mailbox is empty. The only place that makes and drops an instance.

use std::sync::Arc;

use dormouse_storage::ObjectKey;
use tokio::sync::mpsc;

use super::awake::{Awake, answer};
use super::registry::{Inner, Key, Served};
use super::signal::{EVICT, REPLACE, Signal};
use crate::event::{Event, Fault};
use crate::guest::{Identity, Instance};
use crate::id::ObjectName;
use crate::socket::Hub;

pub(super) struct Live {
    registry: Arc<Inner>,
    key: Key,
    object: ObjectName,
    mailbox: mpsc::Receiver<Event>,
    signal: Arc<Signal>,
    hub: Arc<Hub>,
}

impl Live {
    pub(super) fn new(
        registry: Arc<Inner>,
        key: Key,
        object: ObjectName,
        mailbox: mpsc::Receiver<Event>,
        signal: Arc<Signal>,
        hub: Arc<Hub>,
    ) -> Self {
        Self {
            registry,
            key,
            object,
            mailbox,
            signal,
            hub,
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
        let room = match self.registry.room().await {
            Ok(room) => room,
            Err(fault) => return answer(event.reply, Err(fault)),
        };
        let mut instance = match self.wake(&served).await {
            Ok(instance) => instance,
            Err(fault) => return answer(event.reply, Err(fault)),
        };
        let clock = self.registry.clock.clone();
        let options = &served.options;
        let (mailbox, hub) = (&mut self.mailbox, &*self.hub);
        let mut awake = Awake::new(mailbox, &self.signal, hub, clock, options, event);
        let exit = instance.run(&mut awake).await;
        awake.finish(exit).await;
        drop(instance);
        drop(room);
    }

    async fn wake(&self, served: &Served) -> Result<Instance, Fault> {
        let database = self.registry.storage.database(ObjectKey {
            namespace: self.key.class.to_string(),
            id: *self.key.id.bytes(),
            name: self.object.name.as_deref().map(str::to_owned),
        });
        let identity = Identity {
            class: self.key.class.clone(),
            object: self.object.clone(),
        };
        let options = &served.options;
        let clock = &self.registry.clock;
        let (vars, limits, hub) = (&options.vars, &options.limits, self.hub.clone());
        let instance = served
            .code
            .instantiate(identity, database, vars, limits, clock, hub)
            .await;
        instance.map_err(|error| {
            let (class, object) = (&*self.key.class, tracing::field::display(&self.object));
            tracing::error!(class, object, "no instance could be made: {error}");
            Fault::Exhausted("no instance could be made".into())
        })
    }
}
