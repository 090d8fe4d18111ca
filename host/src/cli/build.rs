//! Build: makes the component of a project and shows what is in it.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail};
use tokio::process::Command;

use super::project::{Project, Source};
use super::{args, cargo, terminal};
use crate::host::{self, App, Report};

pub(super) async fn run(args: &args::Build) -> anyhow::Result<()> {
    let project = Project::open(&args.dir)?;
    let component = component(&project).await?;
    let report = host::inspect(&component).await?;
    show(&project, &component, &report);
    if let Some(reason) = report.refused {
        bail!(
            "this host would refuse {}: {reason}",
            terminal::short(&component).display()
        );
    }
    Ok(())
}

/// Builds the app in a folder when it is stale, for a program that embeds the host.
pub async fn build_app(dir: &Path) -> anyhow::Result<App> {
    let project = Project::open(dir)?;
    let component = component(&project).await?;
    project.app(component)
}

/// Builds and says where the component is.
pub(super) async fn component(project: &Project) -> anyhow::Result<PathBuf> {
    match &project.source {
        Source::File(_) => {}
        Source::Command { command, .. } => run_command(project, command).await?,
        Source::Cargo { component } => {
            let artifacts = cargo::build(&project.root).await?;
            if component.is_none() {
                return cargo::component(&artifacts, &project.root);
            }
        }
    }
    project.built_component().await
}

async fn run_command(project: &Project, command: &str) -> anyhow::Result<()> {
    terminal::status("Running", command);
    let status = shell(command)
        .current_dir(&project.root)
        .stdin(Stdio::null())
        .stdout(Stdio::from(std::io::stderr()))
        .kill_on_drop(true)
        .status()
        .await
        .context("cannot run the shell for `build.command`")?;
    if !status.success() {
        bail!("`build.command` failed ({status}): {command}");
    }
    Ok(())
}

fn shell(command: &str) -> Command {
    let (program, flag) = if cfg!(windows) {
        ("cmd", "/C")
    } else {
        ("sh", "-c")
    };
    let mut shell = Command::new(program);
    shell.arg(flag).arg(command);
    shell
}

fn show(project: &Project, component: &std::path::Path, report: &Report) {
    terminal::answer(
        "Built",
        format_args!(
            "{} ({}, {})",
            terminal::short(component).display(),
            project.manifest.name,
            terminal::bytes(report.bytes)
        ),
    );
    let names: Vec<&str> = report.classes.iter().map(|class| &*class.name).collect();
    let names = if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    };
    terminal::answer("Classes", names);
    if let Some(worker) = report.worker {
        terminal::answer("Worker", worker.interface());
    }
}
