//! Logging: installs the subscriber that shows what the host and its guests log.
//!
//! The rooms speak through `tracing` and know nothing of this. Records of guests
//! have the target `guest` and the fields `class`, `object` and `request`. Their
//! text is a stranger's: control characters are shown, never obeyed.

use std::fmt::{self, Debug, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{self as subscriber, FmtContext};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::args::{self, LogFormat};
use crate::admin::Records;

/// A guest's own facts, already written as `a=1 b=two`.
const GUEST_FIELDS: &str = "fields";
const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();

/// From here on records go to stderr and to the answer, which keeps the latest.
pub(super) fn install(args: &args::Log) -> Records {
    let filter = EnvFilter::try_new(&args.filter).expect("clap checked the filter");
    let records = Records::default();
    let kept = tracing_subscriber::registry()
        .with(filter)
        .with(records.clone());
    let lines = subscriber::layer().with_writer(std::io::stderr);
    match args.format {
        LogFormat::Json => kept.with(lines.json().flatten_event(true)).init(),
        LogFormat::Pretty => kept
            .with(lines.with_ansi(stderr_has_colours()).event_format(Pretty))
            .init(),
    }
    records
}

fn stderr_has_colours() -> bool {
    AutoStream::choice(&std::io::stderr()) != ColorChoice::Never
}

/// `12:34:56.789  INFO Counter/alice: text  key=value`, in UTC.
struct Pretty;

impl<S, N> FormatEvent<S, N> for Pretty
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut record = Record::default();
        event.record(&mut record);
        let paint = writer.has_ansi_escapes();
        let style = |style: Style| if paint { style } else { Style::new() };
        let metadata = event.metadata();
        let (dim, bold, level) = (
            style(DIM),
            style(BOLD),
            style(level_style(metadata.level())),
        );
        let source = record.source(metadata.target());
        let time = time_of_day(SystemTime::now());
        write!(
            writer,
            "{dim}{time}{dim:#} {level}{:>5}{level:#} ",
            metadata.level()
        )?;
        write!(writer, "{bold}{source}{bold:#}: {}", record.message)?;
        for (name, value) in &record.fields {
            match *name {
                GUEST_FIELDS => write!(writer, "  {dim}{value}{dim:#}")?,
                name => write!(writer, "  {dim}{name}={value}{dim:#}")?,
            }
        }
        writeln!(writer)
    }
}

fn level_style(level: &Level) -> Style {
    let colour = match *level {
        Level::ERROR => AnsiColor::Red,
        Level::WARN => AnsiColor::Yellow,
        Level::INFO => AnsiColor::Green,
        Level::DEBUG => AnsiColor::Blue,
        Level::TRACE => AnsiColor::Magenta,
    };
    colour.on_default()
}

fn time_of_day(now: SystemTime) -> String {
    // A clock before 1970 is shown as midnight rather than ending the host.
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (seconds, ms) = (since.as_secs() % 86_400, since.subsec_millis());
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{ms:03}", seconds % 60)
}

#[derive(Debug, Default)]
struct Record {
    message: String,
    class: String,
    object: String,
    fields: Vec<(&'static str, String)>,
}

impl Record {
    fn source(&self, target: &str) -> String {
        match self.class.as_str() {
            "" => target.to_owned(),
            class => format!("{class}/{}", self.object),
        }
    }

    fn add(&mut self, field: &Field, value: &str) {
        let value = harmless(value);
        match field.name() {
            "message" => self.message = value,
            "class" => self.class = value,
            "object" => self.object = value,
            name => self.fields.push((name, value)),
        }
    }
}

impl Visit for Record {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(field, &format!("{value:?}"));
    }
}

/// Escapes control characters but for tabs and the ends of lines, which indent.
fn harmless(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.trim_end().chars() {
        match c {
            '\n' => clean.push_str("\n    "),
            '\t' => clean.push(c),
            c if c.is_control() => {
                // Writing to a string does not fail.
                let _ = write!(clean, "{}", c.escape_default());
            }
            c => clean.push(c),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_a_guest_logs_cannot_drive_the_terminal() {
        assert_eq!(harmless("a\u{1b}[2J\r\nb\t\n"), "a\\u{1b}[2J\\r\n    b");
    }

    #[test]
    fn the_time_of_day_is_utc() {
        let moment = UNIX_EPOCH + Duration::from_millis(86_400_000 + 45_296_789);
        assert_eq!(time_of_day(moment), "12:34:56.789");
    }
}
