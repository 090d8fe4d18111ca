//! `dormouse:object/bookmark`: the object's past.
//!
//! The two functions a guest awaits end its turn themselves: at an await the code of a
//! turn is over, and what they answer must know its commit.

use std::future::poll_fn;
use std::task::Poll;

use dormouse_storage::Error as StorageError;
use wasmtime::component::{Accessor, HasSelf};

use crate::guest::bindings::dormouse::object::bookmark::{Host, HostWithStore};
use crate::guest::bindings::dormouse::object::sql::Error;
use crate::guest::context::Context;
use crate::guest::instance::{SessionEnded, StorageFailed};

impl Host for Context {
    fn for_time(&mut self, time: i64) -> wasmtime::Result<Result<String, Error>> {
        let time_ms = u64::try_from(time).unwrap_or(0);
        let bookmark = self.database()?.bookmark_for_time(time_ms);
        Ok(bookmark
            .map(|bookmark| bookmark.to_string())
            .map_err(Into::into))
    }

    fn restore_on_next_session(
        &mut self,
        bookmark: String,
    ) -> wasmtime::Result<Result<String, Error>> {
        let undo = self.database()?.restore_on_next_session(&bookmark);
        Ok(undo.map(|undo| undo.to_string()).map_err(Into::into))
    }
}

impl HostWithStore<Context> for HasSelf<Context> {
    async fn current(
        accessor: &Accessor<Context, Self>,
    ) -> wasmtime::Result<Result<String, Error>> {
        accessor.with(|mut access| {
            let database = access.get().database()?;
            if database.has_savepoints() {
                let message = "a bookmark names a commit, and a transaction is open; end it first";
                let denied = StorageError::Denied {
                    message: message.to_owned(),
                };
                return Ok(Err(denied.into()));
            }
            database.end_turn().map_err(StorageFailed::from)?;
            Ok(Ok(database.current_bookmark().to_string()))
        })
    }

    async fn end_session(
        accessor: &Accessor<Context, Self>,
        reason: String,
    ) -> wasmtime::Result<()> {
        accessor.with(|mut access| -> wasmtime::Result<()> {
            let database = access.get().database()?;
            Ok(database.end_turn().map_err(StorageFailed::from)?)
        })?;
        once_pending().await;
        Err(SessionEnded(reason.into()).into())
    }
}

/// Lets the instance's loop hand over what the turn has sent.
async fn once_pending() {
    let mut waited = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
