//! `dormouse logs`.

use std::fmt::Write as _;

use anyhow::Context as _;

use super::args::Logs;
use super::client::{Client, Lines};
use super::objects::query;
use super::show;
use crate::admin::api::{Level, Record};
use crate::cli::terminal;

pub(super) async fn run(args: Logs) -> anyhow::Result<()> {
    let client = Client::new(&args.reach)?;
    let level = args.level.map(|level| level_name(level).to_owned());
    let pairs = [
        ("follow", Some(args.follow.to_string())),
        ("tail", Some(args.tail.to_string())),
        ("level", level),
        ("class", args.class),
        ("object", args.object),
        ("request", args.request),
        ("text", args.text),
    ];
    let path = client.in_app(&format!("/logs?{}", query(pairs))).await?;
    let mut records = Lines::of(client.stream(&path).await?);
    while let Some(line) = records.next().await? {
        print(&line, args.reach.json)?;
    }
    Ok(())
}

fn print(line: &[u8], json: bool) -> anyhow::Result<()> {
    if json {
        terminal::print(String::from_utf8_lossy(line));
        return Ok(());
    }
    let record: Record =
        serde_json::from_slice(line).context("a record that this version cannot read")?;
    let source = match (&record.class, &record.object) {
        (Some(class), Some(object)) => format!("{class}/{}", show::clean(object)),
        _ => record.target,
    };
    let mut text = format!(
        "{} {:>5} {source}: {}",
        show::time(Some(record.time_ms)),
        level_name(record.level).to_uppercase(),
        show::clean(record.message.trim_end()),
    );
    if let Some(request) = &record.request {
        // Writing to a string does not fail.
        let _ = write!(text, "  request={request}");
    }
    for (name, value) in &record.fields {
        let _ = write!(text, "  {name}={}", show::clean(value));
    }
    terminal::print(format_args!("{text}\n"));
    Ok(())
}

const fn level_name(level: Level) -> &'static str {
    match level {
        Level::Trace => "trace",
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    }
}
