//! Carries the records of the `log` crate, and panics, into the host's log.
//!
//! Installed once, when the object is made. The level is asked once: records
//! below it are never formatted. Source: `wit/log.wit`.

use std::panic::PanicHookInfo;

use log::kv::{self, Key, VisitSource};
use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::bindings::dormouse::object::log as wit;

/// Makes the host's log the place where records and panics go.
pub(crate) fn install() {
    let level = wit::max_level();
    log::set_max_level(level.map_or(LevelFilter::Off, filter));
    // A second call finds its own logger in place.
    let _ = log::set_logger(&HostLog);
    std::panic::set_hook(Box::new(write_panic));
}

struct HostLog;

impl Log for HostLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            wit::write(&wit::Entry {
                level: level(record.level()),
                target: record.target().to_owned(),
                message: record.args().to_string(),
                fields: fields(record.key_values()),
            });
        }
    }

    fn flush(&self) {}
}

/// One record instead of the default hook's lines on standard error, which the
/// host would log a second time.
fn write_panic(info: &PanicHookInfo<'_>) {
    if log::max_level() == LevelFilter::Off {
        return;
    }
    let message = info.payload_as_str().unwrap_or("(no text)");
    let location = info.location().map(ToString::to_string);
    wit::write(&wit::Entry {
        level: wit::Level::Error,
        target: "panic".to_owned(),
        message: format!("panicked: {message}"),
        fields: location
            .map(|at| ("location".to_owned(), at))
            .into_iter()
            .collect(),
    });
}

/// Collects key-values as text, in order.
struct Fields(Vec<(String, String)>);

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: kv::Value<'kvs>) -> Result<(), kv::Error> {
        self.0.push((key.to_string(), value.to_string()));
        Ok(())
    }
}

fn fields(pairs: &dyn kv::Source) -> Vec<(String, String)> {
    let mut fields = Fields(Vec::new());
    // Collecting cannot fail; a source that does leaves out its own pair.
    let _ = pairs.visit(&mut fields);
    fields.0
}

fn level(level: Level) -> wit::Level {
    match level {
        Level::Error => wit::Level::Error,
        Level::Warn => wit::Level::Warn,
        Level::Info => wit::Level::Info,
        Level::Debug => wit::Level::Debug,
        Level::Trace => wit::Level::Trace,
    }
}

fn filter(level: wit::Level) -> LevelFilter {
    match level {
        wit::Level::Error => LevelFilter::Error,
        wit::Level::Warn => LevelFilter::Warn,
        wit::Level::Info => LevelFilter::Info,
        wit::Level::Debug => LevelFilter::Debug,
        wit::Level::Trace => LevelFilter::Trace,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_values_become_fields_in_order() {
        let pairs: &[(&str, i32)] = &[("b", 2), ("a", 1)];
        let wanted = [
            ("b".to_owned(), "2".to_owned()),
            ("a".to_owned(), "1".to_owned()),
        ];
        assert_eq!(fields(&pairs), wanted);
    }
}
