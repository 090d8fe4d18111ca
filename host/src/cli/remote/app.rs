//! `dormouse app`: the apps of a host.

use anyhow::bail;
use clap::{Args, Subcommand};

use super::args::Reach;
use super::client::{Client, segment};
use super::show;
use crate::admin::api;
use crate::cli::terminal;

/// Make, list, route, pause and delete the apps of a host
///
/// A host serves the app that it was started with, and others beside it: each with data,
/// secrets, limits and versions of its own. They are told apart by the name of the host
/// that a client asks for, by the beginning of the path, or by both; the app that the host
/// was started with answers everything else.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse app create shop --host shop.example.com
  dormouse deploy --app shop shop/
  dormouse app create blog --path /blog
  dormouse app list
  dormouse app pause shop
  dormouse app delete shop --yes

Making, routing and deleting needs a token with the scope `admin`, pausing one with
`operate`.")]
pub(in crate::cli) struct App {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the apps, where they are reached, and how they are
    List {
        #[command(flatten)]
        reach: Reach,
    },
    /// Make an app; `dormouse deploy --app NAME` gives it its code
    Create {
        /// Lower-case letters, digits and `-`
        name: String,
        #[command(flatten)]
        routes: Routes,
        #[command(flatten)]
        reach: Reach,
    },
    /// Reach an app by these names and this path, and no others
    Route {
        name: String,
        #[command(flatten)]
        routes: Routes,
        #[command(flatten)]
        reach: Reach,
    },
    /// Turn requests away, close sockets, let objects sleep and alarms wait
    Pause {
        name: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Let an app go on; alarms that are overdue run first
    Resume {
        name: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Delete an app with all its data, secrets and versions, for good
    Delete {
        name: String,
        /// Do it
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        reach: Reach,
    },
}

#[derive(Debug, Args)]
struct Routes {
    /// Requests to this name, or with `*.example.com` to all that end so; may be given
    /// several times
    #[arg(long = "host", value_name = "NAME")]
    hosts: Vec<String>,
    /// Requests whose path begins so, such as /shop; the app does not see that part
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
}

pub(super) async fn run(args: App) -> anyhow::Result<()> {
    match args.action {
        Action::List { reach } => list(&reach).await,
        Action::Create {
            name,
            routes,
            reach,
        } => create(name, routes, &reach).await,
        Action::Route {
            name,
            routes,
            reach,
        } => {
            let change = api::ChangeApp {
                hosts: Some(routes.hosts),
                path: Some(routes.path.unwrap_or_default()),
                paused: None,
            };
            report(
                "Routed",
                &self::change(&name, &change, &reach).await?,
                &reach,
            )
        }
        Action::Pause { name, reach } => pause(&name, true, &reach).await,
        Action::Resume { name, reach } => pause(&name, false, &reach).await,
        Action::Delete { name, yes, reach } => delete(&name, yes, &reach).await,
    }
}

async fn list(reach: &Reach) -> anyhow::Result<()> {
    let apps: Vec<api::App> = Client::new(reach)?.get("/v1/apps").await?;
    if reach.json {
        return show::json(&apps);
    }
    let rows = apps.into_iter().map(|app| {
        let state = state(&app);
        [
            app.name.clone(),
            routes(&app),
            app.awake.to_string(),
            app.sockets.to_string(),
            show::clean(&state),
        ]
    });
    show::table(["APP", "REACHED BY", "AWAKE", "SOCKETS", "STATE"], rows);
    Ok(())
}

async fn create(name: String, routes: Routes, reach: &Reach) -> anyhow::Result<()> {
    let new = api::NewApp {
        name,
        hosts: routes.hosts,
        path: routes.path,
    };
    let made: api::App = Client::new(reach)?.post("/v1/apps", &new).await?;
    report("Created", &made, reach)?;
    if !reach.json {
        terminal::status(
            "Next",
            format_args!("dormouse deploy --app {} DIR", made.name),
        );
    }
    Ok(())
}

async fn pause(name: &str, paused: bool, reach: &Reach) -> anyhow::Result<()> {
    let change = api::ChangeApp {
        paused: Some(paused),
        ..api::ChangeApp::default()
    };
    let done = if paused { "Paused" } else { "Resumed" };
    report(done, &self::change(name, &change, reach).await?, reach)
}

async fn change(name: &str, change: &api::ChangeApp, reach: &Reach) -> anyhow::Result<api::App> {
    let path = format!("/v1/apps/{}", segment(name));
    Client::new(reach)?.patch(&path, change).await
}

async fn delete(name: &str, yes: bool, reach: &Reach) -> anyhow::Result<()> {
    let client = Client::new(reach)?;
    if !yes {
        let apps: Vec<api::App> = client.get("/v1/apps").await?;
        match apps.into_iter().find(|app| app.name == name) {
            None => bail!("no app is called {name:?}; `dormouse app list` shows those there are"),
            Some(_) => bail!(
                "all that {name:?} has would be deleted for good: objects, secrets, versions; say \
                 so with --yes"
            ),
        }
    }
    let name = segment(name);
    client
        .delete::<()>(&format!("/v1/apps/{name}?confirm={name}"))
        .await?;
    terminal::status("Deleted", name);
    Ok(())
}

fn report(done: &str, app: &api::App, reach: &Reach) -> anyhow::Result<()> {
    if reach.json {
        return show::json(app);
    }
    terminal::status(
        done,
        format_args!("{}, reached by {}", app.name, routes(app)),
    );
    Ok(())
}

fn routes(app: &api::App) -> String {
    let path = app.path.as_deref().unwrap_or_default();
    match app.hosts.as_slice() {
        [] if app.main => "all else".to_owned(),
        [] if path.is_empty() => "other apps only".to_owned(),
        [] => path.to_owned(),
        hosts => {
            let routes: Vec<_> = hosts.iter().map(|host| format!("{host}{path}")).collect();
            routes.join(", ")
        }
    }
}

fn state(app: &api::App) -> String {
    match (&app.trouble, app.paused) {
        (Some(why), _) => format!("not served: {why}"),
        (None, true) => "paused".to_owned(),
        (None, false) => "served".to_owned(),
    }
}
