//! Segments: the files the log is written to, one after the other.
//!
//! Used by the committer (`log`), by checkpoints (to let go of old ones) and by recovery.
//! A segment is zero-filled before its first use and recycled afterwards, because
//! overwriting allocated bytes makes `fdatasync` cheap. A new one is begun only when all
//! before it is durable, so a gap between two segments is always damage, never a crash.
//!
//! Header, 64 bytes, little endian: magic with format version (8), number u64, log id u64,
//! start position u64, epoch u32, zero u32, time u64 ms, length of the file u64, zero u32,
//! CRC32C u32.
//! Names: `log/%08d.seg`, `log/spare-*` (ready to use), `log/*.tmp` (being filled).

use std::io;
use std::sync::Arc;

use crate::disk::{DiskFile, Env};
use crate::fault::Fault;

pub(crate) const HEADER_BYTES: u64 = 64;
pub(crate) const DIR: &str = "log";

const MAGIC: &[u8; 8] = b"DRMSEG\0\x01";
/// Length of a segment that is made in a hurry.
const SHORT_BYTES: u64 = 1 << 20;
static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) number: u64,
    pub(crate) log: u64,
    pub(crate) start: u64,
    pub(crate) epoch: u32,
    pub(crate) time_ms: u64,
    /// Length of the file; a shorter one has lost something.
    pub(crate) bytes: u64,
}

/// What is wrong with a segment's first bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BadHeader {
    Version(u8),
    Damaged,
}

impl Header {
    pub(crate) fn write(&self) -> [u8; HEADER_BYTES as usize] {
        let mut bytes = [0; HEADER_BYTES as usize];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..16].copy_from_slice(&self.number.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.log.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.start.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.time_ms.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.bytes.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(crate) fn read(bytes: &[u8]) -> Result<Header, BadHeader> {
        let bytes: &[u8; HEADER_BYTES as usize] = bytes.first_chunk().ok_or(BadHeader::Damaged)?;
        let long = |at: usize| {
            bytes[at..at + 8]
                .iter()
                .rev()
                .fold(0_u64, |value, byte| value << 8 | u64::from(*byte))
        };
        let crc = u32::from_le_bytes([bytes[60], bytes[61], bytes[62], bytes[63]]);
        if bytes[..7] != MAGIC[..7] || crc32c::crc32c(&bytes[..60]) != crc {
            return Err(BadHeader::Damaged);
        }
        if bytes[7] != MAGIC[7] {
            return Err(BadHeader::Version(bytes[7]));
        }
        let epoch = long(32) as u32;
        Ok(Header {
            number: long(8),
            log: long(16),
            start: long(24),
            epoch,
            time_ms: long(40),
            bytes: long(48),
        })
    }
}

pub(crate) fn name(number: u64) -> String {
    format!("{number:08}.seg")
}

pub(crate) fn path(name: &str) -> String {
    format!("{DIR}/{name}")
}

/// The number in the name of a segment.
pub(crate) fn number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    (digits.len() >= 8 && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| digits.parse().ok())?
}

/// Makes a zero-filled file of `bytes` that can become a segment.
pub(crate) fn fill(env: &Env, name: &str, bytes: u64) -> io::Result<()> {
    let temporary = path(&format!("{name}.tmp"));
    let filled = env.disk.open(&temporary, true).and_then(|file| {
        let mut at = 0;
        while at < bytes {
            let length = (bytes - at).min(ZEROS.len() as u64);
            file.write_at(&ZEROS[..length as usize], at)?;
            at += length;
        }
        file.sync()
    });
    if let Err(error) = filled.and_then(|()| env.disk.rename(&temporary, &path(name))) {
        // What could not be filled only takes space; a failure to remove it changes nothing.
        let _ = env.disk.remove(&temporary);
        return Err(error);
    }
    Ok(())
}

/// The end of the log, where batches are written. One thread at a time.
#[derive(Debug)]
pub(crate) struct Writer {
    env: Env,
    log: u64,
    epoch: u32,
    segment_bytes: u64,
    /// All segments that still count, oldest first: number and start position.
    live: Vec<(u64, u64)>,
    /// Names of files that can become segments.
    spares: Vec<String>,
    /// Counts the files made, to name them.
    filled: u64,
    current: Option<Arc<dyn DiskFile>>,
    /// Bytes of the current segment in use, and its length.
    used: u64,
    capacity: u64,
}

impl Writer {
    /// A writer without a segment; `begin` gives it the first.
    pub(crate) fn new(
        env: Env,
        log: u64,
        epoch: u32,
        segment_bytes: u64,
        live: Vec<(u64, u64)>,
    ) -> Writer {
        Writer {
            env,
            log,
            epoch,
            segment_bytes,
            live,
            spares: Vec::new(),
            filled: 0,
            current: None,
            used: 0,
            capacity: 0,
        }
    }

    pub(crate) fn add_spare(&mut self, name: String) {
        self.spares.push(name);
    }

    /// The same end of the log under another epoch; only for a deliberately wrong recovery.
    pub(crate) fn with_epoch(self, epoch: u32) -> Writer {
        let filled = self.env.clock.now_ms();
        Writer {
            epoch,
            filled,
            ..self
        }
    }

    /// Continues an existing segment, which only a deliberately wrong recovery does.
    pub(crate) fn resume(&mut self, file: Arc<dyn DiskFile>, used: u64) -> io::Result<()> {
        (self.capacity, self.used, self.current) = (file.len()?, used, Some(file));
        Ok(())
    }

    /// The segment that holds `position`.
    pub(crate) fn number_at(&self, position: u64) -> u64 {
        let holder = self.live.iter().rev().find(|(_, start)| *start <= position);
        holder
            .or(self.live.first())
            .map_or(0, |(number, _)| *number)
    }

    /// Writes a batch that stands at `position`; it is durable after `sync`.
    pub(crate) fn write(&mut self, batch: &[u8], position: u64) -> io::Result<()> {
        if self.current.is_none() || self.used + batch.len() as u64 > self.capacity {
            self.begin(position, batch.len() as u64)?;
        }
        let file = self.current.as_ref().expect("a segment was begun above");
        file.write_at(batch, self.used)
    }

    /// Makes the batch written last durable, and counts it as written.
    pub(crate) fn sync(&mut self, batch_bytes: u64) -> io::Result<()> {
        if let Some(file) = self
            .current
            .as_ref()
            .filter(|_| !self.env.faults.is(Fault::LogNotSynced))
        {
            file.sync()?;
        }
        self.used += batch_bytes;
        Ok(())
    }

    /// Begins a segment at `position` with room for `need` bytes.
    pub(crate) fn begin(&mut self, position: u64, need: u64) -> io::Result<()> {
        let spare = match self.spares.last() {
            Some(name) if need + HEADER_BYTES <= self.segment_bytes => name.clone(),
            _ => self.make(need + HEADER_BYTES)?,
        };
        let number = self.live.last().map_or(1, |(number, _)| number + 1);
        let file = self.env.disk.open(&path(&spare), false)?;
        let time_ms = self.env.clock.now_ms();
        let header = Header {
            number,
            log: self.log,
            start: position,
            epoch: self.epoch,
            time_ms,
            bytes: file.len()?,
        };
        file.write_at(&header.write(), 0)?;
        file.sync()?;
        self.env.disk.rename(&path(&spare), &path(&name(number)))?;
        if !self.env.faults.is(Fault::SegmentDirNotSynced) {
            self.env.disk.sync_dir(DIR)?;
        }
        self.spares.retain(|name| *name != spare);
        self.live.push((number, position));
        (self.capacity, self.used, self.current) = (file.len()?, HEADER_BYTES, Some(file));
        Ok(())
    }

    /// Numbers and start positions, oldest first.
    pub(crate) fn segments(&self) -> &[(u64, u64)] {
        &self.live
    }

    /// Removes all spare files, durably.
    pub(crate) fn drop_spares(&mut self) -> io::Result<()> {
        for name in std::mem::take(&mut self.spares) {
            self.env.disk.remove(&path(&name))?;
        }
        self.env.disk.sync_dir(DIR)
    }

    /// The name for a spare segment, where there is none yet.
    pub(crate) fn wants_spare(&mut self) -> Option<String> {
        self.spares.is_empty().then(|| self.new_name())
    }

    fn new_name(&mut self) -> String {
        self.filled += 1;
        format!("spare-{}-{}", self.epoch, self.filled)
    }

    /// A file for a batch that has no spare to go to: short, because the log waits for it.
    fn make(&mut self, need: u64) -> io::Result<String> {
        let name = self.new_name();
        fill(
            &self.env,
            &name,
            need.max(self.segment_bytes.min(SHORT_BYTES)),
        )?;
        self.spares.push(name.clone());
        Ok(name)
    }

    /// Lets go of segments that end at or before `redo`: one stays as a spare, the
    /// others and those of unusual length are removed.
    pub(crate) fn trim(&mut self, redo: u64) -> io::Result<()> {
        while let [(number, _), (_, next_start), ..] = self.live[..]
            && next_start <= redo
        {
            self.release(&name(number))?;
            self.live.remove(0);
        }
        Ok(())
    }

    /// Recycles or removes a file that no longer counts.
    pub(crate) fn release(&mut self, name: &str) -> io::Result<()> {
        let usual = self.env.disk.open(&path(name), false)?.len()? == self.segment_bytes;
        if self.spares.len() >= 2 || !usual {
            return self.env.disk.remove(&path(name));
        }
        let spare = format!("spare-{}", name.trim_end_matches(".seg"));
        self.env.disk.rename(&path(name), &path(&spare))?;
        self.spares.push(spare);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_comes_back_and_no_flipped_bit_passes() {
        let header = Header {
            number: 42,
            log: 7,
            start: 1 << 40,
            epoch: 3,
            time_ms: 5,
            bytes: 1 << 20,
        };
        let bytes = header.write();
        assert_eq!(Header::read(&bytes), Ok(header));
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::read(&bytes), Err(BadHeader::Damaged), "bit {bit}");
        }
    }

    #[test]
    fn names_are_numbers() {
        assert_eq!(number(&name(42)), Some(42));
        assert_eq!(number("spare-1-42"), None);
        assert_eq!(number("0000004x.seg"), None);
    }
}
