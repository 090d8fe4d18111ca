//! Deployments: new versions of the app, and going back. Everything is checked before
//! anything changes; then the catalog says it, then it is served.

use std::sync::Arc;
use std::sync::PoisonError;

use dormouse_storage::Error as StorageError;

use super::{Front, Handle};
use crate::deploy::{self, Catalog, NewVersion, Pruned, Version, read_manifest};
use crate::manifest::Manifest;
use crate::object::Served;

/// What a deployment would change, or has changed.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The version that is left.
    pub from: Option<u64>,
    pub classes: Vec<String>,
    pub added: Vec<String>,
    /// Classes that are no longer served, with how many objects each has.
    pub removed: Vec<(String, usize)>,
    /// The same component under the same manifest as what is served.
    pub unchanged: bool,
    /// What takes effect only when the host starts anew.
    pub after_restart: Vec<&'static str>,
}

#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    #[error(transparent)]
    Catalog(#[from] deploy::Error),
    #[error("the component cannot be served: {0}")]
    Refused(String),
    #[error("the manifest is of the app {found:?}, this app is {app:?}")]
    OtherApp { app: String, found: String },
    #[error(
        "{} would no longer be served, and {objects} objects with it; keep the class, or allow it \
         with --remove-classes: their data stays and is served again when the class comes back",
        classes.join(", ")
    )]
    RemovesClasses {
        classes: Vec<String>,
        objects: usize,
    },
    #[error("the objects of a class cannot be counted: {0}")]
    Storage(#[from] StorageError),
}

/// A version that was loaded and checked, and serves nobody yet.
struct Checked {
    manifest: Manifest,
    served: Served,
    worker: Front,
    plan: Plan,
}

impl Handle {
    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// What `deploy_version` would do.
    pub async fn plan(&self, new: &NewVersion) -> Result<Plan, DeployError> {
        Ok(self.check(new).await?.plan)
    }

    /// Serves a new version from now on; objects keep their state, sockets stay open.
    /// On an error nothing has changed.
    pub async fn deploy_version(
        &self,
        new: NewVersion,
        remove_classes: bool,
    ) -> Result<(Version, Plan), DeployError> {
        let _one_at_a_time = self.deploying.lock().await;
        let checked = self.check(&new).await?;
        let objects = checked.plan.removed.iter().map(|(_, count)| count).sum();
        if objects > 0 && !remove_classes {
            let classes = checked.plan.removed.into_iter().map(|(class, _)| class);
            return Err(DeployError::RemovesClasses {
                classes: classes.collect(),
                objects,
            });
        }
        let classes = checked.plan.classes.clone();
        let version = self.catalog.add(new, classes, self.now_ms())?;
        let plan = checked.plan.clone();
        self.switch(checked);
        Ok((version, plan))
    }

    /// Serves a version that was deployed before: the one before the current, or this one.
    pub async fn roll_back(&self, number: Option<u64>) -> Result<(Version, Plan), DeployError> {
        let _one_at_a_time = self.deploying.lock().await;
        let version = match number {
            Some(number) => self.catalog.version(number)?,
            None => self.catalog.earlier()?,
        };
        let checked = self.check(&as_new(&version)).await?;
        self.catalog.set_current(version.number)?;
        let plan = checked.plan.clone();
        self.switch(checked);
        Ok((version, plan))
    }

    pub async fn prune(&self, keep: usize) -> Result<Pruned, DeployError> {
        let _one_at_a_time = self.deploying.lock().await;
        Ok(self.catalog.prune(keep)?)
    }

    /// Writes down what the command line named, which is served already.
    pub async fn record_seed(&self, new: NewVersion) -> anyhow::Result<Version> {
        let _one_at_a_time = self.deploying.lock().await;
        let component = tokio::fs::read(&*self.component).await?;
        Ok(self
            .catalog
            .add_seed(new, &component, self.classes(), self.now_ms())?)
    }

    async fn check(&self, new: &NewVersion) -> Result<Checked, DeployError> {
        let manifest = read_manifest(&new.manifest, &new.app)?;
        let now = self.manifest();
        if manifest.name != now.name {
            return Err(DeployError::OtherApp {
                app: now.name.clone(),
                found: manifest.name,
            });
        }
        deploy::check_whole(&manifest)?;
        let app = super::App {
            component: self.catalog.blob(&new.component)?,
            manifest: manifest.clone(),
            worker: None,
        };
        let loaded = self.load(&app).await;
        let refused = |error: anyhow::Error| DeployError::Refused(error.root_cause().to_string());
        let (served, worker) = loaded.map_err(refused)?;
        let plan = self.compare(&now, &manifest, &served)?;
        Ok(Checked {
            manifest,
            served,
            worker,
            plan,
        })
    }

    fn compare(
        &self,
        before: &Manifest,
        after: &Manifest,
        served: &Served,
    ) -> Result<Plan, StorageError> {
        let names = |served: &Served| -> Vec<String> {
            let classes = served.code.classes().iter();
            classes.map(|class| class.name.to_string()).collect()
        };
        let current = self.registry.served();
        let (old, classes) = (names(&current), names(served));
        let gone = old.iter().filter(|class| !classes.contains(class));
        let removed: Result<Vec<_>, StorageError> = gone
            .map(|class| Ok((class.clone(), self.storage.list(class)?.len())))
            .collect();
        let changes = [
            (
                "limits.request_body_bytes",
                before.limits.request_body_bytes != after.limits.request_body_bytes,
            ),
            (
                "limits.request_header_bytes",
                before.limits.request_header_bytes != after.limits.request_header_bytes,
            ),
            (
                "limits.concurrent_requests",
                before.limits.concurrent_requests != after.limits.concurrent_requests,
            ),
            (
                "limits.database_mib",
                before.limits.database_mib != after.limits.database_mib,
            ),
        ];
        // An app without code is opened anew with all that its first version says.
        let kept = current.absent.is_none();
        let changed = changes.into_iter().filter(|(_, changed)| *changed && kept);
        Ok(Plan {
            from: self.catalog.current().map(|version| version.number),
            added: classes
                .iter()
                .filter(|class| !old.contains(class))
                .cloned()
                .collect(),
            classes,
            removed: removed?,
            unchanged: current.code.digest() == served.code.digest() && before == after,
            after_restart: changed.map(|(key, _)| key).collect(),
        })
    }

    fn switch(&self, checked: Checked) {
        self.registry.replace(checked.served);
        self.workers.replace(checked.worker);
        self.assets.replace(None);
        *self
            .manifest
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(checked.manifest);
        // A class may have come back.
        self.alarms.retry_now();
    }

    fn now_ms(&self) -> i64 {
        self.registry.clock().unix_ms()
    }
}

fn as_new(version: &Version) -> NewVersion {
    NewVersion {
        app: version.app.clone(),
        manifest: version.manifest.clone(),
        component: version.component.clone(),
        by: version.by.clone(),
        note: version.note.clone(),
    }
}
