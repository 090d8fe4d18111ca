//! Test host: the real host on one thread, over a disk in memory.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use dormouse::Host;
use dormouse::alarm::Address;
use dormouse::chance::Chance;
use dormouse::clock::Clock;
use dormouse::egress::Script;
use dormouse::host::{Beside, Handle, Routes};
use dormouse::manifest::Manifest;
use dormouse_storage::simulated::{Crash, SimDisk};
use dormouse_storage::{Env, Faults};

use crate::app::{Built, Source, engine};
use crate::crash::{CrashAt, Crashed};
use crate::logs::{Logs, Record};
use crate::object::Object;
use crate::outcome::Failed;
use dormouse::machine::{Machine, Stuck};

/// A host for one test. Everything that clients, operators, the clock and the disk
/// can do to an object, a test can do through it. Clones are the same host.
///
/// The clock stands at 2030-01-01T00:00:00Z until the test moves it, and nothing
/// runs beside the test: see the crate's first page.
#[derive(Clone)]
pub struct TestHost(pub(crate) Rc<Inner>, App);

/// The app whose objects a test means; `None` for the first one.
type App = Option<Rc<str>>;

pub(crate) struct Inner {
    built: Built,
    beside: Vec<Beside>,
    clock: Clock,
    disk: SimDisk,
    logs: Logs,
    script: Script,
    secrets: Vec<(String, String)>,
    running: RefCell<Option<Running>>,
}

/// Field order: the host goes before the thread it runs on.
struct Running {
    host: Rc<Host>,
    machine: Rc<Machine>,
}

/// A host that is about to start.
#[derive(Clone, Debug)]
#[must_use = "a host begins with `start`"]
pub struct Builder {
    source: Option<Source>,
    manifest: Option<String>,
    seed: u64,
    shuffles: bool,
    vars: Vec<(String, String)>,
    secrets: Vec<(String, String)>,
    routes: Routes,
    apps: Vec<(String, Builder)>,
}

impl Builder {
    /// The folder of an app, with `Cargo.toml` or `dormouse.toml`; by default the
    /// crate whose tests run. cargo builds its component when it is stale.
    pub fn project(self, folder: impl Into<std::path::PathBuf>) -> Self {
        let source = Some(Source::Project(folder.into()));
        Self { source, ..self }
    }

    /// A component that is there already, with default settings.
    pub fn component(self, file: impl Into<std::path::PathBuf>) -> Self {
        let source = Some(Source::Component(file.into()));
        Self { source, ..self }
    }

    /// The text of another `dormouse.toml`, in place of the app's own.
    pub fn manifest(self, text: impl Into<String>) -> Self {
        let manifest = Some(text.into());
        Self { manifest, ..self }
    }

    /// Sets one of the app's `[vars]`.
    pub fn var(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.vars.push((name.into(), value.into()));
        self
    }

    /// Keeps a secret for the app, as `dormouse secret set` does.
    pub fn secret(mut self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.secrets.push((name.into(), text.into()));
        self
    }

    /// Another app on the same host, with data and secrets of its own. Its clock, disk and
    /// seed are the host's. [`TestHost::app`] finds it.
    pub fn app(mut self, name: impl Into<String>, app: Builder) -> Self {
        self.apps.push((name.into(), app));
        self
    }

    /// For another app: where clients reach it, `shop.test`, `*.shop.test` or `/shop`. May
    /// be given several times.
    pub fn route(mut self, route: impl Into<String>) -> Self {
        let route = route.into();
        match route.starts_with('/') {
            true => self.routes.path = Some(route),
            false => self.routes.hosts.push(route),
        }
        self
    }

    /// All randomness, of host and guests, follows from it (default 0).
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// What may happen in any order happens in an order that follows from the seed.
    pub(crate) fn shuffled(self, seed: u64) -> Self {
        let shuffles = true;
        Self {
            seed,
            shuffles,
            ..self
        }
    }

    /// # Panics
    /// When the app does not build or the host does not start: it says why.
    #[must_use]
    #[track_caller]
    pub fn start(self) -> TestHost {
        match self.try_start() {
            Ok(host) => host,
            Err(error) => panic!("the test host does not start: {error:#}"),
        }
    }

    /// As `start`, for tests of apps that must be refused.
    pub fn try_start(self) -> anyhow::Result<TestHost> {
        let built = self.built()?;
        let beside = self.apps.iter().map(|(name, app)| app.beside(name));
        let beside = beside.collect::<anyhow::Result<_>>()?;
        let chance = match self.shuffles {
            true => Chance::shuffling(self.seed),
            false => Chance::seeded(self.seed),
        };
        let inner = Inner {
            built,
            beside,
            clock: Clock::manual().with_chance(chance),
            disk: SimDisk::new(self.seed),
            logs: Logs::new(),
            script: Script::default(),
            secrets: self.secrets,
            running: RefCell::new(None),
        };
        let host = TestHost(Rc::new(inner), None);
        host.boot()?;
        Ok(host)
    }

    fn built(&self) -> anyhow::Result<Built> {
        let source = match &self.source {
            Some(source) => source.clone(),
            None => Source::current()?,
        };
        let mut built = source.built()?;
        if let Some(text) = &self.manifest {
            let parsed = Manifest::parse(text, Some("test"));
            built.app.manifest = parsed.map_err(|mistakes| {
                let mistakes: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
                anyhow::anyhow!("the manifest of the test: {}", mistakes.join("; "))
            })?;
        }
        built.app.manifest.vars.extend(self.vars.iter().cloned());
        Ok(built)
    }

    fn beside(&self, name: &str) -> anyhow::Result<Beside> {
        let Built { mut app, code } = self.built().with_context(|| format!("the app {name:?}"))?;
        name.clone_into(&mut app.manifest.name);
        let secrets = self.secrets.iter().cloned();
        Ok(Beside {
            app,
            code: Some(code),
            routes: self.routes.clone().checked().map_err(anyhow::Error::msg)?,
            secrets: secrets.map(|(name, text)| (name, text.into())).collect(),
        })
    }
}

impl TestHost {
    /// To say which app, with which seed and vars.
    pub fn builder() -> Builder {
        Builder {
            source: None,
            manifest: None,
            seed: 0,
            shuffles: false,
            vars: Vec::new(),
            secrets: Vec::new(),
            routes: Routes::default(),
            apps: Vec::new(),
        }
    }

    /// The app of the crate whose tests run.
    ///
    /// # Panics
    /// As [`Builder::start`].
    #[must_use]
    #[track_caller]
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// The same host, seen from another of its apps: `object`, `objects` and `client` mean
    /// that one's. Time, crashes and logs are those of the whole host.
    ///
    /// # Panics
    /// When the host has no such app.
    #[must_use]
    #[track_caller]
    pub fn app(&self, name: &str) -> Self {
        if let Err(error) = self.host().apps().find(name) {
            panic!("{error}");
        }
        Self(self.0.clone(), Some(name.into()))
    }

    /// An object by class and name. Touches nothing yet.
    #[must_use]
    pub fn object(&self, class: &str, name: &str) -> Object {
        Object::new(self.clone(), class, name)
    }

    /// Moves the clock and lets everything happen that is due on the way, each at
    /// its own time.
    pub fn advance(&self, by: Duration) {
        let machine = self.machine();
        let quiet = machine.quiet();
        {
            let _logs = self.0.logs.listen();
            let has_ended = || self.0.disk.has_ended();
            machine.run(quiet.advance(&self.0.clock, by, has_ended));
        }
        self.stop_if_crashed();
    }

    /// The time that host and guests see.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + self.0.clock.unix()
    }

    /// Lets everything happen that can happen now: events, commits, sleeps, alarms.
    pub fn settle(&self) {
        let machine = self.machine();
        let _logs = self.0.logs.listen();
        machine.settle();
        self.stop_if_crashed();
    }

    /// Moves the clock to the next alarm of any object, and lets it run. Its time, or
    /// `None` if no alarm is set.
    pub fn run_next_alarm(&self) -> Option<SystemTime> {
        self.settle();
        let next = self.next_alarm()?;
        if let Ok(wait) = next.duration_since(self.now()) {
            self.advance(wait);
        }
        Some(next)
    }

    /// When the next alarm of any object runs.
    #[must_use]
    pub fn next_alarm(&self) -> Option<SystemTime> {
        self.settle();
        let apps = self.handles().into_iter();
        let ms = apps.filter_map(|app| app.next_alarm_ms()).min()?;
        Some(SystemTime::UNIX_EPOCH + Duration::from_millis(ms.try_into().unwrap_or_default()))
    }

    /// Everything that was logged so far, oldest first; also before a crash.
    #[must_use]
    pub fn logs(&self) -> Vec<Record> {
        self.0.logs.all()
    }

    /// Puts every object to sleep that has nothing to do, as lack of room would.
    pub fn evict_all(&self) {
        self.settle();
        self.handles().iter().for_each(Handle::evict_all);
        self.settle();
    }

    /// How many objects have an instance at the moment.
    #[must_use]
    pub fn awake(&self) -> usize {
        self.settle();
        self.handles().iter().map(Handle::awake).sum()
    }

    /// The process dies at this moment (`kill -9`), and starts again on what the
    /// disk has. Connections are gone; what was acknowledged is there.
    pub fn crash(&self) {
        self.stop(Crash::Kill);
    }

    /// The machine loses its power at this moment, and what the disk had not
    /// synced, wholly or in part; then everything starts again.
    pub fn cut_power(&self) {
        self.stop(Crash::CutSome);
    }

    /// Ends the host in order, and starts it again.
    pub fn restart(&self) {
        let running = self.0.running.borrow_mut().take();
        if let Some(Running { host, machine }) = running {
            let _logs = self.0.logs.listen();
            match Rc::try_unwrap(host) {
                Ok(host) => {
                    let ended = machine.run(host.shutdown(Duration::from_secs(10)));
                    ended.expect("the host ends in order");
                }
                Err(_) => panic!("a host in use cannot be restarted"),
            }
        }
        self.boot().expect("the host starts again");
    }

    /// Lets the host crash at a moment to come: see [`CrashAt`].
    pub fn crash_at(&self, at: CrashAt) {
        at.arm(&self.0.disk);
    }

    /// Gives the disk so much room beyond what it holds; `None`: enough.
    pub fn limit_disk(&self, bytes: Option<usize>) {
        let capacity = bytes.map_or(usize::MAX, |bytes| self.0.disk.used() + bytes);
        self.0.disk.set_capacity(capacity);
    }

    pub(crate) fn disk(&self) -> &SimDisk {
        &self.0.disk
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    pub(crate) fn outside(&self) -> &Script {
        &self.0.script
    }

    pub(crate) fn wakes(&self, class: &str, object: &str) -> usize {
        self.0.logs.wakes(self.handle().name(), class, object)
    }

    /// The app that is meant.
    pub(crate) fn handle(&self) -> Handle {
        let host = self.host();
        match &self.1 {
            None => host.handle(),
            Some(name) => host.apps().find(name).expect("it was found before"),
        }
    }

    /// All apps.
    fn handles(&self) -> Vec<Handle> {
        let apps = self.host().apps().list().into_iter();
        apps.filter_map(|app| app.handle).collect()
    }

    pub(crate) fn host(&self) -> Rc<Host> {
        let running = self.0.running.borrow();
        running.as_ref().expect("the host runs").host.clone()
    }

    pub(crate) fn machine(&self) -> Rc<Machine> {
        let running = self.0.running.borrow();
        running.as_ref().expect("the host runs").machine.clone()
    }

    pub(crate) fn address(&self, class: &str, name: &str) -> Address {
        match self.handle().object(class, name) {
            Ok(address) => address,
            Err(error) => panic!("{error}; it serves {:?}", self.handle().classes()),
        }
    }

    /// Runs a part of the test that must come to an end without the clock.
    #[track_caller]
    pub(crate) fn run<T>(&self, what: &str, future: impl Future<Output = T>) -> T {
        let machine = self.machine();
        let done = {
            let _logs = self.0.logs.listen();
            machine.run_or_stick(future)
        };
        self.stop_if_crashed();
        match done {
            Ok(done) => done,
            Err(Stuck) => panic!("{what} does not come to an end: {}", self.why_stuck()),
        }
    }

    fn why_stuck(&self) -> String {
        match self.next_deadline() {
            Some(next) => format!(
                "the next that is going to happen is in {:?}; begin with `start_…`, move the \
                 clock with `advance`, then `wait` for it",
                next.saturating_sub(self.0.clock.now())
            ),
            None => "nothing is going to happen, however long the test waits".to_owned(),
        }
    }

    fn next_deadline(&self) -> Option<Duration> {
        self.0.clock.deadlines().first().copied()
    }

    fn boot(&self) -> anyhow::Result<()> {
        let machine = Machine::new();
        let env = Env {
            disk: Arc::new(self.0.disk.clone()),
            clock: Arc::new(StorageClock(self.0.clock.clone())),
            threads: false,
            faults: Faults::default(),
        };
        let Built { app, code } = self.0.built.clone();
        let mut host = Host::builder(app)
            .engine(engine().clone())
            .code(code)
            .clock(self.0.clock.clone())
            .script(self.0.script.clone())
            .data("a disk in memory")
            .disk(env);
        for (name, text) in &self.0.secrets {
            host = host.secret(name, text);
        }
        for beside in &self.0.beside {
            host = host.beside(beside.clone());
        }
        let _logs = self.0.logs.listen();
        let host = machine.run(host.start()).context("the host")?;
        for app in host.apps().list().into_iter().filter_map(|app| app.handle) {
            machine.serve(app.storage().clone());
        }
        let running = Running {
            host: Rc::new(host),
            machine: Rc::new(machine),
        };
        *self.0.running.borrow_mut() = Some(running);
        Ok(())
    }

    fn stop(&self, how: Crash) {
        let _logs = self.0.logs.listen();
        drop(self.0.running.borrow_mut().take());
        self.0.disk.crash(how);
        self.boot().expect("the host starts again after a crash");
    }

    /// The test goes no further when the machine that it talks to is off.
    fn stop_if_crashed(&self) {
        if self.0.disk.has_ended() {
            std::panic::resume_unwind(Box::new(Crashed));
        }
    }

    /// What a crash that was asked for left, started again.
    pub(crate) fn recover(&self, how: Crash) {
        self.stop(how);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.disk.has_ended() {
            let running = self.running.borrow_mut().take();
            let mut names = BTreeMap::new();
            if let Some(running) = &running {
                let apps = running.host.apps().list().into_iter();
                for app in apps.filter_map(|app| app.handle) {
                    let storage = app.storage();
                    // What is in memory only goes to the files that are kept.
                    let _ = storage.checkpoint();
                    let classes = app.classes().into_iter();
                    let objects = classes.filter_map(|class| storage.list(&class).ok());
                    let hex = |id: [u8; 32]| id.iter().map(|byte| format!("{byte:02x}")).collect();
                    names.extend(
                        objects
                            .flatten()
                            .filter_map(|one| Some((hex(one.id), one.name?))),
                    );
                }
            }
            let failed = Failed {
                disk: &self.disk,
                logs: &self.logs,
                component: &self.built.app.component,
                names,
            };
            failed.keep();
        }
        let _logs = self.logs.listen();
        drop(self.running.borrow_mut().take());
    }
}

impl fmt::Debug for TestHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.1 {
            None => write!(f, "TestHost({})", self.0.built.app.manifest.name),
            Some(app) => write!(f, "TestHost({app})"),
        }
    }
}

#[derive(Debug)]
struct StorageClock(Clock);

impl dormouse_storage::Clock for StorageClock {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.0.unix_ms()).unwrap_or_default()
    }
}
