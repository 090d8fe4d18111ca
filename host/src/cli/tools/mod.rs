//! Tools: commands about the machine and the command line itself.

pub(super) mod args;
mod config;
mod doctor;
mod shell;

use args::Command;

pub(super) fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Doctor(args) => doctor::run(&args),
        Command::Config(args) => config::run(&args),
        Command::Completions(args) => {
            shell::completions(&args);
            Ok(())
        }
        Command::Man(args) => shell::manual(&args),
    }
}
