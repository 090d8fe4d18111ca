//! Terminal: lines for people, in cargo's layout because cargo's stand beside them.
//!
//! Colours only on a terminal, and not under NO_COLOR (`anstream` decides). A
//! terminal that has gone away is no reason to stop serving, so failed writes
//! are let be.

use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;

use anstyle::{AnsiColor, Style};

const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();

/// Progress: a verb and what it is done to, on stderr.
pub(super) fn status(verb: &str, rest: impl Display) {
    let _ = writeln!(anstream::stderr(), "{GOOD}{verb:>12}{GOOD:#} {rest}");
}

/// A status that changes until it ends; without a terminal only the end is told.
pub(super) struct Progress {
    verb: &'static str,
    seen: bool,
}

impl Progress {
    pub(super) fn new(verb: &'static str) -> Self {
        let seen = std::io::stderr().is_terminal();
        Self { verb, seen }
    }

    pub(super) fn show(&self, rest: impl Display) {
        if self.seen {
            let mut stderr = anstream::stderr().lock();
            let verb = self.verb;
            let line = write!(stderr, "\r\x1b[K{GOOD}{verb:>12}{GOOD:#} {rest}");
            let _ = line.and_then(|()| stderr.flush());
        }
    }

    pub(super) fn end(self, rest: impl Display) {
        if self.seen {
            let _ = write!(anstream::stderr(), "\r\x1b[K");
        }
        status(self.verb, rest);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.seen {
            let _ = write!(anstream::stderr(), "\r\x1b[K");
        }
    }
}

pub(super) fn warning(text: impl Display) {
    let _ = writeln!(anstream::stderr(), "{WARNING}warning{WARNING:#}: {text}");
}

/// An error, then its causes, each on a line of its own.
pub(super) fn error(error: &anyhow::Error) {
    let mut stderr = anstream::stderr().lock();
    let _ = writeln!(stderr, "{BAD}error{BAD:#}: {error}");
    for cause in error.chain().skip(1) {
        let _ = writeln!(stderr, "  because: {cause}");
    }
}

/// An answer in the layout of `status`, on stdout.
pub(super) fn answer(verb: &str, rest: impl Display) {
    print(format_args!("{GOOD}{verb:>12}{GOOD:#} {rest}\n"));
}

pub(super) fn print(text: impl Display) {
    let mut stdout = anstream::stdout().lock();
    let _ = write!(stdout, "{text}").and_then(|()| stdout.flush());
}

/// A path as the user would write it from the working folder.
pub(super) fn short(path: &Path) -> &Path {
    let here = std::env::current_dir().unwrap_or_default();
    match path.strip_prefix(&here) {
        Ok(rest) if rest.as_os_str().is_empty() => Path::new("."),
        Ok(rest) => rest,
        Err(_) => path,
    }
}

pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut size = count as f64;
    let mut unit = "bytes";
    for next in UNITS {
        if size < 1024.0 {
            break;
        }
        size /= 1024.0;
        unit = next;
    }
    match unit {
        "bytes" => format!("{count} bytes"),
        _ => format!("{size:.1} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        let sizes = [0, 1023, 1024, 116_736, 5 << 20].map(bytes);
        assert_eq!(
            sizes,
            ["0 bytes", "1023 bytes", "1.0 KiB", "114.0 KiB", "5.0 MiB"]
        );
    }
}
