//! Frames: an addressee and a message, which may come in fragments.
//!
//! `<client id> LF <message>`, or, of a message too long for its sender's liking,
//! pieces `<client id> LF <message id> LF <index> LF <total> LF <piece>` in any
//! order. Pieces wait in memory, for a time; a message that is lost is made up for
//! by the next hashes. Sizes are bytes of UTF-8.

use std::collections::BTreeMap;
use std::fmt;

use super::message::Envelope;
use super::{Random, is_id, random_id};

const MAX_FRAME_BYTES: usize = 16 << 20;
const MAX_FRAGMENTS: usize = 1_000;
const MAX_UNFINISHED: usize = 100;
const MESSAGE_ID_CHARACTERS: usize = 16;

/// Why a frame ends its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// It is not of the protocol.
    Invalid,
    /// The frame is too long.
    TooLong,
    /// Too many fragments, or too much of them.
    TooManyFragments,
}

impl FrameError {
    /// The close code that TinyBase's server sends.
    #[must_use]
    pub fn close_code(self) -> u16 {
        match self {
            Self::Invalid => 1007,
            Self::TooLong | Self::TooManyFragments => 1013,
        }
    }
}

/// As TinyBase's close reasons say it.
impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Invalid => "tinybase:14",
            Self::TooLong => "tinybase:15:socket",
            Self::TooManyFragments => "tinybase:15:fragments",
        })
    }
}

impl std::error::Error for FrameError {}

/// A whole message, as it was and as it reads.
#[derive(Clone, Debug, PartialEq)]
pub struct Whole {
    /// Empty: everybody.
    pub to: String,
    /// What to forward, character by character: the message or its fragments.
    pub remainders: Vec<String>,
    pub envelope: Envelope,
}

/// What one connection sends.
#[derive(Debug, Default)]
pub struct Frames {
    /// By addressee and message id.
    unfinished: BTreeMap<(String, String), Unfinished>,
    bytes: usize,
}

#[derive(Debug)]
struct Unfinished {
    /// The frame's remainder, and where its piece begins.
    pieces: Vec<Option<(String, usize)>>,
    missing: usize,
    bytes: usize,
    began_ms: u64,
}

struct Fragment<'a> {
    message_id: &'a str,
    index: usize,
    total: usize,
    /// Where the piece begins in the remainder.
    at: usize,
}

impl Frames {
    /// Takes a frame; a whole message if this was its last one.
    pub fn take(
        &mut self,
        frame: &str,
        now_ms: u64,
        timeout_ms: u64,
    ) -> Result<Option<Whole>, FrameError> {
        let (to, remainder) = frame.split_once('\n').ok_or(FrameError::Invalid)?;
        if frame.len() > MAX_FRAME_BYTES {
            let fragment = Fragment::parse(remainder).is_some();
            return Err(match fragment {
                true => FrameError::TooManyFragments,
                false => FrameError::TooLong,
            });
        }
        self.forget_before(now_ms.saturating_sub(timeout_ms));
        if let Ok(envelope) = Envelope::parse(remainder) {
            return Ok(Some(Whole {
                to: to.to_owned(),
                remainders: vec![remainder.to_owned()],
                envelope,
            }));
        }
        let fragment = Fragment::parse(remainder).ok_or(FrameError::Invalid)?;
        self.take_fragment(to, remainder, &fragment, now_ms)
    }

    fn take_fragment(
        &mut self,
        to: &str,
        remainder: &str,
        fragment: &Fragment<'_>,
        now_ms: u64,
    ) -> Result<Option<Whole>, FrameError> {
        let Fragment { index, total, .. } = *fragment;
        if total > MAX_FRAGMENTS {
            return Err(FrameError::TooManyFragments);
        }
        if index >= total {
            return Err(FrameError::Invalid);
        }
        let key = (to.to_owned(), fragment.message_id.to_owned());
        let is_new = !self.unfinished.contains_key(&key);
        if is_new && self.unfinished.len() >= MAX_UNFINISHED
            || self.bytes + remainder.len() > MAX_FRAME_BYTES
        {
            return Err(FrameError::TooManyFragments);
        }
        let unfinished = self.unfinished.entry(key.clone());
        let unfinished = unfinished.or_insert_with(|| Unfinished::new(total, now_ms));
        if unfinished.pieces.len() != total || unfinished.pieces[index].is_some() {
            return Err(FrameError::Invalid);
        }
        unfinished.pieces[index] = Some((remainder.to_owned(), fragment.at));
        unfinished.missing -= 1;
        unfinished.bytes += remainder.len();
        self.bytes += remainder.len();
        if unfinished.missing > 0 {
            return Ok(None);
        }
        let finished = self.unfinished.remove(&key).expect("it was found above");
        self.bytes -= finished.bytes;
        finished.join(key.0).map(Some)
    }

    fn forget_before(&mut self, oldest_ms: u64) {
        let bytes = &mut self.bytes;
        self.unfinished.retain(|_, unfinished| {
            let keep = unfinished.began_ms >= oldest_ms;
            if !keep {
                *bytes -= unfinished.bytes;
            }
            keep
        });
    }
}

impl Unfinished {
    fn new(total: usize, began_ms: u64) -> Self {
        Self {
            pieces: vec![None; total],
            missing: total,
            bytes: 0,
            began_ms,
        }
    }

    fn join(self, to: String) -> Result<Whole, FrameError> {
        let pieces: Vec<_> = self.pieces.into_iter().flatten().collect();
        let text: String = pieces.iter().map(|(text, at)| &text[*at..]).collect();
        let envelope = Envelope::parse(&text).map_err(|_| FrameError::Invalid)?;
        Ok(Whole {
            to,
            remainders: pieces.into_iter().map(|(text, _)| text).collect(),
            envelope,
        })
    }
}

impl<'a> Fragment<'a> {
    fn parse(remainder: &'a str) -> Option<Self> {
        let mut parts = remainder.splitn(4, '\n');
        let message_id = parts.next()?;
        let (index, total) = (parts.next()?, parts.next()?);
        let piece = parts.next()?;
        is_id(message_id, MESSAGE_ID_CHARACTERS).then_some(())?;
        Some(Self {
            message_id,
            index: decimal(index)?,
            total: decimal(total)?,
            at: remainder.len() - piece.len(),
        })
    }
}

/// A number of digits alone; one that is too large stays too large.
fn decimal(text: &str) -> Option<usize> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(usize::MAX))
}

/// The remainders in which a message is sent: itself, or, if it is longer than
/// `fragment_bytes`, at most 1,000 fragments of it.
#[must_use]
pub fn split(text: String, fragment_bytes: Option<usize>, random: &mut Random<'_>) -> Vec<String> {
    let Some(wanted) = fragment_bytes.filter(|wanted| *wanted > 0) else {
        return vec![text];
    };
    let size = wanted.max(text.len().div_ceil(MAX_FRAGMENTS) + 3);
    let mut pieces = Vec::new();
    let mut rest = text.as_str();
    while rest.len() > size {
        let at = rest.floor_char_boundary(size);
        // A character that is larger than the size makes a piece of its own.
        let at = if at == 0 {
            rest.ceil_char_boundary(1)
        } else {
            at
        };
        let (piece, after) = rest.split_at(at);
        pieces.push(piece);
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(rest);
    }
    if pieces.len() == 1 {
        return vec![text];
    }
    let message_id = random_id(random, MESSAGE_ID_CHARACTERS);
    let total = pieces.len();
    let numbered = pieces.iter().enumerate();
    numbered
        .map(|(index, piece)| format!("{message_id}\n{index}\n{total}\n{piece}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASHES: &str = r#"["xs75FD9pX-C",2,[7,8]]"#;
    const ID: &str = "S-3KqMqSli9NUeDF";

    fn no_chance(bytes: &mut [u8]) {
        bytes.fill(0);
    }

    fn take(frames: &mut Frames, frame: &str) -> Result<Option<Whole>, FrameError> {
        frames.take(frame, 0, 1_000)
    }

    #[test]
    fn a_message_comes_whole_or_in_fragments_in_any_order() {
        let mut frames = Frames::default();
        let whole = take(&mut frames, &format!("to\n{HASHES}"))
            .unwrap()
            .unwrap();
        assert_eq!((whole.to.as_str(), whole.remainders.len()), ("to", 1));

        let mut parts = split(HASHES.to_owned(), Some(10), &mut no_chance);
        assert_eq!(parts.len(), 3);
        assert_eq!(parts[0], "----------------\n0\n3\n[\"xs75FD9p");
        let sent = parts.clone();
        parts.reverse();
        let mut last = None;
        for part in parts {
            assert_eq!(last, None);
            last = take(&mut frames, &format!("to\n{part}")).unwrap();
        }
        let joined = last.unwrap();
        assert_eq!(joined.envelope, whole.envelope);
        assert_eq!(joined.remainders, sent);
        assert_eq!((frames.bytes, frames.unfinished.len()), (0, 0));
    }

    #[test]
    fn fragments_are_cut_between_characters_and_are_at_most_a_thousand() {
        let text = "😀é".repeat(5_000);
        let parts = split(text.clone(), Some(1), &mut no_chance);
        assert!(parts.len() <= MAX_FRAGMENTS);
        let pieces = parts
            .iter()
            .map(|part| &part[Fragment::parse(part).unwrap().at..]);
        assert_eq!(pieces.collect::<String>(), text);
        assert_eq!(split("short".into(), Some(5), &mut no_chance), ["short"]);
        assert_eq!(split("short".into(), None, &mut no_chance), ["short"]);
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let long_id = "x".repeat(17);
        for frame in [
            HASHES.to_owned(),
            "to\nnonsense".to_owned(),
            format!("to\n{ID}\n0\n0\nx"),
            format!("to\n{ID}\n2\n2\nx"),
            format!("to\n{ID}\n-1\n2\nx"),
            format!("to\n{ID}\n\n2\nx"),
            format!("to\n{long_id}\n0\n2\nx"),
            format!("to\n{ID}\n0\n1\nnonsense"),
        ] {
            let refused = take(&mut Frames::default(), &frame);
            assert_eq!(refused, Err(FrameError::Invalid), "{frame}");
        }
    }

    #[test]
    fn the_same_index_twice_and_another_total_are_refused() {
        for second in [format!("to\n{ID}\n0\n2\nx"), format!("to\n{ID}\n1\n3\nx")] {
            let mut frames = Frames::default();
            assert_eq!(take(&mut frames, &format!("to\n{ID}\n0\n2\nx")), Ok(None));
            assert_eq!(take(&mut frames, &second), Err(FrameError::Invalid));
        }
    }

    #[test]
    fn limits_hold() {
        let too_many = format!("to\n{ID}\n0\n1001\nx");
        let refused = take(&mut Frames::default(), &too_many);
        assert_eq!(refused, Err(FrameError::TooManyFragments));

        let long = format!("to\n{}", "x".repeat(MAX_FRAME_BYTES));
        assert_eq!(
            take(&mut Frames::default(), &long),
            Err(FrameError::TooLong)
        );

        let mut frames = Frames::default();
        for number in 0..MAX_UNFINISHED {
            let frame = format!("to\n{number:016}\n0\n2\nx");
            assert_eq!(take(&mut frames, &frame), Ok(None));
        }
        let one_more = format!("to\n{ID}\n0\n2\nx");
        assert_eq!(
            take(&mut frames, &one_more),
            Err(FrameError::TooManyFragments)
        );
        assert_eq!(
            frames.take(&one_more, 1_001, 1_000),
            Ok(None),
            "the others timed out"
        );

        let mut frames = Frames::default();
        let half = "x".repeat(MAX_FRAME_BYTES / 2);
        assert_eq!(
            take(&mut frames, &format!("to\n{ID}\n0\n3\n{half}")),
            Ok(None)
        );
        let second = take(&mut frames, &format!("to\n{ID}\n1\n3\n{half}"));
        assert_eq!(second, Err(FrameError::TooManyFragments));
    }
}
