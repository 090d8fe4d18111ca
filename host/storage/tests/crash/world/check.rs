//! What must hold after a crash: I1, I6 and I7, for now and for the past.

use dormouse_storage::{Database, Error, Value};

use super::{Check, Content, OBJECTS, Version, Violation, World, key};

impl World {
    /// Looks at some versions through a copy of the object, and at what was deleted for good.
    pub fn check_past(&mut self) -> Check {
        (0..OBJECTS).try_for_each(|object| self.check_version(object, false))
    }

    /// As `check_past`, when files were damaged: what cannot be had is refused, what can be
    /// had is true.
    pub fn check_readable_past(&mut self) -> Check {
        (0..OBJECTS).try_for_each(|object| self.check_version(object, true))
    }

    fn check_version(&mut self, object: usize, damaged: bool) -> Check {
        let Some(version) = self.pick(object) else {
            return Ok(());
        };
        // Damage to the last batch looks like a torn tail, and its positions come again.
        if damaged && version > self.seen[object] {
            return Ok(());
        }
        let Version {
            bookmark, content, ..
        } = self.history[object][version].clone();
        let bookmark = bookmark.unwrap();
        let scratch = key(OBJECTS + 1);
        let storage = self.storage();
        let found = match storage.fork(&key(object), Some(&bookmark), &scratch) {
            Ok(()) => content_of(&mut storage.database(scratch.clone())),
            Err(Error::Missing { .. }) => Ok(None),
            Err(Error::Bookmark { .. }) if self.forgets() => return Ok(()),
            Err(error) => Err(error),
        };
        if damaged && found.is_err() {
            return Ok(());
        }
        let what = format!("object {object} at {bookmark}, its version {version}");
        match found {
            Ok(found) if found == content => (),
            Ok(_) => return Err(Violation(format!("{what}, was something else"))),
            Err(error) => return Err(Violation(format!("{what}: {error}"))),
        }
        match storage.delete(&scratch) {
            Err(error) if !damaged => Err(Violation(format!("deleting a copy: {error}"))),
            _ => Ok(()),
        }
    }

    /// Compares what recovery has left with what it may leave, and takes it as the new truth:
    /// there must be one place in the log where every object was as it is now.
    pub fn check(&mut self) -> Check {
        if let Some(what) = self.left_behind.take() {
            return Err(Violation(what));
        }
        let mut now = Vec::new();
        for object in 0..OBJECTS {
            now.push(
                self.content(object)
                    .map_err(|error| Violation(format!("object {object}: {error}")))?,
            );
        }
        let mut cuts: Vec<u64> = self
            .history
            .iter()
            .flatten()
            .map(|version| version.position)
            .collect();
        cuts.sort_unstable();
        let fits = |cut: &u64| {
            (0..OBJECTS)
                .all(|object| self.history[object][self.at(object, *cut)].content == now[object])
        };
        let known =
            |cut: &u64| (0..OBJECTS).all(|object| self.at(object, *cut) >= self.seen[object]);
        cuts.retain(fits);
        let Some(last) = cuts.last().copied() else {
            return Err(Violation(self.describe(&now)));
        };
        // Deleted objects look alike: of several possible cuts the first leaves nothing in
        // the history that later positions would contradict.
        let Some(cut) = cuts.into_iter().find(known) else {
            let versions: Vec<usize> = (0..OBJECTS).map(|object| self.at(object, last)).collect();
            return Err(Violation(format!(
                "versions {versions:?} survived, {:?} were seen",
                self.seen
            )));
        };
        for object in 0..OBJECTS {
            let version = self.at(object, cut);
            self.history[object].truncate(version + 1);
        }
        Ok(())
    }

    /// As `check`, when files were damaged behind storage's back: an object may refuse to be
    /// read, but what can be read must be true. How many refused.
    pub fn check_readable(&mut self) -> Result<usize, Violation> {
        let now: Vec<Option<Content>> = (0..OBJECTS)
            .map(|object| self.content(object).ok())
            .collect();
        let mut cuts: Vec<u64> = self
            .history
            .iter()
            .flatten()
            .map(|version| version.position)
            .collect();
        cuts.sort_unstable();
        let fits = |cut: &u64| {
            now.iter().enumerate().all(|(object, now)| {
                let version = self.at(object, *cut);
                let same = |now: &Content| {
                    self.history[object][version].content == *now && version >= self.seen[object]
                };
                now.as_ref().is_none_or(same)
            })
        };
        match cuts.into_iter().rev().any(|cut| fits(&cut)) {
            true => Ok(now.iter().filter(|now| now.is_none()).count()),
            false => Err(Violation(
                "what can be read was never true at one time, or is too old".into(),
            )),
        }
    }

    /// The version an object had when the log was cut there.
    fn at(&self, object: usize, cut: u64) -> usize {
        self.history[object]
            .iter()
            .rposition(|version| version.position <= cut)
            .unwrap_or(0)
    }

    fn describe(&self, now: &[Content]) -> String {
        let name = |object: usize| {
            let like: Vec<u64> = self.history[object]
                .iter()
                .filter(|version| version.content == now[object])
                .map(|version| version.position)
                .collect();
            let last = self.history[object].last().map(|version| version.position);
            format!("object {object} is as at {like:?} of {last:?}")
        };
        let all: Vec<String> = (0..OBJECTS).map(name).collect();
        let trace = self.trace.join("\n");
        format!("no single cut of the log: {}\n{trace}", all.join(", "))
    }

    fn content(&mut self, object: usize) -> Result<Content, Error> {
        content_of(self.database(object))
    }
}

fn content_of(db: &mut Database) -> Result<Content, Error> {
    let checked = db.exec("PRAGMA integrity_check", &[])?;
    if checked.rows != [[Value::from("ok")]] {
        return Err(Error::Denied {
            message: format!("integrity_check says {:?}", checked.rows),
        });
    }
    let tables = db.exec("SELECT count(*) FROM sqlite_master WHERE name = 't'", &[])?;
    if tables.rows == [[Value::Integer(0)]] {
        return Ok(None);
    }
    let rows = db.exec("SELECT k, v FROM t", &[])?.rows;
    Ok(Some(rows.into_iter().map(pair).collect()))
}

fn pair(mut row: Vec<Value>) -> (i64, Vec<u8>) {
    match (row.remove(0), row.remove(0)) {
        (Value::Integer(key), Value::Blob(value)) => (key, value),
        other => panic!("no other types were written: {other:?}"),
    }
}
