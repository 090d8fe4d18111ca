//! Caller: who waits for the reply to one event, and what the log says of it.

use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanBuilder, SpanKind};
use tokio::sync::oneshot;

use crate::event::{Called, Event, Fault, Kind, Reply, RequestId, Reset, What};
use crate::guest::Identity;
use crate::trace::{self, Span};

#[derive(Debug)]
pub(super) struct Caller {
    request: RequestId,
    reply: oneshot::Sender<Result<Reply, Fault>>,
    span: Span,
}

impl Caller {
    /// Parts an event into what is to be handled and who waits for it.
    pub(super) fn of(event: Event, who: &Identity) -> (Self, RequestId, Kind) {
        let span = span(&event, who);
        let request = event.request_id.within(&span);
        let caller = Self {
            request,
            reply: event.reply,
            span,
        };
        (caller, request, event.kind)
    }

    /// Of an event that no guest hears of.
    pub(super) fn untraced(event: Event) -> Self {
        Self {
            request: event.request_id,
            reply: event.reply,
            span: Span::OFF,
        }
    }

    /// Hands the result over. A fault goes to the log: the caller of a request is
    /// told little, the other kinds of event have nobody to tell.
    pub(super) fn answer(mut self, who: &Identity, result: Result<Reply, Fault>) {
        Reply::trace(&result, &mut self.span);
        if let Err(fault) = &result {
            report(who, self.request, fault);
        }
        // A caller that is gone needs no answer.
        let _ = self.reply.send(result);
    }
}

/// An alarm and a socket's event begin a trace; the others have one, or none is kept.
fn span(event: &Event, who: &Identity) -> Span {
    let parent = event.request_id.trace();
    let builder = |what: &'static str, method: Option<&str>| {
        let Identity { app, class, object } = who;
        let mut about = vec![
            KeyValue::new("dormouse.app", app.to_string()),
            KeyValue::new("dormouse.class", class.to_string()),
            KeyValue::new("dormouse.object", object.to_string()),
        ];
        let method = method.map(str::to_owned);
        about.extend(method.map(|method| KeyValue::new("dormouse.method", method)));
        SpanBuilder::from_name(format!("{class} {what}")).with_attributes(about)
    };
    match &event.kind {
        Kind::Alarm(_) => Span::within_or_new(parent, || {
            let links = trace::links_of_alarm(who.object.id.bytes());
            let builder = builder("alarm", None).with_kind(SpanKind::Consumer);
            builder.with_links(links)
        }),
        Kind::Socket(..) => Span::within_or_new(parent, || {
            builder("socket", None).with_kind(SpanKind::Consumer)
        }),
        Kind::Called(Called {
            what: What::Method(call),
            ..
        }) => Span::within(parent, || builder("call", Some(&call.method))),
        Kind::Fetch(_) | Kind::Called(_) => Span::within(parent, || builder("fetch", None)),
        Kind::Alarms(_) | Kind::Look(_) => Span::OFF,
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
