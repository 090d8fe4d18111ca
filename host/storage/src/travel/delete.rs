//! Deleting an object for good: database, history, log and name.
//!
//! Every step leaves a folder in order, and a deletion that was cut short is repeated as a
//! whole. What was deleted is found in no file of the data folder afterwards; that the disk
//! itself overwrites the blocks it has got back is not ours to promise.

use crate::error::Error;
use crate::fault::Fault;
use crate::files::number;
use crate::history;
use crate::key::ObjectKey;
use crate::log::segment;
use crate::storage::{Shared, Storage};

impl Storage {
    /// Deletes an object that is not awake, with all it ever was. Deleting what is not there
    /// is no mistake: it finishes a deletion that was cut short.
    pub fn delete(&self, key: &ObjectKey) -> Result<(), Error> {
        self.shared().delete(key)
    }
}

impl Shared {
    fn delete(&self, key: &ObjectKey) -> Result<(), Error> {
        let claim = self.claim(key)?;
        let pages = claim.pages();
        if pages.size() > 0 {
            self.admit()?;
            pages.truncate(0);
            pages.commit();
        }
        let mut ledger = self.ledger();
        // The file goes, and what it held comes into a pack.
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
        ledger.history.purge(self.env(), number(key))?;
        let failed = |source| Error::io("deleting a name in", history::DIR, source);
        self.names()
            .rewrite(self.env(), |other| {
                (&other.namespace, other.id) != (&key.namespace, key.id)
            })
            .map_err(failed)?;
        drop(ledger);
        self.prepare()
    }
}
