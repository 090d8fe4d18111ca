//! Report: what a component is, without making an object of it.
//!
//! `dormouse inspect` prints it; `code` uses the same findings to refuse a
//! component by name and version of what is missing.

use std::fmt;
use std::path::Path;

use serde::Serialize;
use wasmtime::component::Component;

use super::code::{self, Class, Code, LoadError};
use super::engine::Engine;
use super::worker::WorkerKind;

/// Packages of which this host offers all interfaces.
pub(super) const OFFERED: &[&str] = &[
    "dormouse:object@0.1",
    "wasi:cli@0.2, @0.3",
    "wasi:clocks@0.2, @0.3",
    "wasi:filesystem@0.2, @0.3",
    "wasi:http@0.2, @0.3",
    "wasi:io@0.2",
    "wasi:random@0.2, @0.3",
    "wasi:sockets@0.2, @0.3",
];

/// Interfaces offered, by package: what an import must name.
const KNOWN: &[(&str, &[&str], &[&str])] = &[
    (
        "dormouse:object",
        &["0.1"],
        &[
            "types",
            "sql",
            "kv",
            "storage",
            "bookmark",
            "schema",
            "gate",
            "transaction",
            "log",
            "alarm",
            "websocket",
            "namespace",
            "outgoing",
            "secrets",
        ],
    ),
    (
        "wasi:cli",
        &["0.2", "0.3"],
        &[
            "environment",
            "exit",
            "stdin",
            "stdout",
            "stderr",
            "types",
            "terminal-input",
            "terminal-output",
            "terminal-stdin",
            "terminal-stdout",
            "terminal-stderr",
        ],
    ),
    (
        "wasi:clocks",
        &["0.2", "0.3"],
        &["monotonic-clock", "wall-clock", "system-clock", "types"],
    ),
    ("wasi:filesystem", &["0.2", "0.3"], &["types", "preopens"]),
    (
        "wasi:http",
        &["0.2", "0.3"],
        &["types", "outgoing-handler", "client"],
    ),
    ("wasi:io", &["0.2"], &["error", "poll", "streams"]),
    (
        "wasi:random",
        &["0.2", "0.3"],
        &["random", "insecure", "insecure-seed"],
    ),
    (
        "wasi:sockets",
        &["0.2", "0.3"],
        &[
            "types",
            "ip-name-lookup",
            "network",
            "instance-network",
            "tcp",
            "tcp-create-socket",
            "udp",
            "udp-create-socket",
        ],
    ),
];

/// What a component may export: interface, and the track of its version.
const USED_EXPORTS: &[(&str, &str)] = &[
    ("dormouse:object/object", "0.1"),
    ("dormouse:object/alarm-handler", "0.1"),
    ("dormouse:object/call-handler", "0.1"),
    ("dormouse:object/requirements", "0.1"),
    ("dormouse:object/websocket-handler", "0.1"),
    ("dormouse:object/worker", "0.1"),
    ("wasi:http/handler", "0.3"),
    ("wasi:http/incoming-handler", "0.2"),
];

/// One of these a component must export.
const MAIN_EXPORTS: &[&str] = &[
    "dormouse:object/object",
    "dormouse:object/worker",
    "wasi:http/handler",
    "wasi:http/incoming-handler",
];

pub(super) fn is_main(export: &str) -> bool {
    MAIN_EXPORTS.contains(&export)
}

/// With their versions, for messages.
pub(super) fn main_exports() -> Vec<String> {
    let used = USED_EXPORTS.iter().filter(|(name, _)| is_main(name));
    used.map(|(name, track)| format!("`{name}@{track}`"))
        .collect()
}

/// What `inspect` found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// SHA-256 of the file, in hexadecimal digits.
    pub digest: String,
    pub bytes: u64,
    pub classes: Vec<Class>,
    /// The worker it holds.
    pub worker: Option<WorkerKind>,
    pub imports: Vec<Interface>,
    pub exports: Vec<Interface>,
    /// Version of `dormouse:object` that the component was built against.
    pub contract: Option<String>,
    /// Why this host would not serve it; absent if it would.
    pub refused: Option<String>,
}

/// An imported or exported interface; `known` if this host offers or uses it.
#[derive(Clone, Debug, Serialize)]
pub struct Interface {
    pub name: String,
    pub version: Option<String>,
    pub known: bool,
}

pub(super) struct Interfaces {
    pub(super) imports: Vec<Interface>,
    pub(super) exports: Vec<Interface>,
}

pub(super) enum Kind {
    Component,
    Other(&'static str),
}

/// Compiles a component as the host would and tells what it found, also when the
/// host would refuse it.
pub async fn inspect(engine: &Engine, path: &Path) -> Result<Report, LoadError> {
    let read = |source| LoadError::Read {
        path: path.to_owned(),
        source,
    };
    let wasm = tokio::fs::read(path).await.map_err(read)?;
    let bytes = wasm.len() as u64;
    let digest = code::digest(&wasm);
    let component = code::compile(engine, wasm, &digest, None).await?;
    let Interfaces { imports, exports } = interfaces(&engine.wasmtime, &component);
    let contract = exports
        .iter()
        .find(|export| export.known && export.name.starts_with("dormouse:"))
        .and_then(|export| export.version.clone());
    let loaded = Code::from_component(engine, &component, digest.clone()).await;
    Ok(Report {
        digest,
        bytes,
        classes: loaded
            .as_ref()
            .map_or(Vec::new(), |code| code.classes().to_vec()),
        worker: loaded.as_ref().ok().and_then(Code::worker),
        imports,
        exports,
        contract,
        refused: loaded.err().map(|error| error.to_string()),
    })
}

/// Tells by the first bytes what a file is.
pub(super) fn kind(wasm: &[u8]) -> Kind {
    match wasm {
        [] => Kind::Other("the file is empty"),
        [0, b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => Kind::Component,
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => {
            Kind::Other("it is a core module (built for wasm32-unknown-unknown or wasm32-wasip1?)")
        }
        [0, b'a', b's', b'm', ..] => Kind::Other("it is WebAssembly of an unknown version"),
        _ => Kind::Other("it does not begin like WebAssembly"),
    }
}

pub(super) fn interfaces(engine: &wasmtime::Engine, component: &Component) -> Interfaces {
    let world = component.component_type();
    let imports = world.imports(engine).map(|(name, _)| import(name));
    let exports = world.exports(engine).map(|(name, _)| export(name));
    Interfaces {
        imports: imports.collect(),
        exports: exports.collect(),
    }
}

fn import(full: &str) -> Interface {
    let (name, version) = split(full);
    let known = name.split_once('/').is_some_and(|(package, interface)| {
        KNOWN.iter().any(|(known, versions, interfaces)| {
            *known == package
                && interfaces.contains(&interface)
                && version.is_some_and(|version| on_track(version, versions))
        })
    });
    Interface::new(name, version, known)
}

fn export(full: &str) -> Interface {
    let (name, version) = split(full);
    let known = USED_EXPORTS.iter().any(|(used, track)| {
        *used == name && version.is_some_and(|version| on_track(version, &[*track]))
    });
    Interface::new(name, version, known)
}

fn split(full: &str) -> (&str, Option<&str>) {
    match full.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (full, None),
    }
}

/// Whether `0.2.6` is on one of the tracks `0.2`, `0.3`.
fn on_track(version: &str, tracks: &[&str]) -> bool {
    let track = version.rsplit_once('.').map_or(version, |(track, _)| track);
    tracks.contains(&track)
}

impl Interface {
    fn new(name: &str, version: Option<&str>, known: bool) -> Self {
        Self {
            name: name.to_owned(),
            version: version.map(str::to_owned),
            known,
        }
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match &self.version {
            Some(version) => write!(f, "@{version}"),
            None => Ok(()),
        }
    }
}
