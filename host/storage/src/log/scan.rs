//! Scanning: from files back to the records they hold.
//!
//! Used by recovery only. The log ends at the first record that is not valid. Whether that
//! is where a crash cut it, or damage to something acknowledged, is told apart by what
//! stands behind: a segment is begun, and a batch is written, only after all before it
//! was durable. So a later segment, or a later valid `Batch`, proves damage.
//!
//! A segment is mostly room for what is to come: only its records are kept in memory.

use std::io;
use std::sync::Arc;

use crate::disk::{DiskFile, Env};
use crate::error::Error;
use crate::fault::Fault;
use crate::log::read::Window;
use crate::log::record::{self, ALIGNMENT, Kind, Record};
use crate::log::segment::{self, BadHeader, HEADER_BYTES, Header};
use crate::manifest::Manifest;

/// So much more of a segment is read at once.
const PORTION_BYTES: usize = 1 << 20;
/// Zeros are passed over in blocks of this size.
const BLOCK_BYTES: usize = 4096;
static ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];

/// A segment with the bytes of its records.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) name: String,
    pub(crate) header: Header,
    /// The file from its start on, as far as it was read.
    pub(crate) bytes: Vec<u8>,
    file: Arc<dyn DiskFile>,
    /// Length of the file.
    length: usize,
    /// Where its records begin to count and where they end, in bytes of the file.
    pub(crate) from: usize,
    pub(crate) to: usize,
}

/// The part of the log from the redo position on.
#[derive(Debug)]
pub(crate) struct Scanned {
    pub(crate) segments: Vec<Segment>,
    /// The position behind the last valid record.
    pub(crate) end: u64,
    /// The highest epoch seen.
    pub(crate) epoch: u32,
}

/// Reads the log from the redo position on.
pub(crate) fn scan(env: &Env, manifest: &Manifest) -> Result<Scanned, Error> {
    let mut segments = load(env, manifest)?;
    let mut end = manifest.redo;
    let starts: Vec<u64> = segments
        .iter()
        .skip(1)
        .map(|segment| segment.header.start)
        .collect();
    let check = !env.faults.is(Fault::NoRecordCrc);
    for (index, segment) in segments.iter_mut().enumerate() {
        let from = end
            .checked_sub(segment.header.start)
            .and_then(|bytes| usize::try_from(bytes).ok());
        let from = from
            .map(|bytes| bytes + HEADER_BYTES as usize)
            .filter(|from| *from <= segment.length);
        segment.from = from.ok_or_else(|| {
            damaged(
                &segment.name,
                "does not hold the position it should begin with",
            )
        })?;
        let limit = starts.get(index).copied();
        let failed = |segment: &Segment| {
            let path = segment::path(&segment.name);
            move |source| Error::io("reading", path, source)
        };
        segment.to = walk(segment, limit, check).map_err(failed(segment))?;
        end = segment.header.start + (segment.to as u64 - HEADER_BYTES);
        match limit {
            Some(start) if start != end => {
                return Err(damaged(
                    &segment.name,
                    &format!("ends at position {end}, but the log goes on at {start}"),
                ));
            }
            Some(_) => (),
            None => {
                if let Some(later) = batch_behind(segment).map_err(failed(segment))? {
                    let found = format!(
                        "has a damaged record at position {end}, before valid ones at {later}"
                    );
                    return Err(damaged(&segment.name, &found));
                }
            }
        }
    }
    let epoch = segments
        .iter()
        .map(|segment| segment.header.epoch)
        .max()
        .unwrap_or(0);
    Ok(Scanned {
        segments,
        end,
        epoch,
    })
}

fn load(env: &Env, manifest: &Manifest) -> Result<Vec<Segment>, Error> {
    let Manifest {
        log,
        segment: first,
        ..
    } = *manifest;
    let failed = |name: &str| {
        let path = segment::path(name);
        move |source| Error::io("reading", path, source)
    };
    let entries = env.disk.list(segment::DIR).map_err(failed(""))?;
    let mut numbers: Vec<u64> = entries
        .iter()
        .filter_map(|entry| segment::number(&entry.name))
        .collect();
    numbers.retain(|number| *number >= first);
    numbers.sort_unstable();
    let mut segments: Vec<Segment> = Vec::new();
    for (number, wanted) in numbers.into_iter().zip(first..) {
        let name = segment::name(wanted);
        if number != wanted {
            return Err(damaged(&name, "is missing, but later segments are there"));
        }
        let file = env
            .disk
            .open(&segment::path(&name), false)
            .map_err(failed(&name))?;
        let length = usize::try_from(file.len().map_err(failed(&name))?).unwrap_or(0);
        let mut bytes = vec![0; length.min(HEADER_BYTES as usize)];
        let read = file.read_at(&mut bytes, 0).map_err(failed(&name))?;
        bytes.truncate(read);
        let header = Header::read(&bytes).map_err(|bad| match bad {
            BadHeader::Version(version) => newer(&name, version),
            BadHeader::Damaged => damaged(&name, "has a damaged header"),
        })?;
        if (length as u64) < header.bytes {
            return Err(damaged(&name, "is shorter than it was made"));
        }
        let epoch = segments.last().map_or(0, |before| before.header.epoch);
        if header.number != number || header.log != log || header.epoch < epoch {
            return Err(damaged(
                &name,
                "belongs to another log or another place in this one",
            ));
        }
        segments.push(Segment {
            name,
            header,
            bytes,
            file,
            length,
            from: 0,
            to: 0,
        });
    }
    if segments.is_empty() && manifest.epoch > 0 {
        return Err(damaged(&segment::name(first), "is missing"));
    }
    Ok(segments)
}

/// Where valid records end; never beyond the start of the next segment. All before it
/// is in memory afterwards, and nothing else.
fn walk(segment: &mut Segment, limit: Option<u64>, check: bool) -> io::Result<usize> {
    let mut at = segment.from;
    segment.reach(at)?;
    loop {
        segment.reach(at + record::HEADER_BYTES)?;
        let header = segment.bytes.get(at..).and_then(<[u8]>::first_chunk);
        let length = header.filter(|header| record::begins(&header[..]));
        if let Some(length) = length.map(record::length) {
            segment.reach(at.saturating_add(length))?;
        }
        match segment.record(at, check) {
            Some(record) if limit.is_none_or(|limit| record.position < limit) => at += record.step,
            _ => break,
        }
    }
    segment.bytes.truncate(at);
    segment.bytes.shrink_to_fit();
    Ok(at)
}

/// The position of the first valid batch behind the end of a segment's records.
fn batch_behind(segment: &Segment) -> io::Result<Option<u64>> {
    let mut window = Window::new(Arc::clone(&segment.file), segment.length as u64);
    let mut block = segment.to + ALIGNMENT;
    while block < segment.length {
        let bytes = BLOCK_BYTES.min(segment.length - block);
        let Some(found) = window.get(block as u64, bytes)? else {
            break;
        };
        let begins: Vec<usize> = match *found == ZEROS[..bytes] {
            true => Vec::new(),
            false => (block..)
                .step_by(ALIGNMENT)
                .zip(found.chunks(ALIGNMENT))
                .filter_map(|(at, place)| record::begins(place).then_some(at))
                .collect(),
        };
        for at in begins {
            if let Some(header) = window.get(at as u64, record::HEADER_BYTES)?
                && let Some(batch) = segment.read(header, at, true)
                && batch.kind == Kind::Batch
            {
                return Ok(Some(batch.position));
            }
        }
        block += bytes;
    }
    Ok(None)
}

impl Segment {
    /// Reads on, so that at least the bytes before `end` are there if the file has them.
    fn reach(&mut self, end: usize) -> io::Result<()> {
        let have = self.bytes.len();
        if end <= have || have >= self.length {
            return Ok(());
        }
        let end = end.max(have + PORTION_BYTES).min(self.length);
        self.bytes.resize(end, 0);
        let read = self.file.read_at(&mut self.bytes[have..], have as u64)?;
        self.bytes.truncate(have + read);
        Ok(())
    }

    fn record(&self, at: usize, check: bool) -> Option<Record<'_>> {
        self.read(self.bytes.get(at..)?, at, check)
    }

    /// The record at the start of `bytes`, which stand at `at` in the file.
    fn read<'a>(&self, bytes: &'a [u8], at: usize, check: bool) -> Option<Record<'a>> {
        let position = self.header.start + (at as u64 - HEADER_BYTES);
        record::read(bytes, position, self.header.epoch, check)
    }

    /// The records that count, in order.
    pub(crate) fn records(&self, check: bool) -> impl Iterator<Item = Record<'_>> {
        let mut at = self.from;
        std::iter::from_fn(move || {
            let record = (at < self.to).then(|| self.record(at, check))??;
            at += record.step;
            Some(record)
        })
    }
}

fn damaged(name: &str, found: &str) -> Error {
    let advice = "restore the data folder from a backup, or move it away to begin anew";
    Error::Format {
        path: segment::path(name).into(),
        found: found.to_owned(),
        advice,
    }
}

fn newer(name: &str, version: u8) -> Error {
    let advice = "start the version of the host that wrote it";
    Error::Format {
        path: segment::path(name).into(),
        found: format!("has format {version}, this host reads 1"),
        advice,
    }
}
