//! Trace: spans in the terms of OpenTelemetry, and what ties one to the next.
//!
//! A span is opened where work begins: a request at a door, the event of a worker or an
//! object, a constructor, a request to the outside. It ends when it is dropped. What
//! travels with an event is a [`TraceContext`], so that the next span finds its parent.
//! Off until [`install`]: then every span is [`Span::OFF`], which costs one branch.
//! Attributes follow the semantic conventions; the host's own begin with `dormouse.`.
//! Source: W3C Trace Context, level 1.

use std::collections::{HashMap, VecDeque};
use std::fmt::Display;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{
    Link, Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _,
    TraceFlags, TraceId, TraceState, Tracer as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, Span as SdkSpan};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// Of so many traces that came with a `tracestate`, the latest, it is handed on; and of so
/// many objects that have set an alarm it is known who asked for it.
const LATEST: usize = 4_096;

static TRACER: OnceLock<SdkTracer> = OnceLock::new();
static STATES: Mutex<Option<Latest<[u8; 16], TraceState>>> = Mutex::new(None);
static SETTERS: Mutex<Option<Latest<[u8; 32], TraceContext>>> = Mutex::new(None);

/// From here on spans are recorded, for the whole process, as its log is. A second
/// call changes nothing.
pub fn install(tracer: SdkTracer) {
    // Whoever was first stays.
    let _ = TRACER.set(tracer);
}

/// One span as others see it: what `traceparent` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace: [u8; 16],
    span: [u8; 8],
    flags: u8,
}

impl TraceContext {
    /// 32 hexadecimal digits when shown.
    #[must_use]
    pub fn trace_id(self) -> TraceId {
        TraceId::from_bytes(self.trace)
    }

    /// 16 hexadecimal digits when shown.
    #[must_use]
    pub fn span_id(self) -> SpanId {
        SpanId::from_bytes(self.span)
    }

    /// The header's value.
    #[must_use]
    pub fn traceparent(self) -> String {
        let (trace, span) = (self.trace_id(), self.span_id());
        format!("00-{trace}-{span}-{:02x}", self.flags)
    }

    /// Puts this span in place of what the headers of a request name.
    pub fn mark(self, headers: &mut Vec<(String, Vec<u8>)>) {
        headers.retain(|(name, _)| !is_ours(name));
        let mut add = |name: HeaderName, value: String| {
            headers.push((name.as_str().to_owned(), value.into_bytes()));
        };
        add(TRACEPARENT, self.traceparent());
        if let Some(state) = self.state() {
            add(TRACESTATE, state.header());
        }
    }

    /// The same for headers that are parsed already.
    pub fn mark_parsed(self, headers: &mut HeaderMap) {
        let mut set = |name: HeaderName, value: String| {
            // Made of what came in headers, or of digits.
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        };
        set(TRACEPARENT, self.traceparent());
        match self.state() {
            Some(state) => set(TRACESTATE, state.header()),
            None => drop(headers.remove(TRACESTATE)),
        }
    }

    fn of(context: &SpanContext) -> Self {
        Self {
            trace: context.trace_id().to_bytes(),
            span: context.span_id().to_bytes(),
            flags: context.trace_flags().to_u8(),
        }
    }

    fn state(self) -> Option<TraceState> {
        lock(&STATES).as_ref()?.get(&self.trace)
    }

    /// The same as the crates name it.
    fn told(self) -> SpanContext {
        let flags = TraceFlags::new(self.flags);
        let state = self.state().unwrap_or_default();
        SpanContext::new(self.trace_id(), self.span_id(), flags, false, state)
    }

    fn into_parent(self) -> Context {
        Context::new().with_remote_span_context(self.told())
    }
}

/// Code of the object with this id has set an alarm within a span.
pub fn alarm_was_set(object: [u8; 32], within: TraceContext) {
    lock(&SETTERS).get_or_insert_default().keep(object, within);
}

/// Links to the span in which the object last set an alarm, if this process saw it.
#[must_use]
pub fn links_of_alarm(object: &[u8; 32]) -> Vec<Link> {
    let setter = lock(&SETTERS)
        .as_ref()
        .and_then(|setters| setters.get(object));
    let link = setter.map(|setter| Link::with_context(setter.told()));
    link.into_iter().collect()
}

fn is_ours(name: &str) -> bool {
    [TRACEPARENT, TRACESTATE]
        .iter()
        .any(|ours| name.eq_ignore_ascii_case(ours.as_str()))
}

/// What was kept last, up to [`LATEST`] entries.
struct Latest<K, V> {
    values: HashMap<K, V>,
    order: VecDeque<K>,
}

impl<K, V> Default for Latest<K, V> {
    fn default() -> Self {
        let (values, order) = (HashMap::new(), VecDeque::new());
        Self { values, order }
    }
}

impl<K: Copy + Eq + Hash, V: Clone> Latest<K, V> {
    fn keep(&mut self, key: K, value: V) {
        if self.values.insert(key, value).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > LATEST
            && let Some(oldest) = self.order.pop_front()
        {
            self.values.remove(&oldest);
        }
    }

    fn get(&self, key: &K) -> Option<V> {
        self.values.get(key).cloned()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A piece of work, from its opening until it is dropped.
#[derive(Debug)]
pub struct Span(Option<Box<SdkSpan>>);

impl Span {
    /// Nothing is recorded.
    pub const OFF: Self = Self(None);

    /// A request that came in; goes on with the trace that its headers name. `route` is
    /// the pattern that its path fits, if one does.
    pub fn request(
        parts: &Parts,
        scheme: &'static str,
        route: impl FnOnce() -> Option<String>,
    ) -> Self {
        let Some(tracer) = TRACER.get() else {
            return Self::OFF;
        };
        let route = route();
        let method = parts.method.as_str();
        let name = match &route {
            Some(route) => format!("{method} {route}"),
            None => method.to_owned(),
        };
        let mut about = vec![
            KeyValue::new("http.request.method", method.to_owned()),
            KeyValue::new("url.scheme", scheme),
            KeyValue::new("url.path", parts.uri.path().to_owned()),
        ];
        about.extend(route.map(|route| KeyValue::new("http.route", route)));
        let host = parts.uri.host().or_else(|| host_of(&parts.headers));
        about.extend(host.map(|host| KeyValue::new("server.address", host.to_owned())));
        let builder = SpanBuilder::from_name(name)
            .with_kind(SpanKind::Server)
            .with_attributes(about);
        let parent = came_with(&parts.headers);
        Self(Some(Box::new(tracer.build_with_context(builder, &parent))))
    }

    /// A step of a trace; nothing where there is none.
    pub fn within(parent: Option<TraceContext>, builder: impl FnOnce() -> SpanBuilder) -> Self {
        let (Some(tracer), Some(parent)) = (TRACER.get(), parent) else {
            return Self::OFF;
        };
        let span = tracer.build_with_context(builder(), &parent.into_parent());
        Self(Some(Box::new(span)))
    }

    /// The same for what may also begin a trace of its own.
    pub fn within_or_new(
        parent: Option<TraceContext>,
        builder: impl FnOnce() -> SpanBuilder,
    ) -> Self {
        let Some(tracer) = TRACER.get() else {
            return Self::OFF;
        };
        let parent = parent.map_or_else(Context::new, TraceContext::into_parent);
        Self(Some(Box::new(
            tracer.build_with_context(builder(), &parent),
        )))
    }

    /// A request that goes out. Its query stays out of the trace: it may hold secrets.
    pub fn outgoing(parent: Option<TraceContext>, method: &str, url: &str) -> Self {
        Self::within(parent, || {
            let mut about = vec![KeyValue::new("http.request.method", method.to_owned())];
            if let Ok(uri) = url.parse::<Uri>() {
                let scheme = uri.scheme_str().unwrap_or_default();
                let host = uri.host().unwrap_or_default().to_owned();
                let usual = if scheme == "https" { 443 } else { 80 };
                let port = uri.port_u16().unwrap_or(usual);
                let full = format!("{scheme}://{host}:{port}{}", uri.path());
                about.push(KeyValue::new("url.full", full));
                about.push(KeyValue::new("server.address", host));
                about.push(KeyValue::new("server.port", i64::from(port)));
            }
            SpanBuilder::from_name(method.to_owned())
                .with_kind(SpanKind::Client)
                .with_attributes(about)
        })
    }

    /// Something that is over already and took so long.
    pub fn past(
        parent: Option<TraceContext>,
        took: Duration,
        builder: impl FnOnce() -> SpanBuilder,
    ) {
        drop(Self::within(parent, || {
            let now = SystemTime::now();
            let began = now.checked_sub(took).unwrap_or(now);
            builder().with_start_time(began)
        }));
    }

    /// What travels with the work.
    #[must_use]
    pub fn context(&self) -> Option<TraceContext> {
        let span = self.0.as_ref()?;
        let context = Some(span.span_context()).filter(|context| context.is_valid());
        context.map(TraceContext::of)
    }

    /// The head of a response came or was sent; a status from `bad` on is an error.
    pub fn answered(&mut self, status: u16, bad: StatusCode) {
        let Some(span) = &mut self.0 else { return };
        let code = i64::from(status);
        span.set_attribute(KeyValue::new("http.response.status_code", code));
        if status >= bad.as_u16() {
            span.set_attribute(KeyValue::new("error.type", status.to_string()));
            span.set_status(Status::error(""));
        }
    }

    /// The work came to nothing. `kind` has few values.
    pub fn failed(&mut self, kind: &'static str, why: &dyn Display) {
        let Some(span) = &mut self.0 else { return };
        span.set_attribute(KeyValue::new("error.type", kind));
        span.set_status(Status::error(why.to_string()));
    }
}

fn host_of(headers: &HeaderMap) -> Option<&str> {
    let host = headers.get(http::header::HOST)?.to_str().ok()?;
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    Some(match host.rsplit_once(':') {
        Some((name, port)) if is_port(port) => name,
        _ => host,
    })
}

/// The span that sent a request, if its headers say so.
fn came_with(headers: &HeaderMap) -> Context {
    let propagator = TraceContextPropagator::new();
    let parent = propagator.extract_with_context(&Context::new(), &HeaderExtractor(headers));
    let context = parent.span().span_context().clone();
    if context.is_valid() && *context.trace_state() != TraceState::default() {
        let (trace, state) = (context.trace_id(), context.trace_state().clone());
        lock(&STATES)
            .get_or_insert_default()
            .keep(trace.to_bytes(), state);
    }
    parent
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn context() -> TraceContext {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, HeaderValue::from_static(PARENT));
        headers.insert(TRACESTATE, HeaderValue::from_static("a=1,b=2"));
        TraceContext::of(came_with(&headers).span().span_context())
    }

    #[test]
    fn a_context_is_written_as_it_was_read() {
        assert_eq!(context().traceparent(), PARENT);
    }

    #[test]
    fn marking_replaces_what_a_request_said() {
        let other = |name: &str| (name.to_owned(), b"x".to_vec());
        let mut headers = vec![other("Traceparent"), other("accept"), other("tracestate")];
        context().mark(&mut headers);
        let pair = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
        let wanted = [
            other("accept"),
            pair("traceparent", PARENT),
            pair("tracestate", "a=1,b=2"),
        ];
        assert_eq!(headers, wanted);
    }

    #[test]
    fn the_oldest_entry_is_forgotten() {
        let mut latest = Latest::default();
        for number in 0..=LATEST {
            latest.keep(number, 'a');
            latest.keep(number, 'b');
        }
        assert_eq!(latest.values.len(), LATEST);
        assert_eq!((latest.get(&0), latest.get(&1)), (None, Some('b')));
    }
}
