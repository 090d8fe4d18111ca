//! Measures: what is counted while the host runs, for Prometheus.
//!
//! Filled by `server` and `object`, read by `admin`. A count is an atomic number behind
//! a short read lock. Labels have few values: classes, kinds, reasons, never an object.
//! Names follow the conventions of Prometheus: base units, `_total` for what only grows.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::event::{Fault, Kind, Reset};

/// Upper bounds in seconds; from an awake object to one that waits for others.
const SECONDS: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0,
];

/// What one app counts, in families that all apps of a host share. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Measures(Arc<Families>, Arc<str>);

#[derive(Debug)]
struct Families {
    requests: Family<Status, Counter>,
    durations: Histogram,
    events: Family<Event, Counter>,
    wakes: Family<Class, Counter>,
    resets: Family<Reason, Counter>,
    slow: Family<Class, Counter>,
}

impl Default for Families {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            durations: Histogram::new(SECONDS),
            events: Family::default(),
            wakes: Family::default(),
            resets: Family::default(),
            slow: Family::default(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Status {
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Class {
    app: Arc<str>,
    class: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Event {
    app: Arc<str>,
    class: Arc<str>,
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    app: Arc<str>,
    class: Arc<str>,
    reason: &'static str,
}

impl Measures {
    /// The same for another app.
    #[must_use]
    pub fn of_app(&self, app: &Arc<str>) -> Self {
        Self(self.0.clone(), app.clone())
    }

    /// A request was answered, as far as the head of its response.
    pub fn request(&self, code: u16, took: Duration) {
        self.0.requests.get_or_create(&Status { code }).inc();
        self.0.durations.observe(took.as_secs_f64());
    }

    /// An event went into an object's mailbox.
    pub fn event(&self, class: &Arc<str>, kind: &Kind) {
        let (app, class, kind) = (self.1.clone(), class.clone(), kind_name(kind));
        let event = Event { app, class, kind };
        self.0.events.get_or_create(&event).inc();
    }

    /// An instance was made.
    pub fn wake(&self, class: &Arc<str>) {
        let (app, class) = (self.1.clone(), class.clone());
        self.0.wakes.get_or_create(&Class { app, class }).inc();
    }

    /// An instance ended before its time.
    pub fn reset(&self, class: &Arc<str>, fault: &Fault) {
        let (app, class, reason) = (self.1.clone(), class.clone(), reason_name(fault));
        let reason = Reason { app, class, reason };
        self.0.resets.get_or_create(&reason).inc();
    }

    /// So many statements of an object took too long.
    pub fn slow_statements(&self, class: &Arc<str>, count: u32) {
        let (app, class) = (self.1.clone(), class.clone());
        let slow = self.0.slow.get_or_create(&Class { app, class });
        slow.inc_by(count.into());
    }

    /// Adds what is counted here, for all apps, to what is shown.
    pub fn register(&self, registry: &mut Registry) {
        let own = registry.sub_registry_with_prefix("dormouse");
        let families = &*self.0;
        own.register(
            "http_requests",
            "Requests at the doors to objects, by status code",
            families.requests.clone(),
        );
        own.register(
            "http_request_duration_seconds",
            "Time until the head of the response",
            families.durations.clone(),
        );
        own.register(
            "object_events",
            "Events put into mailboxes, by class and kind",
            families.events.clone(),
        );
        own.register(
            "object_wakes",
            "Instances made, by class",
            families.wakes.clone(),
        );
        own.register(
            "object_resets",
            "Instances that ended before their time, by class and reason",
            families.resets.clone(),
        );
        own.register(
            "sql_slow_statements",
            "SQL statements that took limits.slow_sql_ms or longer, by class",
            families.slow.clone(),
        );
    }
}

const fn kind_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::Fetch(_) => "fetch",
        Kind::Called(_) => "call",
        Kind::Alarm(_) => "alarm",
        Kind::Alarms(_) | Kind::Look(_) => "operator",
        Kind::Socket(..) => "socket",
    }
}

const fn reason_name(fault: &Fault) -> &'static str {
    match fault {
        Fault::Reset(Reset::Trap(_)) => "trap",
        Fault::Reset(Reset::Cpu { .. }) => "cpu",
        Fault::Reset(Reset::Memory { .. }) => "memory",
        Fault::Reset(Reset::Replaced { .. }) => "replaced",
        Fault::Reset(Reset::Storage(_)) => "storage",
        Fault::Reset(Reset::ShuttingDown) => "shutdown",
        Fault::Reset(_) => "timeout",
        _ => "construct",
    }
}
