//! `dormouse token`.

use super::args::{Reach, Token, TokenAction};
use super::client::{Client, segment};
use super::show;
use crate::admin::api::{self, CreatedToken, NewToken};
use crate::cli::terminal;

pub(super) async fn run(args: Token) -> anyhow::Result<()> {
    match args.action {
        TokenAction::List { reach } => list(&reach).await,
        TokenAction::Create {
            label,
            scopes,
            apps,
            reach,
        } => {
            let apps = (!apps.is_empty()).then_some(apps);
            let new = NewToken {
                label,
                scopes,
                apps,
            };
            create(&reach, &new).await
        }
        TokenAction::Delete { id, reach } => {
            let client = Client::new(&reach)?;
            let path = format!("/v1/tokens/{}", segment(&id));
            client.delete::<()>(&path).await?;
            terminal::status("Deleted", id);
            Ok(())
        }
    }
}

async fn list(reach: &Reach) -> anyhow::Result<()> {
    let tokens: Vec<api::Token> = Client::new(reach)?.get("/v1/tokens").await?;
    if reach.json {
        return show::json(&tokens);
    }
    let rows = tokens.into_iter().map(|token| {
        let scopes: Vec<String> = token.scopes.iter().map(scope_name).collect();
        [
            token.id,
            show::clean(&token.label),
            scopes.join(", "),
            token
                .apps
                .map_or_else(|| "all".to_owned(), |apps| apps.join(", ")),
            show::time(Some(token.created_ms)),
        ]
    });
    show::table(["ID", "LABEL", "SCOPES", "APPS", "CREATED"], rows);
    Ok(())
}

async fn create(reach: &Reach, new: &NewToken) -> anyhow::Result<()> {
    let created: CreatedToken = Client::new(reach)?.post("/v1/tokens", new).await?;
    if reach.json {
        return show::json(&created);
    }
    terminal::print(format_args!("{}\n", created.secret));
    terminal::status("Created", "the token above; it cannot be shown again");
    Ok(())
}

fn scope_name(scope: &api::Scope) -> String {
    let json = serde_json::to_value(scope).unwrap_or_default();
    json.as_str().unwrap_or_default().to_owned()
}
