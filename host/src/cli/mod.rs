//! Command line: `dormouse new | build | dev | serve | inspect`.
//!
//! Called by `main`; knows `manifest` and the doors of `host`, no other room.
//! Answers and addresses go to stdout, progress, logs and errors to stderr.
//! Exit codes: 0 done, 1 failed, 2 wrong usage.

mod args;
mod build;
mod cargo;
mod dev;
mod inspect;
mod logging;
mod new;
mod project;
mod serve;
mod stop;
mod terminal;
mod vendor;
mod watch;

use std::process::ExitCode;

use clap::Parser as _;

pub use args::Cli;
use args::Command;
pub use build::build_app;

impl Cli {
    /// The parsed arguments; wrong usage and `--help` end the process here.
    pub fn from_command_line() -> Cli {
        Cli::parse()
    }
}

pub async fn run(cli: Cli) -> ExitCode {
    let done = match cli.command {
        Command::New(args) => new::run(&args),
        Command::Build(args) => build::run(&args).await,
        Command::Dev(args) => dev::run(args).await,
        Command::Serve(args) => serve::run(args).await,
        Command::Inspect(args) => inspect::run(&args).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure(&error),
    }
}

/// Shows an error with its causes.
pub fn failure(error: &anyhow::Error) -> ExitCode {
    terminal::error(error);
    ExitCode::FAILURE
}
