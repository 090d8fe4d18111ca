//! A host inside the test, whose clock stands still until the test moves it.

use std::net::SocketAddr;
use std::ops::Deref;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use dormouse::clock::Clock;
use dormouse::guest::{Code, Engine, EngineOptions};
use dormouse::host::Beside;
use dormouse::manifest::Manifest;
use dormouse::secrets::Secrets;
use dormouse::{App, Host};
use dormouse_storage::Env;
use tempfile::TempDir;
use tokio::sync::OnceCell;

use super::client::Client;
use super::disk::{Latch, held_disk};
use super::wait::eventually;
use super::{guests, logs};

pub(crate) struct World {
    pub(crate) host: Host,
    pub(crate) clock: Clock,
    client: Client,
    data: TempDir,
}

/// An app of this component with default settings.
pub(crate) fn app(name: &str, component: impl AsRef<Path>) -> App {
    App {
        manifest: Manifest::named(name),
        component: component.as_ref().to_owned(),
        worker: None,
    }
}

pub(crate) fn probe_app() -> App {
    app("probe", guests::probe())
}

impl World {
    pub(crate) async fn probe() -> Self {
        Self::start(probe_app()).await
    }

    pub(crate) async fn counter() -> Self {
        Self::start(app("counter", guests::counter())).await
    }

    pub(crate) async fn start(app: App) -> Self {
        let data = tempfile::tempdir().expect("a folder for data");
        share_compiled_code(data.path()).await;
        Self::start_on(data, Clock::manual(), free_port(), None, app).await
    }

    /// With other apps on the same host.
    pub(crate) async fn with(app: App, others: Vec<Beside>) -> Self {
        Self::with_apps(engine().clone(), app, others).await
    }

    /// The same with room for so many live objects.
    pub(crate) async fn with_places(places: usize, app: App, others: Vec<Beside>) -> Self {
        let options = EngineOptions {
            live_objects: Some(places),
            ..EngineOptions::default()
        };
        Self::with_apps(Engine::new(&options).expect("an engine"), app, others).await
    }

    async fn with_apps(engine: Engine, app: App, others: Vec<Beside>) -> Self {
        logs::capture();
        let data = tempfile::tempdir().expect("a folder for data");
        share_compiled_code(data.path()).await;
        let clock = Clock::manual();
        let mut host = Host::builder(app)
            .engine(engine)
            .clock(clock.clone())
            .data(data.path())
            .listen(free_port());
        for other in others {
            host = host.beside(other);
        }
        let host = host.start().await.expect("the host starts");
        let client = Client {
            address: host.address().expect("it was told where to listen"),
        };
        Self {
            host,
            clock,
            client,
            data,
        }
    }

    /// With a secret that was kept before the start.
    pub(crate) async fn with_secret(app: App, name: &str, value: &str) -> Self {
        let data = tempfile::tempdir().expect("a folder for data");
        share_compiled_code(data.path()).await;
        let secrets = Secrets::with_key(data.path(), None);
        let kept = secrets.set(&app.manifest.name, name, &value.to_owned().into());
        kept.expect("it can be kept");
        Self::start_on(data, Clock::manual(), free_port(), None, app).await
    }

    /// The probe on a disk that says nothing is durable while the latch holds.
    pub(crate) async fn on_held_disk() -> (Self, Latch) {
        let latch = Latch::default();
        let data = tempfile::tempdir().expect("a folder for data");
        share_compiled_code(data.path()).await;
        let disk = held_disk(data.path(), &latch).expect("a folder that can be opened");
        let world = Self::start_on(data, Clock::manual(), free_port(), Some(disk), probe_app());
        (world.await, latch)
    }

    async fn start_on(
        data: TempDir,
        clock: Clock,
        listen: SocketAddr,
        disk: Option<Env>,
        app: App,
    ) -> Self {
        logs::capture();
        let mut host = Host::builder(app)
            .engine(engine().clone())
            .clock(clock.clone())
            .data(data.path())
            .listen(listen);
        if let Some(disk) = disk {
            host = host.disk(disk);
        }
        let host = host.start().await.expect("the host starts");
        let client = Client {
            address: host.address().expect("it was told where to listen"),
        };
        Self {
            host,
            clock,
            client,
            data,
        }
    }

    /// Ends the host and starts another one on the same data.
    pub(crate) async fn restart(self, app: App) -> Self {
        self.restart_after(Duration::ZERO, app).await
    }

    /// The same; the date is so much later when the other one starts.
    pub(crate) async fn restart_after(self, down: Duration, app: App) -> Self {
        self.restart_at(free_port(), down, app).await
    }

    /// Ends the host and starts another one at the same address.
    pub(crate) async fn restart_in_place(self, app: App) -> Self {
        let address = self.address;
        self.restart_at(address, Duration::ZERO, app).await
    }

    async fn restart_at(self, listen: SocketAddr, down: Duration, app: App) -> Self {
        let Self {
            host, data, clock, ..
        } = self;
        let ended = host.shutdown(Duration::from_secs(10)).await;
        ended.expect("the host ends in order");
        let later = Clock::manual();
        later.set_unix(clock.unix() + down);
        Self::start_on(data, later, listen, None, app).await
    }

    /// Waits until somebody waits for this moment, counted from now.
    pub(crate) async fn until_due(&self, after: Duration) {
        let due = self.clock.now() + after;
        eventually("somebody who waits for the clock", async || {
            self.clock.deadlines().contains(&due).then_some(())
        })
        .await;
    }

    /// Lets time pass once somebody waits for just the moment when it is over.
    pub(crate) async fn pass(&self, duration: Duration) {
        self.until_due(duration).await;
        self.clock.advance(duration);
    }

    /// Waits until so many objects have an instance.
    pub(crate) async fn until_awake(&self, count: usize) {
        eventually("objects that are awake", async || {
            (self.host.awake() == count).then_some(())
        })
        .await;
    }
}

impl Deref for World {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

fn free_port() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// One for all: each reserves much of the address space.
fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::new(&EngineOptions::default()).expect("an engine"))
}

/// Gives a data folder the code that was compiled once, by this run or an earlier
/// one: a compiler that is not optimized takes its time.
pub(crate) async fn share_compiled_code(data: &Path) {
    static COMPILED: OnceCell<()> = OnceCell::const_new();
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled");
    let compile = async || {
        std::fs::create_dir_all(&cache).expect("a folder");
        for guest in [
            guests::counter(),
            guests::probe(),
            guests::front(),
            guests::tinybase(),
        ] {
            let code = Code::load(engine(), &guest, Some(&cache)).await;
            code.expect("the guests are sound");
        }
    };
    COMPILED.get_or_init(compile).await;
    let link = data.join("cache");
    if !link.exists() {
        std::os::unix::fs::symlink(&cache, link).expect("a link");
    }
}
