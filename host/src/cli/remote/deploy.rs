//! `dormouse deploy`, `versions`, `rollback`, `prune`.

use std::path::Path;

use anyhow::Context as _;
use bytes::Bytes;

use super::args::{Deploy, Prune, Rollback, Versions};
use super::client::Client;
use super::show;
use crate::admin::api::{self, Deployed, Deployments, Missing, Pruned, RollBack};
use crate::cli::project::Project;
use crate::cli::{build, terminal};
use crate::deploy::digest;

pub(super) async fn run(args: Deploy) -> anyhow::Result<()> {
    let client = Client::new(&args.reach)?;
    let project = Project::open_or_file(&args.app_path)?;
    let component = match args.no_build {
        true => project.built_component().await?,
        false => build::component(&project).await?,
    };
    let wasm = read(&component)?;
    let client = client.for_app(&project.manifest.name);
    let digest = upload(&client, wasm).await?;
    terminal::status("Checking", &project.manifest.name);
    let wish = api::Deploy {
        manifest: project.manifest_text.clone(),
        component: digest,
        note: args.note,
        plan: args.plan,
        remove_classes: args.remove_classes,
    };
    let path = client.in_app("/deployments").await?;
    let deployed: Deployed = client.post(&path, &wish).await?;
    if args.reach.json {
        return show::json(&deployed);
    }
    report(&deployed);
    Ok(())
}

fn read(component: &Path) -> anyhow::Result<Bytes> {
    let wasm = std::fs::read(component);
    Ok(wasm
        .with_context(|| format!("cannot read {}", component.display()))?
        .into())
}

/// Sends the component, unless the host has it.
async fn upload(client: &Client, wasm: Bytes) -> anyhow::Result<String> {
    let digest = digest(&wasm);
    let asked = Missing {
        digests: vec![digest.clone()],
    };
    let path = client.in_app("/blobs/missing").await?;
    let missing: Missing = client.post(&path, &asked).await?;
    if missing.digests.is_empty() {
        terminal::status("Uploaded", "before; the host has this component");
        return Ok(digest);
    }
    terminal::status("Uploading", terminal::bytes(wasm.len() as u64));
    let path = client.in_app(&format!("/blobs/{digest}")).await?;
    client.put(&path, wasm).await?;
    Ok(digest)
}

fn report(deployed: &Deployed) {
    let from = match deployed.from {
        Some(from) => format!("version {from}"),
        None => "what the host was started with".to_owned(),
    };
    if deployed.unchanged {
        terminal::status("Unchanged", format_args!("the same as {from}"));
    }
    for class in &deployed.added {
        terminal::answer("New class", class);
    }
    for removed in &deployed.removed {
        terminal::answer(
            "Gone",
            format_args!(
                "class {} with {} objects; their data stays",
                removed.class, removed.objects
            ),
        );
    }
    for key in &deployed.after_restart {
        terminal::warning(format_args!("`{key}` changes when the host starts anew"));
    }
    match deployed.version {
        Some(version) => {
            terminal::answer("Serving", format_args!("version {version}, after {from}"))
        }
        None => terminal::answer(
            "Plan",
            format_args!("nothing was changed; {from} is served"),
        ),
    }
}

pub(super) async fn versions(args: Versions) -> anyhow::Result<()> {
    let client = Client::new(&args.reach)?;
    let list: Deployments = client.get(&client.in_app("/deployments").await?).await?;
    if args.reach.json {
        return show::json(&list);
    }
    let rows = list.versions.into_iter().map(|one| {
        let mark = if Some(one.version) == list.current {
            "*"
        } else {
            " "
        };
        [
            format!("{mark} {}", one.version),
            show::time(Some(one.created_ms)),
            one.component[..12].to_owned(),
            terminal::bytes(one.bytes),
            one.classes.join(", "),
            show::clean(&one.by),
            show::clean(&one.note),
        ]
    });
    show::table(
        [
            "VERSION",
            "DEPLOYED",
            "COMPONENT",
            "SIZE",
            "CLASSES",
            "BY",
            "NOTE",
        ],
        rows,
    );
    Ok(())
}

pub(super) async fn roll_back(args: Rollback) -> anyhow::Result<()> {
    let client = Client::new(&args.reach)?;
    let wish = RollBack {
        version: args.version,
    };
    let deployed: Deployed = client
        .post(&client.in_app("/rollback").await?, &wish)
        .await?;
    if args.reach.json {
        return show::json(&deployed);
    }
    report(&deployed);
    Ok(())
}

pub(super) async fn prune(args: Prune) -> anyhow::Result<()> {
    let client = Client::new(&args.reach)?;
    let wish = api::Prune { keep: args.keep };
    let pruned: Pruned = client.post(&client.in_app("/prune").await?, &wish).await?;
    if args.reach.json {
        return show::json(&pruned);
    }
    terminal::answer(
        "Pruned",
        format_args!(
            "{} versions, {}",
            pruned.versions.len(),
            terminal::bytes(pruned.bytes)
        ),
    );
    Ok(())
}
