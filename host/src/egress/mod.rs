//! Egress: the door to the outside, for guests.
//!
//! `policy` says where an app may send requests, `client` sends them, `fetch`
//! follows redirects. Everything
//! is refused unless the app's manifest lists it, and addresses that lead back to
//! the machine or its network are refused once more after name resolution. Knows
//! no guest and no object. Times are `Duration`s on the host's clock.

mod client;
mod fetch;
mod policy;

use std::time::Duration;

pub use client::{Answer, Egress, Outgoing};
pub use policy::{Allowed, Pattern, Policy};

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
    #[error("{url} leads on and on: {count} redirects were followed")]
    Redirects { url: String, count: u32 },
}
