//! Arguments of the commands about the machine and the command line itself.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::args::{AdminTls, Door, Log, Tls};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Command {
    Doctor(Doctor),
    Config(Box<Config>),
    Completions(Completions),
    Man(Man),
}

/// Look at the machine and the data folder before they are needed
///
/// Memory maps, open files, whether the data folder can be written and how long a sync
/// takes, free space, a host that runs on it, and the Rust toolchain. Changes nothing.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse doctor
  dormouse doctor --data /var/lib/dormouse --json")]
pub(in crate::cli) struct Doctor {
    /// The data folder [default: .dormouse/data]
    #[arg(long, value_name = "DIR", env = "DORMOUSE_DATA")]
    pub(super) data: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Show the settings of an app, and where each comes from
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse config show
  DORMOUSE_LISTEN=80 dormouse config show guests/counter --json")]
pub(in crate::cli) struct Config {
    #[command(subcommand)]
    pub(super) action: ConfigAction,
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigAction {
    /// Print every setting that `dormouse serve` would use, given the same flags
    Show(ConfigShow),
}

#[derive(Debug, Args)]
pub(super) struct ConfigShow {
    /// The app's folder
    #[arg(default_value = ".")]
    pub(super) dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) door: Door,
    #[command(flatten)]
    pub(super) tls: Tls,
    #[command(flatten)]
    pub(super) admin_tls: AdminTls,
    #[command(flatten)]
    pub(super) log: Log,
}

/// Print completions for a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse completions bash > ~/.local/share/bash-completion/completions/dormouse
  dormouse completions fish > ~/.config/fish/completions/dormouse.fish
  dormouse completions zsh > ~/.zfunc/_dormouse")]
pub(in crate::cli) struct Completions {
    pub(super) shell: clap_complete::Shell,
}

/// Print the manual page, or write those of all commands to a folder
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse man | man -l -
  dormouse man --dir /usr/local/share/man/man1")]
pub(in crate::cli) struct Man {
    /// Write a page for every command here
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
}
