//! Object files: where they lie, and which of them are open.
//!
//! Read by `pages` on a miss and for history, written by checkpoints and recovery. An open file costs a
//! descriptor, of which a process has few: the least recently used one is closed when
//! there are too many. Files change only by checkpoints, therefore any handle is as good
//! as another, until the file is removed.
//!
//! Every page carries a checksum in its last eight bytes, which SQLite leaves alone:
//! the tag `DRM1`, then CRC32C of page number and content. It is set when a page is
//! written to the file and checked when it is read from there. A page of zeros has none.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, PoisonError};

use crate::disk::{DiskFile, Env};
use crate::key::ObjectKey;
use crate::log::delta::{PAGE_BYTES, Page};

/// Bytes at the end of a page that SQLite leaves to the file layer.
pub(crate) const RESERVED_BYTES: usize = 8;

const CONTENT_BYTES: usize = PAGE_BYTES - RESERVED_BYTES;
const TAG: [u8; 4] = *b"DRM1";

pub(crate) const ROOT: &str = "slots";

pub(crate) fn path(key: &ObjectKey) -> String {
    format!("{}/{}.db", dir(key), key.id_hex())
}

pub(crate) fn dir(key: &ObjectKey) -> String {
    format!("{ROOT}/{:03x}/{}", key.slot(), key.namespace)
}

/// Names an object in the log: 128 bits of FNV-1a over namespace, zero and id.
pub(crate) fn number(key: &ObjectKey) -> u128 {
    let bytes = key.namespace.bytes().chain([0]).chain(key.id);
    bytes.fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    })
}

fn checksum(number: u32, page: &Page) -> [u8; 4] {
    crc32c::crc32c_append(
        crc32c::crc32c(&number.to_le_bytes()),
        &page[..CONTENT_BYTES],
    )
    .to_le_bytes()
}

/// The page as it goes to the file.
pub(crate) fn with_checksum(number: u32, page: &Page) -> Page {
    let mut page = *page;
    if page[..CONTENT_BYTES].iter().all(|byte| *byte == 0) {
        return [0; PAGE_BYTES];
    }
    let sum = checksum(number, &page);
    page[CONTENT_BYTES..CONTENT_BYTES + 4].copy_from_slice(&TAG);
    page[CONTENT_BYTES + 4..].copy_from_slice(&sum);
    page
}

pub(crate) fn is_intact(number: u32, page: &Page) -> bool {
    let (content, tail) = page.split_at(CONTENT_BYTES);
    match tail == [0; RESERVED_BYTES] {
        true => content.iter().all(|byte| *byte == 0),
        false => tail[..4] == TAG && tail[4..] == checksum(number, page),
    }
}

/// The length in pages that the first page of a file tells; 0 when it is damaged.
pub(crate) fn size_in_header(file: &dyn DiskFile) -> io::Result<u32> {
    let mut page = [0; PAGE_BYTES];
    let read = file.read_at(&mut page, 0)?;
    let told = u32::from_be_bytes([page[28], page[29], page[30], page[31]]);
    Ok(if read == PAGE_BYTES && is_intact(1, &page) {
        told
    } else {
        0
    })
}

/// The page as SQLite writes it: without its checksum.
pub(crate) fn clear_checksum(page: &mut Page) {
    page[CONTENT_BYTES..].fill(0);
}

/// Files that are open for reading.
#[derive(Debug)]
pub(crate) struct Files {
    env: Env,
    capacity: usize,
    open: Mutex<Lru>,
}

#[derive(Debug, Default)]
struct Lru {
    /// By object: when it was used last.
    files: HashMap<u128, (u64, Arc<dyn DiskFile>)>,
    by_use: BTreeMap<u64, u128>,
    clock: u64,
}

impl Files {
    pub(crate) fn new(env: Env, capacity: usize) -> Files {
        Files {
            env,
            capacity: capacity.max(1),
            open: Mutex::default(),
        }
    }

    /// Reads a page that the file holds.
    pub(crate) fn read(
        &self,
        object: u128,
        path: &str,
        number: u32,
        page: &mut Page,
    ) -> io::Result<()> {
        let file = self.get(object, path)?;
        let read = file.read_at(page, u64::from(number - 1) * PAGE_BYTES as u64)?;
        if read < PAGE_BYTES || !is_intact(number, page) {
            return Err(io::Error::new(
                ErrorKind::InvalidData,
                format!("page {number} is damaged"),
            ));
        }
        Ok(())
    }

    /// The length of the file in pages; 0 when there is none.
    pub(crate) fn pages(&self, object: u128, path: &str) -> io::Result<u32> {
        match self.get(object, path).and_then(|file| file.len()) {
            Ok(bytes) if !bytes.is_multiple_of(PAGE_BYTES as u64) => Err(io::Error::new(
                ErrorKind::InvalidData,
                "it is damaged: its length is not one of whole pages",
            )),
            Ok(bytes) => Ok(u32::try_from(bytes / PAGE_BYTES as u64).unwrap_or(u32::MAX)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// The open file of an object.
    pub(crate) fn get(&self, object: u128, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut guard = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Lru {
            files,
            by_use,
            clock,
        } = &mut *guard;
        *clock += 1;
        if let Some((used, file)) = files.get_mut(&object) {
            by_use.remove(used);
            by_use.insert(*clock, object);
            *used = *clock;
            return Ok(Arc::clone(file));
        }
        let file = self.env.disk.open(path, false)?;
        files.insert(object, (*clock, Arc::clone(&file)));
        by_use.insert(*clock, object);
        if files.len() > self.capacity
            && let Some((_, oldest)) = by_use.pop_first()
        {
            files.remove(&oldest);
        }
        Ok(file)
    }

    /// Closes the handle of a file that is about to be removed.
    pub(crate) fn forget(&self, object: u128) {
        let mut guard = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((used, _)) = guard.files.remove(&object) {
            guard.by_use.remove(&used);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_tells_a_flipped_bit_and_a_misplaced_page() {
        let page = with_checksum(3, &[9; PAGE_BYTES]);
        assert!(is_intact(3, &page));
        assert!(!is_intact(4, &page));
        for bit in (0..PAGE_BYTES * 8).step_by(37) {
            let mut page = page;
            page[bit / 8] ^= 1 << (bit % 8);
            assert!(!is_intact(3, &page), "bit {bit}");
        }
        assert!(is_intact(3, &[0; PAGE_BYTES]));
    }
}
