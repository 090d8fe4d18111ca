//! Looking at objects: lists, SQL and sockets. Wakes nobody.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dormouse_storage::{
    Error as StorageError, KvEntry, KvList, ObjectKey, OperatorAnswer, Rehearsal, Storage,
};
use tokio::sync::oneshot;

use super::{Handle, NoMoment};
use crate::alarm::Address;
use crate::builtin::Builtin;
use crate::event::{Event, Fault, Kind, Look, LookAnswer, Reply, RequestId, Reset, SqlText};
use crate::id::{self, Namespace, ObjectId, ObjectName};
use crate::object::Present;
use crate::socket::{SocketId, SocketInfo};

/// One object, as a list shows it.
#[derive(Clone, Debug)]
pub struct Object {
    pub class: Arc<str>,
    /// What its class's objects are kept under.
    root: Arc<str>,
    pub id: ObjectId,
    /// What its id was made from, if that is known.
    pub name: Option<String>,
    /// Size of its database; 0 if it has written nothing.
    pub bytes: u64,
    /// When its file last changed; `None` while all of it is in the log only.
    pub changed: Option<SystemTime>,
    pub awake: bool,
    /// How long an awake object has had nothing to do.
    pub idle: Option<Duration>,
    pub sockets: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectState {
    Awake,
    Asleep,
}

/// Which objects to list.
#[derive(Clone, Debug)]
pub struct ObjectQuery {
    /// All classes without one.
    pub class: Option<String>,
    /// Of the name; an object without one matches by its address, `id:…`.
    pub prefix: String,
    pub state: Option<ObjectState>,
    /// Begin behind this one: `class/name`.
    pub after: Option<String>,
    pub limit: usize,
}

/// A page of objects by class and name.
#[derive(Clone, Debug)]
pub struct Objects {
    pub objects: Vec<Object>,
    /// How many match on all pages together.
    pub total: usize,
    pub more: bool,
}

/// Why an object could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("no class is called {class:?}; there is {}", known.join(", "))]
    UnknownClass { class: String, known: Vec<String> },
    #[error(transparent)]
    Id(#[from] id::Error),
    #[error("no object {0} has ever written anything; `dormouse objects` lists those that have")]
    NoObject(String),
    #[error(
        "no database is bound to {binding:?}; bound are: {}; add it to `[databases]` in dormouse.toml",
        known.join(", ")
    )]
    NoDatabase { binding: String, known: Vec<String> },
    #[error(transparent)]
    Statement(StorageError),
    #[error(transparent)]
    Moment(#[from] NoMoment),
    /// What storage said to a travel in time.
    #[error(transparent)]
    Travel(StorageError),
    #[error("the sockets of {0} do not close; try again")]
    SocketsOpen(String),
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl Object {
    /// The name, or `id:` and the id where there is none.
    #[must_use]
    pub fn key(&self) -> String {
        match &self.name {
            Some(name) => name.clone(),
            None => format!("id:{}", self.id),
        }
    }
}

impl Handle {
    /// Finds an object by `name` or `id:` with 64 hexadecimal digits.
    pub fn address(&self, class: &str, object: &str) -> Result<Address, AskError> {
        let (namespace, object) = self.find(class, object)?;
        Ok(Address {
            class: namespace.class,
            id: object.id,
        })
    }

    pub(super) fn find(
        &self,
        class: &str,
        object: &str,
    ) -> Result<(Namespace, ObjectName), AskError> {
        let served = self.registry.served();
        let namespace = served.namespace(class);
        let namespace = namespace.ok_or_else(|| AskError::UnknownClass {
            class: class.to_owned(),
            known: self.classes(),
        })?;
        let object = match object.strip_prefix("id:") {
            Some(hex) if hex.len() == 64 => ObjectName {
                id: namespace.id_from_string(hex)?,
                name: None,
            },
            _ => namespace.id_from_name(object),
        };
        Ok((namespace.clone(), object))
    }

    /// Objects that have written something, are awake or have sockets.
    pub async fn objects(&self, query: ObjectQuery) -> Result<Objects, AskError> {
        let roots = match &query.class {
            Some(class) => vec![self.address(class, "")?.class],
            None => self.all_roots(),
        };
        let named = |root: Arc<str>| (self.class_name(&root), root);
        let classes: Vec<_> = roots.into_iter().map(named).collect();
        let (storage, present) = (self.storage.clone(), self.registry.present());
        let now = self.registry.clock().now();
        let list = move || list(&storage, &classes, present, now, &query);
        let listed = tokio::task::spawn_blocking(list).await;
        let listed = listed.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        listed.map_err(AskError::Statement)
    }

    /// With the built-in ones, if the app has stores.
    fn all_roots(&self) -> Vec<Arc<str>> {
        let (served, manifest) = (self.registry.served(), self.manifest());
        let kv = (!manifest.kv.is_empty()).then_some(Builtin::Kv);
        let databases = (!manifest.databases.is_empty()).then_some(Builtin::Database);
        let builtin = kv.into_iter().chain(databases);
        let builtin = builtin.map(|builtin| builtin.namespace().class.clone());
        let roots = served.namespaces.values().map(|own| own.class.clone());
        roots.chain(builtin).collect()
    }

    /// Runs SQL on one object between its turns; an object that sleeps sleeps on.
    pub async fn sql(
        &self,
        class: &str,
        object: &str,
        text: SqlText,
    ) -> Result<OperatorAnswer, AskError> {
        match self.ask(class, object, Kind::Look(Look::Sql(text))).await? {
            Reply::Look(LookAnswer::Rows(rows)) => Ok(rows),
            Reply::Look(LookAnswer::Failed(error)) => Err(AskError::Statement(error)),
            _ => Err(AskError::NoObject(format!("{class}/{object}"))),
        }
    }

    /// What SQL would do, all of it undone.
    pub async fn rehearse_sql(
        &self,
        class: &str,
        object: &str,
        text: SqlText,
    ) -> Result<Rehearsal, AskError> {
        let look = Look::DryRun(text);
        match self.ask(class, object, Kind::Look(look)).await? {
            Reply::Look(LookAnswer::Rehearsed(rehearsal)) => Ok(rehearsal),
            Reply::Look(LookAnswer::Failed(error)) => Err(AskError::Statement(error)),
            _ => Err(AskError::NoObject(format!("{class}/{object}"))),
        }
    }

    /// The object's key-value pairs, ordered by key; an object that sleeps sleeps on.
    pub async fn pairs(&self, class: &str, object: &str) -> Result<Vec<KvEntry>, AskError> {
        let mut pairs: Vec<KvEntry> = Vec::new();
        loop {
            let list = KvList {
                start_after: pairs.last().map(|(key, _)| key.clone()),
                ..KvList::default()
            };
            match self
                .ask(class, object, Kind::Look(Look::Pairs(list)))
                .await?
            {
                Reply::Look(LookAnswer::Pairs(page)) => {
                    pairs.extend(page.entries);
                    if page.done {
                        return Ok(pairs);
                    }
                }
                Reply::Look(LookAnswer::Failed(error)) => return Err(AskError::Statement(error)),
                _ => return Err(AskError::NoObject(format!("{class}/{object}"))),
            }
        }
    }

    pub(super) async fn ask(
        &self,
        class: &str,
        object: &str,
        kind: Kind,
    ) -> Result<Reply, AskError> {
        let (namespace, id) = self.find(class, object)?;
        let (reply, answer) = oneshot::channel();
        let event = Event {
            request_id: RequestId::next(),
            kind,
            reply,
        };
        self.registry.deliver(&namespace, id, event);
        // A channel closed without an answer: the task was torn down with the host.
        let answer = answer.await;
        Ok(answer.unwrap_or(Err(Fault::Reset(Reset::ShuttingDown)))?)
    }

    /// What is attached to one of the object's sockets.
    #[must_use]
    pub fn attachment(&self, object: &Address, socket: SocketId) -> Option<Vec<u8>> {
        self.registry.hub(object)?.attachment(socket)
    }

    #[must_use]
    pub fn sockets(&self, object: &Address) -> Vec<SocketInfo> {
        let hub = self.registry.hub(object);
        hub.map_or_else(Vec::new, |hub| hub.describe())
    }

    /// What the registry knows of the objects it holds at the moment.
    #[must_use]
    pub fn present(&self) -> Vec<Present> {
        self.registry.present()
    }
}

fn list(
    storage: &Storage,
    classes: &[(Arc<str>, Arc<str>)],
    present: Vec<Present>,
    now: Duration,
    query: &ObjectQuery,
) -> Result<Objects, StorageError> {
    let mut present: HashMap<(Arc<str>, ObjectId), Present> = present
        .into_iter()
        .map(|one| ((one.class.clone(), one.id), one))
        .collect();
    let mut objects = Vec::new();
    for (class, root) in classes {
        for listed in storage.list(root)? {
            let id = ObjectId::from_bytes(listed.id);
            let present = present.remove(&(root.clone(), id));
            objects.push(Object {
                class: class.clone(),
                root: root.clone(),
                id,
                name: listed.name,
                bytes: listed.bytes,
                changed: None,
                awake: present.as_ref().is_some_and(|one| one.awake),
                idle: present.as_ref().and_then(|one| idle(one, now)),
                sockets: present.map_or(0, |one| one.sockets),
            });
        }
    }
    let unwritten = present.into_values().filter_map(|one| {
        let named = classes.iter().find(|(_, root)| *root == one.class);
        Some((named?.0.clone(), one))
    });
    objects.extend(unwritten.map(|(class, one)| Object {
        idle: idle(&one, now),
        class,
        root: one.class,
        id: one.id,
        name: one.name.map(|name| name.to_string()),
        bytes: 0,
        changed: None,
        awake: one.awake,
        sockets: one.sockets,
    }));
    Ok(page(storage, objects, query))
}

fn idle(present: &Present, now: Duration) -> Option<Duration> {
    Some(now.saturating_sub(present.idle_since?))
}

fn page(storage: &Storage, mut objects: Vec<Object>, query: &ObjectQuery) -> Objects {
    objects.retain(|object| {
        let state = match query.state {
            None => true,
            Some(state) => object.awake == (state == ObjectState::Awake),
        };
        state && object.key().starts_with(&query.prefix)
    });
    objects.sort_by_cached_key(|object| (object.class.clone(), object.key()));
    let total = objects.len();
    if let Some(after) = &query.after {
        let (class, key) = after.split_once('/').unwrap_or((after, ""));
        let seen = |object: &Object| (&*object.class, &*object.key()) <= (class, key);
        objects.drain(..objects.partition_point(seen));
    }
    let more = objects.len() > query.limit;
    objects.truncate(query.limit);
    for object in &mut objects {
        object.changed = storage.file_changed(&ObjectKey {
            namespace: object.root.to_string(),
            id: *object.id.bytes(),
            name: None,
        });
    }
    Objects {
        objects,
        total,
        more,
    }
}
