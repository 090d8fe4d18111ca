//! Stamps: a hybrid logical clock in 16 characters, ordered as their bytes are.
//!
//! 42 bits of milliseconds since 1970, 24 of a counter, 30 of the client, six bits
//! a character.

use std::fmt;

use super::hash::hash;
use super::{ALPHABET, Random, is_id, random_id};

/// A stamp further ahead of the receiver's clock than this is refused.
pub const MAX_FUTURE_MS: u64 = 5 * 60 * 1000;

const LENGTH: usize = 16;
const TIME: std::ops::Range<usize> = 0..7;
const COUNTER: std::ops::Range<usize> = 7..11;
const CLIENT_CHARACTERS: usize = 5;
const COUNTER_END: u32 = 1 << 24;

/// A stamp, or the absence of one, which every stamp follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hlc(Option<[u8; LENGTH]>);

impl Hlc {
    /// No stamp: content that anything stamped replaces.
    pub const NONE: Self = Self(None);

    /// Reads 16 characters, or nothing.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::NONE);
        }
        let bytes = text.as_bytes().try_into().ok()?;
        is_id(text, LENGTH).then_some(Self(Some(bytes)))
    }

    fn new(time_ms: u64, counter: u32, client: [u8; CLIENT_CHARACTERS]) -> Self {
        let mut text = [0; LENGTH];
        write_number(&mut text[TIME], time_ms);
        write_number(&mut text[COUNTER], counter.into());
        text[COUNTER.end..].copy_from_slice(&client);
        Self(Some(text))
    }

    /// The 16 characters; empty without a stamp.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let bytes = self.0.as_ref().map_or(&[][..], |bytes| &bytes[..]);
        std::str::from_utf8(bytes).expect("the alphabet is ASCII")
    }

    #[must_use]
    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// Milliseconds since 1970; 0 without a stamp.
    #[must_use]
    pub fn time_ms(&self) -> u64 {
        self.0.map_or(0, |text| read_number(&text[TIME]))
    }

    fn counter(&self) -> i64 {
        let counter = self.0.map_or(0, |text| read_number(&text[COUNTER]));
        counter.try_into().expect("a counter has 24 bits")
    }
}

impl fmt::Display for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn write_number(text: &mut [u8], number: u64) {
    let mut left = number;
    for character in text.iter_mut().rev() {
        *character = ALPHABET[usize::from((left & 63) as u8)];
        left >>= 6;
    }
}

fn read_number(text: &[u8]) -> u64 {
    let value = |character: &u8| ALPHABET.binary_search(character).expect("checked by parse");
    text.iter()
        .fold(0, |number, character| number << 6 | value(character) as u64)
}

/// Gives stamps to one's own edits, each later than all that were seen.
#[derive(Clone, Debug)]
pub struct Clock {
    time_ms: u64,
    /// -1 before the first stamp of a millisecond.
    counter: i64,
    client: [u8; CLIENT_CHARACTERS],
}

impl Clock {
    /// A clock whose client part comes from an id that is unique among the clients.
    #[must_use]
    pub fn of_client(unique_id: &str) -> Self {
        let mut client = [0; CLIENT_CHARACTERS];
        write_number(&mut client, hash(unique_id).into());
        Self::with_client(client)
    }

    /// A clock with a random client part.
    #[must_use]
    pub fn random(random: &mut Random<'_>) -> Self {
        let id = random_id(random, CLIENT_CHARACTERS);
        Self::with_client(id.as_bytes().try_into().expect("five characters"))
    }

    fn with_client(client: [u8; CLIENT_CHARACTERS]) -> Self {
        Self {
            time_ms: 0,
            counter: -1,
            client,
        }
    }

    /// The stamp of an edit made now.
    pub fn next(&mut self, now_ms: u64) -> Hlc {
        self.advance(Hlc::NONE, now_ms);
        self.counter += 1;
        if self.counter == i64::from(COUNTER_END) {
            self.time_ms += 1;
            self.counter = 0;
        }
        let counter = self.counter.try_into().expect("it is between 0 and 2^24");
        Hlc::new(self.time_ms, counter, self.client)
    }

    /// Notes somebody else's stamp, unless it is too far ahead.
    pub fn see(&mut self, remote: Hlc, now_ms: u64) {
        if remote.time_ms() <= now_ms + MAX_FUTURE_MS {
            self.advance(remote, now_ms);
        }
    }

    fn advance(&mut self, remote: Hlc, now_ms: u64) {
        let before = self.time_ms;
        self.time_ms = before.max(remote.time_ms()).max(now_ms);
        let remote_is_now = self.time_ms == remote.time_ms();
        self.counter = match (self.time_ms == before, remote_is_now) {
            (true, true) => self.counter.max(remote.counter()),
            (true, false) => self.counter,
            (false, true) => remote.counter(),
            (false, false) => -1,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client1() -> Clock {
        Clock::of_client("client1")
    }

    #[test]
    fn stamps_are_written_as_in_javascript() {
        let vectors = [
            (0, 0, "-----------mmxrx"),
            (73_267_200_000, 0, "03E3B------mmxrx"),
            (1_763_000_000_123, 1, "OduzGtv---0mmxrx"),
            (1_795_183_200_000, 0, "P6tFRR-----mmxrx"),
            (1_795_183_200_000, 65, "P6tFRR---00mmxrx"),
            (4_398_046_511_103, COUNTER_END - 1, "zzzzzzzzzzzmmxrx"),
        ];
        for (time_ms, counter, wanted) in vectors {
            let stamp = Hlc::new(time_ms, counter, client1().client);
            assert_eq!(stamp.as_str(), wanted);
            let read = Hlc::parse(wanted).unwrap();
            assert_eq!((read, read.time_ms()), (stamp, time_ms));
            assert_eq!(read.counter(), i64::from(counter));
        }
    }

    #[test]
    fn what_is_no_stamp_is_refused() {
        assert_eq!(Hlc::parse(""), Some(Hlc::NONE));
        for text in [
            "x",
            "P6tFRR-----mmxr",
            "P6tFRR-----mmxr/",
            "P6tFRR-----mmxrxx",
            "P6tFRR-----mmxé",
        ] {
            assert_eq!(Hlc::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_clock_steps_as_in_javascript() {
        let mut clock = client1();
        let at = |time_ms, counter| Hlc::new(time_ms, counter, client1().client);
        assert_eq!(clock.next(1000), at(1000, 0));
        assert_eq!(clock.next(1000), at(1000, 1));
        assert_eq!(clock.next(1001), at(1001, 0));
        clock.see(at(2000, 7), 1001);
        assert_eq!(clock.next(1001), at(2000, 8));
        clock.see(at(1500, 7), 1001);
        assert_eq!(clock.next(1001), at(2000, 9));
        assert_eq!(clock.next(3000), at(3000, 0));
        assert_eq!(clock.next(2500), at(3000, 1));
        clock.see(at(3000 + MAX_FUTURE_MS + 1, 0), 3000);
        assert_eq!(clock.next(3000), at(3000, 2));
    }

    #[test]
    fn a_full_counter_carries_into_the_time() {
        let mut clock = client1();
        clock.see(Hlc::new(1000, COUNTER_END - 1, clock.client), 1000);
        assert_eq!(clock.next(1000), Hlc::new(1001, 0, client1().client));
    }
}
