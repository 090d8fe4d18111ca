//! Arguments of the commands that ask a running host.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::admin::Scope;
use crate::admin::api::{Level, State};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Command {
    App(super::app::App),
    Deploy(Deploy),
    Versions(Versions),
    Rollout(Rollout),
    Rollback(Rollback),
    Prune(Prune),
    Objects(Objects),
    Sql(Sql),
    Logs(Logs),
    Sockets(Sockets),
    Alarms(Alarms),
    Call(super::call::Call),
    Fetch(Fetch),
    Token(Token),
    Secret(super::secret::Secret),
    Page(Page),
    Backup(super::backup::Args),
    #[command(flatten)]
    Travel(super::travel_args::Command),
}

/// Which host to ask, and how to show what it says.
#[derive(Debug, Args)]
pub(in crate::cli) struct Reach {
    /// The admin door of a host, such as https://host:8788; needs a token
    #[arg(long, value_name = "URL", env = "DORMOUSE_TO", help_heading = "Host")]
    pub(super) to: Option<String>,
    /// A token for it
    #[arg(
        long,
        value_name = "TOKEN",
        env = "DORMOUSE_TOKEN",
        hide_env_values = true,
        help_heading = "Host"
    )]
    pub(super) token: Option<String>,
    /// Trust these certificates (PEM) at an https:// address, and no others
    #[arg(long, value_name = "FILE", env = "DORMOUSE_CA", help_heading = "Host")]
    pub(super) ca: Option<PathBuf>,
    /// Without --to: the data folder of a host on this machine [default: that of the app in this folder]
    #[arg(long, value_name = "DIR", env = "DORMOUSE_DATA", help_heading = "Host")]
    pub(super) data: Option<PathBuf>,
    /// The app, if the host has several [default: the one that it was started with]
    #[arg(long, value_name = "NAME", env = "DORMOUSE_APP", help_heading = "Host")]
    pub(super) app: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Send the app to a host, which serves it from now on
///
/// Builds the app, uploads what the host does not have, and lets it check everything
/// before anything changes. Objects keep their state, sockets stay open, requests at work
/// finish on the old code.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse deploy --to https://host:8788    the app in this folder
  dormouse deploy counter.wasm              a component, to the host on this machine
  dormouse deploy --plan                    what would change
  dormouse deploy --note \"fix the counter\"
  dormouse deploy --percent 10              for every tenth object and request; see `rollout`

The token comes from DORMOUSE_TOKEN and needs the scope `deploy`.")]
pub(in crate::cli) struct Deploy {
    /// The app's folder, or a component
    #[arg(default_value = ".", value_name = "DIR|FILE.wasm")]
    pub(super) app_path: PathBuf,
    /// Only say what would change
    #[arg(long)]
    pub(super) plan: bool,
    /// Take the component as the last build left it
    #[arg(long)]
    pub(super) no_build: bool,
    /// What `dormouse versions` shows beside it
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(super) note: String,
    /// Go on though classes with objects are gone; their data stays
    #[arg(long)]
    pub(super) remove_classes: bool,
    /// Delete the objects of classes that `[[migrations]]` delete, with their history
    #[arg(long)]
    pub(super) delete_data: bool,
    /// Let only so many of a hundred objects and requests have it for the time being
    #[arg(
        long,
        value_name = "NUMBER",
        value_parser = clap::value_parser!(u8).range(1..=99),
        conflicts_with_all = ["remove_classes", "delete_data"]
    )]
    pub(super) percent: Option<u8>,
    #[command(flatten)]
    pub(super) reach: Reach,
}

/// List the versions that were deployed, or compare two
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  dormouse versions
  dormouse versions --to https://host:8788 --json
  dormouse versions diff 3 4"
)]
pub(in crate::cli) struct Versions {
    #[command(subcommand)]
    pub(super) command: Option<VersionsCommand>,
    #[command(flatten)]
    pub(super) reach: Reach,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum VersionsCommand {
    Diff(VersionsDiff),
}

/// Show how one version differs from another
///
/// The manifest line by line, components and files by digest and size, classes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse versions diff 3 4
  dormouse versions diff 3 4 --json | jq .assets")]
pub(in crate::cli) struct VersionsDiff {
    #[arg(value_name = "FROM")]
    pub(super) before: u64,
    #[arg(value_name = "TO")]
    pub(super) after: u64,
    #[command(flatten)]
    pub(super) reach: Reach,
}

/// Give a version that is being rolled out to more objects and requests
///
/// A rollout begins with `dormouse deploy --percent`. An object keeps the version it has
/// as the share grows. When the new version fails clearly more often than the current one,
/// the host takes it back by itself; `dormouse versions` says why.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse rollout 50     half of them
  dormouse rollout 100    all: it is the current version then
  dormouse rollout 0      none: the version before is everybody's again")]
pub(in crate::cli) struct Rollout {
    #[arg(value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(super) percent: u8,
    #[command(flatten)]
    pub(super) reach: Reach,
}

/// Serve an earlier version again
///
/// Its code is compiled already, so this takes no longer than the requests at work.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse rollback       to the version before the current one
  dormouse rollback 12    to that one, later or earlier")]
pub(in crate::cli) struct Rollback {
    #[arg(value_name = "VERSION")]
    pub(super) version: Option<u64>,
    #[command(flatten)]
    pub(super) reach: Reach,
}

/// Forget old versions
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse prune --keep 5    all but the newest five and the current one")]
pub(in crate::cli) struct Prune {
    #[arg(long, value_name = "COUNT")]
    pub(super) keep: usize,
    #[command(flatten)]
    pub(super) reach: Reach,
}

/// List objects, or show one
///
/// Shows what has written something, is awake or has sockets. Wakes nobody.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse objects                      the first 100
  dormouse objects Counter --prefix al  those of a class whose name begins so
  dormouse objects --state awake
  dormouse objects Counter/alice        one: its tables, alarms and sockets
  dormouse objects --all --json | jq .bytes")]
pub(in crate::cli) struct Objects {
    /// A class, or one object
    #[arg(value_name = "CLASS[/NAME]")]
    pub(super) of: Option<String>,
    /// The name begins with this
    #[arg(long, value_name = "TEXT")]
    pub(super) prefix: Option<String>,
    #[arg(long)]
    pub(super) state: Option<State>,
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value = "100")]
    pub(super) limit: usize,
    /// All of them
    #[arg(long, conflicts_with = "limit")]
    pub(super) all: bool,
    #[command(flatten)]
    pub(super) reach: Reach,
}

/// Run SQL on one object, or on all objects of a class
///
/// An object that sleeps is not woken; one that is awake answers between two turns of
/// its code. A statement that writes is refused without --write. Without a statement
/// there is a prompt. With a class alone, each of its objects is asked, and each row
/// begins with the object's name; nothing is written then.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse sql Counter/alice \"select * from sqlite_schema\"
  dormouse sql Chat/lobby \"select * from messages where author = ?\" bob
  dormouse sql Chat/lobby --write \"delete from messages\"
  dormouse sql Chat/lobby --write --dry-run \"delete from messages\"
  dormouse sql Chat/lobby               a prompt
  dormouse sql Chat \"select count(*) from messages\"
  dormouse sql Chat --prefix team- \"select max(time) from messages\"")]
pub(in crate::cli) struct Sql {
    /// The object, `CLASS/id:HEX` where it has no name; or a class, for all its objects
    #[arg(value_name = "CLASS[/NAME]")]
    pub(super) object: String,
    /// One statement or several; the rows are those of the last one
    pub(super) sql: Option<String>,
    /// Values for the `?` of the last statement: numbers and null as such, else texts
    pub(super) params: Vec<String>,
    /// Allow statements that write
    #[arg(long)]
    pub(super) write: bool,
    /// With --write: undo what the statements write, and tell how many rows it would be
    #[arg(long, requires = "write")]
    pub(super) dry_run: bool,
    /// With a class: only objects whose names begin with this
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub(super) prefix: String,
    /// At most so many rows
    #[arg(long, value_name = "COUNT", default_value = "1000")]
    pub(super) rows: u32,
    #[command(flatten)]
    pub(super) reach: Reach,
}

/// Show what the host and its objects log
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse logs                         the last 100 records
  dormouse logs -f --object alice       and those that come, of one object
  dormouse logs -f --level warn
  dormouse logs --request 5d1a0c3e9b7f2468")]
pub(in crate::cli) struct Logs {
    /// Stay, and show what comes
    #[arg(short, long)]
    pub(super) follow: bool,
    /// Begin with so many records
    #[arg(short = 'n', long, value_name = "COUNT", default_value = "100")]
    pub(super) tail: usize,
    /// This level and those above it
    #[arg(long)]
    pub(super) level: Option<Level>,
    #[arg(long)]
    pub(super) class: Option<String>,
    /// The object's name, or its id
    #[arg(long, value_name = "NAME")]
    pub(super) object: Option<String>,
    /// The id in the answer's header `x-request-id`
    #[arg(long, value_name = "ID")]
    pub(super) request: Option<String>,
    /// The message contains this
    #[arg(long, value_name = "TEXT")]
    pub(super) text: Option<String>,
    #[command(flatten)]
    pub(super) reach: Reach,
}

/// List open WebSockets, of one object or of all
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse sockets
  dormouse sockets Chat/lobby --json")]
pub(in crate::cli) struct Sockets {
    #[arg(value_name = "CLASS/NAME")]
    pub(super) object: Option<String>,
    #[command(flatten)]
    pub(super) reach: Reach,
}

/// List alarms and dead letters, or run one now
///
/// Without an object: the dead letters of all objects.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse alarms                             dead letters
  dormouse alarms Reminder/bob                what is to come, too
  dormouse alarms Reminder/bob --retry        the default alarm, now
  dormouse alarms Reminder/bob --retry daily  a named one
  dormouse alarms Reminder/bob --run daily    now, instead of at its time")]
pub(in crate::cli) struct Alarms {
    #[arg(value_name = "CLASS/NAME")]
    pub(super) object: Option<String>,
    /// Run this dead letter again, now
    #[arg(long, value_name = "ALARM", num_args = 0..=1, default_missing_value = "", requires = "object")]
    pub(super) retry: Option<String>,
    /// Run this alarm now, instead of at its time
    #[arg(long, value_name = "ALARM", num_args = 0..=1, default_missing_value = "", requires = "object", conflicts_with = "retry")]
    pub(super) run: Option<String>,
    #[command(flatten)]
    pub(super) reach: Reach,
}

/// Send a request to one object
///
/// Goes by the admin door, past the app's own routes. The answer's body goes to stdout;
/// a status of 400 or more is an error.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse fetch Counter/alice
  dormouse fetch Chat/lobby/messages -X POST -d hello
  dormouse fetch Chat/lobby/messages -d @message.json -H 'content-type: application/json'
  dormouse fetch Counter/alice --json         status, headers and body")]
pub(in crate::cli) struct Fetch {
    #[arg(value_name = "CLASS/NAME[/PATH]")]
    pub(super) path: String,
    /// [default: GET, or POST with a body]
    #[arg(short = 'X', long, value_name = "METHOD")]
    pub(super) method: Option<String>,
    /// The body; @FILE takes it from a file
    #[arg(short = 'd', long = "body", value_name = "TEXT|@FILE")]
    pub(super) body: Option<String>,
    /// May be given several times
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub(super) headers: Vec<String>,
    #[command(flatten)]
    pub(super) reach: Reach,
}

/// Make, list and delete tokens for the admin door
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse token list
  dormouse token create ci --scope deploy
  dormouse token create grafana --scope read
  dormouse token delete 1f0c2ab9")]
pub(in crate::cli) struct Token {
    #[command(subcommand)]
    pub(super) action: TokenAction,
}

#[derive(Debug, Subcommand)]
pub(super) enum TokenAction {
    /// Show the tokens there are, without their secrets
    List {
        #[command(flatten)]
        reach: Reach,
    },
    /// Make a token; it is shown once
    Create {
        /// What it is for
        label: String,
        /// What it allows; may be given several times
        #[arg(long = "scope", value_name = "SCOPE", required = true)]
        scopes: Vec<Scope>,
        /// Good for this app only; may be given several times
        #[arg(long = "for-app", value_name = "NAME")]
        apps: Vec<String>,
        #[command(flatten)]
        reach: Reach,
    },
    /// Refuse a token from now on
    Delete {
        /// As `list` shows it
        id: String,
        #[command(flatten)]
        reach: Reach,
    },
}

/// Print the address of the dashboard, with a token in it
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse page
  xdg-open $(dormouse page)")]
pub(in crate::cli) struct Page {
    #[command(flatten)]
    pub(super) reach: Reach,
}
