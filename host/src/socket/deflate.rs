//! Deflate: the WebSocket extension `permessage-deflate`, RFC 7692.
//!
//! Negotiated by `server`, used by the pumps. Every message is compressed for
//! itself, in both directions, so a sleeping socket keeps no window and a message
//! for many is compressed once. What comes in is bounded after inflation, too.
//! Compressors are kept for the next message, as many as ever ran at a time.

use std::sync::{Arc, Mutex, PoisonError};

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// What RFC 7692 takes off the end of each message.
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
/// Work between two points where other tasks may run (bytes).
const SLICE_BYTES: usize = 64 << 10;

const NAME: &str = "permessage-deflate";

/// Compresses and inflates; clones share what they keep.
#[derive(Clone, Debug, Default)]
pub struct Deflate(Arc<Kept>);

#[derive(Debug, Default)]
struct Kept {
    compressors: Mutex<Vec<Compress>>,
    inflaters: Mutex<Vec<Decompress>>,
}

/// What both sides agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// For the handshake's `sec-websocket-extensions`.
    pub answer: String,
    /// The client's window is the usual one, so that it may be sent compressed
    /// messages.
    pub compress: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum InflateError {
    TooLarge,
    Damaged,
}

/// Picks the first offer that can be met from a client's
/// `sec-websocket-extensions`; `None` leaves everything uncompressed.
#[must_use]
pub fn negotiate(offers: &str) -> Option<Agreed> {
    offers.split(',').find_map(accept)
}

fn accept(offer: &str) -> Option<Agreed> {
    let mut words = offer.split(';').map(str::trim);
    if !words.next()?.eq_ignore_ascii_case(NAME) {
        return None;
    }
    let mut seen: Vec<&str> = Vec::new();
    let mut window = None;
    for word in words {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name.trim_end(), Some(unquoted(value.trim_start()))),
            None => (word, None),
        };
        if seen.contains(&name) {
            return None;
        }
        seen.push(name);
        match (name, value) {
            ("server_no_context_takeover" | "client_no_context_takeover", None)
            | ("client_max_window_bits", None) => {}
            ("client_max_window_bits", Some(bits)) => {
                window_bits(bits)?;
            }
            ("server_max_window_bits", Some(bits)) => window = Some(window_bits(bits)?),
            _ => return None,
        }
    }
    let mut answer = format!("{NAME}; server_no_context_takeover; client_no_context_takeover");
    if let Some(bits) = window {
        answer.push_str(&format!("; server_max_window_bits={bits}"));
    }
    Some(Agreed {
        answer,
        compress: window.is_none_or(|bits| bits == 15),
    })
}

fn unquoted(value: &str) -> &str {
    let inner = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
    inner.unwrap_or(value)
}

fn window_bits(text: &str) -> Option<u8> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    let bits = text.parse().ok().filter(|_| plain)?;
    (8..=15).contains(&bits).then_some(bits)
}

impl Deflate {
    /// `None` if the result would be no shorter.
    pub(super) async fn compress(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut compressor =
            take(&self.0.compressors).unwrap_or_else(|| Compress::new(Compression::fast(), false));
        let mut out = Vec::with_capacity(plain.len() / 2 + 64);
        for slice in plain.chunks(SLICE_BYTES) {
            run(&mut compressor, slice, &mut out, FlushCompress::None);
            if plain.len() > SLICE_BYTES {
                tokio::task::yield_now().await;
            }
        }
        run(&mut compressor, &[], &mut out, FlushCompress::Sync);
        compressor.reset();
        give_back(&self.0.compressors, compressor);
        out.truncate(out.len().saturating_sub(TAIL.len()));
        (out.len() < plain.len()).then_some(out)
    }

    /// Stops as soon as there are more than `limit` bytes.
    pub(super) async fn inflate(
        &self,
        compressed: &[u8],
        limit: usize,
    ) -> Result<Vec<u8>, InflateError> {
        let mut inflater = take(&self.0.inflaters).unwrap_or_else(|| Decompress::new(false));
        let mut out = Vec::new();
        let mut result = Ok(());
        for input in [compressed, &TAIL] {
            result = inflate_part(&mut inflater, input, &mut out, limit).await;
            if result.is_err() {
                break;
            }
        }
        inflater.reset(false);
        give_back(&self.0.inflaters, inflater);
        result.map(|()| out)
    }
}

fn run(compressor: &mut Compress, input: &[u8], out: &mut Vec<u8>, flush: FlushCompress) {
    let begin = compressor.total_in();
    loop {
        out.reserve(256.max(input.len() / 4));
        let done = (compressor.total_in() - begin) as usize;
        compressor
            .compress_vec(&input[done..], out, flush)
            .expect("raw deflate takes every input");
        let done = (compressor.total_in() - begin) as usize;
        // Room left over means that nothing more is to come.
        if done == input.len() && out.len() < out.capacity() {
            return;
        }
    }
}

async fn inflate_part(
    inflater: &mut Decompress,
    input: &[u8],
    out: &mut Vec<u8>,
    limit: usize,
) -> Result<(), InflateError> {
    let begin = (inflater.total_in(), inflater.total_out());
    let already = out.len();
    let mut room = vec![0; (input.len() * 4).clamp(64, SLICE_BYTES)];
    loop {
        let done = (inflater.total_in() - begin.0) as usize;
        let status = inflater.decompress(&input[done..], &mut room, FlushDecompress::Sync);
        let status = status.map_err(|_| InflateError::Damaged)?;
        let made = (inflater.total_out() - begin.1) as usize + already - out.len();
        out.extend_from_slice(&room[..made]);
        if out.len() > limit {
            return Err(InflateError::TooLarge);
        }
        let before = done;
        let done = (inflater.total_in() - begin.0) as usize;
        if made == 0 && done == before && done < input.len() {
            return Err(InflateError::Damaged);
        }
        // A last block ends the message; what follows it says nothing.
        if status == Status::StreamEnd || (done == input.len() && made < room.len()) {
            return Ok(());
        }
        if out.len() > SLICE_BYTES {
            tokio::task::yield_now().await;
        }
    }
}

fn take<T>(kept: &Mutex<Vec<T>>) -> Option<T> {
    kept.lock().unwrap_or_else(PoisonError::into_inner).pop()
}

fn give_back<T>(kept: &Mutex<Vec<T>>, one: T) {
    kept.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(one);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(offer: &str) -> Option<String> {
        negotiate(offer).map(|agreed| agreed.answer)
    }

    #[test]
    fn the_first_offer_that_can_be_met_is_taken() {
        let plain = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
        for offer in [
            "permessage-deflate",
            "Permessage-Deflate; client_max_window_bits",
            "permessage-deflate ; client_max_window_bits=\"10\"; server_no_context_takeover",
            "x-webkit-deflate-frame, permessage-deflate",
            "permessage-deflate; unknown, permessage-deflate; client_no_context_takeover",
        ] {
            assert_eq!(answer(offer).as_deref(), Some(plain), "{offer}");
        }
        let small = negotiate("permessage-deflate; server_max_window_bits=9").expect("it is met");
        assert_eq!(small.answer, format!("{plain}; server_max_window_bits=9"));
        assert!(!small.compress);
    }

    #[test]
    fn what_is_malformed_is_declined() {
        for offer in [
            "",
            "deflate",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=08",
            "permessage-deflate; server_max_window_bits=+9",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; client_max_window_bits; client_max_window_bits",
        ] {
            assert_eq!(answer(offer), None, "{offer}");
        }
    }

    #[tokio::test]
    async fn what_is_compressed_inflates_to_itself() {
        let deflate = Deflate::default();
        for bytes in [1_usize, 1_000, 65_535, 65_536, 65_537, 3 << 20] {
            let plain: Vec<u8> = (0..bytes).map(|at| (at / 100) as u8).collect();
            if let Some(compressed) = deflate.compress(&plain).await {
                assert!(compressed.len() < plain.len());
                let inflated = deflate.inflate(&compressed, plain.len()).await;
                assert_eq!(inflated, Ok(plain), "{bytes} bytes");
            } else {
                assert!(bytes < 1_000, "{bytes} bytes of little");
            }
        }
    }

    #[tokio::test]
    async fn a_bomb_stops_at_the_limit() {
        let deflate = Deflate::default();
        let bomb = deflate.compress(&vec![0; 8 << 20]).await.expect("shorter");
        assert!(bomb.len() < 1 << 17, "{}", bomb.len());
        let inflated = deflate.inflate(&bomb, 1 << 20).await;
        assert_eq!(inflated, Err(InflateError::TooLarge));
        let damaged = deflate.inflate(&[0xff; 100], 1 << 20).await;
        assert_eq!(damaged, Err(InflateError::Damaged));
        // The next message starts afresh.
        let next = deflate.compress(&[7; 2_000]).await.expect("shorter");
        assert_eq!(deflate.inflate(&next, 2_000).await, Ok(vec![7; 2_000]));
    }
}
