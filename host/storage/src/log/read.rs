//! Reading the log back while it goes on: for history, which is made from it.
//!
//! Only durable records are read, so anything that is not a valid one is damage. Reads in
//! windows, so a long log takes no more memory than its largest record.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use crate::disk::{DiskFile, Env};
use crate::log::record::{self, Kind, Record};
use crate::log::segment::{self, HEADER_BYTES, Header};

const WINDOW_BYTES: u64 = 1 << 20;

/// A part of a file that is read from front to back.
#[derive(Debug)]
pub(crate) struct Window {
    file: Arc<dyn DiskFile>,
    end: u64,
    base: u64,
    buffer: Vec<u8>,
}

impl Window {
    /// The bytes of `file` before `end`.
    pub(crate) fn new(file: Arc<dyn DiskFile>, end: u64) -> Window {
        Window {
            file,
            end,
            base: 0,
            buffer: Vec::new(),
        }
    }

    /// `length` bytes at `at`; `None` when there are fewer.
    pub(crate) fn get(&mut self, at: u64, length: usize) -> io::Result<Option<&[u8]>> {
        let Some(end) = at.checked_add(length as u64).filter(|end| *end <= self.end) else {
            return Ok(None);
        };
        if at < self.base || end > self.base + self.buffer.len() as u64 {
            let wanted = WINDOW_BYTES.max(length as u64).min(self.end - at);
            self.buffer.resize(wanted as usize, 0);
            let read = self.file.read_at(&mut self.buffer, at)?;
            self.buffer.truncate(read);
            self.base = at;
        }
        let from = (at - self.base) as usize;
        Ok(self.buffer.get(from..from + length))
    }
}

/// Hands the commits in `from..to` to `visit`, in order. `segments` are numbers and start
/// positions, oldest first; both bounds are bounds of records.
pub(crate) fn commits(
    env: &Env,
    segments: &[(u64, u64)],
    from: u64,
    to: u64,
    visit: &mut dyn FnMut(&Record<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let mut position = from;
    for (index, (number, start)) in segments.iter().enumerate() {
        let end = segments
            .get(index + 1)
            .map_or(to, |(_, next)| to.min(*next));
        if position < *start || position >= end {
            continue;
        }
        let name = segment::name(*number);
        let file = env.disk.open(&segment::path(&name), false)?;
        let mut header = [0; HEADER_BYTES as usize];
        file.read_at(&mut header, 0)?;
        let header = Header::read(&header).map_err(|_| damaged(&name, *start))?;
        let bytes = file.len()?;
        let mut window = Window::new(file, bytes);
        while position < end {
            let at = HEADER_BYTES + (position - start);
            let length = window
                .get(at, record::HEADER_BYTES)?
                .and_then(<[u8]>::first_chunk)
                .map(record::length);
            let length = length.ok_or_else(|| damaged(&name, position))?;
            let record = window
                .get(at, length)?
                .and_then(|bytes| record::read(bytes, position, header.epoch, true));
            let record = record.ok_or_else(|| damaged(&name, position))?;
            position = record.end();
            if record.kind == Kind::Commit {
                visit(&record)?;
            }
        }
    }
    match position < to {
        true => Err(damaged("its end", position)),
        false => Ok(()),
    }
}

fn damaged(name: &str, position: u64) -> io::Error {
    let text = format!("the log is damaged in {name} at position {position}");
    io::Error::new(ErrorKind::InvalidData, text)
}
