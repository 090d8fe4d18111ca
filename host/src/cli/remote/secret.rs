//! `dormouse secret`: what an operator keeps for an app. Values come by standard input
//! and are never shown.
//!
//! A host that runs is asked by its admin door. Without one, the data folder on this
//! machine is written, so that a secret can be there before the first start.

use std::io::{self, IsTerminal as _, Read as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};

use super::args::Reach;
use super::client::{Client, local_data, segment};
use super::show;
use crate::admin::api;
use crate::admin::find_local;
use crate::cli::project::Project;
use crate::cli::terminal;
use crate::host::{data_of, folders};
use crate::secrets::{MAX_VALUE_BYTES, Secret as Value, Secrets};

/// Keep secrets for an app
///
/// They are what its code reads by `env.secret("NAME")`, encrypted in the data folder with
/// the key in DORMOUSE_SECRETS_KEY (64 hexadecimal digits), or else in `secrets.key` beside
/// them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse secret set MAIL_KEY < key.txt
  pass mail/key | dormouse secret set MAIL_KEY --to https://host:8788
  dormouse secret list
  dormouse secret delete MAIL_KEY
  dormouse secret rotate --data /var/lib/dormouse

A host that runs hands a new value out at once. Without one, and without --to, the data
folder is written. A token needs the scope `deploy`.")]
pub(in crate::cli) struct Secret {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Keep the text on standard input under this name
    Set {
        /// Letters, digits and `_`, no digit first
        name: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Print the names, never the values
    List {
        #[command(flatten)]
        reach: Reach,
    },
    /// Forget a secret
    Delete {
        /// As `list` prints it
        name: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Encrypt all secrets in a data folder on this machine with a new key
    ///
    /// With DORMOUSE_SECRETS_KEY: put the new key in front of the old one, with a space
    /// between, run this, then take the old one away.
    Rotate {
        #[command(flatten)]
        reach: Reach,
    },
}

/// Where an app's secrets are.
enum Place {
    Door(Box<Client>),
    Folder { secrets: Secrets, app: String },
}

pub(super) async fn run(args: Secret) -> anyhow::Result<()> {
    match args.action {
        Action::Set { name, reach } => set(&name, &reach).await,
        Action::List { reach } => list(&reach).await,
        Action::Delete { name, reach } => delete(&name, &reach).await,
        Action::Rotate { reach } => rotate(&reach),
    }
}

async fn set(name: &str, reach: &Reach) -> anyhow::Result<()> {
    crate::secrets::check_name(name)?;
    let place = Place::of(reach)?;
    let value = read_value(name)?;
    match &place {
        Place::Door(client) => {
            let path = path(client, name).await?;
            client.put(&path, value.reveal().to_owned().into()).await?;
        }
        Place::Folder { secrets, app } => {
            secrets.set(app, name, &value)?;
        }
    }
    terminal::status("Kept", name);
    Ok(())
}

async fn list(reach: &Reach) -> anyhow::Result<()> {
    let names = match Place::of(reach)? {
        Place::Door(client) => {
            let found: api::Secrets = client.get(&client.in_app("/secrets").await?).await?;
            found.names
        }
        Place::Folder { secrets, app } => secrets.names(&app)?,
    };
    if reach.json {
        return show::json(&api::Secrets { names });
    }
    for name in names {
        terminal::print(format_args!("{name}\n"));
    }
    Ok(())
}

async fn delete(name: &str, reach: &Reach) -> anyhow::Result<()> {
    match Place::of(reach)? {
        Place::Door(client) => client.delete(&path(&client, name).await?).await?,
        Place::Folder { secrets, app } => {
            if !secrets.remove(&app, name)? {
                bail!(
                    "app `{app}` has no secret `{name}`; `dormouse secret list` shows those it has"
                );
            }
        }
    }
    terminal::status("Deleted", name);
    Ok(())
}

fn rotate(reach: &Reach) -> anyhow::Result<()> {
    if reach.to.is_some() {
        bail!("a key is changed on the host's own machine; name its data folder with --data DIR");
    }
    let data = local_data(reach.data.as_deref())?;
    let mut count = Secrets::in_folder(&data).rotate()?;
    for folder in folders(&data)?.into_values() {
        count += Secrets::in_folder(&folder).rotate()?;
    }
    let many = if count == 1 { "secret" } else { "secrets" };
    terminal::status("Encrypted", format_args!("{count} {many} anew"));
    Ok(())
}

async fn path(client: &Client, name: &str) -> anyhow::Result<String> {
    client.in_app(&format!("/secrets/{}", segment(name))).await
}

impl Place {
    fn of(reach: &Reach) -> anyhow::Result<Self> {
        if reach.to.is_some() {
            return Ok(Self::Door(Box::new(Client::new(reach)?)));
        }
        let data = local_data(reach.data.as_deref())?;
        if find_local(&data).is_ok() {
            return Ok(Self::Door(Box::new(Client::new(reach)?)));
        }
        let app = match &reach.app {
            Some(app) => app.clone(),
            None => {
                let project = Project::open(Path::new("."));
                let project = project.context("name the app with --app NAME")?;
                project.manifest.name
            }
        };
        let secrets = Secrets::in_folder(&data_of(&data, &app)?);
        Ok(Self::Folder { secrets, app })
    }
}

/// All of standard input, without the newline at its end.
fn read_value(name: &str) -> anyhow::Result<Value> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        bail!(
            "the value comes by standard input, so that it stands in no history: \
             `dormouse secret set {name} < file`, or end a pipe in it"
        );
    }
    let mut text = String::new();
    let most = MAX_VALUE_BYTES as u64 + 2;
    let read = stdin.lock().take(most).read_to_string(&mut text);
    read.context("cannot read the value from standard input as UTF-8 text")?;
    if text.ends_with('\n') {
        text.pop();
    }
    if text.is_empty() {
        bail!("the value is empty; pipe it in: `dormouse secret set {name} < file`");
    }
    Ok(Value::from(text))
}
