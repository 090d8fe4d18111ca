//! `dormouse deploy`, `rollout`, `versions`, `rollback`, `prune`.

use bytes::Bytes;

use super::args::{Deploy, Prune, Rollback, Rollout, Versions, VersionsCommand, VersionsDiff};
use super::client::Client;
use super::show;
use crate::admin::api::{
    self, Contents, Deployed, Deployment, Deployments, FileDiff, Missing, Pruned, RollBack,
    RolledOut, VersionDiff,
};
use crate::cli::project::Project;
use crate::cli::{build, terminal};
use crate::deploy::{Packed, Parcel};

/// How many digests are asked about at a time.
const ASKED_AT_ONCE: usize = 1_000;

pub(super) async fn run(args: Deploy) -> anyhow::Result<()> {
    let client = Client::new(&args.reach)?;
    let project = Project::open_or_file(&args.app_path)?;
    let component = match args.no_build {
        true => project.built_component().await?,
        false => build::component(&project).await?,
    };
    let parcel = Parcel::of(&project.app(component)?)?;
    let client = client.for_app(&project.manifest.name);
    upload(&client, &parcel.files).await?;
    terminal::status("Checking", &project.manifest.name);
    let wish = api::Deploy {
        manifest: project.manifest_text.clone(),
        component: parcel.parts.component,
        worker: parcel.parts.worker,
        assets: parcel.parts.assets,
        ca: parcel.parts.ca,
        note: args.note,
        percent: args.percent,
        plan: args.plan,
        remove_classes: args.remove_classes,
        delete_data: args.delete_data,
    };
    let path = client.in_app("/deployments").await?;
    let deployed: Deployed = client.post(&path, &wish).await?;
    if args.reach.json {
        return show::json(&deployed);
    }
    report(&deployed);
    Ok(())
}

/// Sends the files that the host does not have.
async fn upload(client: &Client, files: &[Packed]) -> anyhow::Result<()> {
    let path = client.in_app("/blobs/missing").await?;
    let mut missing = Vec::new();
    for some in files.chunks(ASKED_AT_ONCE) {
        let digests = some.iter().map(|file| file.digest.clone()).collect();
        let answer: Missing = client.post(&path, &Missing { digests }).await?;
        let wanted = some
            .iter()
            .filter(|file| answer.digests.contains(&file.digest));
        missing.extend(wanted);
    }
    let sizes = |files: &[&Packed]| files.iter().map(|file| file.bytes).sum::<u64>();
    let all = sizes(&missing);
    if missing.is_empty() {
        terminal::status("Uploaded", "before; the host has every file");
        return Ok(());
    }
    let progress = terminal::Progress::new("Uploading");
    for (count, file) in missing.iter().enumerate() {
        progress.show(format_args!(
            "file {} of {}, {} of {}",
            count + 1,
            missing.len(),
            terminal::bytes(sizes(&missing[..count])),
            terminal::bytes(all)
        ));
        let path = client.in_app(&format!("/blobs/{}", file.digest)).await?;
        client.put(&path, Bytes::from(file.read()?)).await?;
    }
    progress.end(format_args!(
        "{} of {} files, {}",
        missing.len(),
        files.len(),
        terminal::bytes(all)
    ));
    Ok(())
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
    for class in &deployed.renamed {
        let (from, to) = (&class.from, &class.to);
        terminal::answer("Renamed", format_args!("class {from} to {to}"));
    }
    for gone in &deployed.deleted {
        terminal::answer(
            "Deleted",
            format_args!("class {} with {} objects", gone.class, gone.objects),
        );
    }
    for key in &deployed.after_restart {
        terminal::warning(format_args!("`{key}` changes when the host starts anew"));
    }
    match (deployed.version, deployed.percent) {
        (Some(version), Some(percent)) => terminal::answer(
            "Serving",
            format_args!("version {version} to {percent} of a hundred, {from} to the others"),
        ),
        (Some(version), None) => {
            terminal::answer("Serving", format_args!("version {version}, after {from}"))
        }
        (None, _) => terminal::answer(
            "Plan",
            format_args!("nothing was changed; {from} is served"),
        ),
    }
}

pub(super) async fn versions(args: Versions) -> anyhow::Result<()> {
    if let Some(VersionsCommand::Diff(args)) = args.command {
        return diff(args).await;
    }
    let client = Client::new(&args.reach)?;
    let list: Deployments = client.get(&client.in_app("/deployments").await?).await?;
    if args.reach.json {
        return show::json(&list);
    }
    let share = |version: u64| match &list.rollout {
        Some(rollout) if rollout.version == version => format!("* {} %", rollout.percent),
        Some(rollout) if list.current == Some(version) => format!("* {} %", 100 - rollout.percent),
        None if list.current == Some(version) => "*".to_owned(),
        _ => String::new(),
    };
    let rows = list.versions.iter().map(|one| {
        [
            one.version.to_string(),
            share(one.version),
            show::time(Some(one.created_ms)),
            one.component[..12].to_owned(),
            terminal::bytes(one.bytes + one.asset_bytes),
            one.classes.join(", "),
            show::clean(&one.by),
            show::clean(&note(one)),
        ]
    });
    show::table(
        [
            "VERSION",
            "SERVED",
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

fn note(one: &Deployment) -> String {
    match &one.returned {
        None => one.note.clone(),
        Some(returned) => {
            let (percent, reason) = (returned.percent, &returned.reason);
            let taken_back = format!("taken back at {percent} %: {reason}");
            [&*one.note, &*taken_back].join(" ").trim().to_owned()
        }
    }
}

async fn diff(args: VersionsDiff) -> anyhow::Result<()> {
    let client = Client::new(&args.reach)?;
    let (from, to) = (args.before, args.after);
    let path = format!("/deployments/diff?from={from}&to={to}");
    let found: VersionDiff = client.get(&client.in_app(&path).await?).await?;
    if args.reach.json {
        return show::json(&found);
    }
    let mut lines = Vec::new();
    let mut section = |name: &str, more: Vec<String>| {
        if !more.is_empty() {
            lines.push(format!("{name}:"));
            lines.extend(more.into_iter().map(|line| show::clean(&line)));
        }
    };
    section("dormouse.toml", found.manifest);
    section("code", found.parts.iter().map(changed).collect());
    let marked = |mark: &str, classes: Vec<String>| -> Vec<String> {
        let classes = classes.into_iter();
        classes.map(|class| format!("{mark}{class}")).collect()
    };
    let removed = marked("-", found.classes_removed);
    section(
        "classes",
        [removed, marked("+", found.classes_added)].concat(),
    );
    section("assets", found.assets.iter().map(changed).collect());
    if lines.is_empty() {
        terminal::answer(
            "Same",
            format_args!("versions {from} and {to} do not differ"),
        );
        return Ok(());
    }
    terminal::print(format_args!("{}\n", lines.join("\n")));
    Ok(())
}

fn changed(file: &FileDiff) -> String {
    let of = |contents: &Contents| {
        let digest = &contents.sha256[..12];
        format!("{digest}, {}", terminal::bytes(contents.bytes))
    };
    let name = &file.name;
    match (&file.before, &file.after) {
        (Some(before), Some(after)) => format!("~{name}  {} -> {}", of(before), of(after)),
        (Some(before), None) => format!("-{name}  {}", of(before)),
        (None, Some(after)) => format!("+{name}  {}", of(after)),
        (None, None) => name.clone(),
    }
}

pub(super) async fn roll_out(args: Rollout) -> anyhow::Result<()> {
    let client = Client::new(&args.reach)?;
    let wish = api::SetRollout {
        percent: args.percent,
    };
    let path = client.in_app("/rollout").await?;
    let done: RolledOut = client.post(&path, &wish).await?;
    if args.reach.json {
        return show::json(&done);
    }
    let (version, percent) = (done.version, done.percent);
    let current = done.current.unwrap_or_default();
    match percent {
        0 => terminal::answer(
            "Taken back",
            format_args!("version {version}; {current} is served to all"),
        ),
        100 => terminal::answer("Serving", format_args!("version {version} to all")),
        _ => terminal::answer(
            "Serving",
            format_args!("version {version} to {percent} of a hundred, {current} to the others"),
        ),
    }
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
