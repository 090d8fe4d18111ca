//! Bookmarks: moments of one object, as text.
//!
//! `position-kind-check`: 16 hex digits, one digit, 8 hex digits. They sort by position as
//! text, so of two bookmarks of an object the later one is the greater. A position is one
//! in the commit log; the object's state there is that after its last commit before. The
//! check is a CRC32C over log, object, position and kind: it tells mistakes, not forgeries.

use std::fmt;

use crate::error::Error;

/// What a bookmark's position means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Kind {
    /// The state there.
    At,
    /// The state before the first restore from there on.
    Undo,
}

/// A moment of one object. Its text is what `Display` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bookmark {
    position: u64,
    kind: Kind,
    check: u32,
}

impl Bookmark {
    pub(crate) fn at(log: u64, object: u128, position: u64) -> Bookmark {
        Bookmark::new(log, object, position, Kind::At)
    }

    pub(crate) fn undo(log: u64, object: u128, position: u64) -> Bookmark {
        Bookmark::new(log, object, position, Kind::Undo)
    }

    fn new(log: u64, object: u128, position: u64, kind: Kind) -> Bookmark {
        let mut bytes = [0; 33];
        bytes[..8].copy_from_slice(&log.to_le_bytes());
        bytes[8..24].copy_from_slice(&object.to_le_bytes());
        bytes[24..32].copy_from_slice(&position.to_le_bytes());
        bytes[32] = kind as u8;
        Bookmark {
            position,
            kind,
            check: crc32c::crc32c(&bytes),
        }
    }

    pub(crate) fn position(self) -> u64 {
        self.position
    }

    pub(crate) fn is_undo(self) -> bool {
        self.kind == Kind::Undo
    }

    /// Reads the text of a bookmark of this object.
    pub(crate) fn read(log: u64, object: u128, text: &str) -> Result<Bookmark, Error> {
        let bookmark = split(text).ok_or_else(|| Error::Bookmark {
            message: format!(
                "{text:?} is not a bookmark; one has 16 hex digits, `-`, 0 or 1, `-`, 8 hex digits"
            ),
        })?;
        let expected = Bookmark::new(log, object, bookmark.position, bookmark.kind);
        match expected == bookmark {
            true => Ok(bookmark),
            false => Err(Error::Bookmark {
                message: format!(
                    "bookmark {text} is mistyped, or belongs to another object or data folder"
                ),
            }),
        }
    }
}

fn split(text: &str) -> Option<Bookmark> {
    let mut parts = text.split('-');
    let (position, kind, check) = (parts.next()?, parts.next()?, parts.next()?);
    let hex = |digits: &str, length: usize| {
        let plain = digits
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        (plain && digits.len() == length).then(|| u64::from_str_radix(digits, 16).ok())?
    };
    let bookmark = Bookmark {
        position: hex(position, 16)?,
        kind: match kind {
            "0" => Kind::At,
            "1" => Kind::Undo,
            _ => return None,
        },
        check: u32::try_from(hex(check, 8)?).ok()?,
    };
    parts.next().is_none().then_some(bookmark)
}

impl fmt::Display for Bookmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Bookmark {
            position,
            kind,
            check,
        } = self;
        write!(f, "{position:016x}-{}-{check:08x}", *kind as u8)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::disk::simulated::SimDisk;
    use crate::{Env, Faults, ObjectKey, Options, Storage};

    fn config() -> ProptestConfig {
        ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        }
    }

    fn storage() -> Storage {
        let disk = Arc::new(SimDisk::new(1));
        let env = Env {
            disk: disk.clone(),
            clock: disk,
            threads: false,
            faults: Faults::default(),
        };
        let options = Options {
            segment_bytes: 64 << 10,
            ..Options::new("simulated")
        };
        Storage::open_in(options, env).unwrap()
    }

    fn key(number: u8) -> ObjectKey {
        ObjectKey {
            namespace: "chat".into(),
            id: [number; 32],
            name: None,
        }
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn any_bookmark_comes_back(log: u64, object: u128, position: u64, undo: bool) {
            let made = match undo {
                true => Bookmark::undo(log, object, position),
                false => Bookmark::at(log, object, position),
            };
            prop_assert_eq!(Bookmark::read(log, object, &made.to_string()).unwrap(), made);
        }

        #[test]
        fn texts_sort_as_positions(log: u64, object: u128, one: u64, other: u64) {
            let (first, second) = (Bookmark::at(log, object, one), Bookmark::at(log, object, other));
            prop_assert_eq!(first.to_string().cmp(&second.to_string()), one.cmp(&other));
        }

        #[test]
        fn any_other_text_is_refused_by_name(log: u64, object: u128, text in ".*|[0-9a-f]{16}-[01]-[0-9a-f]{8}") {
            let error = Bookmark::read(log, object, &text).unwrap_err().to_string();
            prop_assert!(error.contains(&text) || error.contains(&format!("{text:?}")), "{}", error);
        }

        #[test]
        fn a_changed_character_is_refused(log: u64, object: u128, position: u64, at in 0..27_usize, to in "[0-9a-fA-F+ -]") {
            let text = Bookmark::at(log, object, position).to_string();
            let mut changed = text.clone();
            changed.replace_range(at..=at, &to);
            prop_assert_eq!(Bookmark::read(log, object, &changed).is_ok(), changed == text);
        }

        /// Objects take turns, sleep and are carried to their files in any order.
        #[test]
        fn bookmarks_sort_as_commits(steps in proptest::collection::vec((0..3_u8, 0..8_u8), 1..20)) {
            let storage = storage();
            let mut before: Vec<Option<String>> = vec![None; 3];
            for (number, step) in steps {
                let mut db = storage.database(key(number));
                db.exec("CREATE TABLE IF NOT EXISTS t (a)", &[]).unwrap();
                db.exec("INSERT INTO t VALUES (1)", &[]).unwrap();
                db.end_turn().unwrap();
                match step {
                    0 => storage.checkpoint().unwrap(),
                    1..4 => drop(storage.commit().unwrap()),
                    _ => (),
                }
                let now = db.current_bookmark().to_string();
                let seen = before[usize::from(number)].replace(now.clone());
                prop_assert!(seen.is_none_or(|seen| seen < now));
                prop_assert_eq!(db.current_bookmark().to_string(), now);
            }
        }
    }

    #[test]
    fn texts_come_back_and_sort_by_position() {
        let mut before = String::new();
        for position in [0, 1, 255, 4096, 1 << 40, u64::MAX] {
            let text = Bookmark::at(7, 9, position).to_string();
            let read = Bookmark::read(7, 9, &text).unwrap();
            assert_eq!((read.position(), read.is_undo()), (position, false));
            assert!(before < text, "{before} {text}");
            before = text;
        }
        let undo = Bookmark::undo(7, 9, 5).to_string();
        assert!(Bookmark::read(7, 9, &undo).unwrap().is_undo());
    }

    #[test]
    fn no_flipped_bit_cut_or_other_object_passes() {
        let text = Bookmark::at(7, 9, 123_456).to_string();
        for bit in 0..text.len() * 8 {
            let mut bytes = text.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let Ok(text) = String::from_utf8(bytes) else {
                continue;
            };
            Bookmark::read(7, 9, &text).expect_err(&text);
        }
        for length in 0..text.len() {
            Bookmark::read(7, 9, &text[..length]).expect_err("a cut");
        }
        Bookmark::read(7, 8, &text).expect_err("another object");
        Bookmark::read(6, 9, &text).expect_err("another log");
        Bookmark::read(7, 9, "ünicode-0-00000000").expect_err("not hex");
    }
}
