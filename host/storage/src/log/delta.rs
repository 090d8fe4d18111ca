//! Pages in the log: raw, compressed, or as the difference to the version before.
//!
//! Written by `pages` at commit, read by recovery. A difference is the XOR with the page's
//! previous version, compressed by LZ4; it needs that version to be read. Every page
//! carries the CRC32C of what it decodes to, so a wrong base cannot pass.

use std::cell::RefCell;

use lz4_flex::block::{
    CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size,
};

pub(crate) const PAGE_BYTES: usize = 4096;

pub(crate) type Page = [u8; PAGE_BYTES];

const RAW: u8 = 0;
const LZ4: u8 = 1;
const XOR_LZ4: u8 = 2;
const ZERO: u8 = 3;

/// Page number, encoding and length, CRC32C.
const HEAD_BYTES: usize = 12;

struct Scratch {
    table: CompressTable,
    difference: Box<Page>,
    output: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        table: CompressTable::small(),
        difference: Box::new([0; PAGE_BYTES]),
        output: vec![0; get_maximum_output_size(PAGE_BYTES)],
    });
}

/// Appends page `number` to `out`, as a difference to `base` where there is one.
pub(crate) fn encode(number: u32, page: &Page, base: Option<&Page>, out: &mut Vec<u8>) {
    SCRATCH.with_borrow_mut(
        |Scratch {
             table,
             difference,
             output,
         }| {
            let (mut encoding, mut bytes): (u8, &[u8]) = (RAW, page);
            let source: &[u8] = match base {
                Some(base) => {
                    for ((to, new), old) in difference.iter_mut().zip(page).zip(base) {
                        *to = new ^ old;
                    }
                    &difference[..]
                }
                None => page,
            };
            if page.iter().all(|byte| *byte == 0) {
                (encoding, bytes) = (ZERO, &[]);
            } else if let Ok(length) = compress_into_with_table(source, output, table)
                && length < PAGE_BYTES
            {
                (encoding, bytes) = (
                    if base.is_some() { XOR_LZ4 } else { LZ4 },
                    &output[..length],
                );
            }
            put_head(number, encoding, bytes.len(), crc32c::crc32c(page), out);
            out.extend_from_slice(bytes);
        },
    );
}

/// Appends a page that nobody can read any more: decoding it always fails.
pub(crate) fn encode_lost(number: u32, out: &mut Vec<u8>) {
    put_head(number, ZERO, 0, !crc32c::crc32c(&[0; PAGE_BYTES]), out);
}

fn put_head(number: u32, encoding: u8, length: usize, crc: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&(u32::from(encoding) | (length as u32) << 8).to_le_bytes());
    out.extend_from_slice(&crc.to_le_bytes());
}

/// A page as it stands in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Encoded<'a> {
    pub(crate) number: u32,
    encoding: u8,
    crc: u32,
    bytes: &'a [u8],
}

impl<'a> Encoded<'a> {
    /// Splits the first page off `payload`; `None` when it is cut short or malformed.
    pub(crate) fn split(payload: &'a [u8]) -> Option<(Encoded<'a>, &'a [u8])> {
        let (head, rest) = payload.split_at_checked(HEAD_BYTES)?;
        let word =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (encoding, length) = ((word(4) & 0xff) as u8, (word(4) >> 8) as usize);
        let (bytes, rest) = rest.split_at_checked(length)?;
        let fits = match encoding {
            RAW => length == PAGE_BYTES,
            LZ4 | XOR_LZ4 => length < PAGE_BYTES,
            ZERO => length == 0,
            _ => false,
        };
        (fits && word(0) > 0).then_some((
            Encoded {
                number: word(0),
                encoding,
                crc: word(8),
                bytes,
            },
            rest,
        ))
    }

    pub(crate) fn needs_base(&self) -> bool {
        self.encoding == XOR_LZ4
    }

    /// Whether it holds the page itself, which is neither a difference nor empty.
    pub(crate) fn is_whole(&self) -> bool {
        matches!(self.encoding, RAW | LZ4)
    }

    /// Appends it to `out` as it is.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        put_head(self.number, self.encoding, self.bytes.len(), self.crc, out);
        out.extend_from_slice(self.bytes);
    }

    /// The page itself; `None` when the bytes or the base are not those it was made from.
    pub(crate) fn decode(&self, base: Option<&Page>) -> Option<Box<Page>> {
        let mut page = Box::new([0; PAGE_BYTES]);
        match self.encoding {
            RAW => page.copy_from_slice(self.bytes),
            ZERO => (),
            _ => {
                let length = decompress_into(self.bytes, &mut page[..]).ok()?;
                if length != PAGE_BYTES {
                    return None;
                }
            }
        }
        if self.needs_base() {
            for (byte, old) in page.iter_mut().zip(base?) {
                *byte ^= old;
            }
        }
        (crc32c::crc32c(&page[..]) == self.crc).then_some(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(seed: u32) -> Page {
        let mut word = seed.wrapping_mul(2_654_435_761) | 1;
        std::array::from_fn(|_| {
            word = word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (word >> 24) as u8
        })
    }

    fn round_trip(page: &Page, base: Option<&Page>) -> usize {
        let mut out = Vec::new();
        encode(7, page, base, &mut out);
        let (encoded, rest) = Encoded::split(&out).unwrap();
        assert!(rest.is_empty());
        assert_eq!(encoded.number, 7);
        assert_eq!(&*encoded.decode(base).unwrap(), page);
        out.len()
    }

    #[test]
    fn every_encoding_comes_back() {
        let noise = page(1);
        let mut near = noise;
        near[100..120].fill(7);
        assert_eq!(round_trip(&[0; PAGE_BYTES], None), HEAD_BYTES);
        assert_eq!(round_trip(&noise, None), HEAD_BYTES + PAGE_BYTES);
        assert!(round_trip(&near, Some(&noise)) < 80);
        assert!(round_trip(&[9; PAGE_BYTES], None) < 60);
        round_trip(&noise, Some(&page(2)));
    }

    #[test]
    fn a_wrong_base_does_not_pass() {
        let (old, mut new) = (page(1), page(1));
        new[0] ^= 1;
        let mut out = Vec::new();
        encode(7, &new, Some(&old), &mut out);
        let (encoded, _) = Encoded::split(&out).unwrap();
        assert!(encoded.needs_base());
        assert_eq!(encoded.decode(Some(&page(3))), None);
        assert_eq!(encoded.decode(None), None);
    }
}
