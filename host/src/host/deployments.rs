//! Deployments: new versions of the app, and going back. Everything is checked before
//! anything changes; then the catalog says it, then it is served.

use std::sync::Arc;

use dormouse_storage::Error as StorageError;

use super::{Handle, migrations};
use crate::deploy::{self, Catalog, ClassError, NewVersion, Parcel, Pruned, Steps, Version};
use crate::manifest::Manifest;
use crate::object::Served;
use crate::worker::Front;

/// What a deployment would change, or has changed.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The version that is left.
    pub from: Option<u64>,
    pub classes: Vec<String>,
    pub added: Vec<String>,
    /// Classes that are no longer served, with how many objects each has.
    pub removed: Vec<(String, usize)>,
    /// Classes that go on under another name: from, to.
    pub renamed: Vec<(String, String)>,
    /// Classes whose objects go for good, and how many there are.
    pub deleted: Vec<(String, usize)>,
    /// The same code and files under the same manifest as what is served.
    pub unchanged: bool,
    /// What takes effect only when the host starts anew.
    pub after_restart: Vec<&'static str>,
}

/// What a deployment may do to objects.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allow {
    /// Leave classes with objects out; their data stays.
    pub remove_classes: bool,
    /// Delete objects, as migrations say.
    pub delete_data: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    #[error(transparent)]
    Catalog(#[from] deploy::Error),
    #[error(transparent)]
    Classes(#[from] ClassError),
    #[error("the component cannot be served: {0}")]
    Refused(String),
    #[error("the manifest is of the app {found:?}, this app is {app:?}")]
    OtherApp { app: String, found: String },
    #[error(
        "{} would no longer be served, and {objects} objects with it; keep the class, or allow it \
         with --remove-classes: their data stays and is served again when the class comes back. \
         `[[migrations]]` rename or delete classes with their objects",
        classes.join(", ")
    )]
    RemovesClasses {
        classes: Vec<String>,
        objects: usize,
    },
    #[error(
        "the migrations delete {}, and {objects} objects with all they ever were; allow it with \
         --delete-data, after a `dormouse backup` if in doubt",
        classes.join(", ")
    )]
    DeletesData {
        classes: Vec<String>,
        objects: usize,
    },
    #[error(
        "the version has other classes or migrations than the current one, so it cannot be \
         rolled out to a part of the objects; deploy it without --percent"
    )]
    OtherClasses,
    #[error(
        "the class is no longer served, but its objects could not be deleted yet: {0}; the next start does it"
    )]
    NotDeleted(String),
    #[error("the objects of a class cannot be reached: {0}")]
    Storage(#[from] StorageError),
}

/// A version that was loaded and checked, and serves nobody yet.
pub(super) struct Checked {
    pub(super) manifest: Manifest,
    pub(super) served: Served,
    pub(super) worker: Front,
    pub(super) steps: Steps,
    pub(super) plan: Plan,
}

impl Handle {
    #[must_use]
    pub fn catalog(&self) -> &Arc<Catalog> {
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
        allow: Allow,
    ) -> Result<(Version, Plan), DeployError> {
        let _one_at_a_time = self.deploying.lock().await;
        let checked = self.check(&new).await?;
        let objects = checked.plan.removed.iter().map(|(_, count)| count).sum();
        if objects > 0 && !allow.remove_classes {
            let classes = checked.plan.removed.into_iter().map(|(class, _)| class);
            return Err(DeployError::RemovesClasses {
                classes: classes.collect(),
                objects,
            });
        }
        migrations::allow(&checked.steps, allow.delete_data)?;
        let served = checked.plan.classes.clone();
        let classes = checked.steps.classes.clone();
        let version = self.catalog.add(new, served, classes, self.now_ms())?;
        Ok((version, self.take_over(checked).await?))
    }

    /// Serves a version that was deployed before: the one before the current, or this one.
    /// Without a number, a rollout under way is taken back instead.
    pub async fn roll_back(&self, number: Option<u64>) -> Result<(Version, Plan), DeployError> {
        let _one_at_a_time = self.deploying.lock().await;
        let rollout = self.catalog.rollout();
        let version = match (number, rollout, self.catalog.current()) {
            (Some(number), ..) => self.catalog.version(number)?,
            (None, Some(_), Some(current)) => current,
            (None, ..) => self.catalog.earlier()?,
        };
        let checked = self.check(&version.as_new()).await?;
        migrations::allow(&checked.steps, false)?;
        let classes = checked.steps.classes.clone();
        if rollout.is_some_and(|rollout| rollout.version != version.number) {
            let reason = format!("rolled back to version {}", version.number);
            self.catalog.take_back(&reason, self.now_ms())?;
        }
        self.catalog.set_current(version.number, classes)?;
        Ok((version, self.take_over(checked).await?))
    }

    pub async fn prune(&self, keep: usize) -> Result<Pruned, DeployError> {
        let _one_at_a_time = self.deploying.lock().await;
        let catalog = self.catalog.clone();
        let pruned = tokio::task::spawn_blocking(move || catalog.prune(keep)).await;
        Ok(pruned.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?)
    }

    /// Writes down what the command line named, which is served already, and serves the
    /// files as they were kept.
    pub async fn record_seed(&self, new: NewVersion, parcel: Parcel) -> anyhow::Result<Version> {
        let _one_at_a_time = self.deploying.lock().await;
        let (catalog, classes, now_ms) = (self.catalog.clone(), self.classes(), self.now_ms());
        let record = move || {
            let version = catalog.add_seed(new, &parcel, classes, now_ms)?;
            let app = catalog.app(&version)?;
            anyhow::Ok((version, app))
        };
        let (version, app) = tokio::task::spawn_blocking(record).await??;
        self.assets.replace(app.manifest.assets.clone());
        self.set_manifest(app.manifest);
        Ok(version)
    }

    pub(super) async fn check(&self, new: &NewVersion) -> Result<Checked, DeployError> {
        let (catalog, wish) = (self.catalog.clone(), new.clone());
        let assemble = move || catalog.assemble(&wish.app, &wish.manifest, &wish.parts);
        let app = tokio::task::spawn_blocking(assemble).await;
        let app = app.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        let now = self.manifest();
        if app.manifest.name != now.name {
            return Err(DeployError::OtherApp {
                app: now.name.clone(),
                found: app.manifest.name,
            });
        }
        let (served, worker, steps) = self.load(&app).await.map_err(why_refused)?;
        let manifest = app.manifest;
        let plan = self.compare(&now, &manifest, &served, &worker, &steps)?;
        Ok(Checked {
            manifest,
            served,
            worker,
            steps,
            plan,
        })
    }

    fn compare(
        &self,
        before: &Manifest,
        after: &Manifest,
        served: &Served,
        worker: &Front,
        steps: &Steps,
    ) -> Result<Plan, StorageError> {
        let current = self.registry.served();
        // A class is known by its root, whatever it is called.
        let has = |served: &Served, root: &str| {
            let mut roots = served.namespaces.values();
            roots.any(|namespace| *namespace.class == *root)
        };
        let deleting: Vec<&str> = steps.classes.deleting().collect();
        let gone = current.code.classes().iter().filter_map(|class| {
            let root = current.namespaces.get(&class.name)?.class.clone();
            let stays = has(served, &root) || deleting.contains(&&*root);
            (!stays).then(|| (class.name.to_string(), root))
        });
        let removed: Result<Vec<_>, StorageError> = gone
            .map(|(class, root)| Ok((class, self.storage.list(&root)?.len())))
            .collect();
        let classes = served.code.classes().iter();
        let classes: Vec<String> = classes.map(|class| class.name.to_string()).collect();
        let added = classes.iter().filter(|class| {
            let namespace = served.namespaces.get(&***class);
            namespace.is_some_and(|own| !has(&current, &own.class))
        });
        let digest = |front: Option<&str>| front.map(str::to_owned);
        let old_front = self.workers.current();
        let old_front = digest(old_front.as_deref().map(|pool| pool.code().digest()));
        let new_front = digest(worker.as_ref().map(|(code, _)| code.digest()));
        let same_code = current.code.digest() == served.code.digest() && old_front == new_front;
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
            added: added.cloned().collect(),
            classes,
            removed: removed?,
            renamed: steps.renamed.clone(),
            deleted: steps
                .deleted
                .iter()
                .map(|gone| (gone.class.clone(), gone.objects))
                .collect(),
            unchanged: same_code && before == after,
            after_restart: changed.map(|(key, _)| key).collect(),
        })
    }

    /// Serves what the catalog says is current now.
    async fn take_over(&self, checked: Checked) -> Result<Plan, DeployError> {
        migrations::tell(&checked.steps);
        self.switch(checked.served, checked.worker, checked.manifest);
        self.delete_leftovers().await?;
        Ok(checked.plan)
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.registry.clock().unix_ms()
    }
}

impl Version {
    /// The same, to be served again.
    pub(super) fn as_new(&self) -> NewVersion {
        NewVersion {
            app: self.app.clone(),
            manifest: self.manifest.clone(),
            parts: self.parts.clone(),
            by: self.by.clone(),
            note: self.note.clone(),
        }
    }
}

fn why_refused(error: anyhow::Error) -> DeployError {
    let refused = |error: anyhow::Error| DeployError::Refused(error.root_cause().to_string());
    error.downcast().unwrap_or_else(refused)
}
