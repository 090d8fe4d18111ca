//! Cargo: builds a guest and says where its component is.
//!
//! Speaks to the user's own `cargo`, `rustc` and `rustup`, in the app's folder, so
//! that a `rust-toolchain.toml` there counts. cargo's words and colours reach the
//! terminal as they are: it writes them to stderr, the messages for us to stdout.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail};
use cargo_metadata::{Artifact, Message, Metadata, MetadataCommand, Package, TargetKind};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use super::terminal;

pub(super) const TARGET: &str = "wasm32-wasip2";

const GET_RUST: &str = "install Rust from https://rustup.rs";

/// Runs `cargo build --release` for the component target; cargo has shown any
/// compile error when this fails.
pub(super) async fn build(root: &Path) -> anyhow::Result<Vec<Artifact>> {
    add_target_if_missing(root).await?;
    let mut child = cargo(root)
        .args(["build", "--release", "--target", TARGET])
        .arg("--message-format=json-render-diagnostics")
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run `cargo`; {GET_RUST}"))?;
    let stdout = child.stdout.take().expect("stdout is piped");
    let mut lines = BufReader::new(stdout).lines();
    let mut artifacts = Vec::new();
    while let Some(line) = lines.next_line().await.context("cannot read from cargo")? {
        // What build scripts print comes through here too; it is not for us.
        if let Ok(Message::CompilerArtifact(artifact)) = serde_json::from_str(&line) {
            artifacts.push(artifact);
        }
    }
    let status = child.wait().await.context("cannot wait for cargo")?;
    if !status.success() {
        bail!("cargo could not build the component ({status}); what it says stands above");
    }
    Ok(artifacts)
}

/// The component among what cargo built, for the app whose folder is `root`.
pub(super) fn component(artifacts: &[Artifact], root: &Path) -> anyhow::Result<PathBuf> {
    let manifest = root.join("Cargo.toml");
    let is_ours = |artifact: &&Artifact| {
        artifact
            .manifest_path
            .as_std_path()
            .canonicalize()
            .is_ok_and(|path| path == manifest)
    };
    let own: Vec<&Artifact> = artifacts.iter().filter(is_ours).collect();
    // A workspace root without a package has none of its own: its members count.
    let candidates = if own.is_empty() {
        artifacts.iter().collect()
    } else {
        own
    };
    let files: Vec<&Path> = candidates
        .iter()
        .filter(|artifact| makes_component(&artifact.target.kind))
        .flat_map(|artifact| &artifact.filenames)
        .map(|file| file.as_std_path())
        .filter(|file| {
            file.extension()
                .is_some_and(|extension| extension == "wasm")
        })
        .collect();
    match files.as_slice() {
        [file] => Ok(file.to_path_buf()),
        [] => bail!(
            "cargo built no component from {}; add `crate-type = [\"cdylib\"]` under [lib]",
            terminal::short(&manifest).display()
        ),
        several => bail!(
            "cargo built {} components ({}); name the folder of one package, or write `component = \"...\"` under [build] in dormouse.toml",
            several.len(),
            list_names(several)
        ),
    }
}

/// Where `build` leaves the component, without building.
pub(super) async fn expected_component(root: &Path) -> anyhow::Result<PathBuf> {
    let metadata = metadata(root, MetadataCommand::new().no_deps())
        .await
        .context("cannot ask cargo where the component is; `component = \"...\"` under [build] in dormouse.toml says it without cargo")?;
    let package = own_package(&metadata, root).with_context(|| {
        format!(
            "{} is a workspace; name the folder of one package",
            terminal::short(root).display()
        )
    })?;
    let target = package
        .targets
        .iter()
        .find(|target| makes_component(&target.kind))
        .with_context(|| {
            format!(
                "package `{}` makes no component; add `crate-type = [\"cdylib\"]` under [lib]",
                package.name
            )
        })?;
    let file = match target.is_cdylib() {
        true => target.name.replace('-', "_"),
        false => target.name.clone(),
    };
    let folder = metadata.target_directory.join(TARGET).join("release");
    Ok(folder.join(file).with_extension("wasm").into_std_path_buf())
}

/// The folders whose files the app is made of, and cargo's own folder of results.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) packages: Vec<PathBuf>,
    pub(super) target: PathBuf,
}

pub(super) async fn layout(root: &Path) -> anyhow::Result<Layout> {
    let mut command = MetadataCommand::new();
    // Offline and for one platform: nothing is fetched to answer this.
    command.other_options(["--offline", "--filter-platform", TARGET].map(str::to_owned));
    let metadata = metadata(root, &command).await?;
    let packages = reachable(&metadata, root)
        .into_iter()
        .filter(|package| package.source.is_none())
        .filter_map(|package| package.manifest_path.parent())
        .map(|folder| folder.as_std_path().to_owned())
        .collect();
    Ok(Layout {
        packages,
        target: metadata.target_directory.into_std_path_buf(),
    })
}

/// The app's package and all it depends on; everything when there is no one package.
fn reachable<'m>(metadata: &'m Metadata, root: &Path) -> Vec<&'m Package> {
    let (Some(own), Some(resolve)) = (own_package(metadata, root), &metadata.resolve) else {
        return metadata.packages.iter().collect();
    };
    let mut found = vec![&own.id];
    let mut next = 0;
    while let Some(id) = found.get(next).copied() {
        next += 1;
        let node = resolve.nodes.iter().find(|node| node.id == *id);
        for dependency in node.iter().flat_map(|node| &node.dependencies) {
            if !found.contains(&dependency) {
                found.push(dependency);
            }
        }
    }
    found.into_iter().map(|id| &metadata[id]).collect()
}

fn own_package<'m>(metadata: &'m Metadata, root: &Path) -> Option<&'m Package> {
    let manifest = root.join("Cargo.toml");
    metadata
        .packages
        .iter()
        .find(|package| package.manifest_path.as_std_path() == manifest)
}

fn makes_component(kinds: &[TargetKind]) -> bool {
    kinds.contains(&TargetKind::CDyLib) || kinds.contains(&TargetKind::Bin)
}

fn list_names(files: &[&Path]) -> String {
    let names: Vec<_> = files
        .iter()
        .filter_map(|file| file.file_name())
        .map(|name| name.to_string_lossy())
        .collect();
    names.join(", ")
}

async fn metadata(root: &Path, command: &MetadataCommand) -> anyhow::Result<Metadata> {
    let mut command = Command::from(command.cargo_command());
    let output = command
        .current_dir(root)
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("cannot run `cargo`; {GET_RUST}"))?;
    if !output.status.success() {
        bail!(
            "cargo metadata: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let text = std::str::from_utf8(&output.stdout).context("cargo metadata is not UTF-8")?;
    MetadataCommand::parse(text).context("cargo metadata has an unknown form")
}

async fn add_target_if_missing(root: &Path) -> anyhow::Result<()> {
    if has_target(root).await? {
        return Ok(());
    }
    terminal::status(
        "Adding",
        format_args!("target {TARGET} (rustup target add {TARGET})"),
    );
    let added = tool("rustup", root)
        .args(["target", "add", TARGET])
        .status()
        .await;
    match added {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            bail!("`rustup target add {TARGET}` failed ({status}); what it says stands above")
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
            "this Rust has no standard library for {TARGET}, and there is no rustup to add it; \
             install the package of your system that holds it, or {GET_RUST}"
        ),
        Err(error) => Err(error).context("cannot run `rustup`"),
    }
}

/// Whether the toolchain that counts in this folder can build for the target.
async fn has_target(root: &Path) -> anyhow::Result<bool> {
    let output = tool("rustc", root)
        .args(["--print", "target-libdir", "--target", TARGET])
        .stderr(Stdio::inherit())
        .output()
        .await
        .with_context(|| format!("cannot run `rustc`; {GET_RUST}"))?;
    if !output.status.success() {
        bail!("this Rust does not know {TARGET}; run `rustup update`, or {GET_RUST}");
    }
    let folder = String::from_utf8_lossy(&output.stdout);
    Ok(Path::new(folder.trim_end()).is_dir())
}

fn cargo(root: &Path) -> Command {
    tool(std::env::var_os("CARGO").unwrap_or("cargo".into()), root)
}

fn tool(name: impl Into<OsString>, root: &Path) -> Command {
    let mut command = Command::new(name.into());
    command
        .current_dir(root)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}
