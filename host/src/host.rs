//! Host: joins all rooms and decides nothing.
//!
//! Started by the command line, or by a program that embeds it. Owns the order of
//! start (storage, code, objects, door) and of the end (door, objects, storage).

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use dormouse_storage::{Env, Storage};

use crate::alarm::{Alarms, Scheduler};
use crate::clock::Clock;
use crate::guest::{self, Code, Engine, EngineOptions};
use crate::manifest::Manifest;
use crate::object::{Options, Registry, Served};
use crate::server::{self, Server};

pub use crate::guest::{Interface, Report};

mod alarms;

/// How long events on replaced code may take to finish.
const DRAIN: Duration = Duration::from_secs(10);

/// How long tasks that are done may take to let go of the data folder, so that
/// the next host can have it at once.
const RELEASE: Duration = Duration::from_secs(1);

/// This machine's side.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The data folder; made if missing. One host at a time.
    pub data: PathBuf,
    pub listen: SocketAddr,
}

/// What is served: a manifest and the component beside it.
#[derive(Clone, Debug)]
pub struct App {
    pub manifest: Manifest,
    pub component: PathBuf,
}

/// A running host.
#[derive(Debug)]
pub struct Host {
    engine: Engine,
    storage: Storage,
    registry: Registry,
    alarms: Alarms,
    scheduler: Scheduler,
    server: Server,
    /// Where compiled code is kept.
    cache: PathBuf,
}

/// A host that is about to start; everything but the app has a default.
#[derive(Debug)]
pub struct Builder {
    app: App,
    data: PathBuf,
    code_cache: Option<PathBuf>,
    listen: Option<SocketAddr>,
    engine: Option<Engine>,
    code: Option<Arc<Code>>,
    clock: Clock,
    disk: Option<Env>,
}

impl Builder {
    /// The data folder (default `.dormouse`); made if missing. One host at a time.
    #[must_use]
    pub fn data(self, folder: impl Into<PathBuf>) -> Self {
        let data = folder.into();
        Self { data, ..self }
    }

    /// Where to listen; otherwise only [`Host::connect`] leads in.
    #[must_use]
    pub fn listen(self, at: SocketAddr) -> Self {
        let listen = Some(at);
        Self { listen, ..self }
    }

    /// Shared by several hosts of a process: each engine reserves much of the
    /// address space.
    #[must_use]
    pub fn engine(self, engine: Engine) -> Self {
        let engine = Some(engine);
        Self { engine, ..self }
    }

    /// Time and chance, which a test may hold.
    #[must_use]
    pub fn clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// The component, compiled already by the same engine.
    #[must_use]
    pub fn code(self, code: Arc<Code>) -> Self {
        let code = Some(code);
        Self { code, ..self }
    }

    /// Where compiled code is kept (default `cache` in the data folder).
    #[must_use]
    pub fn code_cache(self, folder: impl Into<PathBuf>) -> Self {
        let code_cache = Some(folder.into());
        Self { code_cache, ..self }
    }

    /// Another disk than the file system; the data folder is then only a name.
    #[must_use]
    pub fn disk(self, disk: Env) -> Self {
        let disk = Some(disk);
        Self { disk, ..self }
    }

    /// Opens the data folder, loads the app and begins to serve.
    pub async fn start(self) -> anyhow::Result<Host> {
        let Self {
            app, clock, data, ..
        } = self;
        let engine = self.engine.map_or_else(engine, Ok)?;
        let cache = self.code_cache.unwrap_or_else(|| data.join("cache"));
        let mut options = dormouse_storage::Options::new(&data);
        options.limits.database_bytes = app.manifest.limits.database_mib << 20;
        let storage = match self.disk {
            Some(disk) => Storage::open_in(options, disk)?,
            None => Storage::open(options)?,
        };
        let limits = server::Limits {
            request_body_bytes: app.manifest.limits.request_body_bytes,
            ..server::Limits::default()
        };
        let served = match self.code {
            Some(code) => Served::new(code, object_options(&app.manifest)),
            None => load(&engine, &cache, &app).await?,
        };
        let alarms = Alarms::new(clock.chance().clone());
        let registry = Registry::new(
            storage.clone(),
            clock.clone(),
            alarms.clone(),
            engine.live_objects(),
            served,
        );
        let server = Server::start(self.listen, registry.clone(), limits).await;
        let server = server.with_context(|| match self.listen {
            Some(address) => format!("cannot listen on {address}"),
            None => "cannot serve".to_owned(),
        })?;
        let scheduler = alarms::start(&storage, &alarms, &registry, clock);
        Ok(Host {
            engine,
            storage,
            registry,
            alarms,
            scheduler,
            server,
            cache,
        })
    }
}

impl Host {
    /// To embed a host in a program of one's own.
    #[must_use]
    pub fn builder(app: App) -> Builder {
        Builder {
            app,
            data: PathBuf::from(".dormouse"),
            code_cache: None,
            listen: None,
            engine: None,
            code: None,
            clock: Clock::system(),
            disk: None,
        }
    }

    /// Opens the data folder, loads the app and begins to listen.
    pub async fn start(settings: Settings, app: App) -> anyhow::Result<Self> {
        let host = Self::builder(app).data(settings.data);
        host.listen(settings.listen).start().await
    }

    /// Where the public door listens; `None` if only `connect` leads in.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.server.address()
    }

    /// A client's end of a connection to the public door that no network carries.
    /// It speaks HTTP/1.1 and HTTP/2, as others do.
    #[must_use]
    pub fn connect(&self) -> tokio::io::DuplexStream {
        self.server.connect()
    }

    /// The classes that are served now.
    #[must_use]
    pub fn classes(&self) -> Vec<String> {
        let served = self.registry.served();
        let classes = served.code.classes().iter();
        classes.map(|class| class.name.to_string()).collect()
    }

    /// How many objects have an instance at the moment.
    #[must_use]
    pub fn awake(&self) -> usize {
        self.registry.awake()
    }

    /// Serves other code from now on. Objects keep their state; events in flight
    /// finish on the old code. On an error nothing has changed.
    pub async fn deploy(&self, app: App) -> anyhow::Result<()> {
        let served = load(&self.engine, &self.cache, &app).await?;
        self.registry.replace(served);
        // Their class may have come back.
        self.alarms.retry_now();
        Ok(())
    }

    /// Ends when the host cannot go on: writing the commit log failed, and only a
    /// restart, which recovers from what is on disk, mends that.
    pub fn failed(&self) -> impl Future<Output = anyhow::Error> + use<> {
        let registry = self.registry.clone();
        async move { registry.died().await.into() }
    }

    /// Lets requests in flight finish, puts every object to sleep and closes the
    /// data folder. What is not done after `within` is cut off.
    pub async fn shutdown(self, within: Duration) -> anyhow::Result<()> {
        drop(self.scheduler);
        self.server.stop(within).await;
        self.registry.close(within).await;
        self.storage.close()?;
        drop(self.registry);
        let deadline = Instant::now() + RELEASE.min(within);
        while !self.storage.is_last() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }
}

/// What a component is, as this host sees it.
pub async fn inspect(wasm: &Path) -> anyhow::Result<Report> {
    let report = guest::inspect(&engine()?, wasm).await;
    report.with_context(|| format!("cannot use {}", wasm.display()))
}

fn engine() -> anyhow::Result<Engine> {
    let engine = Engine::new(&EngineOptions::default());
    engine.map_err(|error| anyhow::anyhow!("cannot set up the WebAssembly engine: {error:#}"))
}

async fn load(engine: &Engine, cache: &Path, app: &App) -> anyhow::Result<Served> {
    let code = Code::load(engine, &app.component, Some(cache)).await;
    let code = code.with_context(|| format!("cannot use {}", app.component.display()))?;
    let mut served = Served::new(Arc::new(code), object_options(&app.manifest));
    served.whole_path = whole_path(&served, &app.manifest)?;
    Ok(served)
}

/// The classes that `[router]` names, each of which the component must have.
fn whole_path(served: &Served, manifest: &Manifest) -> anyhow::Result<BTreeSet<String>> {
    let classes = &manifest.router.whole_path;
    for class in classes {
        let found: Vec<_> = served.namespaces.keys().collect();
        anyhow::ensure!(
            served.namespaces.contains_key(class.as_str()),
            "`router.whole_path` names the class {class:?}; the component has {found:?}"
        );
    }
    Ok(classes.clone())
}

fn object_options(manifest: &Manifest) -> Options {
    let limits = &manifest.limits;
    let vars = manifest.vars.iter();
    Options {
        idle: Duration::from_millis(limits.idle_ms),
        mailbox_events: limits.mailbox_events as usize,
        concurrent_events: limits.concurrent_events as usize,
        drain: DRAIN,
        limits: guest::Limits {
            memory_bytes: (limits.memory_mib << 20) as usize,
            cpu: Duration::from_millis(limits.cpu_ms),
            ..guest::Limits::default()
        },
        vars: vars
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
    }
}
