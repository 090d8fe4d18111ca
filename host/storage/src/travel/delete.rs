//! Deleting an object for good: database, history, log and name.
//!
//! Every step leaves a folder in order, and a deletion that was cut short is repeated as a
//! whole. What was deleted is found in no file of the data folder afterwards; that the disk
//! itself overwrites the blocks it has got back is not ours to promise.

use std::collections::{BTreeSet, HashSet};
use std::slice;

use crate::error::Error;
use crate::fault::Fault;
use crate::files::number;
use crate::history;
use crate::key::ObjectKey;
use crate::log::segment;
use crate::names;
use crate::storage::{Shared, Storage};
use crate::travel::Claim;

impl Storage {
    /// Deletes an object that is not awake, with all it ever was. Deleting what is not there
    /// is no mistake: it finishes a deletion that was cut short.
    pub fn delete(&self, key: &ObjectKey) -> Result<(), Error> {
        self.shared().delete(slice::from_ref(key))
    }

    /// The same for many objects in one go.
    pub fn delete_all(&self, keys: &[ObjectKey]) -> Result<(), Error> {
        self.shared().delete(keys)
    }

    /// Every object of a namespace that has data, or had some and has a name.
    pub fn ids(&self, namespace: &str) -> Result<BTreeSet<[u8; 32]>, Error> {
        let shared = self.shared();
        let failed = |source| Error::io("reading the names in", names::PATH, source);
        let named = shared.names().of(shared.env(), namespace).map_err(failed)?;
        let listed = self.list(namespace)?.into_iter().map(|one| one.id);
        Ok(listed.chain(named.into_keys()).collect())
    }
}

impl Shared {
    fn delete(&self, keys: &[ObjectKey]) -> Result<(), Error> {
        if keys.is_empty() {
            return Ok(());
        }
        let claims = keys.iter().map(|key| self.claim(key));
        let claims: Vec<Claim<'_>> = claims.collect::<Result<_, _>>()?;
        for claim in &claims {
            let pages = claim.pages();
            if pages.size() > 0 {
                self.admit()?;
                pages.truncate(0);
                pages.commit();
            }
        }
        let mut ledger = self.ledger();
        // The files go, and what they held comes into a pack.
        self.checkpoint_in(&mut ledger)?;
        if !self.env().faults.is(Fault::DeleteKeepsLog) {
            // The log's old segments go, and with them what was committed. Recycled ones
            // hold what was written before, so none may become the next.
            let failed = |source| Error::io("removing old segments in", segment::DIR, source);
            self.log().drop_spares().map_err(failed)?;
            if !self.log().rotate()? {
                return Err(Error::NoSpace);
            }
            self.checkpoint_in(&mut ledger)?;
            self.log().drop_spares().map_err(failed)?;
        }
        let numbers = keys.iter().map(number).collect();
        ledger.history.purge(self.env(), &numbers)?;
        let gone: HashSet<(&str, [u8; 32])> =
            keys.iter().map(|key| (&*key.namespace, key.id)).collect();
        let failed = |source| Error::io("deleting a name in", history::DIR, source);
        self.names()
            .rewrite(self.env(), |other| {
                !gone.contains(&(&*other.namespace, other.id))
            })
            .map_err(failed)?;
        drop(ledger);
        self.prepare()
    }
}
