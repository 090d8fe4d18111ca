//! Bookmarks: moments of the object's database, and going back to them.
//!
//! Wraps `wit/bookmark.wit`. A bookmark is a text; of two bookmarks of one object the
//! later one is the greater. Every state of the last 30 days (or as the host is set)
//! can be brought back exactly, tables and key-value pairs alike. Alarms stay as they
//! are.
//!
//! ```no_run
//! # use dormouse_sdk::prelude::*;
//! # async fn handler(state: &State) -> Result<()> {
//! let before = state.bookmarks().current().await?;
//! state.sql().exec("DELETE FROM notes", ())?;
//! // On second thoughts:
//! let undo = state.bookmarks().restore_on_next_session(&before)?;
//! log::info!("{undo} brings the empty table back");
//! state.end_session("restoring the notes").await
//! # }
//! ```

use std::time::SystemTime;

use crate::alarm::AlarmTime;
use crate::bindings::dormouse::object::bookmark as wit;
use crate::sql::Error;

/// The past of the object at hand. Free to clone and to keep.
#[derive(Clone, Debug)]
pub struct Bookmarks {
    _later: (),
}

impl Bookmarks {
    pub(crate) fn new() -> Self {
        Self { _later: () }
    }

    /// The bookmark of the present. What was written before is committed first, and so
    /// is in it; therefore not allowed inside a transaction.
    pub async fn current(&self) -> Result<String, Error> {
        Ok(wit::current().await?)
    }

    /// The bookmark of the state at a time, which may be in the past as far as the host
    /// keeps history. What was written since the last `.await` is not in it.
    pub fn for_time(&self, time: SystemTime) -> Result<String, Error> {
        Ok(wit::for_time(AlarmTime::from(time).unix_ms())?)
    }

    /// The object's next start brings the state at `bookmark` back. Follow it with
    /// [`State::end_session`] to have it at once. Belongs to the turn like a write: a
    /// panic undoes it.
    ///
    /// Answers with the bookmark of the state right before the restore, with all that is
    /// written until then: restoring that one later undoes this restore.
    ///
    /// [`State::end_session`]: crate::State::end_session
    pub fn restore_on_next_session(&self, bookmark: &str) -> Result<String, Error> {
        Ok(wit::restore_on_next_session(bookmark)?)
    }
}
