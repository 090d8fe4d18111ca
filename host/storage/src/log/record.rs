//! Records: what one commit of one object is in the log.
//!
//! Written by `pages` (payload) and `log` (position, time, CRC), read by `scan` and
//! recovery. Little endian, aligned to 16 bytes:
//!
//! ```text
//!  0 magic u32 | 4 length u32, with header, without padding | 8 position u64
//! 16 epoch u32 | 20 kind u8 | 21 flags u8 | 22 slot u16 | 24 object u128
//! 40 position of the object's previous record in this period u64
//! 48 time u48, ms | 54 zero u16 | 56 size of the file in pages u32
//! 60 CRC32C u32 of payload, then header up to here
//! 64 payload: [key, with flag 1] pages u32, then the pages (`delta`)
//! Flag 2: the commit brought back an older state.
//! ```
//!
//! A `Commit` with size 0 says that the object is gone. A `Batch` stands before the
//! records of one sync and proves that all before it was durable.

use crate::key::ObjectKey;
use crate::log::delta::Encoded;

pub(crate) const HEADER_BYTES: usize = 64;
pub(crate) const ALIGNMENT: usize = 16;

const MAGIC: u32 = u32::from_le_bytes(*b"DRM1");
const HAS_KEY: u8 = 1;
const RESTORED: u8 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Commit = 1,
    Batch = 2,
}

/// A valid record.
#[derive(Debug, PartialEq)]
pub(crate) struct Record<'a> {
    pub(crate) kind: Kind,
    pub(crate) position: u64,
    pub(crate) epoch: u32,
    pub(crate) object: u128,
    pub(crate) previous: u64,
    pub(crate) time_ms: u64,
    pub(crate) size_pages: u32,
    /// It brought back an older state.
    pub(crate) restored: bool,
    /// The first record of a period says whose it is.
    pub(crate) key: Option<ObjectKey>,
    pub(crate) pages: Vec<Encoded<'a>>,
    /// Bytes until the next record.
    pub(crate) step: usize,
}

/// What the writer says about a commit; position, epoch and time are added by the log.
#[derive(Debug)]
pub(crate) struct Commit<'a> {
    pub(crate) slot: u16,
    pub(crate) object: u128,
    pub(crate) previous: u64,
    pub(crate) size_pages: u32,
    pub(crate) restored: bool,
    pub(crate) key: Option<&'a ObjectKey>,
    pub(crate) pages: u32,
}

impl Record<'_> {
    /// The position behind it.
    pub(crate) fn end(&self) -> u64 {
        self.position + self.step as u64
    }
}

impl Commit<'_> {
    /// Begins a record in `out`; the encoded pages follow.
    pub(crate) fn begin(&self, out: &mut Vec<u8>) {
        out.clear();
        out.resize(HEADER_BYTES, 0);
        out[20] = Kind::Commit as u8;
        out[21] =
            if self.key.is_some() { HAS_KEY } else { 0 } | if self.restored { RESTORED } else { 0 };
        out[22..24].copy_from_slice(&self.slot.to_le_bytes());
        out[24..40].copy_from_slice(&self.object.to_le_bytes());
        out[40..48].copy_from_slice(&self.previous.to_le_bytes());
        out[56..60].copy_from_slice(&self.size_pages.to_le_bytes());
        if let Some(key) = self.key {
            put_key(key, out);
        }
        out.extend_from_slice(&self.pages.to_le_bytes());
    }
}

/// The CRC32C of a record's payload, which needs no position and so no lock.
pub(crate) fn payload_crc(record: &[u8]) -> u32 {
    crc32c::crc32c(&record[HEADER_BYTES..])
}

/// Gives a record its place.
pub(crate) fn seal(record: &mut [u8], payload_crc: u32, position: u64, epoch: u32, time_ms: u64) {
    let length = record.len() as u32;
    let header = &mut record[..HEADER_BYTES];
    header[..4].copy_from_slice(&MAGIC.to_le_bytes());
    header[4..8].copy_from_slice(&length.to_le_bytes());
    header[8..16].copy_from_slice(&position.to_le_bytes());
    header[16..20].copy_from_slice(&epoch.to_le_bytes());
    header[48..54].copy_from_slice(&time_ms.to_le_bytes()[..6]);
    let crc = crc32c::crc32c_append(payload_crc, &header[..60]);
    header[60..].copy_from_slice(&crc.to_le_bytes());
}

/// Whether a record may begin with these bytes.
pub(crate) fn begins(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC.to_le_bytes())
}

/// How long the record with this header says it is.
pub(crate) fn length(header: &[u8; HEADER_BYTES]) -> usize {
    word(header, 4) as usize
}

/// The record that opens a batch.
pub(crate) fn batch(position: u64, epoch: u32, time_ms: u64) -> [u8; HEADER_BYTES] {
    let mut record = [0; HEADER_BYTES];
    record[20] = Kind::Batch as u8;
    seal(&mut record, 0, position, epoch, time_ms);
    record
}

pub(crate) fn padded(length: usize) -> usize {
    length.next_multiple_of(ALIGNMENT)
}

/// Reads the record at the start of `bytes`, which must stand at `position` and belong to
/// `epoch`. `None` for anything that is not exactly such a record.
pub(crate) fn read(bytes: &[u8], position: u64, epoch: u32, check: bool) -> Option<Record<'_>> {
    let header: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
    let length = word(header, 4) as usize;
    if word(header, 0) != MAGIC
        || length < HEADER_BYTES
        || long(header, 8) != position
        || word(header, 16) != epoch
    {
        return None;
    }
    let payload = bytes.get(HEADER_BYTES..length)?;
    if check && crc32c::crc32c_append(crc32c::crc32c(payload), &header[..60]) != word(header, 60) {
        return None;
    }
    let mut time = [0; 8];
    time[..6].copy_from_slice(&header[48..54]);
    let mut record = Record {
        kind: Kind::Batch,
        position,
        epoch,
        object: u128::from_le_bytes(header[24..40].try_into().ok()?),
        previous: long(header, 40),
        time_ms: u64::from_le_bytes(time),
        size_pages: word(header, 56),
        restored: header[21] & RESTORED != 0,
        key: None,
        pages: Vec::new(),
        step: padded(length),
    };
    match header[20] {
        kind if kind == Kind::Batch as u8 => payload.is_empty().then_some(record),
        kind if kind == Kind::Commit as u8 && header[21] & !(HAS_KEY | RESTORED) == 0 => {
            record.kind = Kind::Commit;
            read_payload(payload, header[21], &mut record)?;
            Some(record)
        }
        _ => None,
    }
}

fn read_payload<'a>(mut payload: &'a [u8], flags: u8, record: &mut Record<'a>) -> Option<()> {
    if flags & HAS_KEY != 0 {
        let (key, rest) = split_key(payload)?;
        (record.key, payload) = (Some(key), rest);
    }
    let (count, mut rest) = payload.split_first_chunk::<4>()?;
    for _ in 0..u32::from_le_bytes(*count) {
        let (page, after) = Encoded::split(rest)?;
        record.pages.push(page);
        rest = after;
    }
    rest.is_empty().then_some(())
}

/// Namespace (u8 length), id, name (u16 length plus one, 0 for none).
pub(crate) fn put_key(key: &ObjectKey, out: &mut Vec<u8>) {
    out.push(key.namespace.len() as u8);
    out.extend_from_slice(key.namespace.as_bytes());
    out.extend_from_slice(&key.id);
    let name = key
        .name
        .as_deref()
        .filter(|name| name.len() < usize::from(u16::MAX));
    out.extend_from_slice(&name.map_or(0, |name| name.len() as u16 + 1).to_le_bytes());
    out.extend_from_slice(name.unwrap_or_default().as_bytes());
}

pub(crate) fn split_key(bytes: &[u8]) -> Option<(ObjectKey, &[u8])> {
    let (&length, rest) = bytes.split_first()?;
    let (namespace, rest) = rest.split_at_checked(usize::from(length))?;
    let (id, rest) = rest.split_first_chunk::<32>()?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let length = usize::from(u16::from_le_bytes(*length));
    let (name, rest) = rest.split_at_checked(length.saturating_sub(1))?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    let name = if length == 0 { None } else { Some(text(name)?) };
    Some((
        ObjectKey {
            namespace: text(namespace)?,
            id: *id,
            name,
        },
        rest,
    ))
}

fn word(header: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}

fn long(header: &[u8; HEADER_BYTES], at: usize) -> u64 {
    u64::from(word(header, at)) | u64::from(word(header, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::delta::{PAGE_BYTES, encode};

    fn sample() -> Vec<u8> {
        let key = ObjectKey {
            namespace: "chat".into(),
            id: [3; 32],
            name: Some("room".into()),
        };
        let commit = Commit {
            slot: 5,
            object: 77,
            previous: 16,
            size_pages: 2,
            restored: false,
            key: Some(&key),
            pages: 1,
        };
        let mut bytes = Vec::new();
        commit.begin(&mut bytes);
        encode(2, &[6; PAGE_BYTES], None, &mut bytes);
        let crc = payload_crc(&bytes);
        seal(&mut bytes, crc, 4096, 9, 1_700_000_000_000);
        bytes
    }

    #[test]
    fn a_record_comes_back() {
        let bytes = sample();
        let record = read(&bytes, 4096, 9, true).unwrap();
        assert_eq!(
            (record.object, record.previous, record.size_pages),
            (77, 16, 2)
        );
        assert_eq!(record.time_ms, 1_700_000_000_000);
        assert_eq!(record.key.unwrap().name.unwrap(), "room");
        assert_eq!(record.pages.len(), 1);
        assert_eq!(record.step % ALIGNMENT, 0);
        assert_eq!(read(&bytes, 4112, 9, true), None, "another position");
        assert_eq!(read(&bytes, 4096, 8, true), None, "another epoch");
    }

    #[test]
    fn no_flipped_bit_passes() {
        let bytes = sample();
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&bytes, 4096, 9, true), None, "bit {bit}");
        }
    }

    #[test]
    fn no_cut_passes() {
        let bytes = sample();
        for length in 0..bytes.len() {
            assert_eq!(
                read(&bytes[..length], 4096, 9, true),
                None,
                "{length} bytes"
            );
        }
    }

    /// Whatever stands there, and even with a CRC that fits it, reading ends in an answer.
    #[test]
    fn no_bytes_make_the_reader_panic() {
        let mut word = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            word
        };
        let good = sample();
        for _ in 0..200_000 {
            let mut bytes = good[..64 + (next() as usize % (good.len() - 63))].to_vec();
            for _ in 0..next() % 6 {
                let at = 20 + next() as usize % (bytes.len() - 20);
                bytes[at] = next() as u8;
            }
            let crc = payload_crc(&bytes);
            seal(&mut bytes, crc, 4096, 9, next());
            if let Some(record) = read(&bytes, 4096, 9, true) {
                record
                    .pages
                    .iter()
                    .for_each(|page| drop(page.decode(Some(&[1; PAGE_BYTES]))));
            }
        }
    }

    #[test]
    fn a_batch_comes_back() {
        let record = batch(64, 2, 5);
        assert_eq!(read(&record, 64, 2, true).unwrap().kind, Kind::Batch);
    }
}
