//! Slow: SQL statements that take too long, told in the log and shown in traces.
//!
//! Called by whoever runs statements of the app's code; what is too long stands in
//! `limits.slow_sql_ms`. The text is told as it was written, without the values of its
//! parameters. Times are wall time.

use std::fmt::Display;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::SpanBuilder;

use crate::trace::{Span, TraceContext};

/// Of a statement's text, what a record keeps (bytes).
const MAX_TEXT_BYTES: usize = 1_000;

/// A statement that has run.
#[derive(Clone, Debug)]
pub struct Statement<'a> {
    pub took: Duration,
    pub text: &'a str,
    pub rows: Rows,
}

/// How many rows a statement gave back, and how many rows and index entries it touched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    pub returned: u64,
    pub read: u64,
    pub written: u64,
}

/// Logs a statement of an app's `class`/`object`.
pub fn tell(
    app: &str,
    class: &str,
    object: &dyn Display,
    trace: Option<TraceContext>,
    statement: &Statement<'_>,
) {
    let Statement { took, text, rows } = statement;
    let text = &text[..text.floor_char_boundary(MAX_TEXT_BYTES)];
    tracing::warn!(
        app,
        class,
        object = tracing::field::display(object),
        ms = took.as_millis() as u64,
        rows = rows.returned,
        rows_read = rows.read,
        rows_written = rows.written,
        trace_id = trace.map(|trace| tracing::field::display(trace.trace_id())),
        "slow SQL: {text}"
    );
    Span::past(trace, *took, || {
        SpanBuilder::from_name("sqlite").with_attributes([
            KeyValue::new("db.system.name", "sqlite"),
            KeyValue::new("db.namespace", format!("{class}/{object}")),
            KeyValue::new("db.query.text", text.to_owned()),
            KeyValue::new("db.response.returned_rows", rows.returned as i64),
        ])
    });
}
