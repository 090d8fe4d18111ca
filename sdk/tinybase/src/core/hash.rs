//! Hashes: 32-bit FNV-1a, of texts and of an id with what it names.

const START: u32 = 0x811c_9dc5;
const PRIME: u32 = 0x0100_0193;

/// A hash on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash(pub u32);

/// The hash of a text's UTF-8 bytes.
#[must_use]
pub fn hash(text: &str) -> u32 {
    Hasher::default().text(text).0
}

/// What a child adds to its container: the hash of `<id>:<hash>`.
pub(super) fn hash_of_child(id: &str, child: u32) -> u32 {
    Hasher::default().text(id).text(":").decimal(child).0
}

/// A leaf's hash; the content is its JSON text.
pub(super) fn hash_of_leaf(json: &str, hlc: &str) -> u32 {
    Hasher::default().text(json).text(":").text(hlc).0
}

struct Hasher(u32);

impl Default for Hasher {
    fn default() -> Self {
        Self(START)
    }
}

impl Hasher {
    fn bytes(self, bytes: &[u8]) -> Self {
        let fold = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(PRIME);
        Self(bytes.iter().fold(self.0, fold))
    }

    fn text(self, text: &str) -> Self {
        self.bytes(text.as_bytes())
    }

    fn decimal(self, number: u32) -> Self {
        let mut digits = [0; 10];
        let mut at = digits.len();
        let mut left = number;
        loop {
            at -= 1;
            // One digit fits a byte.
            digits[at] = b'0' + (left % 10) as u8;
            left /= 10;
            if left == 0 {
                return self.bytes(&digits[at..]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_hash_as_in_javascript() {
        let vectors = [
            ("", 2_166_136_261),
            ("a", 3_826_002_220),
            ("tinybase", 2_207_485_014),
            ("é", 513_665_217),
            ("😀", 866_293_256),
            ("client1", 852_221_437),
        ];
        for (text, wanted) in vectors {
            assert_eq!(hash(text), wanted, "{text:?}");
        }
    }

    #[test]
    fn a_child_hashes_as_its_id_and_its_hash_in_decimal() {
        for child in [0, 9, 10, 3_568_909_460, u32::MAX] {
            assert_eq!(hash_of_child("id", child), hash(&format!("id:{child}")));
        }
    }
}
