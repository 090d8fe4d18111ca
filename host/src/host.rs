//! Host: joins all rooms and decides nothing.
//!
//! Started by the command line, or by a program that embeds it. Owns the order of
//! start (storage, code, objects, door) and of the end (door, objects, storage).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use dormouse_storage::{Env, Storage};
use tokio::net::TcpListener;

use crate::alarm::{Alarms, Scheduler};
use crate::clock::Clock;
use crate::deploy::{Catalog, Steps};
use crate::egress::Script;
use crate::guest::{self, Code, Engine, EngineOptions};
use crate::manifest::Manifest;
use crate::object::{Options, Registry, Served};
use crate::secrets::{Secret, Secrets};
use crate::server::{self, Assets, Server, Tls};
use crate::worker::{self, Front, Workers};

pub use crate::guest::{Interface, Report};
pub use backup::{BackedUp, BackupError};
pub use deployments::{Allow, DeployError, Plan};
pub use handle::Handle;
pub use moment::{Moment, NoMoment};
pub use objects::{AskError, Object, ObjectQuery, ObjectState, Objects};
pub use rollout::RolledOut;
pub use secrets::SecretError;
pub use testing::Testing;
pub use travel::Restored;

mod alarms;
mod backup;

mod calls;
mod deployments;
mod environment;
mod handle;
mod migrations;
mod moment;
mod objects;
mod rollout;
mod secrets;
mod stores;
mod testing;
mod travel;

use environment::environment;

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
    /// A component of its own for the worker; else the one above may hold it.
    pub worker: Option<PathBuf>,
}

/// A running host.
#[derive(Debug)]
pub struct Host {
    handle: Handle,
    scheduler: Scheduler,
    server: Server,
}

/// A host that is about to start; everything but the app has a default.
#[derive(Debug)]
pub struct Builder {
    app: App,
    data: PathBuf,
    code_cache: Option<PathBuf>,
    listen: Option<SocketAddr>,
    listener: Option<std::net::TcpListener>,
    tls: Option<Tls>,
    engine: Option<Engine>,
    code: Option<Arc<Code>>,
    delete_data: bool,
    around: Around,
    disk: Option<Env>,
}

/// What the host and its guests find around them, which a test may exchange.
#[derive(Clone, Debug)]
pub(crate) struct Around {
    pub(crate) clock: Clock,
    /// In place of the network.
    pub(crate) script: Option<Script>,
    pub(crate) testing: Option<Testing>,
    /// Beside those that the data folder keeps.
    pub(crate) secrets: BTreeMap<String, Secret>,
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

    /// A socket that listens already, such as one from systemd; instead of `listen`.
    #[must_use]
    pub fn listener(self, listener: std::net::TcpListener) -> Self {
        let listener = Some(listener);
        Self { listener, ..self }
    }

    /// Speaks TLS where it listens.
    #[must_use]
    pub fn tls(self, tls: Tls) -> Self {
        let tls = Some(tls);
        Self { tls, ..self }
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
    pub fn clock(mut self, clock: Clock) -> Self {
        self.around.clock = clock;
        self
    }

    /// A secret of the app beside those that the data folder keeps.
    #[must_use]
    pub fn secret(mut self, name: impl Into<String>, text: impl Into<String>) -> Self {
        let secret = Secret::from(text.into());
        self.around.secrets.insert(name.into(), secret);
        self
    }

    /// Answers what guests ask the outside; nothing is sent there.
    #[must_use]
    pub fn script(mut self, script: Script) -> Self {
        self.around.script = Some(script);
        self
    }

    /// Lets the admin door move time, crash the host and script the outside.
    #[must_use]
    pub fn testing(mut self, testing: Testing) -> Self {
        self.around.testing = Some(testing);
        self
    }

    /// The component, compiled already by the same engine.
    #[must_use]
    pub fn code(self, code: Arc<Code>) -> Self {
        let code = Some(code);
        Self { code, ..self }
    }

    /// Lets the manifest's migrations delete classes that have objects; otherwise the
    /// host does not start with such a manifest.
    #[must_use]
    pub fn delete_data(self, delete_data: bool) -> Self {
        Self {
            delete_data,
            ..self
        }
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
            app, around, data, ..
        } = self;
        let engine = self.engine.map_or_else(engine, Ok)?;
        let cache = self.code_cache.unwrap_or_else(|| data.join("cache"));
        let mut options = dormouse_storage::Options::new(&data);
        options.limits = app.manifest.limits.sql.clone();
        options.limits.database_bytes = app.manifest.limits.database_mib << 20;
        options.history = Duration::from_secs(app.manifest.limits.history_days * 24 * 60 * 60);
        options.history_bytes = match app.manifest.limits.history_mib {
            0 => u64::MAX,
            mib => mib << 20,
        };
        let storage = match self.disk {
            Some(disk) => {
                // Memory is not set aside for a log that stays small.
                options.segment_bytes = 1 << 20;
                Storage::open_in(options, disk)?
            }
            None => Storage::open(options)?,
        };
        let catalog = Catalog::open(&data)?;
        let limits = server::Limits {
            request_body_bytes: app.manifest.limits.request_body_bytes,
            request_header_bytes: app.manifest.limits.request_header_bytes as usize,
            concurrent_requests: app.manifest.limits.concurrent_requests as usize,
        };
        let secrets = Secrets::in_folder(&data);
        migrations::delete(&storage, &catalog)?;
        let plan = |exported: &[String]| {
            migrations::plan(&storage, &catalog.classes(), &app.manifest, exported)
        };
        let loaded = load(&engine, &cache, &secrets, self.code, &app, &around, plan);
        let (served, worker, steps) = loaded.await?;
        migrations::apply(&storage, &catalog, steps, self.delete_data)?;
        let clock = around.clock.clone();
        let alarms = Alarms::new(clock.chance().clone());
        let registry = Registry::new(
            storage.clone(),
            clock.clone(),
            alarms.clone(),
            engine.live_objects(),
            served,
        );
        let workers = Workers::new(registry.clone(), clock.clone());
        workers.replace(worker);
        let assets = Assets::default();
        assets.replace(app.manifest.assets.clone());
        let listener = listener(self.listener, self.listen).await?;
        let server = Server::start(
            listener,
            self.tls,
            registry.clone(),
            workers.clone(),
            assets.clone(),
            limits,
        )?;
        let scheduler = alarms::start(&storage, &alarms, &registry, clock);
        let handle = Handle {
            engine,
            storage,
            registry,
            workers,
            assets,
            alarms,
            catalog: Arc::new(catalog),
            data: data.into(),
            cache: cache.into(),
            around,
            limits,
            secrets,
            manifest: Arc::new(RwLock::new(Arc::new(app.manifest))),
            public: server.address(),
            deploying: Arc::default(),
            delete_data: self.delete_data,
            watcher: Arc::default(),
        };
        Ok(Host {
            handle,
            scheduler,
            server,
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
            listener: None,
            tls: None,
            engine: None,
            code: None,
            delete_data: false,
            around: Around {
                clock: Clock::system(),
                script: None,
                testing: None,
                secrets: BTreeMap::new(),
            },
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

    /// The same past worker and files: every path names an object.
    #[must_use]
    pub fn connect_to_objects(&self) -> tokio::io::DuplexStream {
        self.server.connect_to(&self.handle.door())
    }

    /// What may be asked of the host from elsewhere. Let go of it before `shutdown`.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Lets requests in flight finish, puts every object to sleep and closes the
    /// data folder. What is not done after `within` is cut off.
    pub async fn shutdown(self, within: Duration) -> anyhow::Result<()> {
        self.handle.stop_watching();
        let Handle {
            storage,
            registry,
            workers,
            ..
        } = self.handle;
        drop(self.scheduler);
        self.server.stop(within).await;
        workers.replace(None);
        drop(workers);
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

async fn listener(
    given: Option<std::net::TcpListener>,
    at: Option<SocketAddr>,
) -> anyhow::Result<Option<TcpListener>> {
    if let Some(given) = given {
        given.set_nonblocking(true)?;
        return Ok(Some(TcpListener::from_std(given)?));
    }
    let Some(at) = at else {
        return Ok(None);
    };
    let bound = TcpListener::bind(at).await;
    Ok(Some(
        bound.with_context(|| format!("cannot listen on {at}"))?,
    ))
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

/// What the objects are served from, and the worker in front of them. `plan` says for
/// the code's classes where they keep their objects.
async fn load(
    engine: &Engine,
    cache: &Path,
    secrets: &Secrets,
    code: Option<Arc<Code>>,
    app: &App,
    around: &Around,
    plan: impl FnOnce(&[String]) -> Result<Steps, DeployError>,
) -> anyhow::Result<(Served, Front, Steps)> {
    let load = async |path: &Path| {
        let code = Code::load(engine, path, Some(cache)).await;
        let code = code.with_context(|| format!("cannot use {}", path.display()))?;
        anyhow::Ok(Arc::new(code))
    };
    let code = match code {
        Some(code) => code,
        None => load(&app.component).await?,
    };
    let front = match &app.worker {
        Some(path) => {
            let front = load(path).await?;
            anyhow::ensure!(
                front.worker().is_some(),
                "{} has no worker; `worker.component` in dormouse.toml needs a component that \
                 exports `dormouse:object/worker`, `wasi:http/handler` or \
                 `wasi:http/incoming-handler`",
                path.display()
            );
            Some(front)
        }
        None => code.worker().map(|_| code.clone()),
    };
    let manifest = &app.manifest;
    let exported: Vec<_> = code
        .classes()
        .iter()
        .map(|one| one.name.to_string())
        .collect();
    let steps = plan(&exported)?;
    let classes = &steps.classes;
    let environment = environment(&code, front.as_deref(), manifest, classes, secrets, around)?;
    let environment = Arc::new(environment);
    let options = object_options(manifest);
    let mut served = Served::new(code, classes, environment, options);
    let front = front.map(|front| (front, worker_options(manifest, &served)));
    served.whole_path = whole_path(&served, manifest)?;
    Ok((served, front, steps))
}

fn worker_options(manifest: &Manifest, served: &Served) -> worker::Options {
    let (worker, objects) = (&manifest.worker, &served.options);
    worker::Options {
        instances: worker.instances as usize,
        concurrent_requests: worker.concurrent_requests as usize,
        response: Duration::from_millis(worker.response_ms),
        idle: objects.idle,
        drain: objects.drain,
        limits: objects.limits,
        environment: served.environment.clone(),
        tally: served.tally.clone(),
    }
}

fn object_options(manifest: &Manifest) -> Options {
    let limits = &manifest.limits;
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
    }
}
