//! The `dormouse` binary: allocator, runtime, command line.

use std::process::ExitCode;

use dormouse::cli::{self, Cli};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::from_command_line();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return cli::failure(&anyhow::Error::new(error).context("cannot start")),
    };
    let code = runtime.block_on(cli::run(cli));
    runtime.shutdown_background();
    code
}
