//! Operate: opens the admin door, beside a host that `serve` or `dev` has started or
//! before there is anything to serve.

use super::{args, serve, system, terminal};
use crate::admin::{Admin, First, Records, Tokens};
use crate::deploy::Catalog;
use crate::host::{Host, Settings};
use crate::server::Tls;

/// Whether a token is made where there is none yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FirstToken {
    /// Made and shown, once.
    Show,
    /// The command line on this machine needs none.
    None,
}

/// Opens the admin door, if it is wanted. `announce` comes when both doors answer: who
/// reads it may ask either.
pub(super) async fn open(
    host: &Host,
    door: &args::Door,
    tls: Option<Tls>,
    records: Records,
    first: FirstToken,
    announce: impl FnOnce(),
) -> anyhow::Result<Option<Admin>> {
    let addresses = door.admin(serve::address(host));
    if addresses.is_empty() {
        announce();
        return Ok(None);
    }
    let tokens = Tokens::open(host.data())?;
    let secret = match first {
        FirstToken::Show => tokens.first()?,
        FirstToken::None => None,
    };
    let scheme = scheme(tls.as_ref());
    let admin = Admin::open(&addresses, tls, host, tokens, records).await?;
    announce();
    terminal::answer("Admin", serve::url(scheme, admin.address()));
    show(secret);
    Ok(Some(admin))
}

/// Waits until something is deployed to a data folder that has nothing yet.
pub(super) async fn first(
    door: &args::Door,
    tls: Option<Tls>,
    settings: &Settings,
    catalog: Catalog,
) -> anyhow::Result<()> {
    let addresses = door.admin(settings.listen);
    if addresses.is_empty() {
        anyhow::bail!(
            "nothing has been deployed to {}, and the admin door is off; name an app \
             (`dormouse serve DIR`) or open the door",
            settings.data.display()
        );
    }
    let tokens = Tokens::open(&settings.data)?;
    let secret = tokens.first()?;
    let scheme = scheme(tls.as_ref());
    let waiting = First::open(&addresses, tls, &settings.data, tokens, catalog).await?;
    terminal::answer("Admin", serve::url(scheme, waiting.address()));
    show(secret);
    system::ready();
    terminal::status("Waiting", "for the first `dormouse deploy`");
    waiting.deployed().await;
    waiting.close().await;
    Ok(())
}

const fn scheme(tls: Option<&Tls>) -> &'static str {
    match tls {
        Some(_) => "https",
        None => "http",
    }
}

fn show(secret: Option<String>) {
    if let Some(secret) = secret {
        terminal::answer("Token", secret);
        terminal::status(
            "Note",
            "this token opens the admin door from anywhere and is shown this once",
        );
    }
}
