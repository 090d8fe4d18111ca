//! Opening: one app of a host, from its folder to its door, and its end.
//!
//! Used by `host` for the main app and by `apps` for the others. An app beside the main
//! one is open even without code that can be served: it says why, and takes the next
//! deployment.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use dormouse_storage::{Env, Storage};

use super::list::FOLDER;
use super::subfolder::subfolder;
use super::{App, Around, Handle, Loading, alarms, migrations, object_options};
use crate::alarm::{Alarms, Scheduler};
use crate::deploy::{Catalog, Classes};
use crate::guest::{Code, Engine, Environment};
use crate::manifest::Manifest;
use crate::object::{self, Registry, Served};
use crate::secrets::Secrets;
use crate::server::{self, Assets, Door};
use crate::worker::{Front, Workers};

/// How long tasks that are done may take to let go of the data folder, so that
/// the next host can have it at once.
const RELEASE: Duration = Duration::from_secs(1);
/// Of the commit log of an app beside the main one (bytes): two are set aside for each.
const SEGMENT_BYTES: u64 = 16 << 20;
/// The same where memory is the disk.
const SMALL_SEGMENT_BYTES: u64 = 1 << 20;

/// What all apps of a host share.
#[derive(Clone, Debug)]
pub(super) struct Ground {
    pub(super) engine: Engine,
    /// The data folder of the host, which is the main app's.
    pub(super) data: Arc<Path>,
    /// Where compiled code is kept.
    pub(super) cache: Arc<Path>,
    pub(super) around: Around,
    pub(super) objects: object::Around,
    pub(super) disk: Option<Env>,
    /// Where the public door listens, once it does.
    pub(super) public: Arc<OnceLock<SocketAddr>>,
    /// Whether manifests may delete the objects of classes.
    pub(super) delete_data: bool,
}

/// An app that is open.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) handle: Handle,
    pub(super) door: Door,
    /// Absent while no alarm may fire.
    scheduler: Mutex<Option<Scheduler>>,
}

/// Where an app is, and what it has for itself.
struct Place {
    name: Arc<str>,
    data: PathBuf,
    disk: Option<Env>,
    around: Around,
    segment_bytes: Option<u64>,
}

/// What a storage and a catalog serve.
struct Opened {
    storage: Storage,
    catalog: Catalog,
    served: Served,
    worker: Front,
    manifest: Manifest,
    /// It has no code yet.
    bare: bool,
}

impl Ground {
    pub(super) async fn open_main(
        &self,
        app: App,
        code: Option<Arc<Code>>,
    ) -> anyhow::Result<Running> {
        let place = Place {
            name: app.manifest.name.as_str().into(),
            data: self.data.to_path_buf(),
            disk: self.disk.clone(),
            around: self.around.clone(),
            segment_bytes: None,
        };
        let storage = place.storage(&app.manifest)?;
        let catalog = Catalog::open(&place.data)?;
        migrations::delete(&storage, &catalog)?;
        let (served, worker) = self.load(&place, &storage, &catalog, code, &app).await?;
        let opened = Opened {
            storage,
            catalog,
            served,
            worker,
            manifest: app.manifest,
            bare: false,
        };
        Ok(self.assemble(place, opened))
    }

    /// An app beside the main one: `given`, or what was deployed to it.
    ///
    /// # Errors
    /// When its folder cannot be used. Code that cannot be served is no error.
    pub(super) async fn open(
        &self,
        name: &str,
        given: Option<super::Beside>,
    ) -> anyhow::Result<Running> {
        let place = self.place(name, given.as_ref())?;
        let catalog = Catalog::open(&place.data)?;
        let (app, code) = match given {
            Some(given) => (Ok(given.app), given.code),
            None => (deployed(&catalog, name), None),
        };
        let named = || Manifest::named(name);
        let manifest = app
            .as_ref()
            .map_or_else(|_| named(), |app| app.manifest.clone());
        let storage = place.storage(&manifest)?;
        migrations::delete(&storage, &catalog)?;
        let loaded = match &app {
            Ok(app) => self
                .load(&place, &storage, &catalog, code, app)
                .await
                .map_err(|error| format!("{error:#}")),
            Err(why) => Err(why.clone()),
        };
        let (served, worker) = match loaded {
            Ok(loaded) => loaded,
            Err(why) => {
                tracing::error!(app = name, "the app has no code that can be served: {why}");
                (self.nothing(&place, &manifest, &why)?, None)
            }
        };
        let opened = Opened {
            storage,
            catalog,
            served,
            worker,
            manifest,
            bare: app.is_err(),
        };
        Ok(self.assemble(place, opened))
    }

    fn place(&self, name: &str, given: Option<&super::Beside>) -> anyhow::Result<Place> {
        let disk = self.disk.as_ref();
        let disk = disk.map(|disk| subfolder(disk, &format!("{FOLDER}/{name}")));
        let data = self.data.join(FOLDER).join(name);
        Ok(Place {
            name: name.into(),
            disk: disk
                .transpose()
                .with_context(|| format!("cannot use {}", data.display()))?,
            data,
            around: Around {
                secrets: given.map_or_else(Default::default, |given| given.secrets.clone()),
                ..self.around.clone()
            },
            segment_bytes: Some(SEGMENT_BYTES),
        })
    }

    /// Loads an app's code and does what its manifest asks of classes.
    async fn load(
        &self,
        place: &Place,
        storage: &Storage,
        catalog: &Catalog,
        code: Option<Arc<Code>>,
        app: &App,
    ) -> anyhow::Result<(Served, Front)> {
        let loading = Loading {
            engine: &self.engine,
            cache: &self.cache,
            app: &place.name,
            secrets: &Secrets::in_folder(&place.data),
            around: &place.around,
            // Those that it calls may start after it.
            neighbours: None,
        };
        let classes = catalog.classes();
        let plan =
            |exported: &[String]| migrations::plan(storage, &classes, &app.manifest, exported);
        let (served, worker, steps) = loading.load(code, app, plan).await?;
        migrations::apply(storage, catalog, steps, self.delete_data)?;
        Ok((served, worker))
    }

    fn nothing(&self, place: &Place, manifest: &Manifest, why: &str) -> anyhow::Result<Served> {
        let code = Code::nothing(&self.engine);
        let code = code.map_err(|error| anyhow::anyhow!("no empty component: {error:#}"))?;
        let environment = Environment {
            app: place.name.clone(),
            ..Environment::default()
        };
        let options = object_options(manifest);
        let classes = Classes::default();
        let mut served = Served::new(Arc::new(code), &classes, Arc::new(environment), options);
        served.absent = Some(why.into());
        Ok(served)
    }

    fn assemble(&self, place: Place, opened: Opened) -> Running {
        let Place {
            name, data, around, ..
        } = place;
        let (storage, clock) = (opened.storage, around.clock.clone());
        let alarms = Alarms::new(&name, clock.chance().clone());
        let registry = Registry::new(
            &name,
            storage.clone(),
            clock.clone(),
            alarms.clone(),
            self.objects.clone(),
            opened.served,
        );
        let workers = Workers::new(registry.clone(), clock);
        workers.replace(opened.worker);
        let assets = Assets::default();
        assets.replace(opened.manifest.assets.clone());
        let limits = server_limits(&opened.manifest);
        let door = Door::new(registry.clone(), workers.clone(), assets.clone(), limits);
        self.objects.neighbours.add(&registry);
        let handle = Handle {
            engine: self.engine.clone(),
            storage,
            registry,
            workers,
            assets,
            alarms,
            catalog: Arc::new(opened.catalog),
            secrets: Secrets::in_folder(&data),
            data: data.into(),
            cache: self.cache.clone(),
            around,
            limits,
            opened_with: Arc::new(opened.manifest.limits.clone()),
            manifest: Arc::new(RwLock::new(Arc::new(opened.manifest))),
            bare: opened.bare,
            public: self.public.clone(),
            deploying: Arc::default(),
            delete_data: self.delete_data,
            watcher: Arc::default(),
        };
        Running {
            handle,
            door,
            scheduler: Mutex::default(),
        }
    }
}

/// What was deployed to an app, or why there is nothing to serve.
fn deployed(catalog: &Catalog, name: &str) -> Result<App, String> {
    match catalog.current() {
        Some(version) => catalog.app(&version).map_err(|error| error.to_string()),
        None => Err(format!(
            "nothing has been deployed to it yet; `dormouse deploy --app {name}` changes that"
        )),
    }
}

fn server_limits(manifest: &Manifest) -> server::Limits {
    server::Limits {
        request_body_bytes: manifest.limits.request_body_bytes,
        request_header_bytes: manifest.limits.request_header_bytes as usize,
        concurrent_requests: manifest.limits.concurrent_requests as usize,
    }
}

impl Place {
    fn storage(&self, manifest: &Manifest) -> anyhow::Result<Storage> {
        let mut options = dormouse_storage::Options::new(&self.data);
        let limits = &manifest.limits;
        options.limits = limits.sql.clone();
        options.limits.database_bytes = limits.database_mib << 20;
        options.history = Duration::from_secs(limits.history_days * 24 * 60 * 60);
        options.history_bytes = match limits.history_mib {
            0 => u64::MAX,
            mib => mib << 20,
        };
        options.segment_bytes = self.segment_bytes.unwrap_or(options.segment_bytes);
        match &self.disk {
            Some(disk) => {
                // Memory is not set aside for a log that stays small.
                options.segment_bytes = SMALL_SEGMENT_BYTES;
                let storage = Storage::open_in(options, disk.clone())?;
                if let Some(testing) = &self.around.testing {
                    testing.quiet.serve(storage.clone());
                }
                Ok(storage)
            }
            None => Ok(Storage::open(options)?),
        }
    }
}

impl Running {
    /// Alarms fire from now on; those that are due first.
    pub(super) fn begin(&self) {
        let handle = &self.handle;
        let mut scheduler = self.scheduler();
        scheduler.get_or_insert_with(|| {
            let (clock, registry) = (handle.around.clock.clone(), handle.registry.clone());
            Scheduler::start(handle.alarms.clone(), clock, registry)
        });
    }

    /// Finds the alarms that are in the data folder.
    pub(super) fn look_for_alarms(&self) {
        let handle = &self.handle;
        alarms::look(&handle.storage, &handle.alarms, &handle.around.clock);
    }

    /// Turns requests away, closes sockets, lets objects sleep and alarms wait.
    pub(super) fn pause(&self) {
        self.scheduler().take();
        self.handle.registry.pause();
    }

    pub(super) fn resume(&self) {
        self.handle.registry.resume();
        self.begin();
    }

    /// Lets what runs finish, puts every object to sleep and closes the data folder.
    /// What is not done after `within` is cut off. The caller lets go of handles first.
    pub(super) async fn close(self, within: Duration) -> anyhow::Result<()> {
        let Self {
            handle,
            door,
            scheduler,
        } = self;
        handle.stop_watching();
        drop((scheduler, door));
        let Handle {
            storage,
            registry,
            workers,
            around,
            ..
        } = handle;
        workers.replace(None);
        drop(workers);
        registry.close(within).await;
        storage.close()?;
        if let Some(testing) = &around.testing {
            testing.quiet.forget(&storage);
        }
        drop(registry);
        let deadline = Instant::now() + RELEASE.min(within);
        while !storage.is_last() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    fn scheduler(&self) -> std::sync::MutexGuard<'_, Option<Scheduler>> {
        self.scheduler
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
