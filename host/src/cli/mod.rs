//! Command line: `dormouse new | build | dev | test | serve | inspect`, and `remote`: what asks
//! a running host.
//!
//! Called by `main`; knows `manifest`, `host` and `admin`, no other room.
//! Answers and addresses go to stdout, progress, logs and errors to stderr.
//! Exit codes: 0 done, 1 failed, 2 wrong usage.

mod args;
mod build;
mod cargo;
mod dev;
mod held;
mod inspect;
mod logging;
mod new;
mod operate;
mod project;
mod remote;
mod serve;
mod stop;
mod system;
mod terminal;
mod test;
mod tools;
mod traces;
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
        Command::Dev(args) if args.test => held::run(args).await,
        Command::Dev(args) => dev::run(args).await,
        Command::Test(args) => test::run(args).await,
        Command::Serve(args) => serve::run(args).await,
        Command::Inspect(args) => inspect::run(&args).await,
        Command::Tools(command) => tools::run(command),
        Command::Remote(command) => remote::run(command).await,
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
