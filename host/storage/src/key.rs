//! The address of an object: namespace, id, and the slot both fall into.
//!
//! A slot is the unit that is backed up and, later, owned and moved; the data folder
//! is laid out by slot. The hash is part of the on-disk format and never changes.

use std::fmt;

/// Slots of a host; a power of two, fixed in the on-disk format.
pub(crate) const SLOTS: u16 = 4096;

/// Names one object. `name` is what the id was made from, when it was made from a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    pub namespace: String,
    pub id: [u8; 32],
    pub name: Option<String>,
}

impl ObjectKey {
    pub fn id_hex(&self) -> String {
        hex(&self.id)
    }

    /// The slot: the first twelve bits of FNV-1a over the namespace, a zero and the id.
    pub(crate) fn slot(&self) -> u16 {
        let bytes = self.namespace.bytes().chain([0]).chain(self.id);
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        // FNV mixes its low bits into the high ones only by multiplication: fold them.
        ((hash ^ (hash >> 32)) % u64::from(SLOTS)) as u16
    }
}

/// `namespace/hex`, as it stands in logs and messages.
impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.id_hex())
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)] as char);
        text.push(DIGITS[usize::from(byte & 15)] as char);
    }
    text
}

/// Reads 64 hex digits; `None` for anything else.
pub(crate) fn unhex(text: &str) -> Option<[u8; 32]> {
    let text = text.as_bytes();
    if text.len() != 64 {
        return None;
    }
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut id = [0; 32];
    for (byte, pair) in id.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(namespace: &str, first: u8) -> ObjectKey {
        let mut id = [7; 32];
        id[0] = first;
        ObjectKey {
            namespace: namespace.into(),
            id,
            name: None,
        }
    }

    #[test]
    fn hex_goes_there_and_back() {
        let id = key("chat", 0xa5).id;
        assert_eq!(unhex(&hex(&id)), Some(id));
        assert_eq!(unhex("zz"), None);
    }

    #[test]
    fn slots_are_fixed_by_the_format_and_spread() {
        assert_eq!(key("chat", 1).slot(), key("chat", 1).slot());
        let slots: std::collections::BTreeSet<u16> =
            (0..=255).map(|n| key("chat", n).slot()).collect();
        assert!(slots.len() > 200, "256 ids fell into {} slots", slots.len());
        assert!(slots.iter().all(|slot| *slot < SLOTS));
    }
}
