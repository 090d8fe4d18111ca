//! `dormouse-bench`: the same work asked of several hosts, side by side.
//!
//! Builds the host and the guest, starts each peer as a process, measures line by
//! line with the peers in alternation, and writes a table, JSON and the page
//! `docs/performance.md`. Knows the peers by `contract.md` only.

mod chart;
mod client;
mod frames;
mod install;
mod instructions;
mod line;
mod lines;
mod machine;
mod native;
mod page;
mod peer;
mod process;
mod report;
mod stats;
mod wrk;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Parser;

use line::{Context, Effort, Line};
use peer::Peer;
use report::Report;

/// Measures Dormouse and its peers with the same work.
#[derive(Debug, Parser)]
#[command(
    name = "dormouse-bench",
    after_help = "\
Examples:
  cargo run -p dormouse-bench --release                     everything, about 15 minutes
  cargo run -p dormouse-bench --release -- --quick          everything, a few seconds a line
  cargo run -p dormouse-bench --release -- --list           the names of the lines
  cargo run -p dormouse-bench --release -- --only write     the lines whose name has `write`
  cargo run -p dormouse-bench --release -- --peer dormouse --only mem-hot

Results go to target/bench/results.json; a full run with all peers and `--page`
also writes docs/performance.md and its charts."
)]
struct Arguments {
    /// Short and rough: fewer and shorter rounds, smaller growth curves
    #[arg(long)]
    quick: bool,
    /// Only the lines whose name contains one of these
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Only these peers
    #[arg(long, value_name = "PEER")]
    peer: Vec<String>,
    /// A second build of the host, measured as the peer `other`: for A/B
    #[arg(long, value_name = "BINARY")]
    other: Option<PathBuf>,
    /// An environment variable of `other`, which is then the same build unless `--other`
    /// names one: for A/B of settings, such as `DORMOUSE_LOG=info`
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    other_with: Vec<(String, String)>,
    /// Rounds of each line (default 5, quick 2)
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds of each round of load (default 2, quick 1)
    #[arg(long)]
    seconds: Option<f64>,
    /// Sockets that `ws-memory` opens, as far as the limit on open files allows (default
    /// 10,000)
    #[arg(long)]
    sockets: Option<usize>,
    /// Keep the lines that the last run has measured, and measure the others
    #[arg(long)]
    resume: bool,
    /// Measure what is built, even if it is older than its sources
    #[arg(long)]
    no_build: bool,
    /// Print the lines and the peers, and measure nothing
    #[arg(long)]
    list: bool,
    /// Write docs/performance.md with its charts
    #[arg(long)]
    page: bool,
    /// Write the page from the results of the last run, and measure nothing
    #[arg(long)]
    page_only: bool,
    /// Count instructions of the hot paths under callgrind, and measure nothing else
    #[arg(long)]
    instructions: bool,
    /// With `--instructions`: make the counts the new baseline
    #[arg(long, requires = "instructions")]
    accept: bool,
    /// What each peer without a sandbox runs; used by the benchmark itself
    #[arg(long, hide = true, value_name = "hello|native")]
    serve: Option<String>,
    #[arg(long, hide = true, default_value = "0")]
    port: u16,
    #[arg(long, hide = true, default_value = ".")]
    data: PathBuf,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run(arguments))
}

async fn run(arguments: Arguments) -> Result<()> {
    if let Some(which) = &arguments.serve {
        return native::serve(which, arguments.port, &arguments.data).await;
    }
    if arguments.instructions {
        return instructions::run(!arguments.no_build, arguments.accept).await;
    }
    let results = install::folder().join("results.json");
    if arguments.page_only {
        return page::write(&Report::read(&results)?);
    }
    let mut lines = chosen_lines(&arguments)?;
    let peers = chosen_peers(&arguments)?;
    if arguments.list {
        lines.iter().for_each(|line| {
            report::say(&format!("{:<16} {}", line.name, line.title));
        });
        let names: Vec<_> = peers.iter().map(|peer| peer.name).collect();
        report::say(&format!("peers: {}", names.join(", ")));
        return Ok(());
    }
    install::prepare(&peers, !arguments.no_build)?;
    let context = Context {
        effort: effort(&arguments),
        peers,
    };
    let mut report = match arguments.resume {
        true => Report::read(&results)?,
        false => Report::new(machine::describe()),
    };
    lines.retain(|line| !report.has(line.name));
    let mut failed = Vec::new();
    for line in lines {
        report::say(&format!("\n{} ({})", line.title, line.name));
        match line.measure(&context).await {
            Ok(outcome) => {
                report::print(&outcome);
                report.add(outcome);
            }
            Err(error) => {
                report::say(&format!("  FAILED: {error:#}"));
                failed.push(line.name);
            }
        }
        // After each line, so that a run that is stopped leaves what it has.
        std::fs::write(&results, serde_json::to_vec_pretty(&report)?)?;
    }
    report.load_after = machine::load();
    std::fs::write(&results, serde_json::to_vec_pretty(&report)?)?;
    report::say(&format!("\nresults: {}", results.display()));
    if arguments.page {
        page::write(&report)?;
    }
    ensure!(
        failed.is_empty(),
        "lines that failed: {}",
        failed.join(", ")
    );
    Ok(())
}

fn effort(arguments: &Arguments) -> Effort {
    let full = if arguments.quick {
        Effort::quick()
    } else {
        Effort::full()
    };
    Effort {
        rounds: arguments.rounds.unwrap_or(full.rounds),
        seconds: arguments.seconds.unwrap_or(full.seconds),
        sockets: arguments.sockets,
        ..full
    }
}

fn chosen_lines(arguments: &Arguments) -> Result<Vec<Line>> {
    let wanted = |line: &Line| {
        let mut words = arguments.only.iter();
        arguments.only.is_empty() || words.any(|word| line.name.contains(word.as_str()))
    };
    let lines: Vec<_> = lines::all().into_iter().filter(wanted).collect();
    ensure!(
        !lines.is_empty(),
        "no line is called {:?}; `--list` shows them",
        arguments.only
    );
    Ok(lines)
}

fn variable(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let pair = pair.map(|(name, value)| (name.to_owned(), value.to_owned()));
    pair.ok_or_else(|| "write NAME=VALUE".to_owned())
}

fn chosen_peers(arguments: &Arguments) -> Result<Vec<Peer>> {
    let mut peers = peer::all();
    let with = arguments.other_with.clone();
    match &arguments.other {
        Some(binary) => peers.insert(1, peer::other(binary.canonicalize()?, with)),
        None if with.is_empty() => {}
        None => peers.insert(1, peer::other(install::host_binary(), with)),
    }
    for name in &arguments.peer {
        ensure!(
            peers.iter().any(|peer| peer.name == name),
            "no peer is called {name:?}; there is {}",
            peers
                .iter()
                .map(|peer| peer.name)
                .collect::<Vec<_>>()
                .join(", ")
        );
    }
    peers.retain(|peer| arguments.peer.is_empty() || arguments.peer.iter().any(|n| n == peer.name));
    Ok(peers)
}
