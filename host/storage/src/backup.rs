//! Backup: a copy of the whole folder while objects go on.
//!
//! Files change only in checkpoints, so they are copied without stopping anybody, and what
//! checkpoints have touched meanwhile is copied again, until little is left. That little,
//! the names and the log behind the last checkpoint are set aside under the lock of
//! checkpoints: turns and commits go on even then, only a checkpoint waits. So the copy is
//! what a crash at that moment would have left, and recovery makes it whole (I6, I7).
//!
//! Paths may be handed out more than once; the last content counts. A file that has gone
//! meanwhile is handed out again with no bytes, which is the same as no file. Packs never
//! change, so they are only opened under the lock. MANIFEST is not handed out: whoever
//! writes it last makes of the copy a folder that can be opened.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek as _, SeekFrom, Write};
use std::path::Path;
use std::sync::{Arc, MutexGuard};

use crate::disk::{DiskFile, Env};
use crate::error::Error;
use crate::files;
use crate::history;
use crate::log::segment::{self, HEADER_BYTES, Header};
use crate::names;
use crate::storage::{Ledger, Shared, Storage};

/// What is touched less than this is set aside under the lock.
const LITTLE_BYTES: u64 = 32 << 20;
/// After so many rounds it is set aside, however much it is.
const ROUNDS: usize = 5;

/// Takes the files of a copy: path in the folder, length, content.
pub type Take<'a> = &'a mut dyn FnMut(&str, u64, &mut dyn Read) -> io::Result<()>;

/// A copy that was handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// To be written as `MANIFEST`, after everything else.
    pub manifest: Vec<u8>,
    /// The copy holds every commit before this position of the log, and none behind it.
    pub position: u64,
    /// How many files were handed out, and their bytes, counting each time.
    pub files: u64,
    pub bytes: u64,
}

impl Storage {
    /// Hands a copy of the folder to `take`. It holds every commit that was durable when
    /// this began, of each object and of all together a state that there was. `spool` is
    /// a file for what is set aside; it is made, and left for the caller to remove.
    pub fn backup(&self, spool: &Path, take: Take<'_>) -> Result<Backup, Error> {
        let shared = self.shared();
        let _watch = Watch::start(shared)?;
        let spooled = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(spool);
        let mut copy = Copy {
            shared,
            take,
            files: 0,
            bytes: 0,
            spool: spooled.map_err(|source| Error::io("making", spool, source))?,
            spooled: Vec::new(),
        };
        copy.all()
    }
}

/// As long as it lives, checkpoints note which files they touch.
struct Watch<'a>(&'a Shared);

impl<'a> Watch<'a> {
    fn start(shared: &'a Shared) -> Result<Self, Error> {
        let mut ledger = shared.ledger();
        if ledger.touched.is_some() {
            return Err(Error::BackupRuns);
        }
        ledger.touched = Some(BTreeSet::new());
        Ok(Watch(shared))
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.0.ledger().touched = None;
    }
}

struct Copy<'a> {
    shared: &'a Shared,
    take: Take<'a>,
    files: u64,
    bytes: u64,
    spool: File,
    /// What is set aside, in its order.
    spooled: Vec<(String, u64)>,
}

impl Copy<'_> {
    fn all(&mut self) -> Result<Backup, Error> {
        for path in self.objects()? {
            self.hand_out_file(&path)?;
        }
        for round in 1.. {
            let mut ledger = self.shared.ledger();
            self.shared.checkpoint_in(&mut ledger)?;
            let touched = std::mem::take(ledger.touched.get_or_insert_default());
            if round < ROUNDS && self.length(&touched)? > LITTLE_BYTES {
                drop(ledger);
                for path in touched {
                    self.hand_out_file(&path)?;
                }
                continue;
            }
            return self.finish(ledger, &touched);
        }
        unreachable!("the last round returns")
    }

    fn finish(
        &mut self,
        ledger: MutexGuard<'_, Ledger>,
        touched: &BTreeSet<String>,
    ) -> Result<Backup, Error> {
        let manifest = ledger.manifest;
        for path in touched {
            self.set_aside_file(path)?;
        }
        self.set_aside_file(names::PATH)?;
        let position = self.set_aside_log(manifest.redo, manifest.segment)?;
        let packs = self.packs(&ledger)?;
        drop(ledger);
        for (path, file, bytes) in packs {
            self.hand_out(&path, bytes, &mut Reading::new(file, bytes))?;
        }
        self.hand_out_spooled()?;
        Ok(Backup {
            manifest: manifest.text().into_bytes(),
            position,
            files: self.files,
            bytes: self.bytes,
        })
    }

    /// The paths of all objects' files.
    fn objects(&self) -> Result<Vec<String>, Error> {
        let disk = &self.shared.env().disk;
        let failed = |source| Error::io("listing", files::ROOT, source);
        let mut found = Vec::new();
        let mut folders = vec![files::ROOT.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in disk.list(&folder).map_err(failed)? {
                let path = format!("{folder}/{}", entry.name);
                match entry.is_dir {
                    true => folders.push(path),
                    false => found.push(path),
                }
            }
        }
        Ok(found)
    }

    fn length(&self, paths: &BTreeSet<String>) -> Result<u64, Error> {
        let lengths = paths.iter().map(|path| Ok(self.open(path)?.1));
        lengths.sum()
    }

    /// A file and its length; nothing of length 0 when it is gone.
    fn open(&self, path: &str) -> Result<(Option<Arc<dyn DiskFile>>, u64), Error> {
        let opened = open(self.shared.env(), path);
        opened.map_err(|source| Error::io("reading", path, source))
    }

    fn hand_out_file(&mut self, path: &str) -> Result<(), Error> {
        let (file, bytes) = self.open(path)?;
        match file {
            Some(file) => self.hand_out(path, bytes, &mut Reading::new(file, bytes)),
            None => self.hand_out(path, 0, &mut io::empty()),
        }
    }

    fn hand_out(&mut self, path: &str, bytes: u64, content: &mut dyn Read) -> Result<(), Error> {
        self.files += 1;
        self.bytes += bytes;
        (self.take)(path, bytes, content).map_err(|source| Error::io("copying", path, source))
    }

    fn set_aside_file(&mut self, path: &str) -> Result<(), Error> {
        match self.open(path)? {
            (Some(file), bytes) => self.set_aside(path, bytes, &mut Reading::new(file, bytes)),
            (None, _) => self.set_aside(path, 0, &mut io::empty()),
        }
    }

    fn set_aside(&mut self, path: &str, bytes: u64, content: &mut dyn Read) -> Result<(), Error> {
        let copied = io::copy(content, &mut self.spool);
        copied.map_err(|source| Error::io("setting aside", path, source))?;
        self.spooled.push((path.to_owned(), bytes));
        Ok(())
    }

    /// The durable log from `redo` on. Answers where it ends. The first segment begins with
    /// `redo`, and none is longer than what it holds.
    fn set_aside_log(&mut self, redo: u64, first: u64) -> Result<u64, Error> {
        let log = self.shared.log();
        // In this order: segments that are begun later hold nothing before the end.
        let end = log.durable().max(redo);
        let segments = log.segments();
        let live = segments
            .iter()
            .filter(|(number, start)| *number >= first && (*start < end || *number == first));
        let live: Vec<(u64, u64)> = live.copied().collect();
        for (index, (number, start)) in live.iter().enumerate() {
            let from = redo.max(*start);
            let to = live.get(index + 1).map_or(end, |(_, next)| *next);
            self.set_aside_segment(*number, *start, from, to)?;
        }
        Ok(end)
    }

    fn set_aside_segment(
        &mut self,
        number: u64,
        start: u64,
        from: u64,
        to: u64,
    ) -> Result<(), Error> {
        let path = segment::path(&segment::name(number));
        let failed = |source| Error::io("reading", &path, source);
        let (Some(file), _) = self.open(&path)? else {
            return Err(failed(ErrorKind::NotFound.into()));
        };
        let mut header = [0; HEADER_BYTES as usize];
        file.read_at(&mut header, 0).map_err(failed)?;
        let damaged = |_| failed(ErrorKind::InvalidData.into());
        let header = Header::read(&header).map_err(damaged)?;
        let bytes = HEADER_BYTES + (to - from);
        let header = Header {
            start: from,
            bytes,
            ..header
        };
        let mut records = Reading::new(file, HEADER_BYTES + (to - start));
        records.at = HEADER_BYTES + (from - start);
        let header = header.write();
        self.set_aside(&path, bytes, &mut (&header[..]).chain(records))
    }

    fn packs(&self, ledger: &Ledger) -> Result<Vec<Pack>, Error> {
        let names = ledger.history.names();
        let paths = names.iter().map(|name| history::path(name));
        let opened = paths.map(|path| match self.open(&path)? {
            (Some(file), bytes) => Ok((path, file, bytes)),
            (None, _) => Err(Error::io("reading", path, ErrorKind::NotFound.into())),
        });
        opened.collect()
    }

    fn hand_out_spooled(&mut self) -> Result<(), Error> {
        let failed = |source| Error::io("reading", "what was set aside", source);
        self.spool.flush().map_err(failed)?;
        self.spool.seek(SeekFrom::Start(0)).map_err(failed)?;
        for (path, bytes) in std::mem::take(&mut self.spooled) {
            let mut content = self.spool.try_clone().map_err(failed)?.take(bytes);
            self.hand_out(&path, bytes, &mut content)?;
        }
        Ok(())
    }
}

fn open(env: &Env, path: &str) -> io::Result<(Option<Arc<dyn DiskFile>>, u64)> {
    match env.disk.open(path, false) {
        Ok(file) => {
            let bytes = file.len()?;
            Ok((Some(file), bytes))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok((None, 0)),
        Err(error) => Err(error),
    }
}

/// Path, file and length of a pack.
type Pack = (String, Arc<dyn DiskFile>, u64);

/// Reads a file up to `end`, and zeros where it has become shorter: it is handed out
/// again then.
struct Reading {
    file: Arc<dyn DiskFile>,
    at: u64,
    end: u64,
}

impl Reading {
    fn new(file: Arc<dyn DiskFile>, end: u64) -> Self {
        Reading { file, at: 0, end }
    }
}

impl Read for Reading {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let buffer = &mut buffer[..wanted];
        let read = self.file.read_at(buffer, self.at)?;
        buffer[read..].fill(0);
        self.at += wanted as u64;
        Ok(wanted)
    }
}
