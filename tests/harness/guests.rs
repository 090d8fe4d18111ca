//! The guests, built once per run with plain cargo.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const TARGET: &str = "wasm32-wasip2";

pub(crate) fn bank() -> PathBuf {
    built().join("bank.wasm")
}

pub(crate) fn counter() -> PathBuf {
    built().join("counter.wasm")
}

pub(crate) fn chat() -> PathBuf {
    built().join("chat.wasm")
}

pub(crate) fn feed() -> PathBuf {
    built().join("feed.wasm")
}

pub(crate) fn probe() -> PathBuf {
    built().join("probe.wasm")
}

pub(crate) fn front() -> PathBuf {
    built().join("front.wasm")
}

pub(crate) fn lobby() -> PathBuf {
    built().join("lobby.wasm")
}

/// Workers that were not written for this host.
pub(crate) fn wstd_worker() -> PathBuf {
    built().join("wstd-worker.wasm")
}

pub(crate) fn wasip3_worker() -> PathBuf {
    built().join("wasip3_worker.wasm")
}

pub(crate) fn reminder() -> PathBuf {
    built().join("reminder.wasm")
}

pub(crate) fn tinybase() -> PathBuf {
    built().join("tinybase.wasm")
}

/// That of a guest by the name of its package.
pub(crate) fn component(name: &str) -> PathBuf {
    built().join(format!("{}.wasm", name.replace('-', "_")))
}

/// The repository's root.
pub(crate) fn root() -> &'static Path {
    let host = Path::new(env!("CARGO_MANIFEST_DIR"));
    host.parent().expect("the host is a folder of the root")
}

fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let guests = root().join("guests");
        add_target_if_missing(&guests);
        let target = guests.join("target");
        let build = ["build", "--release", "--target", TARGET, "--target-dir"];
        let mut cargo = Command::new(env!("CARGO"));
        done(cargo.args(build).arg(&target).current_dir(&guests));
        target.join(TARGET).join("release")
    })
}

fn add_target_if_missing(folder: &Path) {
    let ask = ["--print", "target-libdir", "--target", TARGET];
    let answer = Command::new("rustc").args(ask).current_dir(folder).output();
    let library = answer.expect("rustc is beside cargo").stdout;
    let library = String::from_utf8(library).expect("a path in UTF-8");
    if !Path::new(library.trim()).is_dir() {
        let mut rustup = Command::new("rustup");
        done(rustup.args(["target", "add", TARGET]).current_dir(folder));
    }
}

fn done(command: &mut Command) {
    let status = command.status().expect("the command is installed");
    assert!(status.success(), "{command:?}: {status}");
}
