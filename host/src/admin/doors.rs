//! Doors: where the admin door listens.
//!
//! One address that the operator chose, with TLS if there is a certificate. With TLS
//! there is a second one, on this machine only and without: the command line here finds
//! it by `local`, and needs no certificate that names this machine.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;

use super::{CLOSE_WITHIN, Door, HEADER_BYTES};
use crate::server::{Listening, Tls};

#[derive(Debug)]
pub(super) struct Doors {
    open: Listening,
    local: Option<Listening>,
}

impl Doors {
    /// The next address is tried while one is taken.
    pub(super) async fn listen(
        addresses: &[SocketAddr],
        tls: Option<Tls>,
        door: Door,
    ) -> anyhow::Result<Self> {
        let local = match tls {
            None => None,
            Some(_) => {
                let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
                let opened = Listening::start(free, None, door.clone(), HEADER_BYTES).await;
                Some(opened.with_context(|| cannot_listen(free))?)
            }
        };
        let open = first_free(addresses, tls, door).await?;
        Ok(Self { open, local })
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.open.address()
    }

    /// Where it is without TLS, on this machine.
    pub(super) fn local(&self) -> SocketAddr {
        self.local.as_ref().unwrap_or(&self.open).address()
    }

    pub(super) async fn stop(self) {
        if let Some(local) = self.local {
            local.stop(CLOSE_WITHIN).await;
        }
        self.open.stop(CLOSE_WITHIN).await;
    }
}

async fn first_free(
    addresses: &[SocketAddr],
    tls: Option<Tls>,
    door: Door,
) -> anyhow::Result<Listening> {
    let (last, first) = addresses.split_last().expect("an address is given");
    for address in first {
        match Listening::start(*address, tls.clone(), door.clone(), HEADER_BYTES).await {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
            opened => return opened.with_context(|| cannot_listen(*address)),
        }
    }
    let opened = Listening::start(*last, tls, door, HEADER_BYTES).await;
    opened.with_context(|| cannot_listen(*last))
}

fn cannot_listen(address: SocketAddr) -> String {
    format!("cannot open the admin door on {address}; choose another address with --admin")
}
