//! The log of all hosts inside the test process, found by the object's name.
//!
//! Tests run at the same time, so each gives its objects names of their own.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Mutex, Once, PoisonError};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry};

static RECORDS: Mutex<Vec<Record>> = Mutex::new(Vec::new());

#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) level: Level,
    pub(crate) target: String,
    fields: BTreeMap<String, String>,
}

impl Record {
    pub(crate) fn message(&self) -> &str {
        self.field("message")
    }

    /// Empty if the record has no such field.
    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }
}

/// What was logged about an object so far, oldest first.
pub(crate) fn logs_of(object: &str) -> Vec<Record> {
    let records = RECORDS.lock().unwrap_or_else(PoisonError::into_inner);
    let own = records.iter().filter(|one| one.field("object") == object);
    own.cloned().collect()
}

pub(super) fn capture() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let filter = EnvFilter::new("info,guest=trace");
        Registry::default().with(filter).with(Capture).init();
    });
}

struct Capture;

impl<S: Subscriber> Layer<S> for Capture {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields(BTreeMap::new());
        event.record(&mut fields);
        let record = Record {
            level: *event.metadata().level(),
            target: event.metadata().target().to_owned(),
            fields: fields.0,
        };
        let mut records = RECORDS.lock().unwrap_or_else(PoisonError::into_inner);
        records.push(record);
    }
}

struct Fields(BTreeMap<String, String>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }
}
