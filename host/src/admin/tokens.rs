//! Tokens: who may do what at the admin door.
//!
//! A token is 32 random bytes, shown once. The data folder keeps its SHA-256 in
//! `admin/tokens.json`, readable by the owner alone; a slow hash would protect
//! nothing that 256 random bits do not. One more token, of the running process only,
//! serves the command line on this machine (see `local`).

use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use super::local::{self, FOLDER};

const FILE: &str = "tokens.json";
/// What every token begins with, so that scanners for leaked secrets know it.
const PREFIX: &str = "dormouse_";

/// What a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Lists, logs, metrics, versions
    Read,
    /// Requests to objects
    Call,
    /// SQL that reads, diff and export
    SqlRead,
    /// SQL that writes, too; restore, fork and import
    SqlWrite,
    /// Running dead letters again, deleting objects
    Operate,
    /// New versions, and going back to old ones
    Deploy,
    /// Everything, tokens included
    Admin,
}

/// A token without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    pub id: String,
    pub label: String,
    pub scopes: Vec<Scope>,
    /// The apps it is good for; all without a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apps: Option<Vec<String>>,
    /// Since 1970.
    pub created_ms: i64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept {
    #[serde(flatten)]
    token: Token,
    /// SHA-256 of the secret, in hexadecimal digits.
    hash: String,
}

/// The tokens of one data folder. Cheap to clone.
#[derive(Clone)]
pub struct Tokens {
    file: Arc<Path>,
    kept: Arc<RwLock<Vec<Kept>>>,
    local: Option<Arc<Kept>>,
}

impl Token {
    fn new(label: &str, scopes: Vec<Scope>, apps: Option<Vec<String>>) -> anyhow::Result<Self> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Ok(Self {
            id: random::<4>()?,
            label: label.to_owned(),
            scopes,
            apps,
            created_ms: since.map_or(0, |since| since.as_millis() as i64),
        })
    }

    pub(super) fn allows(&self, wanted: Scope) -> bool {
        self.scopes.iter().any(|scope| {
            *scope == wanted
                || *scope == Scope::Admin
                || (*scope == Scope::SqlWrite && wanted == Scope::SqlRead)
        })
    }

    pub(super) fn allows_app(&self, app: &str) -> bool {
        let apps = self.apps.as_ref();
        apps.is_none_or(|apps| apps.iter().any(|allowed| allowed == app))
    }
}

impl Tokens {
    /// Reads the tokens of a data folder.
    pub fn open(data: &Path) -> anyhow::Result<Self> {
        let file = data.join(FOLDER).join(FILE);
        let kept = match std::fs::read(&file) {
            Ok(text) => serde_json::from_slice(&text).with_context(|| {
                format!(
                    "{} is damaged; delete it and a new token is made at the next start",
                    file.display()
                )
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error).with_context(|| cannot_read(&file)),
        };
        Ok(Self {
            file: file.into(),
            kept: Arc::new(RwLock::new(kept)),
            local: None,
        })
    }

    /// The first token, for everything; `None` if there are tokens already.
    pub fn first(&self) -> anyhow::Result<Option<String>> {
        if !self.list().is_empty() || self.file.exists() {
            return Ok(None);
        }
        let (_, secret) = self.create("first", vec![Scope::Admin], None)?;
        Ok(Some(secret))
    }

    pub(super) fn create(
        &self,
        label: &str,
        scopes: Vec<Scope>,
        apps: Option<Vec<String>>,
    ) -> anyhow::Result<(Token, String)> {
        let (kept, secret) = make(label, scopes, apps)?;
        let token = kept.token.clone();
        self.change(|tokens| {
            tokens.push(kept);
            Ok(())
        })?;
        Ok((token, secret))
    }

    /// Whether there was one.
    pub(super) fn delete(&self, id: &str) -> anyhow::Result<bool> {
        let mut found = false;
        self.change(|tokens| {
            found = tokens.iter().any(|kept| kept.token.id == id);
            tokens.retain(|kept| kept.token.id != id);
            Ok(())
        })?;
        Ok(found)
    }

    #[must_use]
    pub(super) fn list(&self) -> Vec<Token> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        kept.iter().map(|kept| kept.token.clone()).collect()
    }

    /// The token with this secret. Hashes are compared, so time tells nothing.
    pub(super) fn find(&self, secret: &str) -> Option<Token> {
        let hash = hash(secret);
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        let mut all = kept.iter().chain(self.local.as_deref());
        let found = all.find(|kept| kept.hash == hash)?;
        Some(found.token.clone())
    }

    /// Adds the token of this process, which is kept nowhere else.
    pub(super) fn with_local(mut self) -> anyhow::Result<(String, Self)> {
        let (kept, secret) = make("this machine", vec![Scope::Admin], None)?;
        self.local = Some(Arc::new(kept));
        Ok((secret, self))
    }

    fn change(
        &self,
        change: impl FnOnce(&mut Vec<Kept>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        let mut changed = kept.clone();
        change(&mut changed)?;
        let text = serde_json::to_vec_pretty(&changed).context("cannot write tokens as JSON")?;
        local::write_private(&self.file, &text)?;
        *kept = changed;
        Ok(())
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({:?})", self.file)
    }
}

fn make(
    label: &str,
    scopes: Vec<Scope>,
    apps: Option<Vec<String>>,
) -> anyhow::Result<(Kept, String)> {
    if scopes.is_empty() {
        bail!("a token without scopes allows nothing; name at least one");
    }
    let secret = format!("{PREFIX}{}", random::<32>()?);
    let kept = Kept {
        token: Token::new(label, scopes, apps)?,
        hash: hash(&secret),
    };
    Ok((kept, secret))
}

/// Random bytes in hexadecimal digits.
fn random<const BYTES: usize>() -> anyhow::Result<String> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes)
        .map_err(|error| anyhow::anyhow!("the system gives no random bytes: {error}"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn hash(secret: &str) -> String {
    let sum = Sha256::digest(secret);
    sum.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn cannot_read(file: &Path) -> String {
    format!("cannot read {}", file.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_the_door_and_stands_in_no_file() {
        let data = tempfile::tempdir().unwrap();
        let tokens = Tokens::open(data.path()).unwrap();
        let secret = tokens.first().unwrap().unwrap();
        let file = data.path().join(FOLDER).join(FILE);
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.contains(&secret) && !text.contains(&secret[PREFIX.len()..]));

        let again = Tokens::open(data.path()).unwrap();
        assert_eq!(again.first().unwrap(), None);
        assert!(again.find(&secret).unwrap().allows(Scope::Deploy));
        assert_eq!(again.find(&secret[1..]), None);
        assert_eq!(again.find(""), None);
    }

    #[test]
    fn a_token_that_is_deleted_is_none() {
        let data = tempfile::tempdir().unwrap();
        let tokens = Tokens::open(data.path()).unwrap();
        let (token, secret) = tokens.create("ci", vec![Scope::Deploy], None).unwrap();
        assert!(tokens.find(&secret).is_some());
        assert!(tokens.delete(&token.id).unwrap());
        assert!(!tokens.delete(&token.id).unwrap());
        assert_eq!(tokens.find(&secret), None);
        // The first token is made once, not whenever there is none.
        assert_eq!(tokens.first().unwrap(), None);
    }

    #[test]
    fn writing_includes_reading_and_nothing_else() {
        let token = |scopes| Token::new("", scopes, None).unwrap();
        let writer = token(vec![Scope::SqlWrite]);
        assert!(writer.allows(Scope::SqlRead) && writer.allows(Scope::SqlWrite));
        assert!(!writer.allows(Scope::Read) && !writer.allows(Scope::Admin));
        assert!(!token(vec![Scope::SqlRead]).allows(Scope::SqlWrite));
    }
}
