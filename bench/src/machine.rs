//! The machine a run was made on, as far as it explains the figures.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: f64,
    pub(crate) kernel: String,
    pub(crate) commit: String,
    pub(crate) date: String,
    pub(crate) load_before: f64,
}

pub(crate) fn describe() -> Machine {
    let cpus = read("/proc/cpuinfo");
    let memory = field(&read("/proc/meminfo"), "MemTotal");
    let kib = memory.split_whitespace().next();
    Machine {
        processor: field(&cpus, "model name"),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        memory_gib: kib.and_then(|kib| kib.parse().ok()).unwrap_or(0.0) / f64::from(1 << 20),
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        commit: said_by("git", &["rev-parse", "--short", "HEAD"]),
        date: said_by("date", &["-u", "+%Y-%m-%d"]),
        load_before: load(),
    }
}

/// How many processes wanted the processor in the last minute; ours count, too.
pub(crate) fn load() -> f64 {
    let text = read("/proc/loadavg");
    let first = text.split_whitespace().next();
    first.and_then(|load| load.parse().ok()).unwrap_or(0.0)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn field(text: &str, name: &str) -> String {
    let line = text.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.split_once(':'));
    value.map_or_else(String::new, |(_, value)| value.trim().to_owned())
}

fn said_by(program: &str, arguments: &[&str]) -> String {
    let mut command = std::process::Command::new(program);
    let output = command.args(arguments).current_dir(crate::install::root());
    let output = output.output();
    output.map_or_else(
        |_| "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

/// The soft limit on open files of this process.
pub(crate) fn open_files() -> usize {
    let limits = read("/proc/self/limits");
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().nth(3));
    soft.and_then(|soft| soft.parse().ok()).unwrap_or(1024)
}
