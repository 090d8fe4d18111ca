//! Handle: what may be asked of a running host, by who embeds it and by the admin
//! door. Cheap to clone; decides nothing.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use anyhow::Context as _;
use dormouse_storage::Storage;
use tokio::task::AbortHandle;

use super::{App, Around, DeployError, Loading, migrations};
use crate::alarm::{Address, Alarms};
use crate::clock::Clock;
use crate::deploy::{Catalog, Steps};
use crate::egress::Script;
use crate::guest::Engine;
use crate::manifest::{Limits, Manifest};
use crate::measures::Measures;
use crate::object::{Registry, Served};
use crate::secrets::Secrets;
use crate::server::{self, Assets};
use crate::worker::{Front, Workers};

#[derive(Clone, Debug)]
pub struct Handle {
    pub(super) engine: Engine,
    pub(super) storage: Storage,
    pub(super) registry: Registry,
    pub(super) workers: Workers,
    pub(super) assets: Assets,
    pub(super) alarms: Alarms,
    pub(super) data: Arc<Path>,
    /// Where compiled code is kept.
    pub(super) cache: Arc<Path>,
    pub(super) around: Around,
    pub(super) limits: server::Limits,
    pub(super) secrets: Secrets,
    pub(super) manifest: Arc<RwLock<Arc<Manifest>>>,
    /// What the storage was opened with.
    pub(super) opened_with: Arc<Limits>,
    pub(super) public: Arc<OnceLock<SocketAddr>>,
    pub(super) catalog: Arc<Catalog>,
    /// Held while a version is checked and taken over.
    pub(super) deploying: Arc<tokio::sync::Mutex<()>>,
    /// It was opened without code.
    pub(super) bare: bool,
    /// Whether `deploy` may delete the objects of classes.
    pub(super) delete_data: bool,
    /// Looks at how a version that is being rolled out does.
    pub(super) watcher: Arc<Mutex<Option<AbortHandle>>>,
}

impl Handle {
    /// The classes that are served now.
    #[must_use]
    pub fn classes(&self) -> Vec<String> {
        let served = self.registry.served();
        let classes = served.code.classes().iter();
        classes.map(|class| class.name.to_string()).collect()
    }

    /// The code that is served now, and what it runs under.
    #[must_use]
    pub fn served(&self) -> Arc<Served> {
        self.registry.served()
    }

    #[must_use]
    pub fn manifest(&self) -> Arc<Manifest> {
        let manifest = self.manifest.read();
        manifest.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The app's name. One that its manifest is given later counts from the next start.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        self.registry.app()
    }

    /// Where the public door listens, if it does.
    #[must_use]
    pub fn public_address(&self) -> Option<SocketAddr> {
        self.public.get().copied()
    }

    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// For an owner that commits by hand, see [`super::Builder::disk`].
    #[must_use]
    pub const fn storage(&self) -> &Storage {
        &self.storage
    }

    /// How many objects have an instance at the moment.
    #[must_use]
    pub fn awake(&self) -> usize {
        self.registry.awake()
    }

    /// How many objects could have one.
    #[must_use]
    pub fn awake_limit(&self) -> usize {
        self.engine.live_objects()
    }

    /// What keeps the host from making writes durable, in words.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let dead = self.registry.dead().map(|dead| dead.to_string());
        dead.or_else(|| self.storage.trouble().map(|error| error.to_string()))
    }

    #[must_use]
    pub fn measures(&self) -> &Measures {
        self.registry.measures()
    }

    /// What answers in place of the outside, in a test.
    #[must_use]
    pub const fn script(&self) -> Option<&Script> {
        self.around.script.as_ref()
    }

    /// The time that host and guests see.
    #[must_use]
    pub const fn clock(&self) -> &Clock {
        &self.around.clock
    }

    /// A door to the objects beside the public one.
    #[must_use]
    pub fn door(&self) -> server::Door {
        server::Door::to_objects(self.registry.clone(), self.limits)
    }

    /// The address of the object with this name.
    pub fn object(&self, class: &str, name: &str) -> anyhow::Result<Address> {
        let served = self.registry.served();
        let namespace = served.namespaces.get(class);
        let namespace = namespace.with_context(|| format!("no class `{class}` is served"))?;
        Ok(Address {
            class: namespace.class.clone(),
            id: namespace.id_from_name(name).id,
        })
    }

    /// Serves other code from now on. Objects keep their state; events in flight
    /// finish on the old code. On an error nothing has changed.
    pub async fn deploy(&self, app: App) -> anyhow::Result<()> {
        let _one_at_a_time = self.deploying.lock().await;
        let (served, worker, steps) = self.load(&app).await?;
        migrations::allow(&steps, self.delete_data)?;
        self.catalog.set_classes(steps.classes)?;
        self.switch(served, worker, app.manifest);
        Ok(self.delete_leftovers().await?)
    }

    /// Serves other code from now on.
    pub(super) fn switch(&self, served: Served, worker: Front, manifest: Manifest) {
        self.stop_watching();
        self.registry.replace(served);
        self.workers.replace(worker);
        self.assets.replace(manifest.assets.clone());
        self.set_manifest(manifest);
        // Their class may have come back.
        self.alarms.retry_now();
    }

    pub(super) fn set_manifest(&self, manifest: Manifest) {
        let current = self.manifest.write();
        *current.unwrap_or_else(PoisonError::into_inner) = Arc::new(manifest);
    }

    pub(super) async fn load(&self, app: &App) -> anyhow::Result<(Served, Front, Steps)> {
        let classes = self.catalog.classes();
        let plan = |exported: &[String]| -> Result<Steps, DeployError> {
            migrations::plan(&self.storage, &classes, &app.manifest, exported)
        };
        self.loading().load(None, app, plan).await
    }

    /// What its code is loaded with while the host runs.
    pub(super) fn loading(&self) -> Loading<'_> {
        Loading {
            engine: &self.engine,
            cache: &self.cache,
            app: self.name(),
            secrets: &self.secrets,
            around: &self.around,
            neighbours: Some(self.registry.neighbours()),
        }
    }

    /// The name that a class has now whose objects are kept under this root.
    #[must_use]
    pub fn class_name(&self, root: &Arc<str>) -> Arc<str> {
        let served = self.registry.served();
        served.class_of(root).unwrap_or(root).clone()
    }

    /// Ends when the host cannot go on: writing the commit log failed, and only a
    /// restart, which recovers from what is on disk, mends that.
    pub fn failed(&self) -> impl Future<Output = anyhow::Error> + use<> {
        let registry = self.registry.clone();
        async move { registry.died().await.into() }
    }
}
