//! Logs: what the host and its guests logged in one test, in order.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use dormouse::object::WAKES;
use tracing::field::{Field, Visit};
use tracing::subscriber::DefaultGuard;
use tracing::{Dispatch, Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::{EnvFilter, Registry};

/// One record of the log.
#[derive(Clone, Debug)]
pub struct Record {
    /// How grave it is.
    pub level: Level,
    /// `guest` for what an object logged or printed; the host's module otherwise.
    pub target: String,
    /// The words.
    pub message: String,
    /// What stands beside them, such as `class`, `object` and `request`.
    pub fields: BTreeMap<String, String>,
}

impl Record {
    /// Empty if the record has no such field.
    #[must_use]
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>5} {}", self.level, self.target)?;
        let (class, object) = (self.field("class"), self.field("object"));
        if !class.is_empty() {
            write!(f, " {class}/{object}")?;
        }
        write!(f, ": {}", self.message)?;
        let told = ["app", "class", "object"];
        let others = |(name, _): &(&String, &String)| !told.contains(&name.as_str());
        for (name, value) in self.fields.iter().filter(others) {
            write!(f, " {name}={value}")?;
        }
        Ok(())
    }
}

#[derive(Clone)]
pub(crate) struct Logs {
    records: Records,
    wakes: Wakes,
    dispatch: Dispatch,
}

type Records = Arc<Mutex<Vec<Record>>>;
/// Instances, by app, class and object.
type Wakes = Arc<Mutex<BTreeMap<[String; 3], usize>>>;

impl Logs {
    pub(crate) fn new() -> Self {
        let records = Records::default();
        let wakes = Wakes::default();
        let filter = EnvFilter::new(format!("warn,dormouse=info,{WAKES}=debug,guest=trace"));
        let capture = Capture {
            records: records.clone(),
            wakes: wakes.clone(),
        };
        let dispatch = Dispatch::new(Registry::default().with(filter).with(capture));
        Self {
            records,
            wakes,
            dispatch,
        }
    }

    /// Records what this thread logs until the guard goes.
    pub(crate) fn listen(&self) -> DefaultGuard {
        tracing::dispatcher::set_default(&self.dispatch)
    }

    /// How many instances an object has had.
    pub(crate) fn wakes(&self, app: &str, class: &str, object: &str) -> usize {
        let wakes = self.wakes.lock().unwrap_or_else(PoisonError::into_inner);
        let found = wakes.get(&[app, class, object].map(str::to_owned));
        found.copied().unwrap_or_default()
    }

    pub(crate) fn all(&self) -> Vec<Record> {
        let records = self.records.lock();
        records.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Capture {
    records: Records,
    wakes: Wakes,
}

impl<S: Subscriber> Layer<S> for Capture {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields(BTreeMap::new());
        event.record(&mut fields);
        if event.metadata().target() == WAKES {
            let mut field = |name| fields.0.remove(name).unwrap_or_default();
            let object = ["app", "class", "object"].map(&mut field);
            let mut wakes = self.wakes.lock().unwrap_or_else(PoisonError::into_inner);
            *wakes.entry(object).or_default() += 1;
            return;
        }
        let record = Record {
            level: *event.metadata().level(),
            target: event.metadata().target().to_owned(),
            message: fields.0.remove("message").unwrap_or_default(),
            fields: fields.0,
        };
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.push(record);
    }
}

struct Fields(BTreeMap<String, String>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }
}
