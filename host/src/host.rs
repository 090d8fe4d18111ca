//! Host: joins all rooms and decides nothing.
//!
//! Started by the command line, or by a program that embeds it. Owns the order of
//! start (storage, code, objects, door) and of the end (door, objects, storage).

use std::net::SocketAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use dormouse_storage::Storage;

use crate::alarm::{Alarms, Scheduler};
use crate::clock::Clock;
use crate::deploy::Catalog;
use crate::guest::{self, Code, Engine, EngineOptions};
use crate::manifest::Manifest;
use crate::object::{Options, Registry, Served};
use crate::server::{self, Server};

pub use crate::guest::{Interface, Report};
pub use deployments::{DeployError, Plan};
pub use handle::Handle;
pub use objects::{AskError, Object, ObjectQuery, ObjectState, Objects};

mod alarms;
mod deployments;
mod handle;
mod objects;

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
    handle: Handle,
    scheduler: Scheduler,
    server: Server,
}

impl Host {
    /// Opens the data folder, loads the app and begins to listen.
    pub async fn start(settings: Settings, app: App) -> anyhow::Result<Self> {
        let engine = engine()?;
        Self::start_with(engine, Clock::system(), settings, app).await
    }

    /// As `start`, with an engine that several hosts share and a clock that a
    /// test may hold.
    pub async fn start_with(
        engine: Engine,
        clock: Clock,
        settings: Settings,
        app: App,
    ) -> anyhow::Result<Self> {
        let data = settings.data;
        let mut options = dormouse_storage::Options::new(&data);
        options.limits.database_bytes = app.manifest.limits.database_mib << 20;
        let storage = Storage::open(options)?;
        let catalog = Catalog::open(&data)?;
        let limits = server::Limits {
            request_body_bytes: app.manifest.limits.request_body_bytes,
            ..server::Limits::default()
        };
        let served = load(&engine, &data, &app).await?;
        let alarms = Alarms::default();
        let registry = Registry::new(
            storage.clone(),
            clock.clone(),
            alarms.clone(),
            engine.live_objects(),
            served,
        );
        let server = Server::start(settings.listen, registry.clone(), limits)
            .await
            .with_context(|| format!("cannot listen on {}", settings.listen))?;
        let scheduler = alarms::start(&storage, &alarms, &registry, clock);
        let handle = Handle {
            engine,
            storage,
            registry,
            alarms,
            data: data.into(),
            limits,
            manifest: Arc::new(RwLock::new(Arc::new(app.manifest))),
            public: server.address(),
            catalog: Arc::new(catalog),
            deploying: Arc::default(),
            component: app.component.into(),
        };
        Ok(Self {
            handle,
            scheduler,
            server,
        })
    }

    /// What may be asked of the host from elsewhere. Let go of it before `shutdown`.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Lets requests in flight finish, puts every object to sleep and closes the
    /// data folder. What is not done after `within` is cut off.
    pub async fn shutdown(self, within: Duration) -> anyhow::Result<()> {
        let Handle {
            storage, registry, ..
        } = self.handle;
        drop(self.scheduler);
        self.server.stop(within).await;
        registry.close(within).await;
        storage.close()?;
        drop(registry);
        let deadline = Instant::now() + RELEASE.min(within);
        while !storage.is_last() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }
}

impl Deref for Host {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
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

async fn load(engine: &Engine, data: &Path, app: &App) -> anyhow::Result<Served> {
    let cache = data.join("cache");
    let code = Code::load(engine, &app.component, Some(&cache)).await;
    let code = code.with_context(|| format!("cannot use {}", app.component.display()))?;
    Ok(Served::new(Arc::new(code), options(&app.manifest)))
}

fn options(manifest: &Manifest) -> Options {
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
