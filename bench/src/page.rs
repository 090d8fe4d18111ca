//! Writes `docs/performance.md` and its charts from the results of a run.
//!
//! The words stand in `page.md`, with a mark where a table or a list of charts goes.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::line::{Outcome, Score};
use crate::report::{self, OURS, Report, THEIRS};
use crate::stats::{Spread, short};
use crate::{chart, install, peer};

const TEMPLATE: &str = include_str!("page.md");

pub(crate) fn write(report: &Report) -> Result<()> {
    let docs = install::root().join("docs");
    let charts = docs.join("performance");
    std::fs::create_dir_all(&charts)?;
    let (curves, lines): (Vec<_>, Vec<_>) = report
        .outcomes
        .iter()
        .partition(|outcome| outcome.grows.is_some());
    chart::ratios(&charts.join("ratios.svg"), &lines)?;
    let text = TEMPLATE
        .replace("{{machine}}", &machine(report))
        .replace("{{peers}}", &peers())
        .replace("{{bars}}", &bars(&lines)?)
        .replace("{{figures}}", &figures(&lines)?)
        .replace("{{growth}}", &growth(&charts, &curves)?);
    let page = docs.join("performance.md");
    std::fs::write(&page, text).with_context(|| format!("cannot write {}", page.display()))?;
    report::say(&format!("page: {}", page.display()));
    Ok(())
}

fn machine(report: &Report) -> String {
    let machine = &report.machine;
    let busy = machine.load_before > machine.cores as f64 / 2.0;
    let warning = if busy {
        "\n\n**The machine was busy with other work: nothing here is a claim, and a peer with \
         one thread suffers most.** Run it again on a quiet one."
    } else {
        ""
    };
    format!(
        "{} cores ({}), {:.0} GiB, Linux {}; commit `{}`, {}. Load average before the run {}, \
         after it {}.{warning}",
        machine.cores,
        machine.processor,
        machine.memory_gib,
        machine.kernel,
        machine.commit,
        machine.date,
        short(machine.load_before),
        short(report.load_after),
    )
}

fn peers() -> String {
    let peers = peer::all();
    let line = |peer: &peer::Peer| format!("| {} | {} |\n", peer.name, peer.about);
    peers.iter().map(line).collect()
}

fn bars(lines: &[&Outcome]) -> Result<String> {
    let mut text = String::new();
    for outcome in lines.iter().filter(|outcome| outcome.bar.is_some()) {
        let ratio = outcome.ratio(OURS, THEIRS);
        let ratio = ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{}×", short(ratio)));
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} |",
            outcome.title,
            with_unit(outcome, OURS),
            with_unit(outcome, THEIRS),
            ratio,
            outcome.bar_in_words(),
            outcome.verdict().word(),
        )?;
    }
    Ok(text)
}

fn with_unit(outcome: &Outcome, peer: &str) -> String {
    let spread = outcome.score(peer).and_then(Score::spread);
    spread.map_or_else(
        || "–".to_owned(),
        |spread| format!("{} {}", short(spread.median), outcome.unit),
    )
}

fn figures(lines: &[&Outcome]) -> Result<String> {
    let mut text = String::new();
    for outcome in lines {
        for score in &outcome.scores {
            let Some(Spread { median, min, max }) = score.spread() else {
                continue;
            };
            let cpu = Spread::of(&score.cpu_us);
            let cpu = cpu.map_or_else(|| "–".to_owned(), |cpu| short(cpu.median));
            let notes = score.notes.iter();
            let notes: Vec<_> = notes
                .map(|(name, value)| format!("{name} {}", short(*value)))
                .collect();
            writeln!(
                text,
                "| `{}` | {} | {} {} | {}–{} | {cpu} | {} |",
                outcome.name,
                score.peer,
                short(median),
                outcome.unit,
                short(min),
                short(max),
                notes.join(", "),
            )?;
        }
    }
    Ok(text)
}

fn growth(charts: &Path, curves: &[&Outcome]) -> Result<String> {
    let mut text = String::new();
    for outcome in curves {
        let file = format!("{}.svg", outcome.name);
        chart::curves(&charts.join(&file), outcome)?;
        writeln!(text, "![{}](performance/{file})\n", outcome.title)?;
        for score in &outcome.scores {
            let points = score.points.iter();
            let points: Vec<_> = points
                .map(|(size, cost)| format!("{} at {}", short(*cost), short(*size)))
                .collect();
            let (peer, unit) = (&score.peer, &outcome.unit);
            writeln!(text, "- {peer}, {unit}: {}", points.join("; "))?;
        }
        text.push('\n');
    }
    Ok(text)
}
