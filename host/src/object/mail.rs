//! Mail: how a pump reaches the object behind its socket.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::registry::{Key, Registry};
use crate::clock::Clock;
use crate::event::{Event, Fault, Kind, RequestId};
use crate::guest::Identity;
use crate::socket::{Deliver, Delivered, Owner, SocketEvent, SocketId};

/// One object's address, kept by each of its sockets.
#[derive(Debug)]
pub struct Mail {
    registry: Registry,
    owner: Arc<Owner>,
}

impl Mail {
    #[must_use]
    pub const fn new(registry: Registry, owner: Arc<Owner>) -> Self {
        Self { registry, owner }
    }
}

impl Deliver for Mail {
    async fn deliver(&self, socket: SocketId, event: SocketEvent) -> Delivered {
        let (reply, answer) = oneshot::channel();
        let event = Event {
            request_id: RequestId::next(),
            kind: Kind::Socket(socket, event),
            reply,
        };
        let Owner { app, class, object } = Owner::clone(&self.owner);
        self.registry.call(Identity { app, class, object }, event);
        match answer.await {
            Ok(Err(Fault::Overloaded { .. } | Fault::Exhausted(_))) => Delivered::Busy,
            _ => Delivered::Done,
        }
    }

    fn is_handled(&self) -> bool {
        let served = self.registry.served();
        let own = served.class_of(&self.owner.class);
        let mut classes = served.code.classes().iter();
        classes.any(|class| Some(&class.name) == own && class.websocket)
    }

    fn clock(&self) -> &Clock {
        self.registry.clock()
    }

    fn gone(&self) {
        self.registry.prune(&Key {
            class: self.owner.class.clone(),
            id: self.owner.object.id,
        });
    }
}
