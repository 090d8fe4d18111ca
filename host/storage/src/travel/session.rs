//! A guest's time travel: bookmarks of its own object, and a restore when it wakes.

use std::sync::Arc;

use crate::bookmark::Bookmark;
use crate::database::Database;
use crate::error::Error;
use crate::files::number;
use crate::pages::Pages;
use crate::reserved;
use crate::sqlite::Connection;

impl Database {
    /// A bookmark of the state that was committed last; what the open turn has written is
    /// not in it. It may be told once the gate is open.
    pub fn current_bookmark(&self) -> Bookmark {
        let position = self.shared.now(&self.key);
        Bookmark::at(self.shared.log().id(), number(&self.key), position)
    }

    /// The bookmark of the state at a time, in milliseconds since 1970.
    pub fn bookmark_for_time(&self, time_ms: u64) -> Result<Bookmark, Error> {
        self.shared.bookmark_for_time(&self.key, time_ms)
    }

    /// Notes, as part of the turn, that the next session shall begin with the state at
    /// `bookmark`. Answers with the bookmark that undoes the restore once it has happened.
    pub fn restore_on_next_session(&mut self, bookmark: &str) -> Result<Bookmark, Error> {
        self.shared.check_bookmark(&self.key, bookmark)?;
        let [create, insert] = reserved::NOTE_RESTORE;
        self.run_reserved(create, &[], true)?;
        self.run_reserved(insert, &[bookmark.into()], true)?;
        let position = self.shared.now(&self.key);
        let (log, object) = (self.shared.log().id(), number(&self.key));
        Ok(Bookmark::undo(log, object, position))
    }

    /// Why a restore that was asked for did not happen, told once.
    pub fn take_notice(&mut self) -> Option<String> {
        self.notice.take()
    }

    /// Opens the connection; before, brings back what the last session has asked for.
    pub(crate) fn connect(&mut self) -> Result<(Arc<Pages>, Connection), Error> {
        let (pages, connection) = self.shared.connect(&self.key)?;
        let wanted = match pages.size() {
            0 => None,
            _ => reserved::read_restore(&connection)?,
        };
        let Some(text) = wanted else {
            return Ok((pages, connection));
        };
        drop((pages, connection));
        let bookmark = Bookmark::read(self.shared.log().id(), number(&self.key), &text);
        let restored = bookmark.and_then(|bookmark| self.shared.restore(&self.key, bookmark));
        let failed = match restored {
            Ok(()) => None,
            // It may succeed the next time.
            Err(error @ (Error::Io { .. } | Error::Dead(_) | Error::NoSpace)) => return Err(error),
            Err(error) => Some(error),
        };
        let (pages, connection) = self.shared.connect(&self.key)?;
        if let Some(error) = failed {
            // It never will, and an object that cannot wake is worse than one not restored.
            connection.run_trusted("BEGIN")?;
            reserved::clear_restore(&connection)?;
            connection.run_trusted("COMMIT")?;
            self.notice = Some(format!("the state at {text} was not brought back: {error}"));
        }
        Ok((pages, connection))
    }
}
