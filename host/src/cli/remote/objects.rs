//! `dormouse objects`.

use super::args::Objects;
use super::client::{Client, Named, segment};
use super::{alarms, show, sockets};
use crate::admin::api::{self, ObjectDetail, ObjectInfo, State};
use crate::cli::terminal;

pub(super) async fn run(args: Objects) -> anyhow::Result<()> {
    let client = Client::new(&args.reach)?;
    match &args.of {
        Some(of) if of.contains('/') => one(&client, of, args.reach.json).await,
        _ => list(&client, &args).await,
    }
}

async fn list(client: &Client, args: &Objects) -> anyhow::Result<()> {
    let most = if args.all { usize::MAX } else { args.limit };
    let mut objects: Vec<ObjectInfo> = Vec::new();
    let mut after = None;
    let mut total;
    loop {
        let limit = (most - objects.len()).min(1_000);
        let page: api::Objects = client
            .get(&client.in_app(&path(args, after, limit)).await?)
            .await?;
        objects.extend(page.objects);
        total = page.total;
        after = page.next;
        if after.is_none() || objects.len() >= most {
            break;
        }
    }
    if args.reach.json {
        return show::json(&objects);
    }
    let shown = objects.len();
    show::table(
        ["OBJECT", "STATE", "SIZE", "CHANGED", "SOCKETS"],
        objects.iter().map(row),
    );
    if shown < total {
        terminal::status(
            "Shown",
            format_args!("{shown} of {total}; --all shows the rest"),
        );
    }
    Ok(())
}

fn path(args: &Objects, after: Option<String>, limit: usize) -> String {
    let state = args.state.map(|state| match state {
        State::Awake => "awake".to_owned(),
        State::Asleep => "asleep".to_owned(),
    });
    let pairs = [
        ("class", args.of.clone()),
        ("prefix", args.prefix.clone()),
        ("state", state),
        ("after", after),
        ("limit", Some(limit.to_string())),
    ];
    format!("/objects?{}", query(pairs))
}

/// What stands behind the `?`.
pub(super) fn query(pairs: impl IntoIterator<Item = (&'static str, Option<String>)>) -> String {
    let given = pairs
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)));
    given
        .map(|(key, value)| format!("{key}={}", segment(&value)))
        .collect::<Vec<_>>()
        .join("&")
}

fn row(object: &ObjectInfo) -> [String; 5] {
    let key = match &object.name {
        Some(name) => show::clean(name),
        None => format!("id:{}", object.id),
    };
    let state = match (object.state, object.idle_ms) {
        (State::Asleep, _) => "asleep".to_owned(),
        (State::Awake, None) => "at work".to_owned(),
        (State::Awake, Some(ms)) => format!("idle {}", show::duration(ms)),
    };
    [
        format!("{}/{key}", object.class),
        state,
        terminal::bytes(object.bytes),
        show::time(object.changed_ms),
        object.sockets.to_string(),
    ]
}

async fn one(client: &Client, of: &str, json: bool) -> anyhow::Result<()> {
    let path = client.in_app(&Named::parse(of)?.path()).await?;
    let detail: ObjectDetail = client.get(&path).await?;
    if json {
        return show::json(&detail);
    }
    show::table(
        ["OBJECT", "STATE", "SIZE", "CHANGED", "SOCKETS"],
        [row(&detail.object)],
    );
    terminal::print(format_args!("id {}\n", detail.object.id));
    for table in &detail.tables {
        let sql = table.sql.as_deref().unwrap_or_default();
        terminal::print(format_args!("\n{}\n", show::clean(sql)));
    }
    if !detail.alarms.is_empty() {
        terminal::print("\n");
        alarms::show(&detail.alarms);
    }
    if !detail.open_sockets.is_empty() {
        terminal::print("\n");
        sockets::show(&detail.open_sockets);
    }
    Ok(())
}
