//! Host: joins all rooms and decides nothing.
//!
//! Started by the command line, or by a program that embeds it. Owns the order of
//! start (storage, code, objects, door) and of the end (door, objects, storage). The
//! app that it is started with is the main one; `apps` has those beside it, `opening`
//! puts each together.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use dormouse_storage::Env;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::deploy::Steps;
use crate::egress::Script;
use crate::guest::{self, Code, Engine, EngineOptions};
use crate::manifest::Manifest;
use crate::measures::Measures;
use crate::object::{self, Neighbours, Options, Room, Served};
use crate::secrets::{Secret, Secrets};
use crate::server::{self, Server, Tls};
use crate::worker::{self, Front};

pub use crate::guest::{Interface, Report};
pub use apps::{AppInfo, Apps, AppsError, Beside};
pub use backup::{BackedUp, BackupError};
pub use deployments::{Allow, DeployError, Plan};
pub use handle::Handle;
pub use list::{ListError, Routes, data_of, folders};
pub use moment::{Moment, NoMoment};
pub use objects::{AskError, Object, ObjectQuery, ObjectState, Objects};
pub use rollout::RolledOut;
pub use secrets::SecretError;
pub use testing::Testing;
pub use travel::Restored;

mod alarms;
mod apps;
mod backup;
mod calls;
mod deployments;
mod environment;
mod handle;
mod list;
mod migrations;
mod moment;
mod objects;
mod opening;
mod rollout;
mod secrets;
mod stores;
mod subfolder;
mod testing;
mod travel;

use environment::environment;
use list::List;
use opening::Ground;

/// How long events on replaced code may take to finish.
const DRAIN: Duration = Duration::from_secs(10);

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
    /// The main app.
    handle: Handle,
    apps: Apps,
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
    beside: BTreeMap<String, Beside>,
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

    /// Another app beside the first one, which is in no list of the data folder.
    #[must_use]
    pub fn beside(mut self, beside: Beside) -> Self {
        let name = beside.app.manifest.name.clone();
        self.beside.insert(name, beside);
        self
    }

    /// Opens the data folder, loads the apps and begins to serve.
    pub async fn start(self) -> anyhow::Result<Host> {
        let Self { app, data, .. } = self;
        let engine = self.engine.map_or_else(engine, Ok)?;
        let objects = object::Around {
            room: Room::new(engine.live_objects()),
            neighbours: Neighbours::default(),
            measures: Measures::default(),
            dead: Arc::new(watch::Sender::new(None)),
        };
        let cache = self.code_cache.unwrap_or_else(|| data.join("cache"));
        let ground = Ground {
            engine,
            cache: cache.into(),
            data: data.as_path().into(),
            around: self.around,
            objects,
            disk: self.disk,
            public: Arc::default(),
            delete_data: self.delete_data,
        };
        let list = List::open(&data)?;
        let main = ground.open_main(app, self.code).await?;
        let listener = listener(self.listener, self.listen).await?;
        if let Some(listener) = &listener {
            // Set here and nowhere else.
            let _ = ground.public.set(listener.local_addr()?);
        }
        let (handle, front) = (main.handle.clone(), server::Front::new(main.door.clone()));
        let apps = Apps::open(ground, main, front.routing(), list, self.beside).await?;
        let header_bytes = handle.limits.request_header_bytes;
        let server = Server::start(listener, self.tls, front, header_bytes)?;
        Ok(Host {
            handle,
            apps,
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
            beside: BTreeMap::new(),
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

    /// The same past worker and files of an app: every path names an object.
    #[must_use]
    pub fn connect_to_objects(&self, app: &Handle) -> tokio::io::DuplexStream {
        self.server.connect_to(&app.door())
    }

    /// All apps. Let go of it before `shutdown`.
    #[must_use]
    pub fn apps(&self) -> Apps {
        self.apps.clone()
    }

    /// What may be asked of the main app from elsewhere. Let go of it before `shutdown`.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Lets requests in flight finish, puts every object to sleep and closes the
    /// data folder. What is not done after `within` is cut off.
    pub async fn shutdown(self, within: Duration) -> anyhow::Result<()> {
        let Self {
            handle,
            apps,
            server,
        } = self;
        drop(handle);
        server.stop(within).await;
        apps.close(within).await
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

/// What an app's code is loaded with.
#[derive(Clone, Copy)]
struct Loading<'a> {
    engine: &'a Engine,
    cache: &'a Path,
    /// The app's name, which its manifest may have changed since the start.
    app: &'a Arc<str>,
    secrets: &'a Secrets,
    around: &'a Around,
    /// To check what the app calls in others, as far as they are there.
    neighbours: Option<&'a Neighbours>,
}

impl Loading<'_> {
    /// What the objects are served from, and the worker in front of them. `plan` says
    /// for the code's classes where they keep their objects.
    async fn load(
        self,
        code: Option<Arc<Code>>,
        app: &App,
        plan: impl FnOnce(&[String]) -> Result<Steps, DeployError>,
    ) -> anyhow::Result<(Served, Front, Steps)> {
        load(self, code, app, plan).await
    }
}

async fn load(
    loading: Loading<'_>,
    code: Option<Arc<Code>>,
    app: &App,
    plan: impl FnOnce(&[String]) -> Result<Steps, DeployError>,
) -> anyhow::Result<(Served, Front, Steps)> {
    let load = async |path: &Path| {
        let code = Code::load(loading.engine, path, Some(loading.cache)).await;
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
    let environment = environment(&code, front.as_deref(), manifest, classes, &loading)?;
    let environment = Arc::new(environment);
    let options = object_options(manifest);
    let mut served = Served::new(code, classes, environment, options);
    let front = front.map(|front| (front, worker_options(manifest, &served)));
    served.whole_path = whole_path(&served, manifest)?;
    let shared = manifest.share.iter();
    served.share = shared
        .map(|(class, apps)| (classes.root(class).to_string(), apps.clone()))
        .collect();
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
            slow_sql: Duration::from_millis(limits.slow_sql_ms),
            ..guest::Limits::default()
        },
    }
}
