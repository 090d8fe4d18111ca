//! Operate: opens the admin door beside a host that `serve` or `dev` has started.

use super::{args, serve, terminal};
use crate::admin::{Admin, Records, Tokens};
use crate::host::Host;

/// Whether a token is made where there is none yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FirstToken {
    /// Made and shown, once.
    Show,
    /// The command line on this machine needs none.
    None,
}

pub(super) async fn open(
    host: &Host,
    door: &args::Door,
    records: Records,
    first: FirstToken,
) -> anyhow::Result<Option<Admin>> {
    let addresses = door.admin(serve::address(host));
    if addresses.is_empty() {
        return Ok(None);
    }
    let tokens = Tokens::open(host.data())?;
    let secret = match first {
        FirstToken::Show => tokens.first()?,
        FirstToken::None => None,
    };
    let admin = Admin::open(&addresses, host.handle(), tokens, records).await?;
    terminal::answer("Admin", serve::url(admin.address()));
    if let Some(secret) = secret {
        terminal::answer("Token", secret);
        terminal::status(
            "Note",
            "this token opens the admin door from anywhere and is shown this once",
        );
    }
    Ok(Some(admin))
}
