//! Serve: a built component, until a signal ends it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use super::operate::{self, FirstToken};
use super::project::Project;
use super::stop::{self, Stop};
use super::{args, logging, system, terminal, traces};
use crate::deploy::{self, Catalog, Choice, NewVersion, Parcel};
use crate::host::{App, Host, Settings};
use crate::manifest::Manifest;
use crate::server::Tls;

pub(super) async fn run(args: args::Serve) -> anyhow::Result<()> {
    let records = logging::install(&args.log);
    let traces = traces::install()?;
    let mut stop = Stop::install()?;
    let admin_tls = tls(
        args.admin_tls.admin_certificates.as_deref(),
        args.admin_tls.admin_key.as_deref(),
    )?;
    let Some((choice, settings)) = choose(&args, admin_tls.clone(), &mut stop).await? else {
        return Ok(());
    };
    let manifest = choice.app.manifest.clone();
    let address = settings.listen;
    let mut host = Host::builder(choice.app)
        .data(settings.data)
        .delete_data(args.door.delete_data)
        .listen(address);
    let public = tls(args.tls.certificates.as_deref(), args.tls.key.as_deref())?;
    let scheme = if public.is_some() { "https" } else { "http" };
    if let Some(tls) = public {
        host = host.tls(tls);
    }
    if let Some(listener) = system::listener()? {
        host = host.listener(listener);
    }
    let host = tokio::select! {
        host = host.start() => host.map_err(|error| explain(error, address))?,
        () = stop.asked() => return Ok(()),
    };
    match choice.new {
        None => host.resume_rollout().await,
        Some((new, parcel)) => {
            if let Err(error) = host.record_seed(new, parcel).await {
                terminal::warning(format_args!(
                    "this version cannot be rolled back to, it was not kept: {error:#}"
                ));
            }
        }
    }
    let announce = || announce(&manifest, &host, scheme);
    let first = FirstToken::Show;
    let admin = operate::open(&host, &args.door, admin_tls, records, first, announce).await?;
    system::ready();
    tokio::select! {
        () = stop.asked() => {}
        error = host.failed() => return Err(error),
    }
    system::stopping();
    stop::shut_down(host, admin, args.door.shutdown_timeout).await;
    traces.finish().await;
    Ok(())
}

/// What to serve and where: the app that was named, or what was deployed, waiting for
/// it if need be. `None`: somebody asked to stop meanwhile.
async fn choose(
    args: &args::Serve,
    admin_tls: Option<Tls>,
    stop: &mut Stop,
) -> anyhow::Result<Option<(Choice, Settings)>> {
    let project = match &args.app {
        Some(path) => Some(Project::open_or_file(path)?),
        None if Project::is_at(Path::new(".")) => Some(Project::open(Path::new("."))?),
        None => None,
    };
    let settings = match &project {
        Some(project) => settings(&args.door, project),
        None => {
            let nowhere = Manifest::named("app");
            Settings {
                listen: args.door.listen(&nowhere),
                data: args.door.data(&nowhere, Path::new(".")),
            }
        }
    };
    let named = match &project {
        Some(project) => Some(named(project).await?),
        None => None,
    };
    let catalog = Catalog::open(&settings.data)?;
    let choice = match deploy::choose(&catalog, named) {
        Err(deploy::Error::Nothing { .. }) if args.app.is_none() => {
            tokio::select! {
                waited = operate::first(&args.door, admin_tls, &settings, catalog) => waited?,
                () = stop.asked() => return Ok(None),
            }
            deploy::choose(&Catalog::open(&settings.data)?, None)
        }
        choice => choice,
    };
    Ok(Some((choice?, settings)))
}

/// clap lets neither of the files stand alone.
fn tls(certificates: Option<&Path>, key: Option<&Path>) -> anyhow::Result<Option<Tls>> {
    let files = certificates.zip(key);
    let tls = files.map(|(certificates, key)| Tls::from_files(certificates, key));
    Ok(tls.transpose()?)
}

async fn named(project: &Project) -> anyhow::Result<(App, NewVersion, Parcel)> {
    let component = project.built_component().await?;
    let app = project.app(component)?;
    let parcel = Parcel::of(&app)?;
    let new = NewVersion {
        app: project.manifest.name.clone(),
        manifest: project.manifest_text.clone(),
        parts: parcel.parts.clone(),
        by: "command line".to_owned(),
        note: String::new(),
    };
    Ok((app, new, parcel))
}

/// What the host is to do, from flags and environment over the manifest.
pub(super) fn settings(door: &args::Door, project: &Project) -> Settings {
    Settings {
        listen: door.listen(&project.manifest),
        data: door.data(&project.manifest, &project.root),
    }
}

/// Prints where to reach the app, with something to try for each class.
pub(super) fn announce(manifest: &Manifest, host: &Host, scheme: &str) {
    let url = url(scheme, address(host));
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
pub(super) fn url(scheme: &str, address: SocketAddr) -> String {
    let reachable = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    format!("{scheme}://{}", SocketAddr::new(reachable, address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_url_can_be_typed_where_any_address_is_listened_on() {
        let url_of = |text: &str| url("http", text.parse().unwrap());
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
