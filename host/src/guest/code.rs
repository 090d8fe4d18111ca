//! Code: one loaded component, checked against the contract.
//!
//! Made by `host`, shared by all instances of its classes and its worker. Loading
//! refuses what could only fail later: not a component, a missing or unknown
//! interface, neither class nor worker, a class name that no path could carry.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dormouse_storage::Database;
use sha2::{Digest, Sha256};
use wasmtime::component::{Component, InstancePre};

use super::bindings::alarm::exports::dormouse::object::alarm_handler::GuestIndices as AlarmIndices;
use super::bindings::call::exports::dormouse::object::call_handler::GuestIndices as CallIndices;
use super::bindings::exports::dormouse::object::object as exports;
use super::bindings::requirements::exports::dormouse::object::requirements as needs;
use super::bindings::websocket::exports::dormouse::object::websocket_handler::GuestIndices as SocketIndices;
use super::cache::Cache;
use super::context::{Context, Identity, Who};
use super::engine::Engine;
use super::environment::Environment;
use super::instance::{Handlers, Instance, ObjectHandlers, WakeError, new_store};
use super::limits::Limits;
use super::report::{self, Kind};
use super::worker::{Worker, WorkerKind};
use crate::clock::Clock;
use crate::socket::Hub;
use exports::{GuestIndices, Handlers as Flags};

const MAX_CLASS_NAME_BYTES: usize = 64;
/// The first eight bytes of every component, and all of one with nothing in it.
const EMPTY_COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
/// Who exports it means to hold classes.
const OBJECT_INTERFACE: &str = "dormouse:object/object@0.1.0";

/// A class that a component serves.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Class {
    pub name: Arc<str>,
    /// Has a handler for alarms.
    pub alarm: bool,
    /// Has handlers for WebSockets.
    pub websocket: bool,
    /// Has methods that can be called.
    pub call: bool,
}

/// What a component says it needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    Namespace {
        binding: String,
        /// The class that it must lead to, if the code cares.
        class: Option<String>,
    },
    Variable(String),
    Secret(String),
    /// A key-value store of the app.
    Kv(String),
    /// An SQL database of the app.
    Database(String),
}

/// A component ready to be instantiated. Cheap to clone behind an `Arc`.
pub struct Code {
    pre: InstancePre<Context>,
    /// Absent in a component that holds a worker alone.
    indices: Option<GuestIndices>,
    worker: Option<Worker>,
    alarm: Option<AlarmIndices>,
    call: Option<CallIndices>,
    websocket: Option<SocketIndices>,
    classes: Vec<Class>,
    needs: Vec<Need>,
    digest: String,
}

/// Why a component was refused. Nothing of it runs.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(
        "this is not a WebAssembly component: {found}; build the guest with \
         `cargo build --release --target wasm32-wasip2`"
    )]
    NotAComponent { found: &'static str },
    #[error("the component does not compile: {0}")]
    Invalid(String),
    #[error(
        "the component imports what this host does not offer: {}; \
         this host offers {offered}",
        missing.join(", ")
    )]
    MissingImports {
        missing: Vec<String>,
        offered: String,
    },
    #[error(
        "the component exports neither object classes nor a worker: it needs one of {} and \
         exports {}; write `#[durable_object]` on an `impl DurableObject` or `#[worker]` on \
         a function and build again",
        wanted.join(", "),
        if exports.is_empty() { "nothing".to_owned() } else { exports.join(", ") }
    )]
    WrongWorld {
        wanted: Vec<String>,
        exports: Vec<String>,
    },
    #[error("the component does not fit the contract: {0}")]
    Mismatch(String),
    #[error("asking the component for its classes failed: {0}")]
    Classes(String),
    #[error(
        "class name `{name}` cannot be used: a letter, then letters, digits or `_`, \
         {MAX_CLASS_NAME_BYTES} at most, and no name twice"
    )]
    ClassName { name: String },
}

impl Code {
    /// Reads, compiles and checks a component. Compiled code is kept in `cache`.
    pub async fn load(
        engine: &Engine,
        path: &Path,
        cache: Option<&Path>,
    ) -> Result<Self, LoadError> {
        let wasm = tokio::fs::read(path)
            .await
            .map_err(|source| LoadError::Read {
                path: path.to_owned(),
                source,
            })?;
        Self::from_bytes(engine, wasm, cache).await
    }

    pub async fn from_bytes(
        engine: &Engine,
        wasm: Vec<u8>,
        cache: Option<&Path>,
    ) -> Result<Self, LoadError> {
        let digest = digest(&wasm);
        let component = compile(engine, wasm, &digest, cache).await?;
        Self::from_component(engine, &component, digest).await
    }

    pub(super) async fn from_component(
        engine: &Engine,
        component: &Component,
        digest: String,
    ) -> Result<Self, LoadError> {
        let pre = check(engine, component)?;
        let exports_objects = component.get_export_index(None, OBJECT_INTERFACE).is_some();
        let indices = match GuestIndices::new(&pre) {
            Err(error) if exports_objects => {
                return Err(LoadError::Mismatch(format!("{error:#}")));
            }
            indices => indices.ok(),
        };
        let mut code = Self {
            // An error means that the component has no such handler.
            alarm: AlarmIndices::new(&pre).ok(),
            call: CallIndices::new(&pre).ok(),
            websocket: SocketIndices::new(&pre).ok(),
            indices,
            worker: Worker::of(&pre),
            pre,
            classes: Vec::new(),
            needs: Vec::new(),
            digest,
        };
        (code.classes, code.needs) = code.ask().await?;
        Ok(code)
    }

    /// Code without classes and without a worker, for an app that has none yet. Its
    /// digest is empty.
    pub fn nothing(engine: &Engine) -> wasmtime::Result<Self> {
        let component = Component::new(&engine.wasmtime, EMPTY_COMPONENT)?;
        Ok(Self {
            pre: engine.linker.instantiate_pre(&component)?,
            indices: None,
            worker: None,
            alarm: None,
            call: None,
            websocket: None,
            classes: Vec::new(),
            needs: Vec::new(),
            digest: String::new(),
        })
    }

    #[must_use]
    pub fn classes(&self) -> &[Class] {
        &self.classes
    }

    /// The worker that the component exports, if any.
    #[must_use]
    pub fn worker(&self) -> Option<WorkerKind> {
        self.worker.as_ref().map(Worker::kind)
    }

    /// What it says it needs; empty for one that says nothing.
    #[must_use]
    pub fn needs(&self) -> &[Need] {
        &self.needs
    }

    /// SHA-256 of the component, in hexadecimal digits.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Makes an instance for one object. Runs no guest code yet.
    pub async fn instantiate(
        &self,
        identity: Identity,
        database: Database,
        environment: &Arc<Environment>,
        limits: &Limits,
        clock: &Clock,
        hub: Arc<Hub>,
    ) -> Result<Instance, WakeError> {
        let class = self
            .classes
            .iter()
            .find(|class| class.name == identity.class);
        let handles_alarms = class.is_some_and(|class| class.alarm);
        let clock = clock.clone();
        let who = Who::Object(identity);
        let mut context = Context::new(who, Some(database), environment, limits, clock, hub);
        context.handles_alarms = handles_alarms;
        let mut store = new_store(self.pre.engine(), context);
        let instance = self.pre.instantiate_async(&mut store).await?;
        let indices = self.indices.as_ref();
        let object = indices.ok_or_else(|| wasmtime::format_err!("it has no classes"))?;
        let handlers = Handlers::Object(ObjectHandlers {
            object: object.load(&mut store, &instance)?,
            alarm: match &self.alarm {
                Some(indices) if handles_alarms => Some(indices.load(&mut store, &instance)?),
                _ => None,
            },
            call: match &self.call {
                Some(indices) if class.is_some_and(|class| class.call) => {
                    Some(indices.load(&mut store, &instance)?)
                }
                _ => None,
            },
            websocket: match &self.websocket {
                Some(indices) => Some(indices.load(&mut store, &instance)?),
                None => None,
            },
        });
        Ok(Instance::new(store, handlers, *limits))
    }

    /// Makes an instance of the worker. Runs no guest code yet.
    pub async fn instantiate_worker(
        &self,
        environment: &Arc<Environment>,
        limits: &Limits,
        clock: &Clock,
    ) -> Result<Instance, WakeError> {
        let worker = self.worker.as_ref();
        let worker = worker.ok_or_else(|| wasmtime::format_err!("it has no worker"))?;
        let context = Context::new(
            Who::Worker(environment.app.clone()),
            None,
            environment,
            limits,
            clock.clone(),
            Arc::default(),
        );
        let mut store = new_store(self.pre.engine(), context);
        let instance = self.pre.instantiate_async(&mut store).await?;
        let handlers = worker.load(&mut store, &instance)?;
        Ok(Instance::new(store, handlers, *limits))
    }

    /// Its classes and its needs.
    async fn ask(&self) -> Result<(Vec<Class>, Vec<Need>), LoadError> {
        let needs = needs::GuestIndices::new(&self.pre);
        if self.indices.is_none() && needs.is_err() {
            return Ok((Vec::new(), Vec::new()));
        }
        let failed = |error: wasmtime::Error| LoadError::Classes(format!("{error:#}"));
        let limits = Limits::default();
        let context = Context::new(
            Who::Worker(Arc::default()),
            None,
            &Arc::default(),
            &limits,
            Clock::system(),
            Arc::default(),
        );
        let mut store = new_store(self.pre.engine(), context);
        let instance = self
            .pre
            .instantiate_async(&mut store)
            .await
            .map_err(failed)?;
        let classes = match &self.indices {
            Some(indices) => {
                let guest = indices.load(&mut store, &instance).map_err(failed)?;
                guest.call_classes(&mut store).await.map_err(failed)?
            }
            // A worker alone.
            None => Vec::new(),
        };
        let handlers = ExportedHandlers {
            alarm: self.alarm.is_some(),
            call: self.call.is_some(),
            websocket: self.websocket.is_some(),
        };
        if self.indices.is_some() && classes.is_empty() && self.worker.is_none() {
            return Err(LoadError::Classes(
                "it has none, and the component has no worker".to_owned(),
            ));
        }
        let needs = match needs {
            Ok(indices) => {
                let guest = indices.load(&mut store, &instance).map_err(failed)?;
                guest.call_needs(&mut store).await.map_err(failed)?
            }
            // It says nothing.
            Err(_) => Vec::new(),
        };
        let mut needs: Vec<_> = needs.into_iter().map(Need::from).collect();
        needs.sort();
        Ok((checked(classes, &handlers)?, needs))
    }
}

impl From<needs::Need> for Need {
    fn from(need: needs::Need) -> Self {
        match need {
            needs::Need::Namespace(needs::NamespaceNeed { binding, class }) => {
                Self::Namespace { binding, class }
            }
            needs::Need::Variable(name) => Self::Variable(name),
            needs::Need::Secret(name) => Self::Secret(name),
            needs::Need::Kv(name) => Self::Kv(name),
            needs::Need::Database(name) => Self::Database(name),
        }
    }
}

impl std::fmt::Debug for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (digest, classes, worker) = (&self.digest, &self.classes, self.worker());
        write!(f, "Code({digest}, {classes:?}, {worker:?})")
    }
}

pub(super) async fn compile(
    engine: &Engine,
    wasm: Vec<u8>,
    digest: &str,
    cache: Option<&Path>,
) -> Result<Component, LoadError> {
    if let Kind::Other(found) = report::kind(&wasm) {
        return Err(LoadError::NotAComponent { found });
    }
    let cache = cache.map(|dir| Cache::new(dir, &engine.wasmtime));
    if let Some(component) = cache.as_ref().and_then(|c| c.get(&engine.wasmtime, digest)) {
        return Ok(component);
    }
    let compiler = engine.wasmtime.clone();
    let compiled = tokio::task::spawn_blocking(move || Component::from_binary(&compiler, &wasm));
    let component = compiled
        .await
        .map_err(|panic| LoadError::Invalid(format!("the compiler gave up: {panic}")))?
        .map_err(|error| LoadError::Invalid(format!("{error:#}")))?;
    if let Some(cache) = cache {
        cache.put(digest, &component);
    }
    Ok(component)
}

fn check(engine: &Engine, component: &Component) -> Result<InstancePre<Context>, LoadError> {
    let interfaces = report::interfaces(&engine.wasmtime, component);
    let missing: Vec<_> = interfaces
        .imports
        .iter()
        .filter(|import| !import.known)
        .map(|import| format!("`{import}`"))
        .collect();
    if !missing.is_empty() {
        return Err(LoadError::MissingImports {
            missing,
            offered: report::OFFERED.join(", "),
        });
    }
    let mut exports = interfaces.exports.iter();
    if !exports.any(|export| export.known && report::is_main(&export.name)) {
        return Err(LoadError::WrongWorld {
            wanted: report::main_exports(),
            exports: interfaces
                .exports
                .iter()
                .map(|e| format!("`{e}`"))
                .collect(),
        });
    }
    let mismatch = |error: wasmtime::Error| LoadError::Mismatch(format!("{error:#}"));
    engine.linker.instantiate_pre(component).map_err(mismatch)
}

/// The optional interfaces that a component exports.
struct ExportedHandlers {
    alarm: bool,
    call: bool,
    websocket: bool,
}

fn checked(
    exported: Vec<exports::Class>,
    exported_handlers: &ExportedHandlers,
) -> Result<Vec<Class>, LoadError> {
    let mut classes: Vec<Class> = Vec::with_capacity(exported.len());
    for class in exported {
        if !is_class_name(&class.name) || classes.iter().any(|other| *other.name == class.name) {
            return Err(LoadError::ClassName { name: class.name });
        }
        let handles = |flag: Flags, exported: bool, what: &str, interface: &str| {
            let claimed = class.handlers.contains(flag);
            if claimed && !exported {
                return Err(LoadError::Mismatch(format!(
                    "class `{}` says that it takes {what}, but the component does not export \
                     `dormouse:object/{interface}`",
                    class.name
                )));
            }
            Ok(claimed)
        };
        let alarm = handles(
            Flags::ALARM,
            exported_handlers.alarm,
            "alarms",
            "alarm-handler",
        )?;
        let call = handles(Flags::CALL, exported_handlers.call, "calls", "call-handler")?;
        let websocket = exported_handlers.websocket;
        let websocket = handles(
            Flags::WEBSOCKET,
            websocket,
            "WebSockets",
            "websocket-handler",
        )?;
        classes.push(Class {
            name: class.name.into(),
            alarm,
            websocket,
            call,
        });
    }
    Ok(classes)
}

fn is_class_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic())
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
        && name.len() <= MAX_CLASS_NAME_BYTES
}

/// SHA-256 in hexadecimal digits.
pub(super) fn digest(bytes: &[u8]) -> String {
    let sum = Sha256::digest(bytes);
    sum.iter().map(|byte| format!("{byte:02x}")).collect()
}
