//! Secrets of the app while it is served: kept, and given to the code at once.

use std::sync::Arc;

use super::environment::environment;
use super::{Handle, worker_options};
use crate::guest::Need;
use crate::object::Served;
use crate::secrets::{self, Secret, Secrets};

#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error(transparent)]
    Kept(#[from] secrets::Error),
    #[error("the code needs the secret `{0}`; deploy code that does without it first")]
    Needed(String),
    #[error("app `{app}` has no secret `{name}`; `dormouse secret list` shows those it has")]
    Absent { app: String, name: String },
    #[error(
        "version {0} is being rolled out; finish that first, with `dormouse rollout 100` or \
         `dormouse rollout 0`"
    )]
    Rollout(u64),
    #[error("the secret is kept, but the app could not be loaded with it: {0:#}")]
    NotLoaded(anyhow::Error),
}

impl Handle {
    /// Names of the app's secrets.
    pub async fn secret_names(&self) -> Result<Vec<String>, SecretError> {
        let app = self.manifest().name.clone();
        Ok(self.with_secrets(move |all| all.names(&app)).await?)
    }

    /// Keeps a secret. Objects and the worker have it from their next instance on, for
    /// which they end as for new code. Whether there was one of this name.
    pub async fn set_secret(&self, name: String, value: Secret) -> Result<bool, SecretError> {
        let _one_at_a_time = self.deploying.lock().await;
        self.no_rollout()?;
        let app = self.manifest().name.clone();
        let set = move |all: &Secrets| all.set(&app, &name, &value);
        let replaced = self.with_secrets(set).await?;
        self.hand_out_secrets()?;
        Ok(replaced)
    }

    /// Forgets a secret that the code says nothing of.
    pub async fn remove_secret(&self, name: String) -> Result<(), SecretError> {
        let _one_at_a_time = self.deploying.lock().await;
        self.no_rollout()?;
        let (served, front) = (self.served(), self.workers.current());
        let front = front.iter().flat_map(|pool| pool.code().needs());
        if served
            .code
            .needs()
            .iter()
            .chain(front)
            .any(|need| *need == Need::Secret(name.clone()))
        {
            return Err(SecretError::Needed(name));
        }
        let app = self.manifest().name.clone();
        let absent = SecretError::Absent {
            app: app.clone(),
            name: name.clone(),
        };
        let remove = move |all: &Secrets| all.remove(&app, &name);
        if !self.with_secrets(remove).await? {
            return Err(absent);
        }
        self.hand_out_secrets()
    }

    /// Its version would not have the secret.
    fn no_rollout(&self) -> Result<(), SecretError> {
        match self.catalog.rollout() {
            Some(rollout) => Err(SecretError::Rollout(rollout.version)),
            None => Ok(()),
        }
    }

    async fn with_secrets<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Secrets) -> Result<T, secrets::Error> + Send + 'static,
    ) -> Result<T, secrets::Error> {
        let secrets = self.secrets.clone();
        let done = tokio::task::spawn_blocking(move || work(&secrets)).await;
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }

    /// The same code goes on under a new environment.
    fn hand_out_secrets(&self) -> Result<(), SecretError> {
        let (served, manifest) = (self.served(), self.manifest());
        if served.absent.is_some() {
            return Ok(());
        }
        let front = self.workers.current().map(|pool| pool.code().clone());
        let (code, front_code) = (&served.code, front.as_deref());
        let classes = self.catalog.classes();
        let made = environment(code, front_code, &manifest, &classes, &self.loading());
        let environment = Arc::new(made.map_err(SecretError::NotLoaded)?);
        let mut served = Served::clone(&served);
        served.environment = environment;
        let front = front.map(|code| (code, worker_options(&manifest, &served)));
        self.registry.replace(served);
        self.workers.replace(front);
        Ok(())
    }
}
