//! Archiving: commits of the log become a pack, with what they overwrote.
//!
//! Fed by checkpoints and recovery with all commits from redo on, before either touches an
//! object's file. Until then a page that no commit since redo has written is in the file as
//! it was; one that an earlier pack covers already (the checkpoint after it did not come to
//! its end) is known from the commits themselves.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, ErrorKind};

use super::pack::{Head, Index, Kind, Pack, Writer};
use crate::disk::Env;
use crate::files::{self, Files};
use crate::log::delta::{self, PAGE_BYTES, Page};
use crate::log::record::Record;

/// Before pages of one entry.
const CHUNK: usize = 64;

/// Object files open at a time.
const FILES: usize = 64;

pub(crate) struct Archiver<'a> {
    /// Few at a time: each takes a descriptor.
    files: Files,
    /// By object, the end of the last commit that is archived already.
    done: &'a HashMap<u128, u64>,
    /// Commits that begin before are not archived.
    floor: u64,
    writer: Writer,
    objects: HashMap<u128, Object>,
}

/// An object on its way from redo to its last commit.
struct Object {
    /// Of its file, if there is one.
    path: Option<String>,
    /// Leading pages of the file that still count.
    in_file: u32,
    size: u32,
    /// Whether the file is shorter than it was made.
    cut_off: bool,
    /// Pages written since redo by commits that are archived already.
    known: BTreeMap<u32, Box<Page>>,
    /// The size before the first commit that is archived now.
    size_before: Option<u32>,
    /// Pages up to that size whose before page is written.
    seen: BTreeSet<u32>,
    /// The smallest size so far: what lies behind is among the before pages.
    cut: u32,
}

impl<'a> Archiver<'a> {
    pub(crate) fn new(
        env: &'a Env,
        done: &'a HashMap<u128, u64>,
        floor: u64,
        writer: Writer,
    ) -> Archiver<'a> {
        Archiver {
            files: Files::new(env.clone(), FILES),
            done,
            floor,
            writer,
            objects: HashMap::new(),
        }
    }

    /// Takes the next commit of the log.
    pub(crate) fn feed(&mut self, record: &Record<'_>) -> io::Result<()> {
        if !self.objects.contains_key(&record.object) {
            let key = record.key.as_ref().ok_or_else(|| unfounded(record))?;
            let object = Object::open(&self.files, record.object, files::path(key))?;
            self.objects.insert(record.object, object);
        }
        let object = self
            .objects
            .get_mut(&record.object)
            .expect("inserted above");
        let done = self.done.get(&record.object).copied().unwrap_or(0);
        if record.end() <= done || record.position < self.floor {
            return object.apply(record);
        }
        object.archive(record, &self.files, &mut self.writer)
    }

    pub(crate) fn finish(self) -> io::Result<Option<(Pack, Index)>> {
        self.writer.finish()
    }

    pub(crate) fn discard(self) {
        self.writer.discard();
    }
}

fn unfounded(record: &Record<'_>) -> io::Error {
    let text = format!(
        "the record at position {} does not follow from those before it",
        record.position
    );
    io::Error::new(ErrorKind::InvalidData, text)
}

impl Object {
    fn open(files: &Files, number: u128, path: String) -> io::Result<Object> {
        let file = match files.get(number, &path) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let bytes = file.as_ref().map_or(Ok(0), |file| file.len())?;
        let size = u32::try_from(bytes / PAGE_BYTES as u64).unwrap_or(u32::MAX);
        let cut_off = match &file {
            Some(file) if size > 0 => files::size_in_header(&**file)? > size,
            _ => !bytes.is_multiple_of(PAGE_BYTES as u64),
        };
        Ok(Object {
            path: file.is_some().then_some(path),
            in_file: size,
            size,
            cut_off,
            known: BTreeMap::new(),
            size_before: None,
            seen: BTreeSet::new(),
            cut: u32::MAX,
        })
    }

    /// A commit that an earlier pack holds.
    fn apply(&mut self, record: &Record<'_>) -> io::Result<()> {
        for encoded in &record.pages {
            let base = self.known.get(&encoded.number).map(|page| &**page);
            let page = encoded.decode(base).ok_or_else(|| unfounded(record))?;
            self.known.insert(encoded.number, page);
        }
        self.known.split_off(&(record.size_pages + 1));
        self.in_file = self.in_file.min(record.size_pages);
        self.size = record.size_pages;
        // An interrupted checkpoint may have left the file so; the log knows better.
        self.cut_off = false;
        Ok(())
    }

    fn archive(
        &mut self,
        record: &Record<'_>,
        files: &Files,
        writer: &mut Writer,
    ) -> io::Result<()> {
        let is_first = self.size_before.is_none();
        // Of a damaged file at least this much was there, and is lost.
        let least = if self.cut_off { record.size_pages } else { 0 };
        let size_before = *self.size_before.get_or_insert(self.size.max(least));
        let behind = (record.size_pages + 1)..=self.cut.min(size_before);
        let touched = record.pages.iter().map(|page| page.number);
        let fresh: Vec<u32> = touched
            .chain(behind)
            .filter(|number| *number <= size_before && self.seen.insert(*number))
            .collect();
        self.cut = self.cut.min(record.size_pages);
        let head = Head {
            kind: Kind::Before,
            restored: false,
            size_pages: size_before,
            start: record.position,
            end: record.position,
            time_ms: record.time_ms,
        };
        let mut bases = BTreeMap::new();
        let mut pages = Vec::new();
        // The first entry of an object says its size, even if it had no page to keep.
        if is_first && fresh.is_empty() {
            writer.put(record.object, head, 0, &[])?;
        }
        for chunk in fresh.chunks(CHUNK) {
            pages.clear();
            for number in chunk {
                match self.before(files, record.object, *number)? {
                    Some(page) => {
                        delta::encode(*number, &page, None, &mut pages);
                        bases.insert(*number, page);
                    }
                    None => delta::encode_lost(*number, &mut pages),
                }
            }
            // Only what this commit writes needs its base below.
            bases.retain(|number, _| *number <= record.size_pages);
            writer.put(record.object, head, chunk.len() as u32, &pages)?;
        }
        pages.clear();
        for encoded in &record.pages {
            match bases.get(&encoded.number).filter(|_| encoded.is_whole()) {
                Some(base) => {
                    let page = encoded.decode(None).ok_or_else(|| unfounded(record))?;
                    delta::encode(encoded.number, &page, Some(base), &mut pages);
                }
                None => encoded.put(&mut pages),
            }
        }
        let head = Head {
            kind: Kind::Commit,
            restored: record.restored,
            size_pages: record.size_pages,
            start: record.position,
            end: record.end(),
            time_ms: record.time_ms,
        };
        writer.put(record.object, head, record.pages.len() as u32, &pages)
    }

    /// What a page held before the first commit that is archived now; `None` when the file
    /// is damaged there.
    fn before(&self, files: &Files, object: u128, number: u32) -> io::Result<Option<Box<Page>>> {
        if let Some(page) = self.known.get(&number) {
            return Ok(Some(page.clone()));
        }
        if self.cut_off && number > self.in_file {
            return Ok(None);
        }
        let mut page = Box::new([0; PAGE_BYTES]);
        if let Some(path) = self.path.as_ref().filter(|_| number <= self.in_file) {
            let file = files.get(object, path)?;
            let read = file.read_at(&mut page[..], u64::from(number - 1) * PAGE_BYTES as u64)?;
            if read < PAGE_BYTES || !files::is_intact(number, &page) {
                return Ok(None);
            }
            files::clear_checksum(&mut page);
        }
        Ok(Some(page))
    }
}
