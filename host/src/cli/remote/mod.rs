//! Remote: commands that ask the admin door of a running host.
//!
//! Each is a request or a few, shown as a table or, with `--json`, as the door's
//! own JSON.

mod alarms;
mod app;
pub(super) mod args;
mod backup;
mod call;
mod client;
mod connect;
mod deploy;
mod fetch;
mod logs;
mod objects;
mod page;
mod prompt;
mod secret;
mod show;
mod sockets;
mod sql;
mod token;
mod travel;
mod travel_args;

use args::Command;
pub(super) use connect::{Connector, connector};

pub(super) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::App(args) => app::run(args).await,
        Command::Deploy(args) => deploy::run(args).await,
        Command::Versions(args) => deploy::versions(args).await,
        Command::Rollout(args) => deploy::roll_out(args).await,
        Command::Rollback(args) => deploy::roll_back(args).await,
        Command::Prune(args) => deploy::prune(args).await,
        Command::Objects(args) => objects::run(args).await,
        Command::Sql(args) => sql::run(args).await,
        Command::Logs(args) => logs::run(args).await,
        Command::Sockets(args) => sockets::run(args).await,
        Command::Alarms(args) => alarms::run(args).await,
        Command::Call(args) => call::run(args).await,
        Command::Fetch(args) => fetch::run(args).await,
        Command::Token(args) => token::run(args).await,
        Command::Secret(args) => secret::run(args).await,
        Command::Page(args) => page::run(&args),
        Command::Backup(args) => backup::run(args).await,
        Command::Travel(command) => travel::run(command).await,
    }
}
