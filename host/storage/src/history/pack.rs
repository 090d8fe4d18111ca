//! Packs: files of history, each for a part of the log.
//!
//! Written by checkpoints, recovery and merges, never changed afterwards. Little endian:
//!
//! ```text
//! magic `DRMPAK` 0 version, log id u64
//! entries, 48 bytes each, then pages (`log::delta`):
//!    0 length u32 | 4 CRC32C u32 of the rest | 8 kind u8: 1 before, 2 commit
//!    9 flags u8: 1 = restored | 12 size of the file in pages u32, before or after
//!   16 start u64, 24 end u64 of the record | 32 time ms u64 | 40 page count u32 | 44 zero
//! index: object count u32, then for each object, ascending: number u128, start of its
//!   first record u64, end of its last u64, times of both u64, extents u32, each an offset
//!   u64 and a length u32
//! trailer, 96 bytes: magic, log id, first and last number, index offset and length, first
//!   and last position, first and last time u64 each; level u32, CRC32C of the index u32,
//!   zero u32, CRC32C u32 of the trailer
//! ```
//!
//! An object's *before* pages are what its file held before its first commit here, for
//! every page that a commit here changes or cuts off. Its commits stand in their order; a
//! page's first difference is to its before page. So a pack leads from the state after it
//! back to the state before it, and from there to any commit in it.

use std::collections::BTreeMap;
use std::io;

use crate::disk::Env;
use crate::error::Error;
use crate::history::{DIR, path};
use crate::log::delta::Encoded;
use crate::log::read::Window;

mod write;

pub(crate) use write::{Head, Writer};

const MAGIC: &[u8; 8] = b"DRMPAK\0\x01";
const START_BYTES: u64 = 16;
const ENTRY_BYTES: usize = 48;
const TRAILER_BYTES: u64 = 96;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Before = 1,
    Commit = 2,
}

/// A valid entry.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) head: Head,
    pub(crate) pages: Vec<Encoded<'a>>,
    /// All of it, as it stands in the file.
    pub(crate) bytes: &'a [u8],
}

/// What a pack holds of one object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ObjectIndex {
    pub(crate) first_start: u64,
    pub(crate) last_end: u64,
    pub(crate) first_ms: u64,
    pub(crate) last_ms: u64,
    extents: Vec<(u64, u32)>,
}

pub(crate) type Index = BTreeMap<u128, ObjectIndex>;

/// One pack, by its trailer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pack {
    /// The packs it was merged from; both its own number when it was not.
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// How often it was merged.
    pub(crate) level: u32,
    pub(crate) bytes: u64,
    /// The end of the last record in it.
    pub(crate) to: u64,
    pub(crate) from: u64,
    pub(crate) first_ms: u64,
    pub(crate) last_ms: u64,
    log: u64,
    index_at: u64,
    index_bytes: u64,
    index_crc: u32,
}

/// The numbers in the name of a pack.
pub(crate) fn numbers(name: &str) -> Option<(u64, u64)> {
    let (first, last) = name.strip_suffix(".pack")?.split_once('-')?;
    let number = |digits: &str| {
        let digits = digits
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then_some(digits)?;
        digits.parse().ok()
    };
    Some((number(first)?, number(last)?))
}

pub(crate) fn name(first: u64, last: u64) -> String {
    format!("{first:08}-{last:08}.pack")
}

impl Pack {
    pub(crate) fn name(&self) -> String {
        name(self.first, self.last)
    }

    /// Reads the trailer; `None` when it is not that of this pack.
    pub(crate) fn open(env: &Env, log: u64, first: u64, last: u64) -> io::Result<Option<Pack>> {
        let file = env.disk.open(&path(&name(first, last)), false)?;
        let bytes = file.len()?;
        let Some(at) = bytes.checked_sub(TRAILER_BYTES) else {
            return Ok(None);
        };
        let (mut trailer, mut magic) = ([0; TRAILER_BYTES as usize], [0; MAGIC.len()]);
        file.read_at(&mut trailer, at)?;
        file.read_at(&mut magic, 0)?;
        let pack = (magic == *MAGIC)
            .then(|| Pack::from_trailer(&trailer, bytes))
            .flatten();
        Ok(pack.filter(|pack| (pack.log, pack.first, pack.last) == (log, first, last)))
    }

    fn from_trailer(trailer: &[u8; TRAILER_BYTES as usize], bytes: u64) -> Option<Pack> {
        let crc = word(trailer, 92);
        if trailer[..8] != *MAGIC || crc32c::crc32c(&trailer[..92]) != crc {
            return None;
        }
        let pack = Pack {
            log: long(trailer, 8),
            first: long(trailer, 16),
            last: long(trailer, 24),
            index_at: long(trailer, 32),
            index_bytes: long(trailer, 40),
            from: long(trailer, 48),
            to: long(trailer, 56),
            first_ms: long(trailer, 64),
            last_ms: long(trailer, 72),
            level: word(trailer, 80),
            index_crc: word(trailer, 84),
            bytes,
        };
        (pack.index_at.checked_add(pack.index_bytes)? + TRAILER_BYTES == bytes).then_some(pack)
    }

    fn trailer(&self) -> [u8; TRAILER_BYTES as usize] {
        let mut bytes = [0; TRAILER_BYTES as usize];
        bytes[..8].copy_from_slice(MAGIC);
        let longs = [
            self.log,
            self.first,
            self.last,
            self.index_at,
            self.index_bytes,
            self.from,
            self.to,
            self.first_ms,
            self.last_ms,
        ];
        for (to, long) in bytes[8..80].chunks_exact_mut(8).zip(longs) {
            to.copy_from_slice(&long.to_le_bytes());
        }
        bytes[80..84].copy_from_slice(&self.level.to_le_bytes());
        bytes[84..88].copy_from_slice(&self.index_crc.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..92]);
        bytes[92..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// What it holds, by object.
    pub(crate) fn index(&self, env: &Env) -> Result<Index, Error> {
        let read = || -> io::Result<Vec<u8>> {
            let file = env.disk.open(&path(&self.name()), false)?;
            let mut bytes = vec![0; usize::try_from(self.index_bytes).unwrap_or(0)];
            let read = file.read_at(&mut bytes, self.index_at)?;
            bytes.truncate(read);
            Ok(bytes)
        };
        let bytes = read().map_err(|source| Error::io("reading", path(&self.name()), source))?;
        if crc32c::crc32c(&bytes) != self.index_crc {
            return Err(self.damaged());
        }
        split_index(&bytes).ok_or_else(|| self.damaged())
    }

    /// Hands the entries of one object to `visit`, in order.
    pub(crate) fn entries(
        &self,
        env: &Env,
        object: &ObjectIndex,
        visit: &mut dyn FnMut(&Entry<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let failed = |source| Error::io("reading", path(&self.name()), source);
        let file = env.disk.open(&path(&self.name()), false).map_err(failed)?;
        let mut window = Window::new(file, self.index_at);
        for (offset, length) in &object.extents {
            let (mut at, end) = (*offset, offset + u64::from(*length));
            while at < end {
                let length = match window.get(at, ENTRY_BYTES).map_err(failed)? {
                    Some(head) => word(head, 0) as usize,
                    None => return Err(self.damaged()),
                };
                let entry = window
                    .get(at, length)
                    .map_err(failed)?
                    .and_then(split_entry);
                visit(&entry.ok_or_else(|| self.damaged())?)?;
                at += length as u64;
            }
        }
        Ok(())
    }

    pub(crate) fn damaged(&self) -> Error {
        Error::Format {
            path: path(&self.name()).into(),
            found: "is damaged".into(),
            advice: "restore it from a backup; without it, no moment before its end can be reached",
        }
    }
}

fn split_entry(bytes: &[u8]) -> Option<Entry<'_>> {
    let (head, mut rest) = bytes.split_at_checked(ENTRY_BYTES)?;
    if crc32c::crc32c(&bytes[8..]) != word(head, 4) {
        return None;
    }
    let kind = match head[8] {
        kind if kind == Kind::Before as u8 => Kind::Before,
        kind if kind == Kind::Commit as u8 => Kind::Commit,
        _ => return None,
    };
    let mut pages = Vec::new();
    for _ in 0..word(head, 40) {
        let (page, after) = Encoded::split(rest)?;
        pages.push(page);
        rest = after;
    }
    rest.is_empty().then_some(Entry {
        head: Head {
            kind,
            restored: head[9] != 0,
            size_pages: word(head, 12),
            start: long(head, 16),
            end: long(head, 24),
            time_ms: long(head, 32),
        },
        pages,
        bytes,
    })
}

fn split_index(bytes: &[u8]) -> Option<Index> {
    let (count, mut rest) = bytes.split_first_chunk::<4>()?;
    let mut index = Index::new();
    for _ in 0..u32::from_le_bytes(*count) {
        let (head, mut after) = rest.split_at_checked(52)?;
        let number = u128::from_le_bytes(*head.first_chunk()?);
        let mut object = ObjectIndex {
            first_start: long(head, 16),
            last_end: long(head, 24),
            first_ms: long(head, 32),
            last_ms: long(head, 40),
            extents: Vec::new(),
        };
        for _ in 0..word(head, 48) {
            let (extent, next) = after.split_at_checked(12)?;
            object.extents.push((long(extent, 0), word(extent, 8)));
            after = next;
        }
        index.insert(number, object);
        rest = after;
    }
    rest.is_empty().then_some(index)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from(word(bytes, at)) | u64::from(word(bytes, at + 4)) << 32
}

/// Makes the folder of packs, durably.
pub(crate) fn make_folder(env: &Env) -> io::Result<()> {
    if env.disk.make_dir(DIR)? {
        env.disk.sync_dir("")?;
    }
    Ok(())
}
