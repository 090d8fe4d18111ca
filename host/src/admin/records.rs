//! Records: what was logged lately, and what is being logged, for who asks later.
//!
//! A layer of the `tracing` subscriber fills it. Bounded in number and in bytes; who
//! follows too slowly is told how many records were missed.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use utoipa::ToSchema;

use super::api::Fields;

const MAX_RECORDS: usize = 4_096;
const MAX_BYTES: usize = 8 << 20;
/// How far one who follows may be behind.
const MAX_BEHIND: usize = 1_024;

#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    ToSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// One line of the log.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Record {
    /// Since 1970.
    pub time_ms: i64,
    pub level: Level,
    /// `guest` for what objects log, otherwise the part of the host.
    pub target: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    pub message: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: Fields,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Records(Arc<Shared>);

struct Shared {
    kept: Mutex<Kept>,
    news: broadcast::Sender<Arc<Record>>,
}

#[derive(Default)]
struct Kept {
    records: VecDeque<Arc<Record>>,
    bytes: usize,
}

impl Default for Records {
    fn default() -> Self {
        Self(Arc::new(Shared {
            kept: Mutex::default(),
            news: broadcast::Sender::new(MAX_BEHIND),
        }))
    }
}

impl Records {
    /// What is kept, oldest first, and all that follows on it.
    pub(super) fn follow(&self) -> (Vec<Arc<Record>>, broadcast::Receiver<Arc<Record>>) {
        let kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that no record is in both or in neither.
        let news = self.0.news.subscribe();
        (kept.records.iter().cloned().collect(), news)
    }

    /// Forgets what was logged of an app.
    pub(super) fn forget(&self, app: &str) {
        let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.records
            .retain(|record| record.app.as_deref() != Some(app));
        kept.bytes = kept.records.iter().map(|record| record.bytes()).sum();
    }

    fn add(&self, record: Record) {
        let record = Arc::new(record);
        let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.bytes += record.bytes();
        kept.records.push_back(record.clone());
        while kept.records.len() > MAX_RECORDS || kept.bytes > MAX_BYTES {
            let gone = kept.records.pop_front();
            kept.bytes -= gone.map_or(0, |gone| gone.bytes());
        }
        // An error means that nobody follows.
        let _ = self.0.news.send(record);
    }
}

impl Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Records")
    }
}

impl<S: Subscriber> Layer<S> for Records {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let mut record = Record {
            time_ms: since.map_or(0, |since| since.as_millis() as i64),
            level: Level::from(*metadata.level()),
            target: metadata.target().to_owned(),
            app: None,
            class: None,
            object: None,
            request: None,
            message: String::new(),
            fields: BTreeMap::new(),
        };
        event.record(&mut record);
        self.add(record);
    }
}

impl Record {
    fn bytes(&self) -> usize {
        let fields = self
            .fields
            .iter()
            .map(|(name, value)| name.len() + value.len());
        200 + self.message.len() + fields.sum::<usize>()
    }

    fn set(&mut self, field: &Field, value: String) {
        match field.name() {
            "message" => self.message = value,
            "app" => self.app = Some(value),
            "class" => self.class = Some(value),
            "object" => self.object = Some(value),
            "request" => self.request = Some(value),
            name => drop(self.fields.insert(name.to_owned(), value)),
        }
    }
}

impl Visit for Record {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.set(field, format!("{value:?}"));
    }
}

impl From<tracing::Level> for Level {
    fn from(level: tracing::Level) -> Self {
        match level {
            tracing::Level::ERROR => Self::Error,
            tracing::Level::WARN => Self::Warn,
            tracing::Level::INFO => Self::Info,
            tracing::Level::DEBUG => Self::Debug,
            tracing::Level::TRACE => Self::Trace,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_records_make_room() {
        let records = Records::default();
        for number in 0..20 {
            records.add(Record {
                time_ms: number,
                level: Level::Info,
                target: String::new(),
                app: None,
                class: None,
                object: None,
                request: None,
                message: "x".repeat(1 << 20),
                fields: BTreeMap::new(),
            });
        }
        let (kept, _) = records.follow();
        let times: Vec<i64> = kept.iter().map(|record| record.time_ms).collect();
        assert_eq!(times, (13..20).collect::<Vec<_>>());
    }
}
