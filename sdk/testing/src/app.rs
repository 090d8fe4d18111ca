//! App: what a test host serves, built and compiled once per process.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anyhow::Context as _;
use dormouse::App;
use dormouse::guest::{Code, Engine, EngineOptions};
use dormouse::manifest::Manifest;

use dormouse::machine::Machine;

/// Where the app comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// A folder with `Cargo.toml` or `dormouse.toml`.
    Project(PathBuf),
    /// A component that is there, with default settings.
    Component(PathBuf),
}

#[derive(Clone)]
pub(crate) struct Built {
    pub(crate) app: App,
    pub(crate) code: Arc<Code>,
}

type Apps = Mutex<HashMap<Source, Arc<OnceLock<Result<Built, String>>>>>;

impl Source {
    /// The crate whose tests run.
    pub(crate) fn current() -> anyhow::Result<Self> {
        let folder = std::env::var_os("CARGO_MANIFEST_DIR").context(
            "which app? run the test by `cargo test`, or name its folder with `.project(…)`",
        )?;
        Ok(Self::Project(folder.into()))
    }

    /// Builds what is stale. Tests at the same time wait for one another.
    pub(crate) fn built(&self) -> anyhow::Result<Built> {
        static APPS: OnceLock<Apps> = OnceLock::new();
        let mut apps = APPS
            .get_or_init(Mutex::default)
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let app = apps.entry(self.clone()).or_default().clone();
        drop(apps);
        let built = app.get_or_init(|| self.build().map_err(|error| format!("{error:#}")));
        built.clone().map_err(anyhow::Error::msg)
    }

    fn build(&self) -> anyhow::Result<Built> {
        Machine::new().run(async {
            let app = match self {
                Self::Project(folder) => dormouse::cli::build_app(folder).await?,
                Self::Component(file) => App {
                    manifest: Manifest::named("test"),
                    component: file.clone(),
                    worker: None,
                },
            };
            let cache = scratch().join("compiled");
            std::fs::create_dir_all(&cache)
                .with_context(|| format!("cannot make {}", cache.display()))?;
            let code = Code::load(engine(), &app.component, Some(&cache)).await;
            let code = code.with_context(|| format!("cannot use {}", app.component.display()))?;
            let code = Arc::new(code);
            Ok(Built { app, code })
        })
    }
}

/// One for all hosts of the process: each reserves much of the address space.
pub(crate) fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| {
        let engine = Engine::new(&EngineOptions::default());
        engine.expect("the WebAssembly engine can be set up on this machine")
    })
}

/// A folder of our own beside the test program, in cargo's target folder.
pub(crate) fn scratch() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    let profile = program.parent().and_then(Path::parent);
    profile.map_or_else(std::env::temp_dir, |folder| folder.join("dormouse-testing"))
}
