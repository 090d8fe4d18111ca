//! Doctor: looks at the machine, the data folder and the tools before they are needed.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::args;
use crate::admin;
use crate::cli::terminal;
use crate::host;
use crate::manifest::Serve;

/// Fewer maps leave room for fewer than 8,737 objects awake.
const USUAL_MAPS: u64 = 65_530;
const FEW_FILES: u64 = 4_096;
const LITTLE_SPACE_BYTES: u64 = 1 << 30;
const SLOW_SYNC: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Good,
    Warning,
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    verdict: Verdict,
    found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<&'static str>,
}

impl Finding {
    fn good(what: &'static str, found: impl Into<String>) -> Self {
        Self {
            what,
            verdict: Verdict::Good,
            found: found.into(),
            advice: None,
        }
    }

    fn not_good(
        what: &'static str,
        verdict: Verdict,
        found: impl Into<String>,
        advice: &'static str,
    ) -> Self {
        Self {
            what,
            verdict,
            found: found.into(),
            advice: Some(advice),
        }
    }
}

pub(super) fn run(args: &args::Doctor) -> anyhow::Result<()> {
    let data = match &args.data {
        Some(data) => data.clone(),
        None => Serve::default().data,
    };
    let findings = [
        maps(),
        open_files(),
        folder(&data),
        apps(&data),
        sync(&data),
        space(&data),
        host_on(&data),
        rust(),
    ];
    if args.json {
        let json = serde_json::to_string_pretty(&findings)?;
        terminal::print(format_args!("{json}\n"));
    } else {
        findings.iter().for_each(show);
    }
    let bad = findings.iter().filter(|one| one.verdict == Verdict::Bad);
    match bad.count() {
        0 => Ok(()),
        1 => anyhow::bail!("one thing keeps a host from working"),
        count => anyhow::bail!("{count} things keep a host from working"),
    }
}

fn show(finding: &Finding) {
    let mark = match finding.verdict {
        Verdict::Good => "good",
        Verdict::Warning => "warning",
        Verdict::Bad => "bad",
    };
    terminal::answer(mark, format_args!("{}: {}", finding.what, finding.found));
    if let Some(advice) = finding.advice {
        terminal::answer("", advice);
    }
}

fn maps() -> Finding {
    let what = "memory maps";
    let file = "/proc/sys/vm/max_map_count";
    let maps = fs::read_to_string(file).ok();
    match maps.and_then(|text| text.trim().parse::<u64>().ok()) {
        None => Finding::good(what, "this system has no limit that can be read"),
        Some(maps) => {
            let room = maps * 4 / 5 / 6;
            let found = format!("{maps}, room for about {room} objects awake");
            match maps < USUAL_MAPS {
                false => Finding::good(what, found),
                true => Finding::not_good(
                    what,
                    Verdict::Warning,
                    found,
                    "raise it: sysctl -w vm.max_map_count=262144",
                ),
            }
        }
    }
}

fn open_files() -> Finding {
    let what = "open files";
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().nth(3));
    match soft.map(str::parse::<u64>) {
        Some(Ok(files)) if files < FEW_FILES => Finding::not_good(
            what,
            Verdict::Warning,
            format!("{files}; every connection and socket takes one"),
            "raise it: ulimit -n 65536, or LimitNOFILE= in a systemd unit",
        ),
        Some(Ok(files)) => Finding::good(what, files.to_string()),
        _ => Finding::good(what, "no limit"),
    }
}

fn folder(data: &Path) -> Finding {
    let what = "data folder";
    let found = format!("{} can be written", data.display());
    match write_probe(data, b"probe") {
        Ok(_) => Finding::good(what, found),
        Err(error) => Finding::not_good(
            what,
            Verdict::Bad,
            format!("{} cannot be written: {error}", data.display()),
            "choose another with --data, or give its owner the right to write",
        ),
    }
}

/// The list of the apps beside the main one, and their folders.
fn apps(data: &Path) -> Finding {
    let what = "apps beside the main one";
    let advice = "put back a copy of the data folder; without the list no host starts on it";
    let folders = match host::folders(data) {
        Ok(folders) => folders,
        Err(error) => return Finding::not_good(what, Verdict::Bad, error.to_string(), advice),
    };
    let gone = folders.iter().find(|(_, folder)| !folder.is_dir());
    if let Some((name, folder)) = gone {
        let found = format!("{name} has no folder {}", folder.display());
        let advice = "put back a copy of it, or `dormouse app delete` the app";
        return Finding::not_good(what, Verdict::Warning, found, advice);
    }
    let unwritable = folders
        .iter()
        .find(|(_, folder)| write_probe(folder, b"probe").is_err());
    if let Some((_, folder)) = unwritable {
        let found = format!("{} cannot be written", folder.display());
        let advice = "give its owner the right to write";
        return Finding::not_good(what, Verdict::Bad, found, advice);
    }
    let names: Vec<_> = folders.into_keys().collect();
    match names.as_slice() {
        [] => Finding::good(what, "none"),
        names => Finding::good(what, names.join(", ")),
    }
}

fn sync(data: &Path) -> Finding {
    let what = "time of a sync";
    let Ok(took) = write_probe(data, &[0; 4096]) else {
        return Finding::good(what, "not measured");
    };
    let found = format!("{:.1} ms", took.as_secs_f64() * 1e3);
    match took > SLOW_SYNC {
        false => Finding::good(what, found),
        true => Finding::not_good(
            what,
            Verdict::Warning,
            found,
            "every answer to a write waits for one; a local SSD takes under 2 ms",
        ),
    }
}

/// Writes a file beside the folder's own, syncs it and takes it away again. In the
/// nearest folder that exists: looking makes nothing.
fn write_probe(data: &Path, bytes: &[u8]) -> std::io::Result<Duration> {
    let file = nearest(data).join(format!(".dormouse-doctor-{}", std::process::id()));
    let mut opened = fs::File::create_new(&file)?;
    let began = Instant::now();
    let written = opened.write_all(bytes).and_then(|()| opened.sync_all());
    let took = began.elapsed();
    fs::remove_file(&file)?;
    written.map(|()| took)
}

fn nearest(folder: &Path) -> PathBuf {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let existing = absolute.ancestors().find(|folder| folder.is_dir());
    existing.unwrap_or(Path::new("/")).to_owned()
}

fn space(data: &Path) -> Finding {
    let what = "free space";
    let folder = nearest(data);
    let output = Command::new("df").args(["-Pk"]).arg(folder).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let free = text.ok().and_then(|text| {
        let line = text.lines().nth(1)?.to_owned();
        line.split_whitespace().nth(3)?.parse::<u64>().ok()
    });
    match free.map(|kib| kib << 10) {
        None => Finding::good(what, "not known"),
        Some(free) if free < LITTLE_SPACE_BYTES => Finding::not_good(
            what,
            Verdict::Warning,
            terminal::bytes(free),
            "the commit log alone takes 128 MiB and more; make space",
        ),
        Some(free) => Finding::good(what, terminal::bytes(free)),
    }
}

fn host_on(data: &Path) -> Finding {
    let what = "host on it";
    match admin::find_local(data) {
        Err(_) => Finding::good(what, "none runs"),
        Ok(found) => {
            let address = found.url.trim_start_matches("http://").to_owned();
            match std::net::TcpStream::connect(&address) {
                Ok(_) => Finding::good(what, format!("runs, admin door at {}", found.url)),
                Err(_) => Finding::not_good(
                    what,
                    Verdict::Warning,
                    format!("process {} ended without an orderly stop", found.pid),
                    "nothing is lost; the next start recovers",
                ),
            }
        }
    }
}

fn rust() -> Finding {
    let what = "Rust for WebAssembly";
    let ask = ["--print", "target-libdir", "--target", "wasm32-wasip2"];
    let library = Command::new("rustc").args(ask).output();
    match library {
        Err(_) => Finding::not_good(
            what,
            Verdict::Warning,
            "there is no rustc",
            "only building needs it: https://rustup.rs",
        ),
        Ok(output) => {
            let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            match Path::new(&folder).is_dir() {
                true => Finding::good(what, "rustc has the target wasm32-wasip2"),
                false => Finding::not_good(
                    what,
                    Verdict::Warning,
                    "rustc lacks the target wasm32-wasip2",
                    "`dormouse build` adds it, or: rustup target add wasm32-wasip2",
                ),
            }
        }
    }
}
