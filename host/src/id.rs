//! Object ids: 32 bytes that name an object and prove its namespace.
//!
//! Made by `server` (from a name) and by stubs; knows no storage. With
//! `key = SHA256(namespace key)`, bytes 0-15 are the first 16 of
//! `HMAC-SHA256(key, name)` and bytes 16-31 the first 16 of
//! `HMAC-SHA256(key, bytes 0-15)`, as on the Workers platform, so that an id can
//! be checked without asking anybody.

use std::fmt;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// Names longer than this still make ids but are not kept (bytes).
pub const MAX_KEPT_NAME_BYTES: usize = 1024;

/// One object's id; printed as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId([u8; 32]);

/// A class with a storage root: ids of one namespace are refused by another.
#[derive(Clone)]
pub struct Namespace {
    /// Class name, also the name of the storage root.
    pub class: Arc<str>,
    /// Every name leads to the object of this one.
    only: Option<Arc<str>>,
    /// The app that has the objects, if it is another one.
    pub app: Option<Arc<str>>,
    /// Keyed once, copied for each id.
    mac: Hmac<Sha256>,
}

/// An id together with the name it was made from, if that was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectName {
    pub id: ObjectId,
    pub name: Option<Arc<str>>,
}

/// Why a text is not an id of this namespace.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("invalid object id: found {len} characters, want 64 hexadecimal digits")]
    Malformed { len: usize },
    #[error("object id is not valid for class `{class}`; it was made for another namespace")]
    Foreign { class: String },
}

impl Namespace {
    /// `unique_key` decides where the objects live; the class name alone by default.
    #[must_use]
    pub fn new(class: &str, unique_key: &str) -> Self {
        let key = Sha256::digest(unique_key);
        Self {
            class: class.into(),
            only: None,
            app: None,
            mac: Hmac::new_from_slice(&key).expect("HMAC takes keys of any length"),
        }
    }

    /// As a binding to a single object: whatever name is asked for, it is `name`.
    #[must_use]
    pub fn leading_to(self, name: &str) -> Self {
        Self {
            only: Some(name.into()),
            ..self
        }
    }

    /// The same objects' namesakes in another app.
    #[must_use]
    pub fn of_app(self, app: &str) -> Self {
        Self {
            app: Some(app.into()),
            ..self
        }
    }

    /// The id that belongs to `name`: always the same.
    #[must_use]
    pub fn id_from_name(&self, name: &str) -> ObjectName {
        let name = self.only.as_deref().unwrap_or(name);
        let kept = name.len() <= MAX_KEPT_NAME_BYTES;
        ObjectName {
            id: self.seal(self.half(name.as_bytes())),
            name: kept.then(|| name.into()),
        }
    }

    /// An id without a name; `random` makes it differ from every other.
    #[must_use]
    pub fn unique_id(&self, random: [u8; 16]) -> ObjectName {
        ObjectName {
            id: self.seal(random),
            name: None,
        }
    }

    /// Reads 64 hexadecimal digits and checks that they belong here.
    pub fn id_from_string(&self, text: &str) -> Result<ObjectId, Error> {
        let malformed = Error::Malformed {
            len: text.chars().count(),
        };
        let id = ObjectId(parse_hex(text).ok_or(malformed)?);
        let mut front = [0; 16];
        front.copy_from_slice(&id.0[..16]);
        if self.seal(front) == id {
            Ok(id)
        } else {
            Err(Error::Foreign {
                class: self.class.to_string(),
            })
        }
    }

    fn seal(&self, front: [u8; 16]) -> ObjectId {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&front);
        bytes[16..].copy_from_slice(&self.half(&front));
        ObjectId(bytes)
    }

    fn half(&self, message: &[u8]) -> [u8; 16] {
        let digest = self.mac.clone().chain_update(message).finalize();
        let mut front = [0; 16];
        front.copy_from_slice(&digest.into_bytes()[..16]);
        front
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Namespace({})", self.class)
    }
}

impl ObjectId {
    /// An id that storage has kept; whether it belongs to a namespace is not asked.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    #[must_use]
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => f.write_str(name),
            None => self.id.fmt(f),
        }
    }
}

fn parse_hex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = (nibble(pair[0])? << 4) | nibble(pair[1])?;
    }
    Some(bytes)
}

const fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VECTOR: &str = "3652ef6221834806dc8df802d1d216e27b7d07e0a6b7adf6cfdaeec90f06459a";

    #[test]
    fn a_name_gives_the_id_of_the_reference() {
        let namespace = Namespace::new("Any", "mykey");
        assert_eq!(namespace.id_from_name("name").id.to_string(), VECTOR);
    }

    #[test]
    fn an_id_is_read_back_by_its_own_namespace_only() {
        let namespace = Namespace::new("Any", "mykey");
        let id = namespace.id_from_string(VECTOR).unwrap();
        assert_eq!(id, namespace.id_from_name("name").id);
        assert_eq!(
            Namespace::new("Any", "other").id_from_string(VECTOR),
            Err(Error::Foreign {
                class: "Any".into()
            })
        );
        assert_eq!(
            namespace.id_from_string("12"),
            Err(Error::Malformed { len: 2 })
        );
        assert_eq!(
            namespace.id_from_string(&"ä".repeat(32)),
            Err(Error::Malformed { len: 32 })
        );
    }

    #[test]
    fn a_unique_id_belongs_to_its_namespace() {
        let namespace = Namespace::new("Any", "mykey");
        let unique = namespace.unique_id([7; 16]);
        let read = namespace.id_from_string(&unique.id.to_string());
        assert_eq!((read, unique.name), (Ok(unique.id), None));
    }

    #[test]
    fn a_long_name_makes_an_id_but_is_not_kept() {
        let namespace = Namespace::new("Any", "mykey");
        assert_eq!(namespace.id_from_name(&"x".repeat(1025)).name, None);
        assert!(namespace.id_from_name(&"x".repeat(1024)).name.is_some());
    }
}
