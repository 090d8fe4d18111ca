//! `permessage-deflate`: compressed both ways where both sides can, and bounded.

use std::io::Cursor;

use bytes::{Buf as _, BytesMut};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;

use crate::harness::{World, bounded};

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const COMPRESSED: u8 = 0x40;

/// A client that shows every bit.
struct Raw {
    tcp: TcpStream,
    read: BytesMut,
    /// The host's `sec-websocket-extensions`.
    extensions: Option<String>,
}

impl Raw {
    async fn open(world: &World, offer: &str) -> Self {
        let tcp = world.tcp().await;
        let mut raw = Self {
            tcp,
            read: BytesMut::new(),
            extensions: None,
        };
        let request = format!(
            "GET /Sockets/a/ws HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\n\
             upgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             sec-websocket-extensions: {offer}\r\n\r\n"
        );
        raw.tcp.write_all(request.as_bytes()).await.unwrap();
        let head = loop {
            if let Some(end) = raw.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break raw.read.split_to(end + 4);
            }
            raw.more().await;
        };
        let head = String::from_utf8(head.to_vec()).unwrap().to_lowercase();
        assert!(head.starts_with("http/1.1 101"), "{head}");
        let mut lines = head.lines();
        let line = lines.find_map(|line| line.strip_prefix("sec-websocket-extensions: "));
        raw.extensions = line.map(str::to_owned);
        raw
    }

    async fn more(&mut self) {
        let read = bounded("bytes", self.tcp.read_buf(&mut self.read)).await;
        assert_ne!(read.unwrap(), 0, "the host hung up");
    }

    /// Sends one frame, masked with nothing.
    async fn send(&mut self, first: u8, payload: &[u8]) {
        let mut frame = vec![first, 0x80 | 127];
        frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(payload);
        self.tcp.write_all(&frame).await.unwrap();
    }

    /// The first byte and the payload of the next frame.
    async fn hear(&mut self) -> (u8, Vec<u8>) {
        loop {
            let mut cursor = Cursor::new(&self.read[..]);
            if let Some((_, bytes)) = FrameHeader::parse(&mut cursor).unwrap() {
                let (head, bytes) = (cursor.position() as usize, bytes as usize);
                if self.read.len() >= head + bytes {
                    let first = self.read[0];
                    self.read.advance(head);
                    return (first, self.read.split_to(bytes).to_vec());
                }
            }
            self.more().await;
        }
    }
}

fn compressed(plain: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(plain.len() + 1_000);
    let mut compress = Compress::new(Compression::fast(), false);
    compress
        .compress_vec(plain, &mut bytes, FlushCompress::Sync)
        .unwrap();
    assert_eq!(compress.total_in() as usize, plain.len());
    assert_eq!(bytes.split_off(bytes.len() - 4), [0, 0, 0xff, 0xff]);
    bytes
}

fn inflated(mut bytes: Vec<u8>, room: usize) -> Vec<u8> {
    bytes.extend_from_slice(&[0, 0, 0xff, 0xff]);
    let mut plain = Vec::with_capacity(room);
    Decompress::new(false)
        .decompress_vec(&bytes, &mut plain, FlushDecompress::Sync)
        .unwrap();
    plain
}

/// A byte that says nothing about the next.
fn noise(n: u32) -> u8 {
    let once = (n ^ 0x5bd1_e995).wrapping_mul(0x9e37_79b1);
    let twice = (once ^ (once >> 15)).wrapping_mul(0x85eb_ca77);
    ((twice ^ (twice >> 13)) >> 8) as u8
}

fn story() -> String {
    let words = |n: u32| format!("{n} dormice sleep in the hedge, ");
    (0..400).map(words).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_are_compressed_where_both_sides_can() {
    let world = World::probe().await;
    let mut raw = Raw::open(&world, "permessage-deflate; client_max_window_bits").await;
    let agreed = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    assert_eq!(raw.extensions.as_deref(), Some(agreed));
    let story = story();
    for _ in 0..2 {
        // Each message for itself: the second says as much as the first.
        raw.send(TEXT | COMPRESSED, &compressed(story.as_bytes()))
            .await;
        let (first, payload) = raw.hear().await;
        assert_eq!(first, TEXT | COMPRESSED);
        assert!(payload.len() < story.len() / 2, "{} bytes", payload.len());
        assert_eq!(inflated(payload, story.len() + 1), story.as_bytes());
    }
    // What is short, or gains nothing, stays as it is.
    raw.send(TEXT, b"hello").await;
    assert_eq!(raw.hear().await, (TEXT, b"hello".to_vec()));
    let noise: Vec<u8> = (0..5_000).map(noise).collect();
    raw.send(BINARY, &noise).await;
    let (first, payload) = raw.hear().await;
    assert_eq!((first, payload.len()), (BINARY, noise.len()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_without_compression_gets_none() {
    let world = World::probe().await;
    let (mut plain, mut small) = (
        Raw::open(&world, "x-unknown").await,
        Raw::open(&world, "permessage-deflate; server_max_window_bits=10").await,
    );
    assert_eq!(plain.extensions, None);
    let agreed = small.extensions.clone().unwrap();
    assert!(agreed.ends_with("; server_max_window_bits=10"), "{agreed}");
    let story = story();
    plain.send(TEXT, format!("all {story}").as_bytes()).await;
    for raw in [&mut plain, &mut small] {
        assert_eq!(raw.hear().await, (TEXT, story.clone().into_bytes()));
    }
    plain.send(TEXT | COMPRESSED, &compressed(b"x")).await;
    let (first, payload) = plain.hear().await;
    assert_eq!((first, &payload[..2]), (CLOSE, &1002_u16.to_be_bytes()[..]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_inflates_past_the_limit_is_refused() {
    let world = World::probe().await;
    for (bytes, code) in [(vec![0; (32 << 20) + 1], 1009_u16), (Vec::new(), 1007)] {
        let mut raw = Raw::open(&world, "permessage-deflate").await;
        let payload = match bytes.len() {
            0 => vec![0xff; 50],
            _ => compressed(&bytes),
        };
        assert!(payload.len() < 1 << 20, "{} bytes", payload.len());
        raw.send(BINARY | COMPRESSED, &payload).await;
        let (first, payload) = raw.hear().await;
        assert_eq!((first, &payload[..2]), (CLOSE, &code.to_be_bytes()[..]));
    }
}
