//! Test: runs the app's tests by cargo, and again whenever a file changes.

use std::process::ExitStatus;

use anyhow::{Context as _, ensure};
use tokio::process::Command;

use super::project::{Project, Source};
use super::watch::Watch;
use super::{args, cargo, terminal};

pub(super) async fn run(args: args::Test) -> anyhow::Result<()> {
    let project = Project::open(&args.dir)?;
    ensure!(
        matches!(project.source, Source::Cargo { .. }),
        "{} is not built by cargo, so cargo does not test it; run the tests of its own \
         language against `dormouse dev --test`",
        terminal::short(&project.root).display()
    );
    if !args.watch {
        let status = test(&project, &args).await?;
        ensure!(status.success(), "the tests failed ({status})");
        return Ok(());
    }
    let mut watch = Watch::new()?;
    loop {
        follow(&mut watch, &project).await?;
        let status = test(&project, &args).await?;
        let how = if status.success() { "pass" } else { "fail" };
        terminal::status(
            "Waiting",
            format_args!("for a change; the tests {how}. Ctrl-C stops"),
        );
        let changed = watch.changed().await;
        if let Some(first) = changed.first() {
            terminal::status("Changed", terminal::short(first).display());
        }
    }
}

async fn test(project: &Project, args: &args::Test) -> anyhow::Result<ExitStatus> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.arg("test").current_dir(&project.root);
    cargo.args(&args.cargo).kill_on_drop(true);
    let status = cargo.status().await;
    status.context("cannot run `cargo test`; is Rust installed? see https://rustup.rs")
}

async fn follow(watch: &mut Watch, project: &Project) -> anyhow::Result<()> {
    watch.ignore(project.root.join(".dormouse"));
    watch.follow(&project.root)?;
    match cargo::layout(&project.root).await {
        Ok(layout) => {
            watch.ignore(layout.target);
            let vendored = project.root.join("vendor");
            let folders = layout.packages.into_iter();
            for folder in folders.filter(|folder| !folder.starts_with(&vendored)) {
                watch.follow(&folder)?;
            }
        }
        Err(error) => tracing::debug!(%error, "path dependencies are not watched"),
    }
    Ok(())
}
