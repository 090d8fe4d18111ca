//! Migrations of classes: planned, allowed, and what they delete.
//!
//! The table of classes is written with the version that changes it, in one write; from
//! then on the migration is done. Objects of deleted classes go after that, and a start
//! finishes what a crash cut short. Used by `host`.

use std::collections::BTreeSet;
use std::sync::Arc;

use dormouse_storage::{AlarmSummary, ObjectKey, Storage};
use futures_util::future::join_all;

use super::{DeployError, Handle};
use crate::alarm::Address;
use crate::deploy::{Catalog, Classes, Steps};
use crate::guest::Identity;
use crate::id::{ObjectId, ObjectName};
use crate::manifest::Manifest;

/// What a manifest would change, given the classes of its component.
pub(super) fn plan(
    storage: &Storage,
    classes: &Classes,
    manifest: &Manifest,
    exported: &[String],
) -> Result<Steps, DeployError> {
    let count = |root: &str| -> Result<usize, DeployError> { Ok(storage.list(root)?.len()) };
    classes.plan(&manifest.migrations, exported, count)
}

/// Deleting objects wants to be asked for.
pub(super) fn allow(steps: &Steps, delete_data: bool) -> Result<(), DeployError> {
    if delete_data || steps.objects() == 0 {
        return Ok(());
    }
    let classes = steps.deleted.iter().filter(|one| one.objects > 0);
    Err(DeployError::DeletesData {
        classes: classes.map(|one| one.class.clone()).collect(),
        objects: steps.objects(),
    })
}

/// Before anything is served.
pub(super) fn apply(
    storage: &Storage,
    catalog: &Catalog,
    steps: Steps,
    delete_data: bool,
) -> Result<(), DeployError> {
    allow(&steps, delete_data)?;
    tell(&steps);
    catalog.set_classes(steps.classes)?;
    delete(storage, catalog)
}

/// Deletes what migrations left to delete, with all it ever was. Nobody may be awake.
pub(super) fn delete(storage: &Storage, catalog: &Catalog) -> Result<(), DeployError> {
    for root in catalog.classes().deleting() {
        delete_root(storage, catalog, root)?;
    }
    Ok(())
}

/// The ids of the objects that went.
fn delete_root(
    storage: &Storage,
    catalog: &Catalog,
    root: &str,
) -> Result<BTreeSet<[u8; 32]>, DeployError> {
    let ids = catalog.begin_deletion(root, storage.ids(root)?)?;
    let key = |id: &[u8; 32]| ObjectKey {
        namespace: root.to_owned(),
        id: *id,
        name: None,
    };
    let keys: Vec<_> = ids.iter().map(key).collect();
    storage.delete_all(&keys)?;
    catalog.end_deletion(root)?;
    tracing::info!(root, objects = ids.len(), "deleted the objects of a class");
    Ok(ids)
}

pub(super) fn tell(steps: &Steps) {
    for (from, to) in &steps.renamed {
        tracing::info!(from = &**from, to = &**to, "a class was renamed");
    }
    for gone in &steps.deleted {
        let (class, objects) = (&*gone.class, gone.objects);
        tracing::info!(class, objects, "a class is being deleted");
    }
}

impl Handle {
    /// The same while others are served: whoever is awake is put to sleep first. Goes on
    /// to its end when nobody waits for it any more.
    pub(super) async fn delete_leftovers(&self) -> Result<(), DeployError> {
        let classes = self.catalog.classes();
        if classes.deleting().next().is_none() {
            return Ok(());
        }
        let handle = self.clone();
        let deleting = tokio::spawn(async move {
            for root in classes.deleting() {
                handle.delete_class(root).await?;
            }
            Ok(())
        });
        let deleted = deleting.await;
        deleted.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }

    async fn delete_class(&self, root: &str) -> Result<(), DeployError> {
        let present = self.registry.present().into_iter();
        let own = present.filter(|one| *one.class == *root);
        let asleep = own.map(|one| async move {
            let address = Address {
                class: one.class.clone(),
                id: one.id,
            };
            self.close_sockets(&address).await.map_err(refused)?;
            let who = Identity {
                app: self.name().clone(),
                class: one.class,
                object: ObjectName {
                    id: one.id,
                    name: one.name,
                },
            };
            let asleep = self.registry.while_asleep(&who, |_| ()).await;
            asleep.map_err(|fault| refused(fault.into()))
        });
        for result in join_all(asleep).await {
            result?;
        }
        let (storage, catalog) = (self.storage.clone(), self.catalog.clone());
        let (class, root): (Arc<str>, _) = (root.into(), root.to_owned());
        let work = move || delete_root(&storage, &catalog, &root);
        let deleted = tokio::task::spawn_blocking(work).await;
        let ids = deleted.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        for id in ids {
            let (class, id) = (class.clone(), ObjectId::from_bytes(id));
            let note = self.alarms.note(Address { class, id });
            note.set(AlarmSummary::default());
        }
        Ok(())
    }
}

fn refused(error: super::AskError) -> DeployError {
    DeployError::NotDeleted(error.to_string())
}
