//! Mail: how a pump reaches the object behind its socket.

use tokio::sync::oneshot;

use super::registry::{Key, Registry};
use crate::clock::Clock;
use crate::event::{Event, Fault, Kind, Reply, RequestId};
use crate::id::{Namespace, ObjectName};
use crate::socket::Deliver;

/// One object's address, kept by each of its sockets.
#[derive(Debug)]
pub struct Mail {
    registry: Registry,
    namespace: Namespace,
    object: ObjectName,
}

impl Mail {
    #[must_use]
    pub const fn new(registry: Registry, namespace: Namespace, object: ObjectName) -> Self {
        Self {
            registry,
            namespace,
            object,
        }
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
        self.registry
            .deliver(&self.namespace, self.object.clone(), event);
        answer
    }

    fn is_handled(&self) -> bool {
        let served = self.registry.served();
        let mut classes = served.code.classes().iter();
        classes.any(|class| class.name == self.namespace.class && class.websocket)
    }

    fn clock(&self) -> &Clock {
        self.registry.clock()
    }

    fn gone(&self) {
        self.registry.prune(&Key {
            class: self.namespace.class.clone(),
            id: self.object.id,
        });
    }
}
