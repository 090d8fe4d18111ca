//! Live: the task behind one slot. Wakes the object, feeds it, puts it to sleep.
//!
//! Started by the registry with the first event; ends when the object sleeps and
//! its mailbox is empty. The only place that makes and drops an instance.

use std::sync::Arc;

use dormouse_storage::ObjectKey;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::awake::Awake;
use super::caller::Caller;
use super::registry::{Inner, Key, Served};
use super::signal::{EVICT, REPLACE, Signal};
use crate::event::{Event, Fault};
use crate::guest::{Identity, Instance};
use crate::id::ObjectName;
use crate::socket::Hub;

pub(super) struct Live {
    registry: Arc<Inner>,
    key: Key,
    who: Identity,
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
        let who = Identity {
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
        let (mut instance, room) = match self.wake(&served).await {
            Ok(awoken) => awoken,
            Err(fault) => return Caller::of(event).0.answer(&self.who, Err(fault)),
        };
        let mut awake = Awake::new(
            &mut self.mailbox,
            &self.signal,
            &self.hub,
            self.registry.clock.clone(),
            &served.options,
            &self.who,
            event,
        );
        let exit = instance.run(&mut awake).await;
        if let Some(dead) = awake.finish(exit).await {
            self.registry.dead.send_replace(Some(dead));
        }
        drop(instance);
        drop(room);
    }

    /// An instance and the room it takes. Nothing of the guest has run yet.
    async fn wake(&self, served: &Served) -> Result<(Instance, OwnedSemaphorePermit), Fault> {
        if !served.namespaces.contains_key(&self.key.class) {
            let gone = "its class is no longer served by the deployed code";
            return Err(Fault::Guest(gone.into()));
        }
        let room = self.registry.room().await?;
        let database = self.registry.storage.database(ObjectKey {
            namespace: self.key.class.to_string(),
            id: *self.key.id.bytes(),
            name: self.who.object.name.as_deref().map(str::to_owned),
        });
        let options = &served.options;
        let clock = &self.registry.clock;
        let (vars, limits, hub) = (&options.vars, &options.limits, self.hub.clone());
        let instance = served
            .code
            .instantiate(self.who.clone(), database, vars, limits, clock, hub)
            .await;
        let instance = instance.map_err(|error| {
            Fault::Exhausted(format!("no instance could be made: {error}").into())
        })?;
        Ok((instance, room))
    }
}
