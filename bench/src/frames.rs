//! The client's end of a WebSocket, as cheap as can be.
//!
//! Ten thousand of these and the host share a machine, so there is no library in
//! between: text frames under 126 bytes, masked with zeros, and nothing else.

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

const TEXT: u8 = 0x81;
const MASKED: u8 = 0x80;
const EACH_ADDRESS: usize = 20_000;

#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) reader: Reader,
    pub(crate) writer: OwnedWriteHalf,
}

/// Keeps what arrived and was not asked for yet; small, as most sockets are quiet.
#[derive(Debug)]
pub(crate) struct Reader {
    half: OwnedReadHalf,
    bytes: Vec<u8>,
}

impl Socket {
    /// `number`: how many there are already, since one address of ours has ports for
    /// some 28,000 only.
    pub(crate) async fn connect(port: u16, path: &str, number: usize) -> Result<Self> {
        let from = 1 + u8::try_from(number / EACH_ADDRESS).context("too many sockets")?;
        let socket = TcpSocket::new_v4()?;
        socket.bind(([127, 0, 0, from], 0).into())?;
        let mut stream = socket.connect(([127, 0, 0, 1], port).into()).await?;
        stream.set_nodelay(true)?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.context("no handshake")?);
        }
        let head = String::from_utf8_lossy(&head);
        ensure!(head.starts_with("HTTP/1.1 101"), "no WebSocket: {head}");
        let (half, writer) = stream.into_split();
        let reader = Reader {
            half,
            bytes: Vec::new(),
        };
        Ok(Self { reader, writer })
    }

    /// Sends a text and waits for the same text.
    pub(crate) async fn echo(&mut self, frame: &[u8], text: &str) -> Result<()> {
        self.writer.write_all(frame).await?;
        let answer = self.reader.next().await?;
        ensure!(answer == text.as_bytes(), "the echo of {text:?} differs");
        Ok(())
    }
}

impl Reader {
    /// The payload of the next frame.
    pub(crate) async fn next(&mut self) -> Result<Vec<u8>> {
        self.fill(2).await?;
        let (kind, length) = (self.bytes[0], usize::from(self.bytes[1]));
        if kind != TEXT || length > 125 {
            bail!("a frame of kind {kind:#x} and length {length} was not expected");
        }
        self.fill(2 + length).await?;
        let rest = self.bytes.split_off(2 + length);
        let frame = std::mem::replace(&mut self.bytes, rest);
        Ok(frame[2..].to_vec())
    }

    async fn fill(&mut self, count: usize) -> Result<()> {
        while self.bytes.len() < count {
            let mut chunk = [0; 512];
            let read = self.half.read(&mut chunk).await?;
            ensure!(read > 0, "the peer closed a socket");
            self.bytes.extend_from_slice(&chunk[..read]);
        }
        Ok(())
    }
}

/// A text frame from the client.
pub(crate) fn text(payload: &str) -> Vec<u8> {
    assert!(payload.len() < 126, "longer frames have another header");
    let mut frame = vec![TEXT, MASKED | payload.len() as u8, 0, 0, 0, 0];
    frame.extend_from_slice(payload.as_bytes());
    frame
}
