//! `dormouse:object/log`: records of the guest, as tracing events.
//!
//! Target `guest`; fields `app`, `class`, `object`, `request`, `trace_id` and `span_id` if
//! traces are kept, `from` (the guest's own target) and `fields`. The event is found from the guest task that calls, so
//! records of interleaving events never carry each other's id.

use tracing::field::display;
use tracing::level_filters::LevelFilter;
use wasmtime::component::{Access, HasSelf};

use crate::event::RequestId;
use crate::guest::bindings::dormouse::object::log::{Entry, Host, HostWithStore, Level};
use crate::guest::context::Context;

/// One guest's record is cut here, so that it cannot flood the log's memory.
const MAX_MESSAGE_BYTES: usize = 64 << 10;

impl Host for Context {
    fn max_level(&mut self) -> wasmtime::Result<Option<Level>> {
        Ok(match LevelFilter::current() {
            LevelFilter::OFF => None,
            LevelFilter::ERROR => Some(Level::Error),
            LevelFilter::WARN => Some(Level::Warn),
            LevelFilter::INFO => Some(Level::Info),
            LevelFilter::DEBUG => Some(Level::Debug),
            LevelFilter::TRACE => Some(Level::Trace),
        })
    }
}

impl HostWithStore<Context> for HasSelf<Context> {
    fn write(mut access: Access<'_, Context, Self>, mut entry: Entry) -> wasmtime::Result<()> {
        let tasks: Vec<_> = wasmtime::AsContextMut::as_context_mut(&mut access)
            .async_call_stack()?
            .collect();
        let context = access.get();
        let request = tasks.iter().find_map(|task| context.event_of(*task));
        truncate(&mut entry.message);
        record(context, request, &entry);
        Ok(())
    }
}

fn record(context: &Context, request: Option<RequestId>, entry: &Entry) {
    let (class, object) = (context.who.class(), context.who.object());
    let app = &**context.who.app();
    let trace = request.and_then(RequestId::trace);
    let trace_id = trace.map(|trace| display(trace.trace_id()));
    let span_id = trace.map(|trace| display(trace.span_id()));
    let request = request.map(display);
    let from = entry.target.as_str();
    let fields = fields(entry);
    let message = entry.message.as_str();
    macro_rules! emit {
        ($level:ident) => {
            tracing::$level!(
                target: "guest", app, class, object, request, trace_id, span_id, from, fields,
                "{message}"
            )
        };
    }
    match entry.level {
        Level::Trace => emit!(trace),
        Level::Debug => emit!(debug),
        Level::Info => emit!(info),
        Level::Warn => emit!(warn),
        Level::Error => emit!(error),
    }
}

/// `a=1 b=two`, or nothing at all.
fn fields(entry: &Entry) -> Option<String> {
    let pairs = entry
        .fields
        .iter()
        .map(|(key, value)| format!("{key}={value}"));
    let text = pairs.collect::<Vec<_>>().join(" ");
    (!text.is_empty()).then_some(text)
}

fn truncate(message: &mut String) {
    let mut end = MAX_MESSAGE_BYTES.min(message.len());
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message.truncate(end);
}
