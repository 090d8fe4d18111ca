//! The arguments and their help texts; clap does the parsing.
//!
//! Flags win over the environment, which wins over `dormouse.toml`. Values that
//! may also stand in `dormouse.toml` are `None` here when nobody gave them.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand, ValueEnum};

use super::{remote, tools};
use crate::manifest::{self, Manifest};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// A host for durable objects: each one a small WebAssembly program with a
/// name, a memory and a SQLite database of its own.
#[derive(Debug, Parser)]
#[command(name = "dormouse", version, styles = STYLES, max_term_width = 100, after_help = "\
Start here:
  dormouse new counter
  cd counter
  dormouse dev

`dormouse COMMAND --help` explains a command, with examples.")]
pub struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    New(New),
    Build(Build),
    Dev(Dev),
    Test(Test),
    Serve(Serve),
    Inspect(Inspect),
    #[command(flatten)]
    Remote(remote::args::Command),
    #[command(flatten)]
    Tools(tools::args::Command),
}

/// Make a project: a counter to start from
///
/// Writes a folder with a counter in Rust, three tests of it, its `Cargo.toml`,
/// `dormouse.toml` and a README. The SDK and the test kit come along in
/// `vendor/dormouse`, so the project builds and is tested with plain cargo and needs
/// no checkout of Dormouse.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse new counter                      makes ./counter
  dormouse new chat --path ~/src/chat       puts it elsewhere
  dormouse new chat --sdk ~/dormouse/sdk    uses a checkout of the SDK")]
pub(super) struct New {
    /// Lower-case letters, digits and `-`; names the app, its package and its class
    #[arg(value_parser = app_name)]
    pub(super) name: String,
    /// The folder to make [default: ./NAME]
    #[arg(long, value_name = "DIR")]
    pub(super) path: Option<PathBuf>,
    /// Depend on the SDK in this folder instead of writing a copy
    #[arg(long, value_name = "DIR")]
    pub(super) sdk: Option<PathBuf>,
}

/// Build the component and show what is in it
///
/// Runs `cargo build --release --target wasm32-wasip2`, or the command that
/// `dormouse.toml` gives under `[build]`. Adds the target to the toolchain when
/// it is missing. The component's path, size and classes go to stdout.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse build
  dormouse build guests/counter

In dormouse.toml, for anything that is not cargo:
  [build]
  command = \"make component\"
  component = \"out/app.wasm\"")]
pub(super) struct Build {
    /// The app's folder, with a `dormouse.toml` or a `Cargo.toml`
    #[arg(default_value = ".")]
    pub(super) dir: PathBuf,
}

/// Build, serve, and swap the code whenever a file changes
///
/// Objects keep their state over a swap. What does not compile or is refused is
/// shown, and the code from before goes on serving. Logs and traps of the
/// objects appear in the terminal. Ctrl-C stops.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse dev                              the app in this folder
  dormouse dev guests/counter --listen 3000
  dormouse dev --log debug                  more of what happens
  dormouse dev --test                       a host for tests: a held clock, crashes on demand
  curl http://127.0.0.1:8787/Counter/alice  talks to the object `alice`")]
pub(super) struct Dev {
    /// The app's folder, with a `dormouse.toml` or a `Cargo.toml`
    #[arg(default_value = ".")]
    pub(super) dir: PathBuf,
    /// Serve tests in any language: the clock stands still, requests to the outside are answered
    /// by a script, and the admin door moves time, crashes the host and looks inside. Data is in
    /// .dormouse/test, emptied at the start, without --data
    #[arg(long)]
    pub(super) test: bool,
    /// With --test: all randomness of host and objects follows from it
    #[arg(long, value_name = "NUMBER", default_value = "0", requires = "test")]
    pub(super) seed: u64,
    #[command(flatten)]
    pub(super) door: Door,
    #[command(flatten)]
    pub(super) log: Log,
}

/// Run the app's tests
///
/// Runs `cargo test` in the app's folder. Tests written with `dormouse-testing` build the
/// component when it is stale and run it in the real host, inside the test.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse test                             the app in this folder
  dormouse test --watch                     again whenever a file changes
  dormouse test -- counts                   tests whose names contain `counts`
  dormouse test -- -- --nocapture           with what they print")]
pub(super) struct Test {
    /// The app's folder, with a `dormouse.toml` or a `Cargo.toml`
    #[arg(default_value = ".")]
    pub(super) dir: PathBuf,
    /// Run them again whenever a file changes, until Ctrl-C
    #[arg(long)]
    pub(super) watch: bool,
    /// What `cargo test` is told
    #[arg(last = true, value_name = "CARGO ARGUMENTS")]
    pub(super) cargo: Vec<String>,
}

/// Serve a component that is already built
///
/// What was deployed since is served again after a restart, until the app named here
/// changes. Takes the app in a folder (the component that `dormouse build` left), or a
/// single `.wasm` file with all defaults. SIGTERM and SIGINT finish the requests
/// at work before it ends.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse serve                            the app in this folder
  dormouse serve counter.wasm --listen 0.0.0.0:80 --data /var/lib/dormouse
  dormouse serve --data /var/lib/dormouse   what was deployed there
  DORMOUSE_LOG_FORMAT=json dormouse serve   settings from the environment

A setting given twice: the flag wins, then the environment, then
dormouse.toml, then the default.")]
pub(super) struct Serve {
    /// The app's folder, or a component [default: the app in this folder, or else what was
    /// deployed to the data folder]
    #[arg(value_name = "DIR|FILE.wasm")]
    pub(super) app: Option<PathBuf>,
    #[command(flatten)]
    pub(super) door: Door,
    #[command(flatten)]
    pub(super) tls: Tls,
    #[command(flatten)]
    pub(super) admin_tls: AdminTls,
    #[command(flatten)]
    pub(super) log: Log,
}

/// TLS at the public door. The files are read again when they change.
#[derive(Debug, Args)]
pub(super) struct Tls {
    /// Certificates in PEM, the host's own first; makes the public door speak TLS
    #[arg(
        long = "tls-cert",
        value_name = "FILE",
        env = "DORMOUSE_TLS_CERT",
        requires = "key"
    )]
    pub(super) certificates: Option<PathBuf>,
    /// The private key for them, in PEM
    #[arg(
        id = "key",
        long = "tls-key",
        value_name = "FILE",
        env = "DORMOUSE_TLS_KEY",
        requires = "certificates"
    )]
    pub(super) key: Option<PathBuf>,
}

/// The same for the admin door.
#[derive(Debug, Default, Args)]
pub(super) struct AdminTls {
    /// Certificates in PEM, the host's own first; makes the admin door speak TLS
    #[arg(
        long = "admin-tls-cert",
        value_name = "FILE",
        env = "DORMOUSE_ADMIN_TLS_CERT",
        requires = "admin_key"
    )]
    pub(super) admin_certificates: Option<PathBuf>,
    /// The private key for them, in PEM
    #[arg(
        id = "admin_key",
        long = "admin-tls-key",
        value_name = "FILE",
        env = "DORMOUSE_ADMIN_TLS_KEY",
        requires = "admin_certificates"
    )]
    pub(super) admin_key: Option<PathBuf>,
}

/// Show a component's classes, imports, exports and versions
///
/// Says which imports this host does not know; such a component is refused.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse inspect counter.wasm
  dormouse inspect counter.wasm --json | jq .classes")]
pub(super) struct Inspect {
    /// The component
    #[arg(value_name = "FILE.wasm")]
    pub(super) file: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Where an app is served and where it keeps its data.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Door {
    /// Address or port to listen on; port 0 takes a free one [default: 127.0.0.1:8787]
    #[arg(long, value_name = "ADDRESS", env = "DORMOUSE_LISTEN", value_parser = manifest::listen_address)]
    pub(super) listen: Option<SocketAddr>,
    /// Folder that holds every object's state [default: .dormouse/data in the app's folder]
    #[arg(long, value_name = "DIR", env = "DORMOUSE_DATA")]
    pub(super) data: Option<PathBuf>,
    /// Address or port of the admin door, or `off` [default: the port behind that of --listen, on
    /// this machine only; a free one if it is taken]
    #[arg(long, value_name = "ADDRESS", env = "DORMOUSE_ADMIN", value_parser = admin_address)]
    pub(super) admin: Option<AdminAt>,
    /// Let `[[migrations]]` in dormouse.toml delete the objects of classes, with their history
    #[arg(long)]
    pub(super) delete_data: bool,
    /// How long requests at work may take to finish when the host stops
    #[arg(long, value_name = "SECONDS", env = "DORMOUSE_SHUTDOWN_TIMEOUT", default_value = "10", value_parser = seconds)]
    pub(super) shutdown_timeout: Duration,
}

/// Where the admin door is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AdminAt {
    Off,
    At(SocketAddr),
}

impl Door {
    /// What to try for the admin door beside this public one; nothing if it is off.
    pub(super) fn admin(&self, public: SocketAddr) -> Vec<SocketAddr> {
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        match self.admin {
            Some(AdminAt::Off) => Vec::new(),
            Some(AdminAt::At(address)) => vec![address],
            None if self.listen.is_some_and(|wanted| wanted.port() == 0) => vec![free],
            None => {
                let next = public.port().checked_add(1);
                let next = next.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
                next.into_iter().chain([free]).collect()
            }
        }
    }

    pub(super) fn listen(&self, manifest: &Manifest) -> SocketAddr {
        self.listen.unwrap_or(manifest.serve.listen)
    }

    /// A flag's path counts from the working folder, a manifest's from the app's.
    pub(super) fn data(&self, manifest: &Manifest, root: &Path) -> PathBuf {
        match &self.data {
            Some(data) => data.clone(),
            None => root.join(&manifest.serve.data),
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct Log {
    /// Least level to log, or a filter such as `info,guest=debug`
    #[arg(long = "log", value_name = "LEVEL", env = "DORMOUSE_LOG", default_value = "info", value_parser = log_filter)]
    pub(super) filter: String,
    /// How log records look
    #[arg(
        long = "log-format",
        value_name = "FORMAT",
        env = "DORMOUSE_LOG_FORMAT",
        default_value = "pretty"
    )]
    pub(super) format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// Lines for people
    Pretty,
    /// One JSON object a line
    Json,
}

fn app_name(text: &str) -> Result<String, String> {
    manifest::check_name(text).map(|()| text.to_owned())
}

fn log_filter(text: &str) -> Result<String, String> {
    tracing_subscriber::EnvFilter::try_new(text)
        .map(|_| text.to_owned())
        .map_err(|error| format!("{error}; write a level (error, warn, info, debug, trace, off) or `target=level,...`"))
}

fn admin_address(text: &str) -> Result<AdminAt, String> {
    match text {
        "off" => Ok(AdminAt::Off),
        address => manifest::listen_address(address).map(AdminAt::At),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse::<f64>()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "write a number of seconds, such as 10 or 0.5".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn door(args: &[&str]) -> Door {
        let words = ["dormouse", "serve"].iter().chain(args);
        match Cli::try_parse_from(words).unwrap().command {
            Command::Serve(serve) => serve.door,
            other => panic!("{other:?} is not serve"),
        }
    }

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_flag_wins_over_the_manifest_and_the_manifest_over_the_default() {
        let root = Path::new("app");
        let default = Manifest::named("a");
        let written =
            Manifest::parse("name = 'a'\nserve = { listen = '1', data = 'd' }", None).unwrap();
        let flags = door(&["--listen", "2", "--data", "f"]);
        let ports = [
            door(&[]).listen(&default).port(),
            door(&[]).listen(&written).port(),
            flags.listen(&written).port(),
        ];
        assert_eq!(ports, [8787, 1, 2]);
        let folders = [
            door(&[]).data(&default, root),
            door(&[]).data(&written, root),
            flags.data(&written, root),
        ];
        assert_eq!(
            folders,
            ["app/.dormouse/data", "app/d", "f"].map(PathBuf::from)
        );
    }

    #[test]
    fn the_admin_door_stands_beside_the_public_one() {
        let tried = |args: &[&str], public: &str| -> Vec<String> {
            let addresses = door(args).admin(public.parse().unwrap());
            addresses.iter().map(SocketAddr::to_string).collect()
        };
        let public = "0.0.0.0:8787";
        assert_eq!(tried(&[], public), ["127.0.0.1:8788", "127.0.0.1:0"]);
        assert_eq!(tried(&["--listen", "0"], public), ["127.0.0.1:0"]);
        assert_eq!(tried(&["--admin", "off"], public), [""; 0]);
        assert_eq!(tried(&["--admin", "0.0.0.0:9"], public), ["0.0.0.0:9"]);
        assert_eq!(tried(&[], "0.0.0.0:65535"), ["127.0.0.1:0"]);
    }

    /// clap prefers a flag to its variable; what is ours is that each has one, but for the
    /// consent to delete, which is good for one start.
    #[test]
    fn every_setting_of_serve_has_its_variable() {
        let command = Cli::command();
        let serve = command.find_subcommand("serve").unwrap();
        let pairs: Vec<_> = serve
            .get_opts()
            .filter(|arg| arg.get_id() != "delete_data")
            .map(|arg| {
                (
                    arg.get_long().unwrap(),
                    arg.get_env().unwrap().to_str().unwrap(),
                )
            })
            .collect();
        let expected = [
            ("listen", "DORMOUSE_LISTEN"),
            ("data", "DORMOUSE_DATA"),
            ("admin", "DORMOUSE_ADMIN"),
            ("shutdown-timeout", "DORMOUSE_SHUTDOWN_TIMEOUT"),
            ("tls-cert", "DORMOUSE_TLS_CERT"),
            ("tls-key", "DORMOUSE_TLS_KEY"),
            ("admin-tls-cert", "DORMOUSE_ADMIN_TLS_CERT"),
            ("admin-tls-key", "DORMOUSE_ADMIN_TLS_KEY"),
            ("log", "DORMOUSE_LOG"),
            ("log-format", "DORMOUSE_LOG_FORMAT"),
        ];
        assert_eq!(pairs, expected);
    }
}
