//! Steps that replace all of an object: restore, deletion for good, export and import.

use std::thread;
use std::time::Duration;

use dormouse_storage::{Error, Storage};

use super::{Content, Version, World, key, marker};

impl World {
    /// Brings back a version, with the object asleep.
    pub(super) fn restore(&mut self, object: usize) -> Result<(), Error> {
        let Some(version) = self.pick(object) else {
            return Ok(());
        };
        let Version {
            bookmark, content, ..
        } = self.history[object][version].clone();
        let bookmark = bookmark.unwrap();
        self.whole(object, content, |storage| {
            storage.restore(&key(object), &bookmark).map(drop)
        })
    }

    /// A version that must be there to be brought back.
    pub(super) fn pick(&mut self, object: usize) -> Option<usize> {
        let versions = &self.history[object];
        let version = self.rng.below(versions.len() as u64) as usize;
        let had = versions[version].position > self.purged[object];
        (had && versions[version].bookmark.is_some()).then_some(version)
    }

    pub(super) fn purge(&mut self, object: usize) -> Result<(), Error> {
        self.purged[object] = self.position(object);
        self.purging = true;
        let mut deleted = false;
        let result = self.whole(object, None, |storage| {
            storage.delete(&key(object)).map(|()| deleted = true)
        });
        self.purging = false;
        if deleted
            && !self.disk.has_ended()
            && let Some(path) = self.disk.find_bytes(&marker(object))
        {
            self.left_behind = Some(format!(
                "object {object} was deleted, {path} holds some of it"
            ));
        }
        result
    }

    /// Exports an object and imports it again.
    pub(super) fn reimport(&mut self, object: usize) -> Result<(), Error> {
        let content = self.history[object].last().unwrap().content.clone();
        if content.is_none() {
            return Ok(());
        }
        let name = format!(
            "dormouse-crash-{}-{:?}",
            std::process::id(),
            thread::current().id()
        );
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_file(&path);
        let key = key(object);
        let result = self.whole(object, content, |storage| {
            storage.export(&key, None, &path)?;
            storage.import(&key, &path, true)
        });
        let _ = std::fs::remove_file(&path);
        result
    }

    /// Something that replaces all of an object, in one commit or not at all.
    fn whole(
        &mut self,
        object: usize,
        content: Content,
        work: impl FnOnce(&Storage) -> Result<(), Error>,
    ) -> Result<(), Error> {
        drop(self.awake[object].take());
        if self.disk.has_ended() {
            return Ok(());
        }
        let is_purge = self.purging;
        let had_content = self.history[object].last().unwrap().content.is_some();
        let before = self.gate(object);
        let result = work(self.storage());
        let (after, position) = (self.gate(object), self.position(object));
        self.trace.push(format!(
            "object {object}: {} {before} to {after}, {position}: {}",
            if is_purge { "deleted" } else { "replaced" },
            result
                .as_ref()
                .map_or_else(Error::to_string, |()| "ok".to_owned()),
        ));
        match result {
            Ok(()) => {
                self.push(object, position, content);
                // It waits until it is durable; but nothing leaves a machine that is off.
                if !self.disk.has_ended() {
                    self.seen[object] = self.history[object].len() - 1;
                }
                Ok(())
            }
            // Out of reach by now, which a world that forgets may say.
            Err(Error::Bookmark { .. }) if self.forgets() => Ok(()),
            Err(error) => {
                // A deletion begins with its commit, and may have carried it to the file.
                if after > before || (is_purge && had_content && after == 0) {
                    self.push(object, position, content);
                }
                match error {
                    Error::Io { .. } if !self.disk.has_ended() => Ok(()),
                    error => Err(error),
                }
            }
        }
    }

    fn gate(&self, object: usize) -> u64 {
        self.storage().database(key(object)).gate().position().off
    }

    pub(super) fn forgets(&self) -> bool {
        self.options.history_bytes < u64::MAX || self.options.history < Duration::from_secs(1)
    }

    /// Where in the log the object is as it is now.
    pub(super) fn position(&mut self, object: usize) -> u64 {
        let bookmark = self.bookmark(object);
        u64::from_str_radix(&bookmark[..16], 16).unwrap()
    }

    pub(super) fn bookmark(&mut self, object: usize) -> String {
        let storage = self.storage.as_ref().unwrap();
        let database = storage.database(key(object));
        database.current_bookmark().to_string()
    }

    pub(super) fn push(&mut self, object: usize, position: u64, content: Content) {
        let bookmark = Some(self.bookmark(object));
        self.history[object].push(Version {
            position,
            content,
            bookmark,
        });
    }
}
