//! Held: work on an object that sleeps and is kept asleep meanwhile.
//!
//! Asked for by an operator, by way of the registry. An object that is awake takes no
//! more events, lets those that run finish within `drain`, and sleeps; then the work is
//! done on a thread that may block, by the object's own task, so nobody can wake it.
//! Events that come meanwhile stay in the mailbox and are handled afterwards. Sockets
//! stay open: they belong to the hub. The index of alarms learns what the work left.

use dormouse_storage::{AlarmSummary, Database, Error, Storage};
use tokio::sync::oneshot;

use crate::alarm::Note;

/// Tells who asked; what it tells is known only to the two of them.
type Tell = Box<dyn FnOnce() + Send>;

pub(super) struct Hold(Box<dyn FnOnce(&Storage) -> Tell + Send>);

impl Hold {
    /// The work, and where its result comes; nothing comes if it was never done.
    pub(super) fn new<T: Send + 'static>(
        work: impl FnOnce(&Storage) -> T + Send + 'static,
    ) -> (Self, oneshot::Receiver<T>) {
        let (reply, answer) = oneshot::channel();
        let work = Box::new(move |storage: &Storage| -> Tell {
            let done = work(storage);
            // Who asked may be gone; the work is done all the same.
            Box::new(move || drop(reply.send(done)))
        });
        (Self(work), answer)
    }

    /// Does the work on an object that has no instance.
    pub(super) async fn run(self, storage: Storage, mut object: Database, note: Note, now_ms: i64) {
        let work = tokio::task::spawn_blocking(move || {
            let tell = (self.0)(&storage);
            (tell, object.alarm_summary())
        });
        match work.await {
            Ok((tell, summary)) => {
                tell_index(&note, summary, now_ms);
                tell();
            }
            Err(panic) => {
                tracing::error!("work on a sleeping object failed: {panic}");
                note.postpone(now_ms);
            }
        }
    }
}

impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hold")
    }
}

fn tell_index(note: &Note, summary: Result<AlarmSummary, Error>, now_ms: i64) {
    match summary {
        Ok(summary) => note.set(summary),
        Err(error) => {
            tracing::error!("an object's alarms are looked for later: {error}");
            note.postpone(now_ms);
        }
    }
}
