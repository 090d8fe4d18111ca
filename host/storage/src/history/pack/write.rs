//! Writing a pack: entries as they come, then the index, then its name.
//!
//! Under another name until it is durable as a whole, so a pack is there or it is not.

use std::io;
use std::sync::Arc;

use super::{ENTRY_BYTES, Index, Kind, MAGIC, ObjectIndex, Pack, START_BYTES};
use crate::disk::{DiskFile, Env};
use crate::fault::Fault;
use crate::history::{DIR, path};

const BUFFER_BYTES: usize = 1 << 20;

/// What stands before the pages of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) kind: Kind,
    pub(crate) restored: bool,
    /// Of the file in pages: before the object's first commit here, or after this one.
    pub(crate) size_pages: u32,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) time_ms: u64,
}

#[derive(Debug)]
pub(crate) struct Writer {
    env: Env,
    pack: Pack,
    temporary: String,
    file: Arc<dyn DiskFile>,
    /// Bytes not yet written, and where they belong.
    buffer: Vec<u8>,
    at: u64,
    index: Index,
}

impl Writer {
    /// A pack of the log `log` that stands for `first..=last`.
    pub(crate) fn create(
        env: &Env,
        log: u64,
        (first, last): (u64, u64),
        level: u32,
    ) -> io::Result<Writer> {
        super::make_folder(env)?;
        let temporary = path(&format!("{first:08}-{last:08}.tmp"));
        let file = env.disk.open(&temporary, true)?;
        file.set_len(0)?;
        let mut buffer = Vec::new();
        buffer.extend_from_slice(MAGIC);
        buffer.extend_from_slice(&log.to_le_bytes());
        debug_assert_eq!(buffer.len() as u64, START_BYTES);
        let pack = Pack {
            first,
            last,
            level,
            bytes: 0,
            to: 0,
            from: u64::MAX,
            first_ms: u64::MAX,
            last_ms: 0,
            log,
            index_at: 0,
            index_bytes: 0,
            index_crc: 0,
        };
        Ok(Writer {
            env: env.clone(),
            pack,
            temporary,
            file,
            buffer,
            at: 0,
            index: Index::new(),
        })
    }

    /// Appends an entry of `object`; `pages` are encoded, `count` of them.
    pub(crate) fn put(
        &mut self,
        object: u128,
        head: Head,
        count: u32,
        pages: &[u8],
    ) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(ENTRY_BYTES + pages.len());
        bytes.resize(ENTRY_BYTES, 0);
        bytes[8] = head.kind as u8;
        bytes[9] = u8::from(head.restored);
        bytes[12..16].copy_from_slice(&head.size_pages.to_le_bytes());
        bytes[16..24].copy_from_slice(&head.start.to_le_bytes());
        bytes[24..32].copy_from_slice(&head.end.to_le_bytes());
        bytes[32..40].copy_from_slice(&head.time_ms.to_le_bytes());
        bytes[40..44].copy_from_slice(&count.to_le_bytes());
        bytes.extend_from_slice(pages);
        let length = bytes.len() as u32;
        bytes[..4].copy_from_slice(&length.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[8..]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        self.copy(object, &head, &bytes)
    }

    /// Appends an entry as it stands in another pack.
    pub(crate) fn copy(&mut self, object: u128, head: &Head, bytes: &[u8]) -> io::Result<()> {
        let offset = self.at + self.buffer.len() as u64;
        let index = self.index.entry(object).or_insert_with(|| ObjectIndex {
            first_start: u64::MAX,
            first_ms: u64::MAX,
            ..ObjectIndex::default()
        });
        index.extend(offset, bytes.len() as u32);
        if head.kind == Kind::Commit {
            index.first_start = index.first_start.min(head.start);
            index.first_ms = index.first_ms.min(head.time_ms);
            index.last_end = index.last_end.max(head.end);
            index.last_ms = index.last_ms.max(head.time_ms);
        }
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_at(&self.buffer, self.at)?;
        self.at += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Makes it durable and gives it its name; `None`, and no file, when nothing was put.
    pub(crate) fn finish(mut self) -> io::Result<Option<(Pack, Index)>> {
        if self.index.is_empty() {
            self.discard();
            return Ok(None);
        }
        let result = self.close();
        if result.is_err() {
            self.discard();
        }
        result.map(|()| Some((self.pack, self.index)))
    }

    fn close(&mut self) -> io::Result<()> {
        let index = put_index(&self.index);
        let pack = &mut self.pack;
        for object in self.index.values() {
            pack.from = pack.from.min(object.first_start);
            pack.to = pack.to.max(object.last_end);
            pack.first_ms = pack.first_ms.min(object.first_ms);
            pack.last_ms = pack.last_ms.max(object.last_ms);
        }
        pack.index_at = self.at + self.buffer.len() as u64;
        (pack.index_bytes, pack.index_crc) = (index.len() as u64, crc32c::crc32c(&index));
        let trailer = pack.trailer();
        pack.bytes = pack.index_at + pack.index_bytes + trailer.len() as u64;
        self.buffer.extend_from_slice(&index);
        self.buffer.extend_from_slice(&trailer);
        self.flush()?;
        if !self.env.faults.is(Fault::PackNotSynced) {
            self.file.sync()?;
        }
        // An earlier pack of this name may have been given up, and on the disk the temporary
        // name may still lead to what it left: the rename must not find that.
        self.env.disk.sync_dir(DIR)?;
        self.env
            .disk
            .rename(&self.temporary, &path(&self.pack.name()))?;
        if !self.env.faults.is(Fault::PackNameNotSynced) {
            self.env.disk.sync_dir(DIR)?;
        }
        Ok(())
    }

    /// Forgets what was written. What cannot be removed goes at the next start.
    pub(crate) fn discard(&self) {
        let _ = self.env.disk.remove(&self.temporary);
    }
}

impl ObjectIndex {
    fn extend(&mut self, offset: u64, length: u32) {
        match self.extents.last_mut() {
            Some((start, bytes))
                if *start + u64::from(*bytes) == offset && bytes.checked_add(length).is_some() =>
            {
                *bytes += length;
            }
            _ => self.extents.push((offset, length)),
        }
    }
}

fn put_index(index: &Index) -> Vec<u8> {
    let mut bytes = (index.len() as u32).to_le_bytes().to_vec();
    for (number, object) in index {
        bytes.extend_from_slice(&number.to_le_bytes());
        for long in [
            object.first_start,
            object.last_end,
            object.first_ms,
            object.last_ms,
        ] {
            bytes.extend_from_slice(&long.to_le_bytes());
        }
        bytes.extend_from_slice(&(object.extents.len() as u32).to_le_bytes());
        for (offset, length) in &object.extents {
            bytes.extend_from_slice(&offset.to_le_bytes());
            bytes.extend_from_slice(&length.to_le_bytes());
        }
    }
    bytes
}
