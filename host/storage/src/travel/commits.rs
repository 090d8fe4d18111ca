//! Commits: the moments that an object can be brought back to, one by one.

use crate::bookmark::Bookmark;
use crate::error::Error;
use crate::files::number;
use crate::history::Archived;
use crate::key::ObjectKey;
use crate::log::delta::PAGE_BYTES;
use crate::storage::Storage;

/// One commit of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// The state right behind it.
    pub bookmark: Bookmark,
    /// Milliseconds since 1970.
    pub time_ms: u64,
    /// Size of the database then; 0 if the commit removed it.
    pub bytes: u64,
    /// How many pages it changed.
    pub pages: usize,
    /// Whether it brought back an older state.
    pub restored: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commits {
    /// Newest first.
    pub commits: Vec<Commit>,
    /// Whether there are older ones.
    pub more: bool,
}

impl Storage {
    /// The commits of an object that history holds, those before the bookmark `before` only;
    /// at most `limit`.
    pub fn commits(
        &self,
        key: &ObjectKey,
        before: Option<&str>,
        limit: usize,
    ) -> Result<Commits, Error> {
        let shared = self.shared();
        let (log, object) = (shared.log().id(), number(key));
        let before = match before {
            Some(text) => Bookmark::read(log, object, text)?.position(),
            None => u64::MAX,
        };
        let mut ledger = shared.ledger();
        // What is in the log only comes into a pack.
        shared.checkpoint_in(&mut ledger)?;
        let range = (ledger.manifest.horizon.position, before);
        let wanted = limit.saturating_add(1);
        let found = ledger
            .history
            .commits(shared.env(), object, range, wanted)?;
        drop(ledger);
        let describe = |Archived { head, pages }: Archived| Commit {
            bookmark: Bookmark::at(log, object, head.end),
            time_ms: head.time_ms,
            bytes: u64::from(head.size_pages) * PAGE_BYTES as u64,
            pages,
            restored: head.restored,
        };
        Ok(Commits {
            more: found.len() > limit,
            commits: found.into_iter().take(limit).map(describe).collect(),
        })
    }
}
