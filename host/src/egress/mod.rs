//! Egress: the door to the outside, for guests.
//!
//! `policy` says where an app may send requests, `client` sends them, `fetch`
//! follows redirects; in a test `script` answers in place of the network. Everything
//! is refused unless the app's manifest lists it, and addresses that lead back to
//! the machine or its network are refused once more after name resolution. Knows
//! no guest and no object. Times are `Duration`s on the host's clock.

mod ca;
mod client;
mod fetch;
mod policy;
mod route;
mod script;

use std::time::Duration;

pub use ca::CaError;
pub use client::{Answer, Egress, Outgoing};
pub use policy::{Allowed, Pattern, Policy};
pub use script::{Reply, Script, Sent};

/// How long each step of a request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From the request's start to the head of the response, connecting included.
    pub response: Duration,
    /// From one piece of the response's body to the next.
    pub between: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            response: Duration::from_secs(60),
            between: Duration::from_secs(60),
        }
    }
}

/// Why a request got no response, or its body broke off.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "requests to {target} are not allowed; list it in dormouse.toml: \
         `outgoing.hosts = [\"{target}\"]`"
    )]
    Denied { target: String },
    #[error(
        "{host} is an address of this machine or of a private network; if that is meant, list \
         it in dormouse.toml: `outgoing.private_hosts = [\"{host}\"]`"
    )]
    Private { host: String },
    #[error("{url:?} cannot be asked: {why}")]
    Invalid { url: String, why: &'static str },
    #[error("{target} cannot be reached: {why}")]
    Unreachable { target: String, why: String },
    #[error("{target} did not begin its response within {limit_ms} ms")]
    Late { target: String, limit_ms: u64 },
    #[error("{target} sent nothing for {limit_ms} ms in the middle of its response")]
    Stalled { target: String, limit_ms: u64 },
    #[error("{target} broke off: {why}")]
    Broken { target: String, why: String },
    /// In a test only.
    #[error(
        "no script answers `{route}`, and a test sends nothing to the outside; write \
         `host.script(\"{route}\", Reply::text(\"…\"))`, or put `{{\"route\": \"{route}\", \
         \"replies\": [{{\"text\": \"…\"}}]}}` to the admin door of `dormouse dev --test`; there \
         is a script for {}",
        or_nothing(routes)
    )]
    Unscripted { route: String, routes: Vec<String> },
    #[error("{url} leads on and on: {count} redirects were followed")]
    Redirects { url: String, count: u32 },
}

impl Error {
    /// In a word, for traces.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Denied { .. } => "denied",
            Self::Private { .. } => "private",
            Self::Invalid { .. } => "invalid",
            Self::Unreachable { .. } | Self::Unscripted { .. } => "unreachable",
            Self::Late { .. } | Self::Stalled { .. } => "timeout",
            Self::Broken { .. } => "broken",
            Self::Redirects { .. } => "redirects",
        }
    }
}

fn or_nothing(routes: &[String]) -> String {
    match routes {
        [] => "nothing".to_owned(),
        routes => routes.join(", "),
    }
}
