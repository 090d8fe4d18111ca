//! A peer's process: what it used of processor and memory, from `/proc`.

use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// Clock ticks of `/proc/PID/stat` a second; fixed on Linux.
const TICKS: f64 = 100.0;

#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn spawn(command: &mut Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::piped());
        let child = command.spawn();
        Ok(Self(
            child.with_context(|| format!("cannot start {command:?}"))?,
        ))
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Processor time so far, in seconds.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        let stat = self.read("stat")?;
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        let fields: Vec<_> = after_name.split_whitespace().collect();
        // Fields 14 and 15 of the file; the first two are cut off.
        let ticks = |at: usize| fields[at].parse::<f64>();
        Ok((ticks(11)? + ticks(12)?) / TICKS)
    }

    /// Anonymous resident memory in KiB: what the process keeps beside its code.
    pub(crate) fn memory_kib(&self) -> Result<f64> {
        let status = self.read("status")?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"));
        let number = line.and_then(|rest| rest.split_whitespace().next());
        Ok(number.context("no RssAnon in /proc/PID/status")?.parse()?)
    }

    /// What it said at its end, if it has ended.
    pub(crate) fn ended(&mut self) -> Result<Option<String>> {
        let Some(status) = self.0.try_wait()? else {
            return Ok(None);
        };
        let mut said = String::new();
        if let Some(stderr) = &mut self.0.stderr {
            stderr.read_to_string(&mut said)?;
        }
        Ok(Some(format!("{status}; {}", said.trim())))
    }

    /// Asks it to end, and insists after ten seconds.
    pub(crate) fn end(mut self) -> Result<()> {
        let pid = self.0.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status()?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.0.try_wait()?.is_none() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    fn read(&self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.0.id());
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Either it runs, or it is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
