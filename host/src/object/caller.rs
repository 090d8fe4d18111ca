//! Caller: who waits for the reply to one event, and what the log says of it.

use tokio::sync::oneshot;

use crate::event::{Event, Fault, Kind, Reply, RequestId, Reset};
use crate::guest::Identity;

#[derive(Debug)]
pub(super) struct Caller {
    request: RequestId,
    reply: oneshot::Sender<Result<Reply, Fault>>,
}

impl Caller {
    /// Parts an event into what is to be handled and who waits for it.
    pub(super) fn of(event: Event) -> (Self, RequestId, Kind) {
        let caller = Self {
            request: event.request_id,
            reply: event.reply,
        };
        (caller, event.request_id, event.kind)
    }

    /// Hands the result over. A fault goes to the log: the caller of a request is
    /// told little, the other kinds of event have nobody to tell.
    pub(super) fn answer(self, who: &Identity, result: Result<Reply, Fault>) {
        if let Err(fault) = &result {
            report(who, self.request, fault);
        }
        // A caller that is gone needs no answer.
        let _ = self.reply.send(result);
    }
}

/// A client's flood is no error of ours; a failing object is its author's.
fn report(who: &Identity, request: RequestId, fault: &Fault) {
    let (app, class) = (&*who.app, &*who.class);
    let object = tracing::field::display(&who.object);
    match fault {
        // The instance has logged its trap with the stack.
        Fault::Reset(Reset::Trap(_)) => tracing::debug!(app, class, object, %request, "{fault}"),
        // Calls that do not fit are the caller's to mend, and it is told.
        Fault::Declared { .. } | Fault::BadCall(_) => {
            tracing::debug!(app, class, object, %request, "{fault}");
        }
        Fault::Guest(_) | Fault::Reset(_) | Fault::Reentrant { .. } => {
            tracing::error!(app, class, object, %request, "{fault}")
        }
        Fault::Overloaded { .. }
        | Fault::Exhausted(_)
        | Fault::Late { .. }
        | Fault::Away(_)
        | Fault::ShuttingDown => {
            tracing::warn!(app, class, object, %request, "{fault}");
        }
    }
}
