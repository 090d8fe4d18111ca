//! Stop: SIGINT (Ctrl-C) and SIGTERM, asked once politely, the second time at once.

use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::watch;

use super::terminal;
use crate::admin::Admin;
use crate::host::Host;

#[derive(Clone, Debug)]
pub(super) struct Stop(watch::Receiver<bool>);

impl Stop {
    /// From here on signals no longer end the process by themselves.
    pub(super) fn install() -> anyhow::Result<Stop> {
        let (asked, stop) = watch::channel(false);
        let mut signals = Signals::install().context("cannot listen for signals")?;
        tokio::spawn(async move {
            signals.next().await;
            asked.send_replace(true);
            signals.next().await;
            terminal::warning("stopped at once, requests at work are cut off");
            std::process::exit(130);
        });
        Ok(Stop(stop))
    }

    pub(super) async fn asked(&mut self) {
        // An error means that the task above is gone, which only the runtime's
        // end can bring about: a stop as well.
        let _ = self.0.wait_for(|asked| *asked).await;
    }
}

/// Stops the host, letting requests at work finish for so long.
pub(super) async fn shut_down(host: Host, admin: Option<Admin>, within: Duration) {
    terminal::status(
        "Stopping",
        "requests at work may finish; Ctrl-C again ends them",
    );
    if let Some(admin) = admin {
        admin.close().await;
    }
    match host.shutdown(within).await {
        Ok(()) => terminal::status("Stopped", "state is kept"),
        Err(error) => terminal::error(&error.context("stopping did not go cleanly")),
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn install() -> std::io::Result<Signals> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(windows)]
struct Signals(tokio::signal::windows::CtrlC);

#[cfg(windows)]
impl Signals {
    fn install() -> std::io::Result<Signals> {
        tokio::signal::windows::ctrl_c().map(Signals)
    }

    async fn next(&mut self) {
        self.0.recv().await;
    }
}
