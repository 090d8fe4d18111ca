//! System: what a service manager (systemd) hands over and wants to hear.

use std::net::TcpListener;

use anyhow::Context as _;
use listenfd::ListenFd;
use sd_notify::NotifyState;

/// The socket that listens for this process, if its service manager has opened one.
pub(super) fn listener() -> anyhow::Result<Option<TcpListener>> {
    let mut given = ListenFd::from_env();
    match given.len() {
        0 => Ok(None),
        1 => given
            .take_tcp_listener(0)
            .context("the socket handed over is no TCP socket that listens; see dormouse.socket"),
        count => anyhow::bail!(
            "{count} sockets were handed over, there is one public door; see dormouse.socket"
        ),
    }
}

/// Requests can come.
pub(super) fn ready() {
    notify(NotifyState::Ready);
}

pub(super) fn stopping() {
    notify(NotifyState::Stopping);
}

fn notify(state: NotifyState<'_>) {
    // Without a service manager nobody listens, which is no error.
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!(%error, "the service manager could not be told");
    }
}
