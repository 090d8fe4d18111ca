//! Instructions that one request costs: a figure that does not jitter, for CI.
//!
//! Runs the host under callgrind and asks for the same thing many times. A rise is
//! reported against `instructions.json` and fails nothing: compilers and libraries
//! move the figures, too, and somebody must look.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::client::Client;
use crate::frames::{self, Socket};
use crate::peer::{self, Running};
use crate::{install, report};

/// Requests that are counted, after as many that warm up.
const REQUESTS: u32 = 400;
/// What may come and go without a word.
const TOLERANCE: f64 = 1.05;
const OBJECT: &str = "o";
const PATHS: [(&str, &str); 4] = [
    ("request in memory", "/mem/o/incr"),
    ("SQL read", "/sql/o/read?k=7"),
    ("durable write", "/sql/o/write?k=7"),
    ("101 SELECTs", "/sql/o/n1?k=101"),
];
const FRAME: &str = "WebSocket message and its echo";

type Counts = BTreeMap<String, u64>;

/// Counts, compares with the baseline, and with `accept` makes it the baseline.
pub(crate) async fn run(build: bool, accept: bool) -> Result<()> {
    let peer = peer::all().remove(0);
    install::prepare(std::slice::from_ref(&peer), build)?;
    // The first start compiles the guest, which would take callgrind minutes.
    let running = peer.run().await?;
    let folder = tempfile::tempdir_in(install::folder())?;
    let running = running.restart_under(&callgrind(folder.path())).await?;
    let counter = Counter {
        running,
        folder: folder.path(),
        dumps: 0,
    };
    let counts = counter.count().await?;
    compare(&counts, &baseline()?);
    if accept {
        let text = serde_json::to_string_pretty(&counts)? + "\n";
        std::fs::write(baseline_file(), text)?;
    }
    Ok(())
}

fn callgrind(folder: &Path) -> Vec<String> {
    let out = folder.join("out").display().to_string();
    // valgrind itself can address 128 GiB; the host fits its pool into the limit.
    let script = format!(
        "ulimit -v 67108864; exec valgrind --tool=callgrind --quiet \
         --callgrind-out-file={out} \"$@\""
    );
    ["sh", "-c", &script, "sh"].map(str::to_owned).to_vec()
}

/// A host under callgrind.
struct Counter<'a> {
    running: Running,
    folder: &'a Path,
    dumps: u32,
}

impl Counter<'_> {
    async fn count(mut self) -> Result<Counts> {
        let mut counts = Counts::new();
        let mut client = Client::connect(self.running.port).await?;
        let seed = self.running.path(OBJECT, "/sql/o/seed?k=1000");
        client.get(&seed).await?;
        for (name, path) in PATHS {
            let path = self.running.path(OBJECT, path);
            let asked = self.asked(async || client.get(&path).await.map(drop)).await;
            counts.insert(name.to_owned(), asked?);
        }
        let path = self.running.path(OBJECT, "/ws/o/connect");
        let mut socket = Socket::connect(self.running.port, &path, 0).await?;
        let frame = frames::text("hello");
        let asked = self
            .asked(async || socket.echo(&frame, "hello").await)
            .await;
        counts.insert(FRAME.to_owned(), asked?);
        Ok(counts)
    }

    /// Instructions for asking once.
    async fn asked(&mut self, mut ask: impl AsyncFnMut() -> Result<()>) -> Result<u64> {
        for _ in 0..REQUESTS {
            ask().await?;
        }
        self.control("--zero")?;
        for _ in 0..REQUESTS {
            ask().await?;
        }
        self.control("--dump")?;
        self.dumps += 1;
        let file = self.folder.join(format!("out.{}", self.dumps));
        let text = std::fs::read_to_string(&file);
        let text = text.with_context(|| format!("callgrind wrote no {}", file.display()))?;
        let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
        let total: u64 = total.context("a dump without totals")?.trim().parse()?;
        Ok(total / u64::from(REQUESTS))
    }

    fn control(&self, what: &str) -> Result<()> {
        let pid = self.running.process.id().to_string();
        let output = Command::new("callgrind_control")
            .args([what, &pid])
            .output();
        let output =
            output.context("valgrind is missing; install it, with `apt-get install valgrind`")?;
        ensure!(output.status.success(), "callgrind_control: {output:?}");
        Ok(())
    }
}

fn baseline_file() -> PathBuf {
    install::root().join("bench/instructions.json")
}

fn baseline() -> Result<Counts> {
    match std::fs::read_to_string(baseline_file()) {
        Ok(text) => Ok(serde_json::from_str(&text)?),
        Err(_) => Ok(Counts::new()),
    }
}

fn compare(counts: &Counts, before: &Counts) {
    for (name, count) in counts {
        let ratio = before
            .get(name)
            .map(|before| *count as f64 / *before as f64);
        let word = match ratio {
            None => "new",
            Some(ratio) if ratio > TOLERANCE => "RISEN",
            Some(ratio) if ratio < 1.0 / TOLERANCE => "fallen",
            Some(_) => "",
        };
        let ratio = ratio.map_or_else(String::new, |ratio| format!("{ratio:.3}×"));
        report::say(&format!(
            "{name:<32} {count:>10} instructions {ratio:>8} {word}"
        ));
    }
}
