//! Mail: how a pump reaches the object behind its socket.

use tokio::sync::oneshot;

use super::registry::{Key, Registry};
use crate::clock::Clock;
use crate::event::{Event, Fault, Kind, Reply, RequestId};
use crate::guest::Identity;
use crate::socket::{Deliver, Owner};

/// One object's address, kept by each of its sockets.
#[derive(Debug)]
pub struct Mail {
    registry: Registry,
    owner: Owner,
}

impl Mail {
    #[must_use]
    pub const fn new(registry: Registry, owner: Owner) -> Self {
        Self { registry, owner }
    }
}

impl Deliver for Mail {
    fn deliver(&self, kind: Kind) -> oneshot::Receiver<Result<Reply, Fault>> {
        let (reply, answer) = oneshot::channel();
        let event = Event {
            request_id: RequestId::next(),
            kind,
            reply,
        };
        let Owner { class, object } = self.owner.clone();
        self.registry.call(Identity { class, object }, event);
        answer
    }

    fn is_handled(&self) -> bool {
        let served = self.registry.served();
        let mut classes = served.code.classes().iter();
        classes.any(|class| class.name == self.owner.class && class.websocket)
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
