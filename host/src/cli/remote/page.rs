//! `dormouse page`.

use super::args::Page;
use super::client::Client;
use crate::cli::terminal;

pub(super) fn run(args: &Page) -> anyhow::Result<()> {
    let client = Client::new(&args.reach)?;
    // Behind the `#` the token is not sent to anybody.
    terminal::print(format_args!("{}/#token={}\n", client.url(), client.token()));
    Ok(())
}
