//! `dormouse bookmark`, `history`, `diff`, `restore`, `fork`, `export`, `import`, `delete`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::{Value as Json, json};
use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt as _;

use super::args::Reach;
use super::client::{Client, Named};
use super::objects::query;
use super::show;
use super::sql::cell;
use super::travel_args as args;
use crate::admin::api::{self, Changed, Deleted, Restored};
use crate::cli::terminal;

pub(super) async fn run(command: args::Command) -> anyhow::Result<()> {
    match command {
        args::Command::Bookmark(args) => bookmark(args).await,
        args::Command::History(args) => history(args).await,
        args::Command::Diff(args) => diff(args).await,
        args::Command::Restore(args) => restore(args).await,
        args::Command::Fork(args) => fork(args).await,
        args::Command::Export(args) => export(args).await,
        args::Command::Import(args) => import(args).await,
        args::Command::Delete(args) => delete(args).await,
    }
}

/// A client, and the path of an object's `rest`.
async fn object(reach: &Reach, object: &str, rest: &str) -> anyhow::Result<(Client, String)> {
    let named = Named::parse(object)?;
    let client = Client::new(reach)?;
    let path = client.in_app(&format!("{}{rest}", named.path())).await?;
    Ok((client, path))
}

async fn bookmark(args: args::Bookmark) -> anyhow::Result<()> {
    let rest = format!("/bookmark?{}", query([("at", args.at)]));
    let (client, path) = object(&args.reach, &args.object, &rest).await?;
    let found: api::Bookmark = client.get(&path).await?;
    if args.reach.json {
        return show::json(&found);
    }
    terminal::print(format_args!("{}\n", found.bookmark));
    Ok(())
}

async fn history(args: args::History) -> anyhow::Result<()> {
    let asked = query([
        ("before", args.before),
        ("limit", Some(args.limit.to_string())),
    ]);
    let (client, path) = object(&args.reach, &args.object, &format!("/history?{asked}")).await?;
    let found: api::History = client.get(&path).await?;
    if args.reach.json {
        return show::json(&found);
    }
    let rows = found.commits.into_iter().map(|commit| {
        let what = match (commit.bytes, commit.restored) {
            (_, true) => "brought back",
            (0, _) => "removed",
            _ => "",
        };
        [
            commit.bookmark,
            show::time(Some(commit.time_ms as i64)),
            terminal::bytes(commit.bytes),
            commit.pages.to_string(),
            what.to_owned(),
        ]
    });
    show::table(["BOOKMARK", "COMMITTED", "SIZE", "PAGES", ""], rows);
    if let Some(next) = found.next {
        terminal::status("More", format_args!("--before {next}"));
    }
    Ok(())
}

async fn diff(args: args::Diff) -> anyhow::Result<()> {
    let asked = query([
        ("from", Some(args.from)),
        ("to", args.until),
        ("limit", Some(args.limit.to_string())),
    ]);
    let (client, path) = object(&args.reach, &args.object, &format!("/diff?{asked}")).await?;
    let found: api::Diff = client.get(&path).await?;
    if args.reach.json {
        return show::json(&found);
    }
    for change in &found.changes {
        terminal::print(lines(change));
    }
    let more = match found.more {
        true => ", and there are more; --limit shows them",
        false => "",
    };
    terminal::status("Changes", format_args!("{}{more}", found.changes.len()));
    Ok(())
}

/// `- table (column = value, …)` for what was there before, `+` for what came.
fn lines(change: &api::Change) -> String {
    let line = |sign: char, row: &Option<Vec<Json>>| {
        let Some(row) = row else {
            return String::new();
        };
        let cells = change.columns.iter().zip(row);
        let cells = cells.map(|(column, value)| match change.changed {
            Changed::Schema => cell(value.clone()),
            _ => format!("{} = {}", show::clean(column), cell(value.clone())),
        });
        let cells: Vec<String> = cells.collect();
        format!(
            "{sign} {} ({})\n",
            show::clean(&change.table),
            cells.join(", ")
        )
    };
    line('-', &change.before) + &line('+', &change.after)
}

async fn restore(args: args::Restore) -> anyhow::Result<()> {
    let (client, path) = object(&args.reach, &args.object, "/restore").await?;
    let wish = api::Restore { to: args.moment };
    let restored: Restored = client.post(&path, &wish).await?;
    if args.reach.json {
        return show::json(&restored);
    }
    terminal::status(
        "Restored",
        format_args!("{} to {}", args.object, restored.bookmark),
    );
    terminal::status(
        "Undo",
        format_args!("dormouse restore {} {}", args.object, restored.undo),
    );
    terminal::print(format_args!("{}\n", restored.undo));
    Ok(())
}

async fn fork(args: args::Fork) -> anyhow::Result<()> {
    let (client, path) = object(&args.reach, &args.object, "/fork").await?;
    let wish = api::Fork {
        name: args.name,
        at: args.at,
    };
    client.post::<()>(&path, &wish).await?;
    let class = Named::parse(&args.object)?.class;
    let made = format!("{class}/{}", wish.name);
    match args.reach.json {
        true => show::json(&json!({"object": made})),
        false => {
            terminal::answer("Made", made);
            Ok(())
        }
    }
}

async fn export(args: args::Export) -> anyhow::Result<()> {
    let rest = format!("/export?{}", query([("at", args.at)]));
    let (client, path) = object(&args.reach, &args.object, &rest).await?;
    refuse_existing(&args.file).await?;
    let bytes = save(client.stream(&path).await?, &args.file).await?;
    match args.reach.json {
        true => show::json(&json!({"file": args.file, "bytes": bytes})),
        false => {
            let size = terminal::bytes(bytes);
            terminal::answer("Wrote", format_args!("{}, {size}", args.file.display()));
            Ok(())
        }
    }
}

pub(super) async fn refuse_existing(file: &Path) -> anyhow::Result<()> {
    match fs::try_exists(file).await {
        Ok(false) => Ok(()),
        Ok(true) => bail!("{} is there already; choose another name", file.display()),
        Err(error) => Err(error).with_context(|| format!("cannot look at {}", file.display())),
    }
}

/// Writes an answer to a file that has its name only once it is whole and durable.
pub(super) async fn save(mut body: Incoming, to: &Path) -> anyhow::Result<u64> {
    let partial = partial(to);
    let write = async {
        let mut file = File::create(&partial).await?;
        let mut bytes = 0;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(std::io::Error::other)?;
            if let Some(data) = frame.data_ref() {
                bytes += data.len() as u64;
                file.write_all(data).await?;
            }
        }
        file.flush().await?;
        file.sync_all().await?;
        fs::rename(&partial, to).await?;
        Ok::<_, std::io::Error>(bytes)
    };
    let written = write.await;
    if written.is_err() {
        // Its name says that it is not whole.
        let _ = fs::remove_file(&partial).await;
    }
    written.with_context(|| format!("cannot write {}", to.display()))
}

pub(super) fn partial(to: &Path) -> PathBuf {
    let mut name = to.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}

async fn import(args: args::Import) -> anyhow::Result<()> {
    let rest = format!("/import?replace={}", args.replace);
    let (client, path) = object(&args.reach, &args.object, &rest).await?;
    let file = File::open(&args.file).await;
    let file = file.with_context(|| format!("cannot read {}", args.file.display()))?;
    client.put_file(&path, file).await?;
    match args.reach.json {
        true => show::json(&json!({"object": args.object})),
        false => {
            terminal::answer("Imported", args.object);
            Ok(())
        }
    }
}

async fn delete(args: args::Delete) -> anyhow::Result<()> {
    if !args.yes {
        bail!(
            "{} would be gone for good, with its history; say that it is meant with --yes \
             (`dormouse export` keeps a copy)",
            args.object
        );
    }
    let (client, path) = object(&args.reach, &args.object, "").await?;
    let deleted: Deleted = client.delete(&path).await?;
    if args.reach.json {
        return show::json(&deleted);
    }
    match deleted.existed {
        true => terminal::answer("Deleted", args.object),
        false => terminal::answer("Nothing", format_args!("was kept of {}", args.object)),
    }
    Ok(())
}
