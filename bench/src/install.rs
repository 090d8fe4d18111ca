//! Brings what a run needs: the host, the guest, workerd, wrk. Nothing by hand.
//!
//! All of it lands under `target/bench`; what is there and new enough is kept.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail, ensure};

use crate::peer::Peer;

/// Pinned, so that two runs compare the same thing.
const WORKERD: &str = "workerd@1.20261117.1";
const WRK_PACKAGES: [&str; 2] = ["wrk", "libluajit-5.1-2"];

pub(crate) fn root() -> &'static Path {
    let bench = Path::new(env!("CARGO_MANIFEST_DIR"));
    bench.parent().expect("bench is a folder of the root")
}

/// Everything the benchmark leaves behind.
pub(crate) fn folder() -> PathBuf {
    root().join("target/bench")
}

pub(crate) fn host_binary() -> PathBuf {
    root().join("target/release/dormouse")
}

pub(crate) fn component(guest: &str) -> PathBuf {
    let built = root().join("guests/target/wasm32-wasip2/release");
    built.join(guest).with_extension("wasm")
}

/// An app of the contract's objects with a worker in front of them.
pub(crate) fn fronted_app() -> Result<PathBuf> {
    let app = folder().join("fronted");
    std::fs::create_dir_all(&app)?;
    let (objects, worker) = (component("bench"), component("bench_worker"));
    let manifest =
        format!("name = \"bench\"\nbuild.component = {objects:?}\nworker.component = {worker:?}\n");
    std::fs::write(app.join("dormouse.toml"), manifest)?;
    Ok(app)
}

/// The folder of the TinyBase clients, with the packages that its lock file names.
pub(crate) fn tinybase_clients() -> Result<PathBuf> {
    let folder = root().join("bench/tinybase");
    let installed = changed(&folder.join("node_modules/.package-lock.json"));
    if installed < changed(&folder.join("package-lock.json")) {
        let mut npm = Command::new("npm");
        run(npm
            .args(["install", "--no-audit", "--no-fund"])
            .current_dir(&folder))
        .context("the TinyBase clients come from npm; install Node.js")?;
    }
    Ok(folder)
}

fn changed(file: &Path) -> Option<SystemTime> {
    std::fs::metadata(file).ok()?.modified().ok()
}

pub(crate) fn workerd_binary() -> PathBuf {
    folder().join("npm/node_modules/.bin/workerd")
}

/// `build`: whether the host and the guest may be older than their sources.
pub(crate) fn prepare(peers: &[Peer], build: bool) -> Result<()> {
    std::fs::create_dir_all(folder())?;
    if build {
        build_host_and_guest(peers)?;
    }
    if peers.iter().any(Peer::needs_workerd) {
        install_workerd()?;
    }
    wrk().map(drop)
}

fn build_host_and_guest(peers: &[Peer]) -> Result<()> {
    if peers.iter().any(Peer::needs_host) {
        cargo(root(), &["build", "--release", "-p", "dormouse"])?;
    }
    let guests = root().join("guests");
    let build = [
        "build",
        "--release",
        "--target",
        "wasm32-wasip2",
        "-p",
        "bench",
        "-p",
        "bench-worker",
        "-p",
        "tinybase",
    ];
    cargo(&guests, &build)
}

fn cargo(folder: &Path, arguments: &[&str]) -> Result<()> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // The variables of this build would have the other one begin from scratch.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CARGO_PKG_")) {
        cargo.env_remove(name);
    }
    run(cargo.args(arguments).current_dir(folder))
}

fn install_workerd() -> Result<()> {
    let npm = folder().join("npm");
    let stamp = npm.join("installed");
    if std::fs::read_to_string(&stamp).is_ok_and(|version| version == WORKERD) {
        return Ok(());
    }
    std::fs::create_dir_all(&npm)?;
    let mut command = Command::new("npm");
    command.args([
        "install",
        "--no-audit",
        "--no-fund",
        "--prefix",
        ".",
        WORKERD,
    ]);
    run(command.current_dir(&npm)).context(
        "workerd comes from npm; install Node.js, or leave it out with `--peer dormouse`",
    )?;
    std::fs::write(stamp, WORKERD)?;
    Ok(())
}

/// The load generator: the system's, or Debian's packages unpacked beside us.
pub(crate) fn wrk() -> Result<Command> {
    if Command::new("wrk").arg("--version").output().is_ok() {
        return Ok(Command::new("wrk"));
    }
    let unpacked = folder().join("wrk");
    let binary = unpacked.join("usr/bin/wrk");
    if !binary.exists() {
        unpack_wrk(&unpacked).context("no `wrk` here; install it, with `apt-get install wrk`")?;
    }
    let mut command = Command::new(binary);
    let library = format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    command.env("LD_LIBRARY_PATH", unpacked.join(library));
    Ok(command)
}

fn unpack_wrk(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut fetch = Command::new("apt-get");
    run(fetch.arg("download").args(WRK_PACKAGES).current_dir(folder))?;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "deb") {
            run(Command::new("dpkg-deb").arg("-x").arg(path).arg(folder))?;
        }
    }
    ensure!(
        folder.join("usr/bin/wrk").exists(),
        "the package has no wrk"
    );
    Ok(())
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status();
    let status = status.with_context(|| format!("cannot run {command:?}"))?;
    if !status.success() {
        bail!("{command:?}: {status}");
    }
    Ok(())
}
