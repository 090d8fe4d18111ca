//! Time travel: what an object was, brought back, copied, or taken out.
//!
//! Operations on whole objects, for operators and for guests' bookmarks. All begin with a
//! checkpoint, after which files and history tell everything up to a position, and hold
//! the lock of checkpoints while they read. What they change becomes one commit, so a crash
//! leaves all of it or nothing. An object that is changed must not be awake.

mod commits;
mod delete;
mod diff;
mod files;
mod session;

use std::sync::{Arc, MutexGuard};

use crate::alarm;
use crate::bookmark::Bookmark;
use crate::error::Error;
use crate::files::{clear_checksum, number};
use crate::history::{Past, TimeTravel};
use crate::key::ObjectKey;
use crate::log::delta::{PAGE_BYTES, Page};
use crate::manifest::Manifest;
use crate::pages::{Holder, Pages, WHOLE_BYTES};
use crate::reserved;
use crate::sqlite::Connection;
use crate::storage::{Ledger, Shared, Storage};
use crate::value::Row;

pub use commits::{Commit, Commits};
pub use diff::{Change, Changed, Diff};

/// What history there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryInfo {
    /// Bytes on disk, and in how many files.
    pub bytes: u64,
    pub packs: usize,
    /// No moment before can be had; milliseconds since 1970, 0 for "since the beginning".
    pub since_ms: u64,
    /// Files that are damaged and not used.
    pub damaged: Vec<String>,
}

impl Storage {
    /// The bookmark of an object's present state.
    pub fn bookmark(&self, key: &ObjectKey) -> Result<Bookmark, Error> {
        let shared = self.shared();
        let position = shared.now(key);
        shared.log().wait(position)?;
        Ok(Bookmark::at(shared.log().id(), number(key), position))
    }

    /// Reads the text of a bookmark of this object; whether history still has the moment
    /// shows when it is used.
    pub fn read_bookmark(&self, key: &ObjectKey, text: &str) -> Result<Bookmark, Error> {
        Bookmark::read(self.shared().log().id(), number(key), text)
    }

    /// Whether the object has a database now.
    pub fn has_data(&self, key: &ObjectKey) -> Result<bool, Error> {
        let pages = self.shared().find(key)?;
        let has = pages.committed_bytes() > 0;
        drop(pages);
        self.shared().forget_unused(number(key));
        Ok(has)
    }

    /// The bookmark of the state an object had at a time, in milliseconds since 1970. A time
    /// that lies ahead means now.
    pub fn bookmark_for_time(&self, key: &ObjectKey, time_ms: u64) -> Result<Bookmark, Error> {
        self.shared().bookmark_for_time(key, time_ms)
    }

    /// Brings an object that is not awake back to what it was, but for its alarms. Answers
    /// with the bookmark that undoes it.
    pub fn restore(&self, key: &ObjectKey, bookmark: &str) -> Result<Bookmark, Error> {
        let shared = self.shared();
        let bookmark = Bookmark::read(shared.log().id(), number(key), bookmark)?;
        let undo = self.bookmark(key)?;
        shared.restore(key, bookmark)?;
        Ok(undo)
    }

    /// Makes `target`, which must have no data, what `source` was at a moment, or is. Alarms
    /// stay behind.
    pub fn fork(
        &self,
        source: &ObjectKey,
        bookmark: Option<&str>,
        target: &ObjectKey,
    ) -> Result<(), Error> {
        self.shared().fork(source, bookmark, target)
    }

    pub fn history(&self) -> HistoryInfo {
        let ledger = self.shared().ledger();
        HistoryInfo {
            bytes: ledger.history.bytes(),
            packs: ledger.history.packs(),
            since_ms: ledger.manifest.horizon.time_ms,
            damaged: ledger.history.damaged.clone(),
        }
    }
}

/// An object whose sessions are kept out until this is dropped.
pub(crate) struct Claim<'a> {
    shared: &'a Shared,
    pages: Option<Arc<Pages>>,
}

impl Claim<'_> {
    pub(crate) fn pages(&self) -> &Arc<Pages> {
        self.pages.as_ref().expect("there until it is dropped")
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if let Some(pages) = self.pages.take() {
            pages.unclaim();
            let number = pages.number();
            drop(pages);
            self.shared.forget_unused(number);
        }
    }
}

/// One object at one moment, as long as the lock of checkpoints is held.
struct Moment<'a> {
    shared: &'a Shared,
    pages: Arc<Pages>,
    past: Past,
    _ledger: MutexGuard<'a, Ledger>,
}

impl Moment<'_> {
    fn page(&self, number: u32) -> Result<Box<Page>, Error> {
        if let Some(page) = self.past.pages.get(&number) {
            return Ok(page.clone());
        }
        let (object, path) = (self.pages.number(), self.pages.path());
        let mut page = Box::new([0; PAGE_BYTES]);
        let read = self
            .shared
            .common()
            .files
            .read(object, path, number, &mut page);
        read.map_err(|source| Error::io("reading", path, source))?;
        clear_checksum(&mut page);
        Ok(page)
    }

    /// All pages, in memory.
    fn image(&self, what: &'static str) -> Result<Vec<Box<Page>>, Error> {
        let bytes = u64::from(self.past.size) * PAGE_BYTES as u64;
        if bytes > WHOLE_BYTES {
            return Err(Error::TooMuch {
                what,
                limit_bytes: WHOLE_BYTES,
                advice: "export the object instead",
            });
        }
        (1..=self.past.size)
            .map(|number| self.page(number))
            .collect()
    }
}

impl Shared {
    pub(crate) fn claim(&self, key: &ObjectKey) -> Result<Claim<'_>, Error> {
        self.claim_by(key, Pages::claim_in_turn)
    }

    /// The same, without waiting for whoever has claimed it.
    pub(crate) fn claim_if_free(&self, key: &ObjectKey) -> Result<Claim<'_>, Error> {
        self.claim_by(key, Pages::claim)
    }

    fn claim_by(
        &self,
        key: &ObjectKey,
        claim: impl FnOnce(&Pages) -> bool,
    ) -> Result<Claim<'_>, Error> {
        let pages = self.find(key)?;
        if !claim(&pages) {
            let object = key.to_string();
            return Err(Error::Awake { object });
        }
        Ok(Claim {
            shared: self,
            pages: Some(pages),
        })
    }

    /// A position at which an object is as it is now, and which will be durable when the
    /// object's gate opens.
    pub(crate) fn now(&self, key: &ObjectKey) -> u64 {
        match self.gate(key) {
            // All of it is in its file: any position since then is as good.
            0 => self.log().durable(),
            gate => gate,
        }
    }

    pub(crate) fn bookmark_for_time(
        &self,
        key: &ObjectKey,
        time_ms: u64,
    ) -> Result<Bookmark, Error> {
        let (log, object) = (self.log(), number(key));
        let now = self.now(key);
        let ledger = self.ledger();
        let Manifest { horizon, redo, .. } = ledger.manifest;
        if horizon.position > 0 && time_ms < horizon.time_ms {
            return Err(expired(
                &format!("the time {time_ms} ms since 1970"),
                &ledger,
            ));
        }
        let position = if time_ms >= log.last_ms() {
            now
        } else if let Some(position) = log.position_at(time_ms) {
            position.min(now.max(log.durable()))
        } else {
            let history = &ledger.history;
            match history.position_at(self.env(), object, time_ms)? {
                TimeTravel::At(position) | TimeTravel::Before(position) => position,
                TimeTravel::Unchanged => redo.max(horizon.position),
            }
        };
        Ok(Bookmark::at(log.id(), object, position))
    }

    /// Whether the moment can be had, without getting it.
    pub(crate) fn check_bookmark(&self, key: &ObjectKey, text: &str) -> Result<(), Error> {
        let bookmark = Bookmark::read(self.log().id(), number(key), text)?;
        let mut ledger = self.ledger();
        if bookmark.is_undo() {
            self.checkpoint_in(&mut ledger)?;
        }
        self.resolve(&ledger, number(key), bookmark).map(|_| ())
    }

    fn resolve(&self, ledger: &Ledger, object: u128, bookmark: Bookmark) -> Result<u64, Error> {
        let position = bookmark.position();
        if position > self.log().end() {
            let message = format!(
                "bookmark {bookmark} lies ahead of all this data folder holds; was the folder \
                 restored from an older backup?"
            );
            return Err(Error::Bookmark { message });
        }
        if position < ledger.manifest.horizon.position {
            return Err(expired(&format!("bookmark {bookmark}"), ledger));
        }
        if !bookmark.is_undo() {
            return Ok(position);
        }
        let restored = ledger.history.restored_at(self.env(), object, position)?;
        restored.ok_or_else(|| {
            let message = format!(
                "bookmark {bookmark} undoes a restore that has not happened; it happens when \
                 the object's next session begins"
            );
            Error::Bookmark { message }
        })
    }

    /// The state of an object at a bookmark, or now.
    fn moment(&self, pages: &Arc<Pages>, bookmark: Option<Bookmark>) -> Result<Moment<'_>, Error> {
        let mut ledger = self.ledger();
        self.checkpoint_in(&mut ledger)?;
        let failed = |source| Error::io("reading", pages.path(), source);
        let files = &self.common().files;
        let size = files.pages(pages.number(), pages.path()).map_err(failed)?;
        if size > 0 && size < self.size_in_header(pages)? {
            return Err(Error::Format {
                path: pages.path().into(),
                found: "is damaged: it is shorter than it says".into(),
                advice: "restore it from a backup",
            });
        }
        let past = match bookmark {
            Some(bookmark) => {
                let position = self.resolve(&ledger, pages.number(), bookmark)?;
                let history = &ledger.history;
                history.past(self.env(), pages.number(), position, size)?
            }
            None => Past::new(size),
        };
        Ok(Moment {
            shared: self,
            pages: Arc::clone(pages),
            past,
            _ledger: ledger,
        })
    }

    /// What the first page of an object's file says about its length.
    fn size_in_header(&self, pages: &Pages) -> Result<u32, Error> {
        let mut page = [0; PAGE_BYTES];
        let files = &self.common().files;
        files
            .read(pages.number(), pages.path(), 1, &mut page)
            .map_err(|source| Error::io("reading", pages.path(), source))?;
        Ok(u32::from_be_bytes([page[28], page[29], page[30], page[31]]))
    }

    /// As `moment`, for an object by its key and a bookmark by its text.
    fn moment_of(&self, key: &ObjectKey, bookmark: Option<&str>) -> Result<Moment<'_>, Error> {
        let read = |text| Bookmark::read(self.log().id(), number(key), text);
        let bookmark = bookmark.map(read).transpose()?;
        let pages = self.find(key)?;
        let moment = self.moment(&pages, bookmark);
        drop(pages);
        moment
    }

    /// Brings an object back, but for its alarms; it must not be awake.
    pub(crate) fn restore(&self, key: &ObjectKey, bookmark: Bookmark) -> Result<(), Error> {
        let claim = self.claim(key)?;
        let pages = claim.pages();
        let alarms = match pages.size() {
            0 => Vec::new(),
            _ => alarm::rows(&self.connect_to(pages, Holder::Claimant)?)?,
        };
        // The file stays as it is for as long as nobody commits, which the claim sees to.
        let past = self.moment(pages, Some(bookmark))?.past;
        let is_empty = past.size == 0 && alarms.is_empty();
        self.replace(
            pages,
            true,
            || put(pages, past),
            |connection| {
                if is_empty {
                    return Ok(());
                }
                alarm::replace(connection, &alarms)?;
                reserved::clear_restore(connection)
            },
        )
    }

    fn fork(
        &self,
        source: &ObjectKey,
        bookmark: Option<&str>,
        target: &ObjectKey,
    ) -> Result<(), Error> {
        let claim = self.claim(target)?;
        self.check_empty(claim.pages())?;
        let moment = self.moment_of(source, bookmark)?;
        let image = moment.image("forking")?;
        drop(moment);
        if image.is_empty() {
            let object = source.to_string();
            return Err(Error::Missing { object });
        }
        let past = Past {
            size: image.len() as u32,
            pages: (1..).zip(image).collect(),
        };
        let none: &[Row] = &[];
        self.replace(
            claim.pages(),
            false,
            || put(claim.pages(), past),
            |connection| {
                alarm::replace(connection, none)?;
                reserved::adopt(connection, target.name.as_deref())
            },
        )
    }

    fn check_empty(&self, pages: &Pages) -> Result<(), Error> {
        match pages.size() {
            0 => Ok(()),
            _ => Err(Error::Exists {
                object: pages.key().to_string(),
            }),
        }
    }

    /// Replaces the content of an object that is claimed, in one durable commit: `fill`
    /// writes its pages, `finish` then changes them by SQL.
    fn replace(
        &self,
        pages: &Arc<Pages>,
        restored: bool,
        fill: impl FnOnce() -> Result<(), Error>,
        finish: impl FnOnce(&Connection) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.admit()?;
        pages.begin_whole(restored);
        let result = fill().and_then(|()| {
            let connection = self.connect_to(pages, Holder::Claimant)?;
            connection.run_trusted("BEGIN")?;
            finish(&connection)?;
            pages.let_commit();
            connection.run_trusted("COMMIT")?;
            // In case SQL had nothing to change.
            pages.commit();
            Ok(())
        });
        if let Err(error) = result {
            pages.discard();
            return Err(error);
        }
        self.after_commit();
        Ok(self.log().wait(pages.gate())?)
    }
}

/// Makes the open transaction what `past` says.
fn put(pages: &Pages, past: Past) -> Result<(), Error> {
    for (number, page) in &past.pages {
        if !pages.write(*number, page) {
            return Err(Error::TooMuch {
                what: "bringing back that state",
                limit_bytes: WHOLE_BYTES,
                advice: "export that state, and import it",
            });
        }
    }
    pages.truncate(past.size);
    Ok(())
}

fn expired(what: &str, ledger: &Ledger) -> Error {
    let Manifest {
        history, horizon, ..
    } = ledger.manifest;
    let message = match history {
        true => format!(
            "{what} lies before what history holds, which begins at {} ms since 1970; choose a \
             later moment, or keep history longer",
            horizon.time_ms
        ),
        false => format!("{what} cannot be reached, because this host keeps no history"),
    };
    Error::Bookmark { message }
}
