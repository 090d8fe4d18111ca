//! Closed-loop load by wrk: so many connections, each asks again when it is answered.

use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::install;
use crate::peer::Running;

/// Reads the paths of a file and asks for one after the other, for ever.
const SCRIPT: &str = r#"
function init(args)
  requests, at = {}, 0
  for path in io.lines(args[1]) do requests[#requests + 1] = wrk.format("GET", path) end
end
function request()
  at = at % #requests + 1
  return requests[at]
end
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"answers":%d,"micros":%d,"refused":%d,"broken":%d,"p50":%d,"p99":%d}\n',
    summary.requests, summary.duration, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"#;

/// What one run of load gave. Latencies in microseconds, as the client sees them.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Load {
    pub(crate) answers: u64,
    micros: u64,
    refused: u64,
    broken: u64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// Processor time of the peer for each answer, in microseconds.
    #[serde(default)]
    pub(crate) cpu_us: f64,
}

impl Load {
    pub(crate) fn per_second(&self) -> f64 {
        self.answers as f64 / (self.micros as f64 / 1e6)
    }
}

/// Asks for `paths` in turn over `connections` connections. Every answer must be a 200.
pub(crate) async fn load(
    running: &Running,
    paths: &[String],
    connections: usize,
    seconds: f64,
) -> Result<Load> {
    let folder = tempfile::tempdir_in(install::folder())?;
    let (script, list) = (folder.path().join("load.lua"), folder.path().join("paths"));
    std::fs::write(&script, SCRIPT)?;
    std::fs::write(&list, paths.join("\n"))?;
    let mut command = tokio::process::Command::from(install::wrk()?);
    command.args(["-t1", "-c", &connections.to_string(), "--timeout", "30s"]);
    // wrk takes whole seconds.
    let duration = format!("{}s", seconds.ceil().max(1.0));
    command.args(["-d", &duration, "-s"]).arg(&script);
    command.arg(running.url("/")).arg("--").arg(&list);
    let before = running.process.cpu_seconds()?;
    let output = command.stderr(Stdio::piped()).output().await?;
    let cpu = running.process.cpu_seconds()? - before;
    let text = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().find(|line| line.starts_with('{'));
    let line = line.with_context(|| format!("wrk gave no summary: {text}{said}"))?;
    let mut load: Load = serde_json::from_str(line)?;
    ensure!(
        load.refused == 0 && load.broken == 0,
        "{}: of {} answers to {:?} {} were no 200, {} were broken off",
        running.peer.name,
        load.answers,
        paths.first(),
        load.refused,
        load.broken
    );
    load.cpu_us = cpu * 1e6 / load.answers.max(1) as f64;
    Ok(load)
}
