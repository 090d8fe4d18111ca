//! Dev: builds, serves, and swaps the code whenever a file of the app changes.
//!
//! Code that does not compile, or that the host refuses, is shown and changes
//! nothing: what ran before goes on. State is the host's and outlives a swap.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};

use super::held::{Ended, Held};
use super::operate::{self, FirstToken};
use super::project::{Project, Source};
use super::stop::{self, Stop};
use super::watch::Watch;
use super::{args, build, cargo, logging, serve, terminal, traces};
use crate::admin::{Admin, Records};
use crate::host::{App, Host};
use crate::manifest::Manifest;

/// How many ports after the wanted one are tried when it is taken.
const PORTS_TRIED: u16 = 20;

pub(super) async fn run(args: args::Dev) -> anyhow::Result<()> {
    let records = logging::install(&args.log);
    let traces = traces::install()?;
    let ended = serve(&args, records, None).await;
    traces.finish().await;
    ended.map(|_| ())
}

/// Until it is asked to stop; one that is `held` can also crash.
pub(super) async fn serve(
    args: &args::Dev,
    records: Records,
    held: Option<Held>,
) -> anyhow::Result<Ended> {
    let mut stop = Stop::install()?;
    // Without an app there is nothing to wait for; later mistakes are waited out.
    let project = Project::open(&args.dir)?;
    let mut session = Session::new(args.door.clone(), records, held, &project)?;
    loop {
        tokio::select! {
            () = stop.asked() => break,
            refreshed = session.refresh() => refreshed?,
        }
        let (failed, crashed) = (session.failed(), session.crashed());
        tokio::select! {
            () = stop.asked() => break,
            error = failed => return Err(error),
            ended = crashed => return Ok(ended),
            () = session.changed() => {}
        }
    }
    if let Some(running) = session.running {
        stop::shut_down(running.host, running.admin, session.door.shutdown_timeout).await;
    }
    Ok(Ended::Stopped)
}

struct Session {
    door: args::Door,
    records: Records,
    held: Option<Held>,
    root: PathBuf,
    watch: Watch,
    running: Option<Running>,
}

/// The host, and what it runs.
struct Running {
    host: Host,
    admin: Option<Admin>,
    manifest: Manifest,
    digest: Digest,
}

/// What a build made.
struct Built {
    project: Project,
    app: App,
    digest: Digest,
}

/// SHA-256 of a component, to tell whether it is another one.
type Digest = [u8; 32];

impl Session {
    fn new(
        door: args::Door,
        records: Records,
        held: Option<Held>,
        project: &Project,
    ) -> anyhow::Result<Session> {
        let mut watch = Watch::new()?;
        watch.ignore(std::path::absolute(
            door.data(&project.manifest, &project.root),
        )?);
        watch.follow(&project.root)?;
        Ok(Session {
            door,
            records,
            held,
            root: project.root.clone(),
            watch,
            running: None,
        })
    }

    async fn changed(&mut self) {
        let changed = self.watch.changed().await;
        let first = changed
            .iter()
            .next()
            .map(|path| terminal::short(path).display());
        match (first, changed.len()) {
            (Some(first), 1) => terminal::status("Changed", first),
            (Some(first), count) => {
                terminal::status("Changed", format_args!("{first} and {} more", count - 1))
            }
            (None, _) => {}
        }
    }

    /// Ends when the host cannot go on; never without a host.
    fn failed(&self) -> impl Future<Output = anyhow::Error> + use<> {
        let failed = self.running.as_ref().map(|running| running.host.failed());
        async move {
            match failed {
                Some(failed) => failed.await,
                None => std::future::pending().await,
            }
        }
    }

    /// Ends when a test wants the host to crash.
    fn crashed(&self) -> impl Future<Output = Ended> + use<> {
        let held = self.held.clone();
        let addresses = self.running.as_ref().map(|running| {
            let admin = running.admin.as_ref().map(Admin::address);
            (serve::address(&running.host), admin)
        });
        async move {
            let (Some(held), Some((public, admin))) = (held, addresses) else {
                return std::future::pending().await;
            };
            held.crashed().await;
            Ended::Crashed { public, admin }
        }
    }

    /// Builds and puts the result to work; fails only if the wanted port is taken.
    async fn refresh(&mut self) -> anyhow::Result<()> {
        let built = self.build().await;
        self.follow_sources(built.as_ref().ok()).await;
        let done = match (built, &mut self.running) {
            (Err(error), _) => Err(error),
            (Ok(built), Some(running)) => running.swap(built).await,
            (Ok(built), None) => start(&self.door, &self.records, self.held.as_ref(), built)
                .await
                .map(|running| {
                    self.running = Some(running);
                }),
        };
        match done {
            Err(error) if serve::is_taken(&error) => Err(error),
            Err(error) => {
                self.wait_after(&error);
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn wait_after(&self, error: &anyhow::Error) {
        terminal::error(error);
        let meanwhile = match self.running {
            Some(_) => "the code from before is still served",
            None => "nothing is served yet",
        };
        terminal::status("Waiting", format_args!("for a change; {meanwhile}"));
    }

    async fn build(&self) -> anyhow::Result<Built> {
        let project = Project::open(&self.root)?;
        let component = build::component(&project).await?;
        let wasm = std::fs::read(&component)
            .with_context(|| format!("cannot read {}", component.display()))?;
        let app = project.app(component)?;
        let mut digest = Sha256::new_with_prefix(wasm);
        if let Some(worker) = &app.worker {
            let wasm = std::fs::read(worker);
            digest.update(wasm.with_context(|| format!("cannot read {}", worker.display()))?);
        }
        Ok(Built {
            project,
            app,
            digest: digest.finalize().into(),
        })
    }

    /// Keeps watching where the sources are, which any change may have altered.
    async fn follow_sources(&mut self, built: Option<&Built>) {
        let mut folders = vec![self.root.clone()];
        if let Some(built) = built {
            match built.project.source {
                // Its own results must not look like changes.
                Source::Command { .. } => self.watch.ignore(built.app.component.clone()),
                Source::Cargo { .. } => match cargo::layout(&self.root).await {
                    Ok(layout) => {
                        self.watch.ignore(layout.target);
                        folders.extend(layout.packages);
                    }
                    Err(error) => tracing::debug!(%error, "path dependencies are not watched"),
                },
                Source::File(_) => folders.extend(built.app.component.parent().map(PathBuf::from)),
            }
        }
        let vendored = self.root.join("vendor");
        for folder in folders
            .iter()
            .filter(|folder| !folder.starts_with(&vendored))
        {
            if let Err(error) = self.watch.follow(folder) {
                terminal::warning(format_args!("{error:#}"));
            }
        }
    }
}

impl Running {
    async fn swap(&mut self, built: Built) -> anyhow::Result<()> {
        let manifest = built.app.manifest.clone();
        if built.digest == self.digest && manifest == self.manifest {
            terminal::status("Unchanged", "the component is the same as before");
            return Ok(());
        }
        let classes = self.host.classes();
        let begun = Instant::now();
        self.host.deploy(built.app).await?;
        let ms = begun.elapsed().as_millis();
        terminal::status("Swapped", format_args!("in {ms} ms; state is kept"));
        for key in only_at_start(&self.manifest, &manifest) {
            terminal::warning(format_args!("{key} has changed; restart to use it"));
        }
        self.manifest = manifest;
        self.digest = built.digest;
        if self.host.classes() != classes {
            serve::announce(&self.manifest, &self.host, "http");
        }
        Ok(())
    }
}

/// What has changed in dormouse.toml and is read only when the host starts.
fn only_at_start(before: &Manifest, now: &Manifest) -> Vec<&'static str> {
    let (old, new) = (&before.limits, &now.limits);
    let changes = [
        ("[serve]", before.serve != now.serve),
        (
            "`limits.request_body_bytes`",
            old.request_body_bytes != new.request_body_bytes,
        ),
        (
            "`limits.database_mib`",
            old.database_mib != new.database_mib,
        ),
        ("`[limits.sql]`", old.sql != new.sql),
    ];
    let changed = changes.into_iter().filter(|(_, changed)| *changed);
    changed.map(|(key, _)| key).collect()
}

/// Starts on the wanted port, or on one after it if nobody asked for that port.
async fn start(
    door: &args::Door,
    records: &Records,
    held: Option<&Held>,
    built: Built,
) -> anyhow::Result<Running> {
    let mut settings = serve::settings(door, &built.project);
    let wanted = settings.listen;
    let last = match door.listen {
        Some(_) => wanted.port(),
        None => wanted.port().saturating_add(PORTS_TRIED),
    };
    let host = loop {
        let mut host = Host::builder(built.app.clone())
            .data(settings.data.clone())
            .delete_data(door.delete_data)
            .listen(settings.listen);
        if let Some(held) = held {
            host = held.build(host, &settings.data)?;
        }
        match host.start().await {
            Err(error) if serve::is_taken(&error) && settings.listen.port() < last => {
                settings.listen.set_port(settings.listen.port() + 1);
            }
            Err(error) => return Err(serve::explain(error, wanted)),
            Ok(host) => break host,
        }
    };
    let port = serve::address(&host).port();
    if wanted.port() != 0 && port != wanted.port() {
        terminal::warning(format_args!(
            "port {} is taken, so this is port {port}; --listen chooses",
            wanted.port()
        ));
    }
    let announce = || serve::announce(&built.app.manifest, &host, "http");
    let first = FirstToken::None;
    let admin = operate::open(&host, door, None, records.clone(), first, announce).await?;
    terminal::status(
        "Watching",
        format_args!(
            "{} for changes; Ctrl-C stops",
            terminal::short(&built.project.root).display()
        ),
    );
    Ok(Running {
        host,
        admin,
        manifest: built.app.manifest,
        digest: built.digest,
    })
}
