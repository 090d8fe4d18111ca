//! History: what objects were, as far back as it is kept.
//!
//! A row of packs, oldest first, each made by a checkpoint (or recovery) from the commits
//! that it carries to the files. Owned by `storage` under the lock of checkpoints. Merging
//! packs makes fewer and smaller ones, removing the oldest ends what can be reached.
//!
//! Invariants: I15 every state at or after the horizon can be had exactly; I16 what a file
//! is about to lose is durable in a pack before the file is written.

mod archive;
mod merge;
pub(crate) mod pack;
mod past;

use std::collections::{BTreeSet, HashMap};
use std::io;

use crate::disk::Env;
use crate::error::Error;
pub(crate) use archive::Archiver;
use pack::{Head, Index, Pack, Writer};
pub(crate) use past::Past;

pub(crate) const DIR: &str = "history";

pub(crate) fn path(name: &str) -> String {
    format!("{DIR}/{name}")
}

/// From where on the past can be had.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Horizon {
    pub(crate) position: u64,
    pub(crate) time_ms: u64,
}

#[derive(Debug)]
pub(crate) struct History {
    log: u64,
    /// Oldest first; their numbers follow each other.
    packs: Vec<Pack>,
    next: u64,
    /// Objects with commits after redo that are archived, and up to where.
    done: HashMap<u128, u64>,
    /// Packs that were found damaged and are not used.
    pub(crate) damaged: Vec<String>,
}

impl History {
    /// Finds the packs, and puts away what interrupted writers have left. The horizon is
    /// where the readable ones begin, given where the log ends.
    pub(crate) fn open(env: &Env, log: u64, redo: u64) -> Result<(History, Option<u64>), Error> {
        let failed = |source| Error::io("opening", DIR, source);
        let mut found = Vec::new();
        for entry in env.disk.list(DIR).map_err(failed)? {
            match pack::numbers(&entry.name) {
                Some(numbers) => found.push(numbers),
                None if entry.name.ends_with(".tmp") => {
                    env.disk.remove(&path(&entry.name)).map_err(failed)?;
                }
                None => (),
            }
        }
        if !found.is_empty() {
            // A process that was killed may have left names that only the kernel knows.
            env.disk.sync_dir(DIR).map_err(failed)?;
        }
        let mut history = History {
            log,
            packs: Vec::new(),
            next: 1,
            done: HashMap::new(),
            damaged: Vec::new(),
        };
        let mut lost = None;
        for (first, last) in found.iter().copied() {
            history.next = history.next.max(last + 1);
            let merged =
                |other: &(u64, u64)| *other != (first, last) && other.0 <= first && last <= other.1;
            if found.iter().any(merged) {
                env.disk
                    .remove(&path(&pack::name(first, last)))
                    .map_err(failed)?;
                continue;
            }
            match Pack::open(env, log, first, last).map_err(failed)? {
                Some(pack) => history.packs.push(pack),
                None => {
                    history.damaged.push(pack::name(first, last));
                    lost = lost.max(Some(last));
                }
            }
        }
        history.packs.sort_by_key(|pack| pack.first);
        let horizon = lost.map(|lost| history.end_behind(lost));
        history.learn(env, redo)?;
        Ok((history, horizon))
    }

    /// An upper bound of the end of pack `number`, which cannot be read.
    fn end_behind(&self, number: u64) -> u64 {
        let later = self.packs.iter().find(|pack| pack.first > number);
        later.map_or(u64::MAX, |pack| pack.to)
    }

    /// Which objects' commits behind redo are archived already.
    fn learn(&mut self, env: &Env, redo: u64) -> Result<(), Error> {
        for pack in self.packs.iter().filter(|pack| pack.to > redo) {
            for (object, index) in pack.index(env)? {
                if index.last_end > redo {
                    let done = self.done.entry(object).or_default();
                    *done = index.last_end.max(*done);
                }
            }
        }
        Ok(())
    }

    /// Begins a pack for the commits since redo; those before `floor` stay out.
    pub(crate) fn archiver<'a>(&'a self, env: &'a Env, floor: u64) -> io::Result<Archiver<'a>> {
        let writer = Writer::create(env, self.log, (self.next, self.next), 0)?;
        Ok(Archiver::new(env, &self.done, floor, writer))
    }

    /// Takes in what an archiver has finished.
    pub(crate) fn add(&mut self, finished: Option<(Pack, Index)>) {
        let Some((pack, index)) = finished else {
            return;
        };
        self.next = pack.last + 1;
        self.packs.push(pack);
        let ends = index
            .into_iter()
            .map(|(object, index)| (object, index.last_end));
        self.done.extend(ends);
    }

    pub(crate) fn is_archived(&self, object: u128, end: u64) -> bool {
        self.done.get(&object).is_some_and(|done| *done >= end)
    }

    /// Redo has moved: nobody asks about commits before it any more.
    pub(crate) fn advance(&mut self, redo: u64) {
        self.done.retain(|_, end| *end > redo);
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.packs.iter().map(|pack| pack.bytes).sum()
    }

    /// The names of the packs that are used.
    pub(crate) fn names(&self) -> Vec<String> {
        self.packs.iter().map(Pack::name).collect()
    }

    pub(crate) fn packs(&self) -> usize {
        self.packs.len()
    }

    /// The time of the last commit in it.
    pub(crate) fn last_ms(&self) -> u64 {
        self.packs
            .iter()
            .map(|pack| pack.last_ms)
            .max()
            .unwrap_or(0)
    }

    /// How many of the oldest packs hold nothing that is younger than `oldest_ms`, or are too
    /// much for `most_bytes`; and the horizon without them.
    pub(crate) fn expired(
        &self,
        oldest_ms: u64,
        most_bytes: u64,
        redo: u64,
    ) -> Option<(usize, Horizon)> {
        let mut bytes = self.bytes();
        let mut horizon = Horizon::default();
        let mut count = 0;
        for pack in &self.packs {
            // While the log has its commits, it must be known that they are archived.
            if pack.to > redo || (pack.last_ms >= oldest_ms && bytes <= most_bytes) {
                break;
            }
            bytes -= pack.bytes;
            count += 1;
            horizon.position = horizon.position.max(pack.to);
            horizon.time_ms = horizon.time_ms.max(pack.last_ms);
        }
        (count > 0).then_some((count, horizon))
    }

    /// Removes the oldest packs. The manifest says the new horizon already.
    pub(crate) fn forget(&mut self, env: &Env, count: usize) -> io::Result<()> {
        for pack in self.packs.drain(..count) {
            env.disk.remove(&path(&pack.name()))?;
        }
        Ok(())
    }

    /// Merges one run of packs, if there is one worth it. A merged pack holds at most
    /// `most_bytes` and `most_ms`.
    pub(crate) fn merge(&mut self, env: &Env, most_bytes: u64, most_ms: u64) -> Result<(), Error> {
        let Some(run) = merge::choose(&self.packs, most_bytes, most_ms) else {
            return Ok(());
        };
        let merged = merge::write(env, self.log, &self.packs[run.clone()], &BTreeSet::new())?;
        let failed = |source| Error::io("merging packs in", DIR, source);
        let old: Vec<Pack> = self.packs.splice(run, merged).collect();
        for pack in old {
            env.disk.remove(&path(&pack.name())).map_err(failed)?;
        }
        Ok(())
    }

    /// Takes objects out of all packs, so that no byte of them is left in any.
    pub(crate) fn purge(&mut self, env: &Env, objects: &BTreeSet<u128>) -> Result<(), Error> {
        if let Some(name) = self.damaged.first() {
            return Err(Error::Format {
                path: path(name).into(),
                found: "is damaged, and may hold what is to be deleted".into(),
                advice: "remove it, and delete again",
            });
        }
        let mut at = 0;
        while let Some(pack) = self.packs.get(at) {
            let index = pack.index(env)?;
            if !objects.iter().any(|object| index.contains_key(object)) {
                at += 1;
                continue;
            }
            let name = pack.name();
            let rewritten = merge::write(env, self.log, &self.packs[at..=at], objects)?;
            if rewritten.is_none() {
                // Nothing else was in it.
                env.disk
                    .remove(&path(&name))
                    .and_then(|()| env.disk.sync_dir(DIR))
                    .map_err(|source| Error::io("removing", path(&name), source))?;
            }
            let kept = usize::from(rewritten.is_some());
            self.packs.splice(at..=at, rewritten);
            at += kept;
        }
        for object in objects {
            self.done.remove(object);
        }
        Ok(())
    }

    /// The state of an object at a position; `size` are the pages of its file now.
    pub(crate) fn past(
        &self,
        env: &Env,
        object: u128,
        position: u64,
        size: u32,
    ) -> Result<Past, Error> {
        let mut past = Past::new(size);
        for pack in self.packs.iter().rev().filter(|pack| pack.to > position) {
            let index = pack.index(env)?;
            let Some(index) = index.get(&object).filter(|index| index.last_end > position) else {
                continue;
            };
            past.back(env, pack, index)?;
            if index.first_start < position {
                past.forward(env, pack, index, position)?;
                break;
            }
        }
        Ok(past)
    }

    /// The position behind the last commit of an object not later than `time_ms`; `None` when
    /// all that is archived of it is later, or nothing is.
    pub(crate) fn position_at(
        &self,
        env: &Env,
        object: u128,
        time_ms: u64,
    ) -> Result<TimeTravel, Error> {
        let mut earliest = None;
        for pack in self.packs.iter().rev() {
            let index = pack.index(env)?;
            let Some(index) = index.get(&object) else {
                continue;
            };
            earliest = Some(index.first_start);
            if index.first_ms <= time_ms {
                let mut end = index.first_start;
                pack.entries(env, index, &mut |entry| {
                    let head = entry.head;
                    if head.kind == pack::Kind::Commit && head.time_ms <= time_ms {
                        end = end.max(head.end);
                    }
                    Ok(())
                })?;
                return Ok(TimeTravel::At(end));
            }
        }
        Ok(earliest.map_or(TimeTravel::Unchanged, TimeTravel::Before))
    }

    /// The commits of an object that end in `from..before`, newest first; at most `limit`.
    pub(crate) fn commits(
        &self,
        env: &Env,
        object: u128,
        (from, before): (u64, u64),
        limit: usize,
    ) -> Result<Vec<Archived>, Error> {
        let mut found = Vec::new();
        for pack in self.packs.iter().rev() {
            if found.len() >= limit || pack.to < from {
                break;
            }
            let index = pack.index(env)?;
            let Some(index) = index.get(&object) else {
                continue;
            };
            let mut here = Vec::new();
            pack.entries(env, index, &mut |entry| {
                let head = entry.head;
                if head.kind == pack::Kind::Commit && (from..before).contains(&head.end) {
                    let pages = entry.pages.len();
                    here.push(Archived { head, pages });
                }
                Ok(())
            })?;
            found.extend(here.into_iter().rev());
        }
        found.truncate(limit);
        Ok(found)
    }

    /// Where the first commit at or after `from` begins that brought back an older state.
    pub(crate) fn restored_at(
        &self,
        env: &Env,
        object: u128,
        from: u64,
    ) -> Result<Option<u64>, Error> {
        let mut found: Option<u64> = None;
        for pack in self.packs.iter().filter(|pack| pack.to > from) {
            let index = pack.index(env)?;
            let Some(index) = index.get(&object).filter(|index| index.last_end > from) else {
                continue;
            };
            pack.entries(env, index, &mut |entry| {
                if entry.head.restored && entry.head.start >= from {
                    found = Some(found.map_or(entry.head.start, |at| at.min(entry.head.start)));
                }
                Ok(())
            })?;
            if found.is_some() {
                break;
            }
        }
        Ok(found)
    }
}

/// One commit in a pack.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Archived {
    pub(crate) head: Head,
    /// How many pages it changed.
    pub(crate) pages: usize,
}

/// Where a time lies in an object's archived commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimeTravel {
    /// Behind the commit that ends here.
    At(u64),
    /// Before the first, which begins here.
    Before(u64),
    /// There are none.
    Unchanged,
}
