//! Inspect: what a component exports and needs, as text or JSON.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;

use super::{args, terminal};
use crate::guest::WorkerKind;
use crate::host::{self, Interface, Report};

pub(super) async fn run(args: &args::Inspect) -> anyhow::Result<()> {
    let report = host::inspect(&args.file).await?;
    if args.json {
        let json = serde_json::to_string_pretty(&report).context("cannot write JSON")?;
        terminal::print(format_args!("{json}\n"));
    } else {
        terminal::print(page(&args.file, &report));
    }
    Ok(())
}

fn page(file: &Path, report: &Report) -> String {
    let mut page = String::new();
    let mut line = |head: &str, text: &str| {
        // Writing to a string does not fail.
        let _ = writeln!(page, "{head:<10} {text}");
    };
    let classes: Vec<&str> = report.classes.iter().map(|class| &*class.name).collect();
    line("component", &file.display().to_string());
    line("size", &terminal::bytes(report.bytes));
    line("digest", &report.digest);
    line("contract", report.contract.as_deref().unwrap_or("none"));
    line("classes", &or_none(&classes.join(", ")));
    let worker = report.worker.map(WorkerKind::interface);
    line("worker", worker.unwrap_or("none"));
    list(&mut page, "imports", &report.imports);
    list(&mut page, "exports", &report.exports);
    if let Some(reason) = &report.refused {
        let _ = writeln!(page, "refused    {reason}");
    }
    page
}

fn list(page: &mut String, head: &str, interfaces: &[Interface]) {
    let _ = writeln!(page, "{head}");
    if interfaces.is_empty() {
        page.push_str("  none\n");
    }
    for interface in interfaces {
        let note = if interface.known {
            ""
        } else {
            "  (unknown to this host)"
        };
        let _ = writeln!(page, "  {interface}{note}");
    }
}

fn or_none(text: &str) -> String {
    if text.is_empty() {
        "none".to_owned()
    } else {
        text.to_owned()
    }
}
