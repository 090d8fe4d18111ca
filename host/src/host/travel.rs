//! Time travel for operators: an object's past looked at, brought back, copied, taken
//! out and deleted. What changes an object happens while it is kept asleep; what only
//! looks leaves it alone.

use std::path::Path;
use std::time::Duration;

use dormouse_storage::{Bookmark, Commits, Diff, Error as StorageError, ObjectKey, Storage};

use super::{AskError, Handle};
use crate::alarm::Address;
use crate::guest::Identity;
use crate::host::moment::Moment;

/// How long the sockets of an object that is deleted may take to close.
const SOCKETS_CLOSE: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// What an object was brought back to, and the way back.
#[derive(Clone, Copy, Debug)]
pub struct Restored {
    pub to: Bookmark,
    pub undo: Bookmark,
}

impl Handle {
    /// Reads a moment, whose time ago counts from the host's clock.
    pub fn moment(&self, text: &str) -> Result<Moment, AskError> {
        Ok(Moment::parse(text, self.registry.clock().unix_ms())?)
    }

    /// The bookmark of an object's state then, or now.
    pub async fn bookmark(
        &self,
        class: &str,
        object: &str,
        at: Option<Moment>,
    ) -> Result<Bookmark, AskError> {
        let look = move |storage: &Storage, key: &ObjectKey| match at {
            None => storage.bookmark(key),
            Some(at) => bookmark_at(storage, key, &at),
        };
        self.look(class, object, look).await
    }

    /// Commits of an object, newest first, those before a bookmark only.
    pub async fn commits(
        &self,
        class: &str,
        object: &str,
        before: Option<String>,
        limit: usize,
    ) -> Result<Commits, AskError> {
        let look = move |storage: &Storage, key: &ObjectKey| {
            storage.commits(key, before.as_deref(), limit)
        };
        self.look(class, object, look).await
    }

    /// From when on this host's objects can be brought back, since 1970.
    pub async fn history_since_ms(&self) -> u64 {
        let storage = self.storage.clone();
        blocking(move || storage.history().since_ms).await
    }

    /// The rows that differ between two moments; `None` is now.
    pub async fn diff(
        &self,
        class: &str,
        object: &str,
        from: Moment,
        to: Option<Moment>,
        limit: usize,
    ) -> Result<Diff, AskError> {
        let look = move |storage: &Storage, key: &ObjectKey| {
            let from = text_at(storage, key, &from)?;
            let to = to.map(|to| text_at(storage, key, &to)).transpose()?;
            storage.diff(key, &from, to.as_deref(), limit)
        };
        self.look(class, object, look).await
    }

    /// Writes an object's database, as it was or is, to a new file that any SQLite opens.
    pub async fn export(
        &self,
        class: &str,
        object: &str,
        at: Option<Moment>,
        to: &Path,
    ) -> Result<(), AskError> {
        let to = to.to_owned();
        let look = move |storage: &Storage, key: &ObjectKey| {
            let at = at.map(|at| text_at(storage, key, &at)).transpose()?;
            storage.export(key, at.as_deref(), &to)
        };
        self.look(class, object, look).await
    }

    /// Brings an object back to what it was, but for its alarms.
    pub async fn restore(
        &self,
        class: &str,
        object: &str,
        to: Moment,
    ) -> Result<Restored, AskError> {
        self.known(class, object).await?;
        let restore = move |storage: &Storage, key: &ObjectKey| {
            let to = bookmark_at(storage, key, &to)?;
            let undo = storage.restore(key, &to.to_string())?;
            Ok(Restored { to, undo })
        };
        self.change(class, object, restore).await
    }

    /// Makes an object without data what another of its class was or is; its alarms stay
    /// behind.
    pub async fn fork(
        &self,
        class: &str,
        object: &str,
        at: Option<Moment>,
        target: &str,
    ) -> Result<(), AskError> {
        self.known(class, object).await?;
        let (_, source) = self.find_key(class, object)?;
        let fork = move |storage: &Storage, key: &ObjectKey| {
            let at = at.map(|at| text_at(storage, &source, &at)).transpose()?;
            storage.fork(&source, at.as_deref(), key)
        };
        self.change(class, target, fork).await
    }

    /// Makes an object of a SQLite file. One that has data is replaced only if `replace`
    /// says so; what it was stays in its history.
    pub async fn import(
        &self,
        class: &str,
        object: &str,
        from: &Path,
        replace: bool,
    ) -> Result<(), AskError> {
        let from = from.to_owned();
        let import = move |storage: &Storage, key: &ObjectKey| storage.import(key, &from, replace);
        self.change(class, object, import).await
    }

    /// Deletes an object with all it ever was. Its sockets are closed first, so that
    /// their handlers have run when it goes. Whether there was anything.
    pub async fn delete(&self, class: &str, object: &str) -> Result<bool, AskError> {
        let address = self.address(class, object)?;
        self.close_sockets(&address).await?;
        let delete = |storage: &Storage, key: &ObjectKey| {
            let existed = exists(storage, key)?;
            storage.delete(key)?;
            Ok(existed)
        };
        self.change(class, object, delete).await
    }

    pub(super) async fn close_sockets(&self, object: &Address) -> Result<(), AskError> {
        let deadline = tokio::time::Instant::now() + SOCKETS_CLOSE;
        while let Some(hub) = self.registry.hub(object).filter(|hub| !hub.is_empty()) {
            if tokio::time::Instant::now() > deadline {
                return Err(AskError::SocketsOpen(format!(
                    "{}/id:{}",
                    object.class, object.id
                )));
            }
            hub.close_all(1001, "the object is being deleted");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    fn find_key(&self, class: &str, object: &str) -> Result<(Identity, ObjectKey), AskError> {
        let (namespace, object) = self.find(class, object)?;
        let key = ObjectKey {
            namespace: namespace.class.to_string(),
            id: *object.id.bytes(),
            name: object.name.as_deref().map(str::to_owned),
        };
        let (app, class) = (self.registry.app().clone(), namespace.class);
        Ok((Identity { app, class, object }, key))
    }

    /// That the object has data, or had some that history knows: a name that was
    /// mistyped should not look like an object that is empty.
    async fn known(&self, class: &str, object: &str) -> Result<(), AskError> {
        self.look(class, object, |_, _| Ok(())).await
    }

    async fn look<T: Send + 'static>(
        &self,
        class: &str,
        object: &str,
        look: impl FnOnce(&Storage, &ObjectKey) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, AskError> {
        let (_, key) = self.find_key(class, object)?;
        let storage = self.storage.clone();
        let looked = move || match exists(&storage, &key)? {
            true => look(&storage, &key).map(Some),
            false => Ok(None),
        };
        let found = blocking(looked).await.map_err(AskError::Travel)?;
        found.ok_or_else(|| AskError::NoObject(format!("{class}/{object}")))
    }

    async fn change<T: Send + 'static>(
        &self,
        class: &str,
        object: &str,
        change: impl FnOnce(&Storage, &ObjectKey) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, AskError> {
        let (who, key) = self.find_key(class, object)?;
        let work = move |storage: &Storage| change(storage, &key);
        let changed = self.registry.while_asleep(&who, work).await?;
        changed.map_err(AskError::Travel)
    }
}

/// Whether history or the present knows anything of an object.
fn exists(storage: &Storage, key: &ObjectKey) -> Result<bool, StorageError> {
    Ok(storage.has_data(key)? || !storage.commits(key, None, 1)?.commits.is_empty())
}

fn bookmark_at(storage: &Storage, key: &ObjectKey, at: &Moment) -> Result<Bookmark, StorageError> {
    match at {
        Moment::Time(ms) => storage.bookmark_for_time(key, *ms),
        Moment::Bookmark(text) => storage.read_bookmark(key, text),
    }
}

fn text_at(storage: &Storage, key: &ObjectKey, at: &Moment) -> Result<String, StorageError> {
    Ok(bookmark_at(storage, key, at)?.to_string())
}

/// On a thread that may block; a panic there goes on here.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}
