//! Serve: a built component, until a signal ends it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::project::Project;
use super::stop::{self, Stop};
use super::{args, logging, terminal};
use crate::host::{Host, Settings};
use crate::manifest::Manifest;

pub(super) async fn run(args: args::Serve) -> anyhow::Result<()> {
    logging::install(&args.log);
    let mut stop = Stop::install()?;
    let project = Project::open_or_file(&args.app)?;
    let app = project.app(project.built_component().await?)?;
    let settings = settings(&args.door, &project);
    let address = settings.listen;
    let host = tokio::select! {
        host = Host::start(settings, app) => host.map_err(|error| explain(error, address))?,
        () = stop.asked() => return Ok(()),
    };
    announce(&project.manifest, &host);
    tokio::select! {
        () = stop.asked() => {}
        error = host.failed() => return Err(error),
    }
    stop::shut_down(host, args.door.shutdown_timeout).await;
    Ok(())
}

/// What the host is to do, from flags and environment over the manifest.
pub(super) fn settings(door: &args::Door, project: &Project) -> Settings {
    Settings {
        listen: door.listen(&project.manifest),
        data: door.data(&project.manifest, &project.root),
    }
}

/// Prints where to reach the app, with something to try for each class.
pub(super) fn announce(manifest: &Manifest, host: &Host) {
    let url = url(address(host));
    terminal::answer("Serving", format_args!("{} at {url}", manifest.name));
    for class in host.classes() {
        terminal::answer("Try", format_args!("curl {url}/{class}/alice"));
    }
}

/// Where a host listens that the command line has started.
pub(super) fn address(host: &Host) -> SocketAddr {
    host.address().expect("it was told where to listen")
}

/// Whether a start failed because somebody else listens there.
pub(super) fn is_taken(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == std::io::ErrorKind::AddrInUse)
}

/// Adds the next step to an error of `Host::start`.
pub(super) fn explain(error: anyhow::Error, address: SocketAddr) -> anyhow::Error {
    if !is_taken(&error) {
        return error;
    }
    error.context(format!(
        "{address} is taken by another program; choose another with --listen, such as `--listen {}`",
        address.port().saturating_add(1)
    ))
}

/// The URL at which a person on this machine reaches an address.
fn url(address: SocketAddr) -> String {
    let reachable = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(reachable, address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_url_can_be_typed_where_any_address_is_listened_on() {
        let url_of = |text: &str| url(text.parse().unwrap());
        assert_eq!(url_of("0.0.0.0:80"), "http://127.0.0.1:80");
        assert_eq!(url_of("[::]:80"), "http://[::1]:80");
        assert_eq!(url_of("10.0.0.1:80"), "http://10.0.0.1:80");
    }

    #[test]
    fn a_taken_port_names_the_flag() {
        let taken = std::io::Error::from(std::io::ErrorKind::AddrInUse);
        let error = anyhow::Error::new(taken).context("cannot listen");
        let text = explain(error, ([127, 0, 0, 1], 8787).into()).to_string();
        assert!(text.ends_with("such as `--listen 8788`"), "{text}");
    }
}
