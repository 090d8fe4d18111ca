//! Recovery: from what a crash left to files that are as the log says.
//!
//! Run once, when a data folder is opened. The order is the point of it: read the log;
//! make the part that was read durable, by writing it again; put into history what the files
//! are about to lose; redo into the files; sync them; begin a segment with a higher epoch;
//! MANIFEST. A crash in between repeats the same work. Nothing is ever appended behind a torn tail, where an old record could fit.

use std::collections::{BTreeMap, HashSet};
use std::io;

use crate::checkpoint::{Target, Written};
use crate::disk::Env;
use crate::error::Error;
use crate::fault::Fault;
use crate::files;
use crate::history::{self, History, Horizon};
use crate::key::{ObjectKey, unhex};
use crate::log::delta::{PAGE_BYTES, Page};
use crate::log::record::{Kind, Record};
use crate::log::scan::{Scanned, scan};
use crate::log::segment::{self, Writer};
use crate::manifest::{self, Manifest};
use crate::names::Names;
use crate::options::Options;

/// What the log says about one object since redo.
#[derive(Debug)]
struct Redo {
    key: ObjectKey,
    pages: BTreeMap<u32, Box<Page>>,
    size: u32,
    /// The smallest size it had, behind which the file's pages no longer count.
    cut: u32,
    last: u64,
}

/// A folder that is as its log says, and the end to go on from.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) manifest: Manifest,
    pub(crate) history: History,
    pub(crate) writer: Writer,
    pub(crate) epoch: u32,
    pub(crate) end: u64,
    /// The time of the last commit.
    pub(crate) last_ms: u64,
}

pub(crate) fn recover(env: &Env, names: &Names, options: &Options) -> Result<Recovered, Error> {
    let (segment_bytes, keep) = (options.segment_bytes, !options.history.is_zero());
    let manifest = match Manifest::load(env)? {
        Some(manifest) => {
            make_folders(env)?;
            manifest
        }
        None => found(env)?,
    };
    // A process that was killed may have left names that only the kernel's memory has.
    env.disk
        .sync_dir("")
        .map_err(|source| Error::io("syncing", "the data folder", source))?;
    let log_failed = |source| Error::io("recovering", segment::DIR, source);
    let scanned = scan(env, &manifest)?;
    if scanned.end < manifest.durable {
        let found = format!(
            "ends at position {}, but was durable up to {}",
            scanned.end, manifest.durable
        );
        let advice = "restore the data folder from a backup, or move it away to begin anew";
        return Err(Error::Format {
            path: segment::DIR.into(),
            found,
            advice,
        });
    }
    if !env.faults.is(Fault::RedoBeforeTail) {
        rewrite_tail(env, &scanned).map_err(log_failed)?;
    }
    let (mut history, lost) = History::open(env, manifest.log, manifest.redo)?;
    let mut horizon = manifest.horizon;
    if let Some(lost) = lost {
        horizon.position = horizon.position.max(lost.min(scanned.end));
    }
    if !(keep && manifest.history) {
        let time_ms = env.clock.now_ms();
        let position = scanned.end;
        horizon = Horizon { position, time_ms };
    } else if !env.faults.is(Fault::RedoBeforePack) {
        archive(env, &mut history, &scanned, horizon)?;
    }
    redo(env, names, &scanned, options.files_while_writing())?;
    if env.faults.is(Fault::RedoBeforePack) {
        archive(env, &mut history, &scanned, horizon)?;
    }
    if env.faults.is(Fault::RedoBeforeTail) {
        rewrite_tail(env, &scanned).map_err(log_failed)?;
    }
    names
        .tidy(env, || present(env))
        .map_err(|source| Error::io("tidying names in", "the data folder", source))?;
    let last_ms = last_ms(&scanned)
        .max(history.last_ms())
        .max(horizon.time_ms);
    let manifest = Manifest {
        history: keep,
        horizon,
        ..manifest
    };
    let epoch = manifest.epoch.max(scanned.epoch) + 1;
    let (manifest, writer, epoch) =
        go_on(env, manifest, &scanned, epoch, segment_bytes).map_err(log_failed)?;
    history.advance(manifest.redo);
    if !keep {
        let count = history.packs();
        history
            .forget(env, count)
            .map_err(|source| Error::io("emptying", history::DIR, source))?;
    }
    Ok(Recovered {
        manifest,
        history,
        writer,
        epoch,
        end: scanned.end,
        last_ms,
    })
}

/// A folder that was copied may lack those that held no file.
fn make_folders(env: &Env) -> Result<(), Error> {
    for dir in [segment::DIR, files::ROOT] {
        let made = env.disk.make_dir(dir);
        made.map_err(|source| Error::io("preparing", dir, source))?;
    }
    Ok(())
}

/// All objects that have a file.
fn present(env: &Env) -> io::Result<HashSet<(String, [u8; 32])>> {
    let mut found = HashSet::new();
    for slot in env
        .disk
        .list(files::ROOT)?
        .iter()
        .filter(|entry| entry.is_dir)
    {
        let slot = format!("{}/{}", files::ROOT, slot.name);
        for namespace in env.disk.list(&slot)?.iter().filter(|entry| entry.is_dir) {
            let entries = env.disk.list(&format!("{slot}/{}", namespace.name))?;
            let ids = entries
                .iter()
                .filter_map(|entry| unhex(entry.name.strip_suffix(".db")?));
            found.extend(ids.map(|id| (namespace.name.clone(), id)));
        }
    }
    Ok(found)
}

fn commits(scanned: &Scanned, check: bool) -> impl Iterator<Item = (&str, Record<'_>)> {
    scanned.segments.iter().flat_map(move |segment| {
        let records = segment.records(check);
        let commits = records.filter(|record| record.kind == Kind::Commit);
        commits.map(|record| (segment.name.as_str(), record))
    })
}

fn last_ms(scanned: &Scanned) -> u64 {
    commits(scanned, false)
        .map(|(_, record)| record.time_ms)
        .max()
        .unwrap_or(0)
}

/// Puts into history what redo is about to overwrite.
fn archive(
    env: &Env,
    history: &mut History,
    scanned: &Scanned,
    horizon: Horizon,
) -> Result<(), Error> {
    if commits(scanned, false).next().is_none() {
        return Ok(());
    }
    let failed = |source| Error::io("archiving in", history::DIR, source);
    let finished = {
        let mut archiver = history.archiver(env, horizon.position).map_err(failed)?;
        for (_, record) in commits(scanned, true) {
            archiver.feed(&record).map_err(failed)?;
        }
        archiver.finish().map_err(failed)?
    };
    history.add(finished);
    Ok(())
}

/// Lays out a new folder; refuses one that has lost its manifest.
fn found(env: &Env) -> Result<Manifest, Error> {
    let failed = |source| Error::io("preparing", "the data folder", source);
    let has_segments = env
        .disk
        .list(segment::DIR)
        .map_err(failed)?
        .iter()
        .any(|entry| segment::number(&entry.name).is_some());
    let has_objects = !env.disk.list(files::ROOT).map_err(failed)?.is_empty();
    if has_segments || has_objects {
        let found = "is missing, but the folder holds objects or a log".to_owned();
        return Err(Error::Format {
            path: manifest::NAME.into(),
            found,
            advice: "restore it from a backup",
        });
    }
    make_folders(env)?;
    // The manifest may not be there without them.
    env.disk.sync_dir("").map_err(failed)?;
    let manifest = Manifest {
        log: env.clock.now_ms(),
        epoch: 0,
        redo: 0,
        segment: 1,
        durable: 0,
        history: true,
        horizon: Horizon::default(),
    };
    manifest.store(env).map_err(failed)?;
    Ok(manifest)
}

/// What was read may be in the kernel's memory only, and after a failed sync no sync will
/// bring it to the disk: it is written again. All older segments were synced before the
/// last one was begun.
fn rewrite_tail(env: &Env, scanned: &Scanned) -> io::Result<()> {
    let Some(last) = scanned
        .segments
        .last()
        .filter(|_| !env.faults.is(Fault::TailNotSynced))
    else {
        return Ok(());
    };
    let file = env.disk.open(&segment::path(&last.name), false)?;
    file.write_at(&last.bytes[..last.to], 0)?;
    file.sync()?;
    env.disk.sync_dir(segment::DIR)
}

fn redo(env: &Env, names: &Names, scanned: &Scanned, open_files: usize) -> Result<(), Error> {
    let mut objects = BTreeMap::new();
    for (segment, record) in commits(scanned, !env.faults.is(Fault::NoRecordCrc)) {
        if !apply(&mut objects, &record) {
            let found = format!(
                "has a record at position {} that does not follow from those before it",
                record.position
            );
            let advice = "restore the data folder from a backup";
            return Err(Error::Format {
                path: segment::path(segment).into(),
                found,
                advice,
            });
        }
    }
    let present = objects
        .values()
        .filter(|object| object.size > 0)
        .map(|object| &object.key);
    write_out(env, &objects, open_files)
        .and_then(|()| names.append(env, present))
        .map_err(|source| Error::io("recovering object files in", files::ROOT, source))
}

/// Whether the record made sense.
fn apply(objects: &mut BTreeMap<u128, Redo>, record: &Record<'_>) -> bool {
    let object = match (objects.entry(record.object), &record.key) {
        (entry, Some(key)) => {
            let object = entry.or_insert_with(|| Redo {
                key: key.clone(),
                pages: BTreeMap::new(),
                size: record.size_pages,
                cut: u32::MAX,
                last: 0,
            });
            object.last = record.previous;
            object
        }
        (std::collections::btree_map::Entry::Occupied(entry), None) => entry.into_mut(),
        (std::collections::btree_map::Entry::Vacant(_), None) => return false,
    };
    if object.last != record.previous {
        return false;
    }
    for encoded in &record.pages {
        let base = object.pages.get(&encoded.number).map(|page| &**page);
        let Some(page) = encoded.decode(base) else {
            return false;
        };
        object.pages.insert(encoded.number, page);
    }
    object.pages.split_off(&(record.size_pages + 1));
    (object.size, object.cut) = (record.size_pages, object.cut.min(record.size_pages));
    object.last = record.position;
    true
}

fn write_out(env: &Env, objects: &BTreeMap<u128, Redo>, open_files: usize) -> io::Result<()> {
    let never = env.faults.is(Fault::RecoveryFilesNotSynced);
    let mut written = Written::new(env, if never { usize::MAX } else { open_files });
    for object in objects.values() {
        let path = files::path(&object.key);
        let target = Target {
            path: &path,
            key: &object.key,
        };
        if object.size == 0 {
            // The folder is synced even if the file is gone already: that may be un-synced.
            target.remove(env)?;
            written.gone.insert(files::dir(&object.key));
            continue;
        }
        let on_disk = match env.disk.open(&path, false) {
            Ok(file) => u32::try_from(file.len()? / PAGE_BYTES as u64).unwrap_or(u32::MAX),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        let pages = object.pages.iter().map(|(number, page)| (*number, &**page));
        written.folders.extend(parents(&object.key));
        let in_file = on_disk.min(object.cut);
        target.write(&mut written, in_file, object.size, pages)?;
    }
    if never { Ok(()) } else { written.sync() }
}

/// An object's folder and those above it: a crash may have kept a name from being synced.
fn parents(key: &ObjectKey) -> [String; 3] {
    let dir = files::dir(key);
    let slot = dir
        .rsplit_once('/')
        .map(|(slot, _)| slot.to_owned())
        .unwrap_or_default();
    [files::ROOT.to_owned(), slot, dir]
}

/// Begins the segment of this incarnation, then points the manifest at it.
fn go_on(
    env: &Env,
    old: Manifest,
    scanned: &Scanned,
    epoch: u32,
    segment_bytes: u64,
) -> io::Result<(Manifest, Writer, u32)> {
    let end = scanned.end;
    let live = scanned
        .segments
        .iter()
        .map(|segment| (segment.header.number, segment.header.start))
        .collect();
    let mut epoch = epoch;
    let mut writer = Writer::new(env.clone(), old.log, epoch, segment_bytes, live);
    adopt_spares(env, &mut writer, segment_bytes)?;
    match scanned.segments.last() {
        Some(last) if env.faults.is(Fault::AppendBehindTail) => {
            epoch = last.header.epoch;
            writer = writer.with_epoch(epoch);
            writer.resume(
                env.disk.open(&segment::path(&last.name), false)?,
                last.to as u64,
            )?;
        }
        _ => writer.begin(end, 0)?,
    }
    let manifest = Manifest {
        epoch,
        redo: end,
        segment: writer.number_at(end),
        durable: end,
        ..old
    };
    manifest.store(env)?;
    let before: Vec<String> = env
        .disk
        .list(segment::DIR)?
        .into_iter()
        .map(|entry| entry.name)
        .collect();
    writer.trim(end)?;
    // Segments that an interrupted checkpoint has left behind.
    for name in before {
        if segment::number(&name).is_some_and(|number| number < old.segment) {
            writer.release(&name)?;
        }
    }
    Ok((manifest, writer, epoch))
}

fn adopt_spares(env: &Env, writer: &mut Writer, segment_bytes: u64) -> io::Result<()> {
    for entry in env.disk.list(segment::DIR)? {
        if entry.name.ends_with(".tmp") {
            env.disk.remove(&segment::path(&entry.name))?;
        } else if entry.name.starts_with("spare-") && entry.bytes == segment_bytes {
            writer.add_spare(entry.name);
        } else if entry.name.starts_with("spare-") {
            env.disk.remove(&segment::path(&entry.name))?;
        }
    }
    Ok(())
}
