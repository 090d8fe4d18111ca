//! Apps: all apps of a host. Starts, finds, creates, pauses, deletes and routes them.
//!
//! The main app is the one that the host was started with; it answers what no route of
//! another app matches. Others are created by an operator and kept in `apps/` in the data
//! folder, or given by who embeds the host. One change at a time; what asks for an app
//! waits for nobody.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::list::{Entry, List};
use super::opening::{Ground, Running};
use super::{App, Handle, ListError, Routes};
use crate::guest::Code;
use crate::manifest::check_name;
use crate::secrets::Secret;
use crate::server::{Behind, Route, Routing};

/// How long an app may take to end when it is deleted or opened anew.
const END: Duration = Duration::from_secs(10);

/// All apps of a host. Cheap to clone; clones are the same.
#[derive(Clone, Debug)]
pub struct Apps(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    ground: Ground,
    main: Arc<str>,
    list: List,
    front: Routing,
    members: RwLock<BTreeMap<String, Member>>,
    /// Held by who changes something.
    changing: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Member {
    routes: Routes,
    paused: bool,
    /// Given by who embeds the host, and in no list.
    given: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    Open(Arc<Running>),
    /// Its folder cannot be used.
    Closed(Arc<str>),
}

/// An app beside the main one, given by who embeds the host.
#[derive(Clone, Debug)]
pub struct Beside {
    pub app: App,
    /// The component, compiled already by the same engine.
    pub code: Option<Arc<Code>>,
    pub routes: Routes,
    pub secrets: BTreeMap<String, Secret>,
}

/// One app as a list shows it.
#[derive(Clone, Debug)]
pub struct AppInfo {
    pub name: String,
    pub is_main: bool,
    pub routes: Routes,
    pub paused: bool,
    /// Absent if its folder cannot be used.
    pub handle: Option<Handle>,
    /// Why it is not served, if it is not.
    pub trouble: Option<Arc<str>>,
}

#[derive(Debug, thiserror::Error)]
pub enum AppsError {
    #[error(
        "no app is called {name:?}; there is {}. `dormouse app create {name}` makes one",
        known.join(", ")
    )]
    Unknown { name: String, known: Vec<String> },
    #[error("the data of the app {name:?} cannot be used: {why}")]
    Closed { name: String, why: Arc<str> },
    #[error("{0}")]
    Invalid(String),
    #[error("there is an app {name:?} already")]
    Exists { name: String },
    #[error(
        "{} has data that belongs to no app in the list beside it; move it away, or add it there \
         while no host runs",
        folder.display()
    )]
    Orphan { folder: PathBuf },
    #[error("{route} leads to the app {other:?} already; choose another name or path")]
    Conflict { route: String, other: String },
    #[error("{name:?} is the app that the host was started with: {why}")]
    Main { name: String, why: &'static str },
    #[error(transparent)]
    List(#[from] ListError),
    #[error("the app {name:?} cannot be opened: {why}")]
    Open { name: String, why: String },
}

impl Apps {
    /// Starts all apps beside the main one, then lets alarms fire.
    pub(super) async fn open(
        ground: Ground,
        main: Running,
        front: Routing,
        list: List,
        given: BTreeMap<String, Beside>,
    ) -> anyhow::Result<Self> {
        let content = list.content();
        let name: Arc<str> = main.handle.name().clone();
        let mut members = BTreeMap::new();
        for (other, entry) in &content.apps {
            anyhow::ensure!(
                **other != *name && !given.contains_key(other),
                "there is an app {other:?} in {} already; start this one under another name, or \
                 deploy it there",
                list.folder(other).display()
            );
            let opened = match entry.deleting {
                false => ground.open(other, None).await,
                true => match list.forget(other) {
                    Ok(()) => continue,
                    Err(error) => Err(error.into()),
                },
            };
            members.insert(other.clone(), Member::new(other, entry, opened));
        }
        for (other, given) in given {
            let routes = given.routes.clone();
            let running = ground.open(&other, Some(given)).await?;
            let entry = Entry {
                routes,
                ..Entry::default()
            };
            let member = Member {
                given: true,
                ..Member::new(&other, &entry, Ok(running))
            };
            members.insert(other, member);
        }
        let entry = Entry {
            paused: content.main_paused,
            ..Entry::default()
        };
        members.insert(name.to_string(), Member::new(&name, &entry, Ok(main)));
        for member in members.values() {
            member.begin();
        }
        let apps = Self(Arc::new(Inner {
            ground,
            main: name,
            list,
            front,
            members: RwLock::new(members),
            changing: tokio::sync::Mutex::default(),
        }));
        apps.show_routes();
        Ok(apps)
    }

    /// The app with this name.
    pub fn find(&self, name: &str) -> Result<Handle, AppsError> {
        match &self.member(&self.read(), name)?.state {
            State::Open(running) => Ok(running.handle.clone()),
            State::Closed(why) => Err(AppsError::Closed {
                name: name.to_owned(),
                why: why.clone(),
            }),
        }
    }

    /// All apps by name.
    #[must_use]
    pub fn list(&self) -> Vec<AppInfo> {
        let members = self.read();
        let described = members.iter();
        described
            .map(|(name, member)| member.describe(name, **name == *self.0.main))
            .collect()
    }

    /// One of them.
    pub fn info(&self, name: &str) -> Result<AppInfo, AppsError> {
        let members = self.read();
        let member = self.member(&members, name)?;
        Ok(member.describe(name, *name == *self.0.main))
    }

    /// Makes an app to which nothing has been deployed yet.
    pub async fn create(&self, name: &str, routes: Routes) -> Result<AppInfo, AppsError> {
        let _one_at_a_time = self.0.changing.lock().await;
        check_name(name).map_err(AppsError::Invalid)?;
        let routes = routes.checked().map_err(AppsError::Invalid)?;
        if self.read().contains_key(name) {
            let name = name.to_owned();
            return Err(AppsError::Exists { name });
        }
        self.check_conflicts(name, &routes)?;
        let folder = self.0.list.folder(name);
        if std::fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(AppsError::Orphan { folder });
        }
        let entry = Entry {
            routes,
            ..Entry::default()
        };
        let add = entry.clone();
        self.0
            .list
            .change(|content| drop(content.apps.insert(name.to_owned(), add)))?;
        let opened = self.0.ground.open(name, None).await;
        let member = Member::new(name, &entry, opened);
        member.begin();
        self.write().insert(name.to_owned(), member);
        self.show_routes();
        self.info(name)
    }

    /// Leads other requests to an app, from the next one on.
    pub async fn set_routes(&self, name: &str, routes: Routes) -> Result<AppInfo, AppsError> {
        let _one_at_a_time = self.0.changing.lock().await;
        let routes = routes.checked().map_err(AppsError::Invalid)?;
        self.may_change(name, "it answers what no route of another app matches")?;
        self.check_conflicts(name, &routes)?;
        self.remember(name, |entry| entry.routes = routes.clone())?;
        if let Some(member) = self.write().get_mut(name) {
            member.routes = routes;
        }
        self.show_routes();
        self.info(name)
    }

    /// Pauses an app, or lets it go on; it stays so over a restart.
    pub async fn set_paused(&self, name: &str, paused: bool) -> Result<AppInfo, AppsError> {
        let _one_at_a_time = self.0.changing.lock().await;
        self.info(name)?;
        if *name == *self.0.main {
            self.0.list.change(|content| content.main_paused = paused)?;
        } else {
            self.remember(name, |entry| entry.paused = paused)?;
        }
        if let Some(member) = self.write().get_mut(name) {
            member.paused = paused;
            member.apply_pause();
        }
        self.info(name)
    }

    /// Deletes an app with all its data. What runs has ten seconds to finish.
    pub async fn delete(&self, name: &str) -> Result<(), AppsError> {
        let _one_at_a_time = self.0.changing.lock().await;
        self.may_change(name, "it ends with the host")?;
        self.remember(name, |entry| entry.deleting = true)?;
        let member = self.write().remove(name);
        self.show_routes();
        self.0.ground.objects.neighbours.remove(name);
        if let Some(State::Open(running)) = member.map(|member| member.state)
            && let Err(error) = end(running).await
        {
            tracing::warn!(app = name, "the app did not end in order: {error:#}");
        }
        let (inner, app) = (self.0.clone(), name.to_owned());
        let forgotten = tokio::task::spawn_blocking(move || inner.list.forget(&app)).await;
        let forgotten =
            forgotten.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        Ok(forgotten?)
    }

    /// Opens an app anew if that mends it: one that was opened without code and has some
    /// now (its manifest's limits of storage and door count from then on), or one whose
    /// code could not be loaded, when what it lacked may be there.
    pub async fn settle(&self, handle: Handle) -> Result<(), AppsError> {
        let name = handle.name().to_string();
        let wanted = match handle.served().absent.is_some() {
            true => handle.catalog.current().is_some(),
            false => handle.bare && *handle.opened_with != handle.manifest().limits,
        };
        drop(handle);
        if !wanted {
            return Ok(());
        }
        let _one_at_a_time = self.0.changing.lock().await;
        let state = State::Closed("it is being opened anew".into());
        let old = match self.write().get_mut(&name) {
            Some(member) => std::mem::replace(&mut member.state, state),
            None => return Ok(()),
        };
        // Nobody new comes to the old door.
        self.show_routes();
        if let State::Open(running) = old
            && let Err(error) = end(running).await
        {
            tracing::warn!(app = name, "the app did not end in order: {error:#}");
        }
        let opened = self.open_again(&name).await;
        if let Some(member) = self.write().get_mut(&name) {
            let entry = member.entry();
            *member = Member::new(&name, &entry, opened);
            member.begin();
        }
        self.show_routes();
        match self.find(&name) {
            Err(AppsError::Closed { name, why }) => Err(AppsError::Open {
                name,
                why: why.to_string(),
            }),
            _ => Ok(()),
        }
    }

    /// Whoever still asks the app that has ended lets go of its folder soon.
    async fn open_again(&self, name: &str) -> anyhow::Result<Running> {
        let deadline = Instant::now() + END;
        loop {
            let opened = self.0.ground.open(name, None).await;
            let is_held = |error: &anyhow::Error| {
                let error = error.downcast_ref::<dormouse_storage::Error>();
                matches!(error, Some(dormouse_storage::Error::InUse { .. }))
            };
            match opened {
                Err(error) if is_held(&error) && Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                opened => return opened,
            }
        }
    }

    /// Ends all apps, the main one last.
    pub(super) async fn close(&self, within: Duration) -> anyhow::Result<()> {
        let _one_at_a_time = self.0.changing.lock().await;
        self.0.front.replace(Vec::new());
        let mut members = std::mem::take(&mut *self.write());
        let main = members.remove(&*self.0.main);
        let open = |member: Member| match member.state {
            State::Open(running) => Arc::into_inner(running),
            State::Closed(_) => None,
        };
        let others = members.into_values().filter_map(open);
        let ended = join_all(others.map(|running| running.close(within))).await;
        if let Some(main) = main.and_then(open) {
            main.close(within).await?;
        }
        ended.into_iter().collect()
    }

    /// The file that lists the apps beside the main one, if there is one.
    pub(super) fn list_file(&self) -> Option<(String, Vec<u8>)> {
        self.0.list.file()
    }

    fn check_conflicts(&self, name: &str, routes: &Routes) -> Result<(), AppsError> {
        let members = self.read();
        let others = members.iter().filter(|(other, _)| *other != name);
        let mut shared = others.filter_map(|(other, member)| {
            let route = member.routes.shared_with(routes)?;
            let other = other.clone();
            Some(AppsError::Conflict { route, other })
        });
        shared.next().map_or(Ok(()), Err)
    }

    /// Whether an operator may change or delete the app.
    fn may_change(&self, name: &str, why: &'static str) -> Result<(), AppsError> {
        let members = self.read();
        let member = self.member(&members, name)?;
        match *name == *self.0.main || member.given {
            true => Err(AppsError::Main {
                name: name.to_owned(),
                why,
            }),
            false => Ok(()),
        }
    }

    fn remember(&self, name: &str, change: impl FnOnce(&mut Entry)) -> Result<(), ListError> {
        self.0.list.change(|content| {
            if let Some(entry) = content.apps.get_mut(name) {
                change(entry);
            }
        })
    }

    fn show_routes(&self) {
        let members = self.read();
        let routes = members.iter().flat_map(|(name, member)| member.show(name));
        self.0.front.replace(routes.collect());
    }

    fn member<'a>(
        &self,
        members: &'a BTreeMap<String, Member>,
        name: &str,
    ) -> Result<&'a Member, AppsError> {
        members.get(name).ok_or_else(|| AppsError::Unknown {
            name: name.to_owned(),
            known: members.keys().cloned().collect(),
        })
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<String, Member>> {
        let members = self.0.members.read();
        members.unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<String, Member>> {
        let members = self.0.members.write();
        members.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nobody finds the app any more; who has it lets go of it soon.
async fn end(running: Arc<Running>) -> anyhow::Result<()> {
    match Arc::into_inner(running) {
        Some(running) => running.close(END).await,
        None => Ok(()),
    }
}

impl Member {
    fn new(name: &str, entry: &Entry, opened: anyhow::Result<Running>) -> Self {
        let state = match opened {
            Ok(running) => State::Open(Arc::new(running)),
            Err(error) => {
                tracing::error!(app = name, "the app cannot be opened: {error:#}");
                State::Closed(format!("{error:#}").into())
            }
        };
        Self {
            routes: entry.routes.clone(),
            paused: entry.paused,
            given: false,
            state,
        }
    }

    fn entry(&self) -> Entry {
        Entry {
            routes: self.routes.clone(),
            paused: self.paused,
            deleting: false,
        }
    }

    fn begin(&self) {
        if let State::Open(running) = &self.state {
            running.look_for_alarms();
        }
        self.apply_pause();
    }

    fn apply_pause(&self) {
        match &self.state {
            State::Open(running) if self.paused => running.pause(),
            State::Open(running) => running.resume(),
            State::Closed(_) => {}
        }
    }

    fn describe(&self, name: &str, is_main: bool) -> AppInfo {
        let (handle, trouble) = match &self.state {
            State::Open(running) => {
                let absent = running.handle.served().absent.clone();
                (Some(running.handle.clone()), absent)
            }
            State::Closed(why) => (None, Some(why.clone())),
        };
        AppInfo {
            name: name.to_owned(),
            is_main,
            routes: self.routes.clone(),
            paused: self.paused,
            handle,
            trouble,
        }
    }

    /// What the public door is to know.
    fn show(&self, name: &str) -> Vec<Route> {
        let pairs = self.routes.pairs().into_iter();
        let to = |path: &str| match &self.state {
            State::Open(running) => Behind::Door(Box::new(running.door.behind(path))),
            State::Closed(why) => Behind::Nobody(name.into(), why.clone()),
        };
        pairs
            .map(|(host, path)| Route {
                host: host.map(str::to_owned),
                path: path.to_owned(),
                to: to(path),
            })
            .collect()
    }
}
