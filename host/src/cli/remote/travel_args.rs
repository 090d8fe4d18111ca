//! Arguments of the commands about objects' pasts.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::args::Reach;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Command {
    Bookmark(Bookmark),
    History(History),
    Diff(Diff),
    Restore(Restore),
    Fork(Fork),
    Export(Export),
    Import(Import),
    Delete(Delete),
}

/// Print the bookmark of an object's state, now or at a time
///
/// A bookmark is what `restore`, `fork`, `diff` and `export` take; bookmarks of an object
/// sort as texts by time.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse bookmark Counter/alice
  dormouse bookmark Counter/alice --at 2030-01-31T12:00:00Z
  dormouse bookmark Counter/alice --at 10m      ten minutes ago")]
pub(in crate::cli) struct Bookmark {
    /// The object; `CLASS/id:HEX` where it has no name
    #[arg(value_name = "CLASS/NAME")]
    pub(super) object: String,
    /// The state it had then: a time, or how long ago
    #[arg(long, value_name = "TIME")]
    pub(super) at: Option<String>,
    #[command(flatten)]
    pub(super) reach: Reach,
}

/// List the commits of an object, each a moment to go back to
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse history Counter/alice                 the newest 50
  dormouse history Counter/alice --limit 1000
  dormouse history Counter/alice --before 0000000000b2a9f0-0-5c11d0aa
  dormouse history Counter/alice --json | jq -r '.commits[0].bookmark'")]
pub(in crate::cli) struct History {
    #[arg(value_name = "CLASS/NAME")]
    pub(super) object: String,
    /// Only those before this one
    #[arg(long, value_name = "BOOKMARK")]
    pub(super) before: Option<String>,
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value = "50")]
    pub(super) limit: usize,
    #[command(flatten)]
    pub(super) reach: Reach,
}

/// Show the rows of an object that differ between two moments
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse diff Counter/alice 10m               from ten minutes ago to now
  dormouse diff Counter/alice 0000000000b2a9f0-0-5c11d0aa 0000000000c00010-0-1f00ab12
  dormouse diff Chat/lobby 2030-01-31 --json | jq '.changes[] | select(.table == \"messages\")'")]
pub(in crate::cli) struct Diff {
    #[arg(value_name = "CLASS/NAME")]
    pub(super) object: String,
    /// A bookmark, a time, or how long ago
    #[arg(value_name = "FROM")]
    pub(super) from: String,
    /// The same [default: now]
    #[arg(value_name = "TO")]
    pub(super) until: Option<String>,
    /// At most so many changes
    #[arg(long, value_name = "COUNT", default_value = "1000")]
    pub(super) limit: usize,
    #[command(flatten)]
    pub(super) reach: Reach,
}

/// Bring an object back to what it was
///
/// Its database becomes what it was then, but for its alarms, which stay. The object
/// sleeps meanwhile: requests at work have 10 seconds to finish, those that come wait, and
/// sockets stay open. The bookmark that is printed undoes it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse restore Counter/alice 10m                             ten minutes ago
  dormouse restore Counter/alice 2030-01-31T12:00:00Z
  dormouse restore Counter/alice 0000000000b2a9f0-0-5c11d0aa     what `history` lists")]
pub(in crate::cli) struct Restore {
    #[arg(value_name = "CLASS/NAME")]
    pub(super) object: String,
    /// A bookmark, a time, or how long ago
    #[arg(value_name = "MOMENT")]
    pub(super) moment: String,
    #[command(flatten)]
    pub(super) reach: Reach,
}

/// Make a new object of what another is, or was
///
/// The new one is of the same class and must have no data yet. Alarms stay behind.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse fork Chat/lobby lobby-copy
  dormouse fork Chat/lobby lobby-yesterday --at 1d")]
pub(in crate::cli) struct Fork {
    #[arg(value_name = "CLASS/NAME")]
    pub(super) object: String,
    /// The name of the new object
    #[arg(value_name = "NEW")]
    pub(super) name: String,
    /// What it was then: a bookmark, a time, or how long ago
    #[arg(long, value_name = "MOMENT")]
    pub(super) at: Option<String>,
    #[command(flatten)]
    pub(super) reach: Reach,
}

/// Write an object to a plain SQLite file
///
/// The object may be awake and goes on. `sqlite3` and everything else that reads SQLite
/// opens the file; tables named `_dormouse_…` are the host's.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse export Counter/alice alice.sqlite
  dormouse export Counter/alice alice.sqlite --at 1d
  sqlite3 alice.sqlite .schema")]
pub(in crate::cli) struct Export {
    #[arg(value_name = "CLASS/NAME")]
    pub(super) object: String,
    /// The file to make; one that is there stays as it is
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    /// What it was then: a bookmark, a time, or how long ago
    #[arg(long, value_name = "MOMENT")]
    pub(super) at: Option<String>,
    #[command(flatten)]
    pub(super) reach: Reach,
}

/// Make an object of a SQLite file
///
/// The file may be one that `export` wrote, whose alarms come along, or any other. An
/// object that has data is replaced only with --replace; `restore` brings it back.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse import Counter/alice alice.sqlite
  dormouse import Counter/alice alice.sqlite --replace")]
pub(in crate::cli) struct Import {
    #[arg(value_name = "CLASS/NAME")]
    pub(super) object: String,
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    /// Replace what the object has
    #[arg(long)]
    pub(super) replace: bool,
    #[command(flatten)]
    pub(super) reach: Reach,
}

/// Delete an object for good, with its history
///
/// No byte of it stays in the data folder, and nothing brings it back; backups and exports
/// are not touched. Its sockets are closed. The next request to its name finds a new object.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse export Counter/alice alice.sqlite    keep a copy first
  dormouse delete Counter/alice --yes")]
pub(in crate::cli) struct Delete {
    #[arg(value_name = "CLASS/NAME")]
    pub(super) object: String,
    /// That it is meant
    #[arg(long)]
    pub(super) yes: bool,
    #[command(flatten)]
    pub(super) reach: Reach,
}
