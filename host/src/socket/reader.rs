//! Reader: frames of a client put together to messages, RFC 6455 section 5.
//!
//! Used by the pump. Keeps no buffer while nothing arrives, so a sleeping socket
//! costs little. Cancelling `next` loses nothing that the peer sent. Sizes are
//! bytes; a message is bounded before and after inflation.

use std::future::poll_fn;
use std::io::Cursor;
use std::mem::{MaybeUninit, take};
use std::pin::Pin;
use std::task::ready;

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

use super::deflate::{Deflate, InflateError};
use super::message::Close;

/// Read at once, from the stack; larger payloads go where they belong.
const READ_BYTES: usize = 4 << 10;
/// By how much a message grows before its bytes arrive.
const GROWTH_BYTES: usize = 64 << 10;
const MAX_CONTROL_BYTES: u64 = 125;

/// What a client sent.
#[derive(Debug)]
pub(super) enum Incoming {
    Text(String),
    Binary(Bytes),
    Ping(Bytes),
    Close(Close),
}

/// Why nothing more can be read.
#[derive(Debug)]
pub(super) enum Broken {
    /// The connection is gone.
    Lost,
    /// The client broke the protocol; the close code that tells it so.
    Protocol { code: u16, what: &'static str },
}

pub(super) struct Reader<R> {
    io: R,
    deflate: Option<Deflate>,
    limit: usize,
    /// Read and not yet looked at.
    held: BytesMut,
    frame: Option<Frame>,
    message: Option<Partial>,
    /// The payload of a control frame, which may stand between frames of a message.
    control: BytesMut,
}

/// The frame that is arriving.
struct Frame {
    opcode: OpCode,
    is_final: bool,
    mask: [u8; 4],
    left: u64,
}

/// The message that is arriving.
struct Partial {
    text: bool,
    compressed: bool,
    bytes: BytesMut,
    /// How much of a text is known to be UTF-8.
    checked: usize,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(super) fn new(io: R, deflate: Option<Deflate>, limit: usize) -> Self {
        Self {
            io,
            deflate,
            limit,
            held: BytesMut::new(),
            frame: None,
            message: None,
            control: BytesMut::new(),
        }
    }

    /// The next message, ping or close frame.
    pub(super) async fn next(&mut self) -> Result<Incoming, Broken> {
        loop {
            if self.frame.is_none() {
                self.begin_frame().await?;
            }
            self.fill_frame().await?;
            let frame = self.frame.take().expect("it was begun above");
            let complete = match frame.opcode {
                OpCode::Control(control) => self.end_control(control)?,
                OpCode::Data(_) if frame.is_final => Some(self.end_message().await?),
                OpCode::Data(_) => None,
            };
            if let Some(incoming) = complete {
                return Ok(incoming);
            }
        }
    }

    /// Reads on until the peer ends the connection.
    pub(super) async fn drain(&mut self) {
        while self.read_some().await.is_ok() {
            self.held.clear();
        }
    }

    async fn begin_frame(&mut self) -> Result<(), Broken> {
        let (header, bytes) = loop {
            let mut cursor = Cursor::new(&self.held[..]);
            match FrameHeader::parse(&mut cursor) {
                Ok(Some(parsed)) => {
                    let header_bytes = cursor.position() as usize;
                    drop(self.held.split_to(header_bytes));
                    break parsed;
                }
                Ok(None) => self.read_some().await?,
                Err(error) => return Err(unreadable(&error)),
            }
        };
        self.check(&header, bytes)?;
        if let OpCode::Data(Data::Text | Data::Binary) = header.opcode {
            self.message = Some(Partial {
                text: header.opcode == OpCode::Data(Data::Text),
                compressed: header.rsv1,
                bytes: BytesMut::new(),
                checked: 0,
            });
        }
        self.frame = Some(Frame {
            opcode: header.opcode,
            is_final: header.is_final,
            mask: header.mask.expect("it was checked"),
            left: bytes,
        });
        Ok(())
    }

    fn check(&self, header: &FrameHeader, bytes: u64) -> Result<(), Broken> {
        let is_control = matches!(header.opcode, OpCode::Control(_));
        let begins = matches!(header.opcode, OpCode::Data(Data::Text | Data::Binary));
        if header.mask.is_none() {
            return Err(protocol("a frame of a client must be masked"));
        }
        if header.rsv2 || header.rsv3 || header.rsv1 && !(begins && self.deflate.is_some()) {
            return Err(protocol("a reserved bit is set"));
        }
        if is_control && (!header.is_final || bytes > MAX_CONTROL_BYTES) {
            return Err(protocol("a control frame is too long or fragmented"));
        }
        if begins && self.message.is_some() {
            return Err(protocol("a message begins inside another"));
        }
        if header.opcode == OpCode::Data(Data::Continue) && self.message.is_none() {
            return Err(protocol("a message goes on that never began"));
        }
        let before = self.message.as_ref().map_or(0, |m| m.bytes.len() as u64);
        if !is_control && bytes > self.limit as u64 - before {
            return Err(too_large());
        }
        Ok(())
    }

    /// Reads the frame's payload to its end; a text is checked as it comes in.
    async fn fill_frame(&mut self) -> Result<(), Broken> {
        loop {
            let frame = self.frame.as_mut().expect("it was begun");
            let to = match (&frame.opcode, &mut self.message) {
                (OpCode::Data(_), Some(message)) => &mut message.bytes,
                _ => &mut self.control,
            };
            let begin = to.len();
            if frame.left > 0 && self.held.is_empty() && frame.left >= READ_BYTES as u64 {
                to.reserve(GROWTH_BYTES.min(frame.left as usize));
                let mut space = (&mut *to).limit(frame.left as usize);
                match self.io.read_buf(&mut space).await {
                    Ok(0) | Err(_) => return Err(Broken::Lost),
                    Ok(_) => {}
                }
            } else {
                let here = self.held.len().min(frame.left as usize);
                to.extend_from_slice(&self.held.split_to(here));
            }
            let arrived = &mut to[begin..];
            unmask(arrived, frame.mask);
            frame.mask.rotate_left(arrived.len() % 4);
            frame.left -= arrived.len() as u64;
            let is_done = frame.left == 0;
            if let (OpCode::Data(_), Some(message)) = (&frame.opcode, &mut self.message) {
                message.check_text()?;
            }
            if is_done {
                return Ok(());
            }
            if self.held.is_empty() && frame.left < READ_BYTES as u64 {
                self.read_some().await?;
            }
        }
    }

    fn end_control(&mut self, control: Control) -> Result<Option<Incoming>, Broken> {
        let payload = take(&mut self.control).freeze();
        match control {
            Control::Ping => Ok(Some(Incoming::Ping(payload))),
            Control::Close => Ok(Some(Incoming::Close(closed(&payload)?))),
            Control::Pong | Control::Reserved(_) => Ok(None),
        }
    }

    async fn end_message(&mut self) -> Result<Incoming, Broken> {
        let message = self.message.take().expect("a data frame was in it");
        let bytes = match &self.deflate {
            Some(deflate) if message.compressed => {
                let inflated = deflate.inflate(&message.bytes, self.limit).await;
                inflated.map_err(|error| match error {
                    InflateError::TooLarge => too_large(),
                    InflateError::Damaged => invalid("a compressed message is damaged"),
                })?
            }
            _ => Vec::from(message.bytes),
        };
        Ok(if message.text {
            Incoming::Text(String::from_utf8(bytes).map_err(|_| not_utf8())?)
        } else {
            Incoming::Binary(bytes.into())
        })
    }

    /// Adds to what is held. The buffer is on the stack while nothing arrives.
    async fn read_some(&mut self) -> Result<(), Broken> {
        if self.held.is_empty() {
            self.held = BytesMut::new();
        }
        let (io, held) = (&mut self.io, &mut self.held);
        poll_fn(|cx| {
            let mut space = [MaybeUninit::uninit(); READ_BYTES];
            let mut read = ReadBuf::uninit(&mut space);
            let result = ready!(Pin::new(&mut *io).poll_read(cx, &mut read));
            held.extend_from_slice(read.filled());
            let is_over = result.is_err() || read.filled().is_empty();
            std::task::Poll::Ready(if is_over { Err(Broken::Lost) } else { Ok(()) })
        })
        .await
    }
}

impl Partial {
    fn check_text(&mut self) -> Result<(), Broken> {
        if !self.text || self.compressed {
            return Ok(());
        }
        match std::str::from_utf8(&self.bytes[self.checked..]) {
            Ok(_) => self.checked = self.bytes.len(),
            Err(error) if error.error_len().is_none() => self.checked += error.valid_up_to(),
            Err(_) => return Err(not_utf8()),
        }
        Ok(())
    }
}

fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    let once = u64::from(u32::from_ne_bytes(mask));
    let twice = once << 32 | once;
    let mut words = bytes.chunks_exact_mut(8);
    for word in &mut words {
        let plain = u64::from_ne_bytes((&*word).try_into().expect("eight bytes")) ^ twice;
        word.copy_from_slice(&plain.to_ne_bytes());
    }
    for (byte, mask) in words.into_remainder().iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

fn closed(payload: &[u8]) -> Result<Close, Broken> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return match payload {
            [] => Ok(Close {
                code: None,
                reason: String::new(),
            }),
            _ => Err(protocol("a close frame has one byte")),
        };
    };
    let code = u16::from_be_bytes(*code);
    if !CloseCode::from(code).is_allowed() {
        return Err(protocol("a close frame has a code that is not sent"));
    }
    let reason = std::str::from_utf8(reason).map_err(|_| not_utf8())?;
    Ok(Close {
        code: Some(code),
        reason: reason.to_owned(),
    })
}

fn unreadable(error: &tungstenite::Error) -> Broken {
    tracing::debug!(%error, "a frame cannot be read");
    protocol("a frame is of an unknown kind")
}

const fn protocol(what: &'static str) -> Broken {
    Broken::Protocol { code: 1002, what }
}

const fn invalid(what: &'static str) -> Broken {
    Broken::Protocol { code: 1007, what }
}

const fn not_utf8() -> Broken {
    invalid("a text is not UTF-8")
}

const fn too_large() -> Broken {
    Broken::Protocol {
        code: 1009,
        what: "a message is larger than 32 MiB",
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    /// A masked frame; `first` has the bits and the opcode.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [0x12, 0x34, 0x56, 0x78];
        let mut bytes = vec![first];
        match payload.len() {
            short @ 0..126 => bytes.push(0x80 | short as u8),
            long => {
                bytes.push(0x80 | 127);
                bytes.extend_from_slice(&(long as u64).to_be_bytes());
            }
        }
        bytes.extend_from_slice(&mask);
        let masked = payload.iter().zip(mask.iter().cycle());
        bytes.extend(masked.map(|(byte, mask)| byte ^ mask));
        bytes
    }

    /// Everything read from these bytes, which arrive at most `at_once` at a time.
    async fn read(bytes: &[u8], at_once: usize) -> Vec<String> {
        let (mut client, host) = tokio::io::duplex(at_once);
        let mut reader = Reader::new(host, Some(Deflate::default()), 1 << 20);
        let writing = async move {
            // The reader may hang up before the end.
            let _ = client.write_all(bytes).await;
        };
        let reading = async {
            let mut all = Vec::new();
            loop {
                match reader.next().await {
                    Ok(incoming) => all.push(format!("{incoming:?}")),
                    Err(broken) => {
                        drop(reader);
                        all.push(format!("{broken:?}"));
                        return all;
                    }
                }
            }
        };
        tokio::join!(writing, reading).1
    }

    #[tokio::test]
    async fn frames_in_pieces_become_whole_messages() {
        let large = "ä".repeat(50_000);
        let bytes = [
            frame(0x81, "hällo".as_bytes()),
            frame(0x01, &"zwei Stücke".as_bytes()[..7]),
            frame(0x89, b"ping"),
            frame(0x80, &"zwei Stücke".as_bytes()[7..]),
            frame(0x82, b""),
            frame(0x81, large.as_bytes()),
            frame(0x88, &[0x03, 0xe8, b'x']),
        ]
        .concat();
        let wanted = [
            "Text(\"hällo\")".to_owned(),
            "Ping(b\"ping\")".to_owned(),
            "Text(\"zwei Stücke\")".to_owned(),
            "Binary(b\"\")".to_owned(),
            format!("Text({large:?})"),
            "Close(Close { code: Some(1000), reason: \"x\" })".to_owned(),
            "Lost".to_owned(),
        ];
        for at_once in [1, 2, 3, 5, 7, 64, 4_096, 70_000, 1 << 20] {
            assert_eq!(read(&bytes, at_once).await, wanted, "{at_once} at once");
        }
    }

    #[tokio::test]
    async fn what_breaks_the_protocol_gets_its_code() {
        let cases: [(Vec<u8>, u16); 12] = [
            (vec![0x81, 1, b'x'], 1002),
            (frame(0xa1, b"x"), 1002),
            (frame(0xc9, b"x"), 1002),
            (frame(0x83, b"x"), 1002),
            (frame(0x09, b"x"), 1002),
            (frame(0x89, &[0; 126]), 1002),
            (frame(0x80, b"x"), 1002),
            ([frame(0x01, b"x"), frame(0x81, b"x")].concat(), 1002),
            (frame(0x88, b"x"), 1002),
            (frame(0x88, &1005_u16.to_be_bytes()), 1002),
            (frame(0x01, b"\xff"), 1007),
            (frame(0x82, &vec![0; (1 << 20) + 1]), 1009),
        ];
        for (bytes, code) in cases {
            let all = read(&bytes, 1_000).await;
            let last = all.last().expect("it ends");
            let wanted = format!("Protocol {{ code: {code},");
            assert!(last.starts_with(&wanted), "{last} instead of {code}");
        }
    }

    #[tokio::test]
    async fn a_compressed_message_is_bounded_after_inflation() {
        let deflate = Deflate::default();
        let fits = deflate
            .compress(&vec![b'x'; 1 << 20])
            .await
            .expect("shorter");
        let bomb = deflate.compress(&vec![b'x'; (1 << 20) + 1]).await;
        let bytes = [frame(0xc1, &fits), frame(0xc2, &bomb.expect("shorter"))].concat();
        let all = read(&bytes, 1_000).await;
        assert_eq!(all[0], format!("Text({:?})", "x".repeat(1 << 20)));
        assert!(all[1].starts_with("Protocol { code: 1009"), "{}", all[1]);
    }
}
