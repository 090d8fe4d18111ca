//! The protocol of TinyBase without any input or output: stamps, hashes, the
//! mergeable store, messages, frames, and the participant that answers them.
//!
//! Used by `server` and `persist`, and by tests natively. Knows no socket, no
//! database, no time of day: times (milliseconds since 1970) and random bytes come
//! in as arguments. Source: npm `tinybase`, whose hashes it must reproduce to the
//! bit, because two stores that hash alike are taken to be equal.

mod content;
mod decode;
mod difference;
mod encode;
mod fragments;
mod hash;
mod hlc;
mod message;
mod participant;
mod store;

pub use content::Content;
pub use fragments::{FrameError, Frames, Whole, split};
pub use hash::{Hash, hash};
pub use hlc::{Clock, Hlc, MAX_FUTURE_MS};
pub use message::{CellHashes, Envelope, Invalid, Message, RowHashes, TableHashes, ValueHashes};
pub use participant::{Edit, Moment, Outgoing, Participant, Received};
pub use store::{Cells, Changes, Diff, Leaf, Node, Row, Store, Table, Tables, Values};

pub(crate) use decode::{cells_from_json, content_from_json, leaf_from_json};
pub(crate) use encode::{Form, encode};

/// The 64 characters of stamps and ids, in the order of their codes.
const ALPHABET: &[u8; 64] = b"-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";

/// Fills a buffer with random bytes.
pub type Random<'a> = dyn FnMut(&mut [u8]) + 'a;

/// A random id of so many characters.
pub(crate) fn random_id(random: &mut Random<'_>, length: usize) -> String {
    let mut bytes = vec![0; length];
    random(&mut bytes);
    let characters = bytes
        .into_iter()
        .map(|byte| ALPHABET[usize::from(byte & 63)]);
    characters.map(char::from).collect()
}

/// Whether a text has just so many characters of the alphabet.
fn is_id(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| ALPHABET.contains(&byte))
}
