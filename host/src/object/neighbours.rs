//! Neighbours: the apps of a host, as their objects see each other.
//!
//! Filled by `host` as apps start and end, asked with each call that leads to another
//! app and with each socket that another app's object took. What an app shares stands
//! in what it serves at that moment, so a deployment takes it back at once.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, Weak};

use super::registry::{Inner, Registry, Served};
use crate::event::Fault;
use crate::id::Namespace;

/// Cheap to clone; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Neighbours(Arc<RwLock<BTreeMap<Arc<str>, Weak<Inner>>>>);

impl Neighbours {
    /// From now on the app's objects can be found.
    pub fn add(&self, registry: &Registry) {
        let (name, inner) = registry.entry();
        let mut apps = self.0.write().unwrap_or_else(PoisonError::into_inner);
        apps.insert(name, inner);
    }

    pub fn remove(&self, app: &str) {
        let mut apps = self.0.write().unwrap_or_else(PoisonError::into_inner);
        apps.remove(app);
    }

    #[must_use]
    pub fn find(&self, app: &str) -> Option<Registry> {
        self.lock().get(app)?.upgrade().map(Registry::from)
    }

    /// The app whose objects of `class` the app `caller` may call, if it may.
    ///
    /// # Errors
    /// [`Fault::Away`] while it is not there, [`Fault::BadCall`] if it does not share
    /// the class.
    pub fn shared(&self, caller: &str, app: &str, class: &str) -> Result<Registry, Fault> {
        let away = |why: String| Fault::Away(why.into());
        let registry = self
            .find(app)
            .ok_or_else(|| away(format!("this host has no app {app:?} at the moment")))?;
        if registry.is_paused() {
            return Err(away(format!("the app {app:?} is paused")));
        }
        let served = registry.served();
        if let Some(why) = &served.absent {
            return Err(away(format!("the app {app:?} has no code: {why}")));
        }
        match served.shares(class, caller) {
            true => Ok(registry),
            false => Err(Fault::BadCall(refusal(&served, caller, app, class).into())),
        }
    }

    fn lock(&self) -> RwLockReadGuard<'_, BTreeMap<Arc<str>, Weak<Inner>>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a class cannot be called, with what to do about it.
fn refusal(served: &Served, caller: &str, app: &str, class: &str) -> String {
    let root = |own: &Namespace| (*own.class != *class).then(|| own.class.clone());
    if let Some(root) = served.namespaces.get(class).and_then(root) {
        return format!(
            "the app {app:?} has renamed a class to `{class}`; to other apps its name is still `{root}`"
        );
    }
    if served.namespaces.contains_key(class) {
        return format!(
            "the app {app:?} does not share the class `{class}` with {caller:?}; its dormouse.toml \
             must say `[share]`, `{class} = [\"{caller}\"]`"
        );
    }
    let mut classes: Vec<_> = served.namespaces.keys().map(|name| &**name).collect();
    classes.sort_unstable();
    format!(
        "the app {app:?} has no class `{class}`; it has {}",
        classes.join(", ")
    )
}
