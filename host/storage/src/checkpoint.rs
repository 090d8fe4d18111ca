//! Checkpoints: carry committed pages to the objects' files, then let go of the log.
//!
//! Run by a thread of `storage`, or by its owner. Order, each step only after the one
//! before: begin a period at position P; wait until the log is durable; put into history
//! what the files are about to lose (I16); write the pages; sync files and folders; MANIFEST
//! with redo = P; recycle segments. If one file fails, redo stays where it was and all pages
//! of that file are written again next time (I4).

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::Arc;

use crate::disk::{DiskFile, Env};
use crate::error::Error;
use crate::fault::Fault;
use crate::files;
use crate::history::{self, History, Horizon};
use crate::log::delta::PAGE_BYTES;
use crate::log::{self, Log, segment};
use crate::manifest::Manifest;
use crate::names::Names;
use crate::pages::{Pages, Snapshot};

/// Objects to be written, the position before which nothing else is needed, and what the
/// manifest says so far.
pub(crate) struct Checkpoint<'a> {
    pub(crate) env: &'a Env,
    pub(crate) log: &'a Log,
    pub(crate) names: &'a Names,
    pub(crate) manifest: &'a mut Manifest,
    pub(crate) history: &'a mut History,
    /// Files that may be open at a time while they are written.
    pub(crate) open_files: usize,
}

/// One object on its way to its file.
pub(crate) struct Job {
    pub(crate) pages: Arc<Pages>,
    pub(crate) snapshot: Snapshot,
}

impl Checkpoint<'_> {
    /// Begins the period; what was committed before must be among the jobs.
    pub(crate) fn begin(&self) -> u64 {
        self.log.begin_period()
    }

    /// Does the rest; `redo` comes from `begin`.
    pub(crate) fn run(
        &mut self,
        redo: u64,
        jobs: &[Job],
        forget: impl Fn(&Pages),
    ) -> Result<(), Error> {
        let gate = jobs
            .iter()
            .map(|job| job.snapshot.gate)
            .max()
            .unwrap_or(0)
            .max(redo);
        if self.env.faults.is(Fault::FlushBeforeDurable) {
            self.write_files(jobs, &forget)?;
        }
        if !self.log.settle(gate)? {
            return Err(Error::NoSpace);
        }
        if self.env.faults.is(Fault::RedoBeforeSync) {
            self.advance(redo, gate)?;
        }
        if !self.env.faults.is(Fault::FilesBeforePack) {
            self.archive(jobs, gate)?;
        }
        self.write_files(jobs, &forget)?;
        if self.env.faults.is(Fault::FilesBeforePack) {
            self.archive(jobs, gate)?;
        }
        for job in jobs {
            job.pages.flushed(&job.snapshot);
        }
        self.advance(redo, gate)
    }

    fn write_files(&self, jobs: &[Job], forget: &impl Fn(&Pages)) -> Result<(), Error> {
        let fresh = jobs
            .iter()
            .filter(|job| job.snapshot.in_file == 0 && job.snapshot.size > 0);
        let keys = fresh.map(|job| job.pages.key());
        self.write_out(jobs, forget)
            .and_then(|()| self.names.append(self.env, keys))
            .map_err(|source| Error::io("writing object files in", files::ROOT, source))
    }

    /// Makes a pack of the commits that the jobs carry to the files.
    fn archive(&mut self, jobs: &[Job], gate: u64) -> Result<(), Error> {
        let is_new = |job: &&Job| {
            let Snapshot { gate, .. } = job.snapshot;
            !self.history.is_archived(job.pages.number(), gate)
        };
        let gates: HashMap<u128, u64> = jobs
            .iter()
            .filter(is_new)
            .map(|job| (job.pages.number(), job.snapshot.gate))
            .collect();
        if !self.manifest.history || gates.is_empty() {
            return Ok(());
        }
        let failed = |source| Error::io("archiving in", history::DIR, source);
        let floor = self.manifest.horizon.position;
        let mut archiver = self.history.archiver(self.env, floor).map_err(failed)?;
        let redo = self.manifest.redo;
        let fed =
            log::read::commits(
                self.env,
                &self.log.segments(),
                redo,
                gate,
                &mut |record| match gates.get(&record.object) {
                    Some(gate) if record.end() <= *gate => archiver.feed(record),
                    _ => Ok(()),
                },
            );
        if let Err(error) = fed {
            archiver.discard();
            return Err(failed(error));
        }
        let finished = archiver.finish().map_err(failed)?;
        self.history.add(finished);
        Ok(())
    }

    fn write_out(&self, jobs: &[Job], forget: &impl Fn(&Pages)) -> io::Result<()> {
        let mut written = Written::new(self.env, self.open_files);
        for Job { pages, snapshot } in jobs {
            let target = Target {
                path: pages.path(),
                key: pages.key(),
            };
            if snapshot.size == 0 {
                forget(pages);
                target.remove(self.env)?;
                written.gone.insert(files::dir(pages.key()));
            } else {
                let content = snapshot.pages.iter();
                let content = content.map(|(number, page)| (*number, &**page));
                let (in_file, size) = (snapshot.in_file, snapshot.size);
                target.write(&mut written, in_file, size, content)?;
            }
        }
        written.sync()
    }

    /// Moves redo, durably, and recycles what lies before it.
    fn advance(&mut self, redo: u64, durable: u64) -> Result<(), Error> {
        let failed = |source| Error::io("checkpointing in", segment::DIR, source);
        if self.env.faults.is(Fault::RecycleBeforeManifest) {
            self.log.trim(redo).map_err(failed)?;
        }
        let mut next = Manifest {
            redo,
            segment: self.log.number_at(redo),
            durable,
            ..*self.manifest
        };
        if !next.history {
            // What the files held before is nowhere any more.
            next.horizon = Horizon {
                position: durable,
                time_ms: self.env.clock.now_ms(),
            };
        }
        next.store(self.env).map_err(failed)?;
        *self.manifest = next;
        self.history.advance(redo);
        self.log.trim(redo).map_err(failed)
    }
}

/// What was written and is not durable yet. Only so many files are open at a time: each
/// takes a descriptor, and one checkpoint may carry more objects than there are.
pub(crate) struct Written<'a> {
    env: &'a Env,
    most: usize,
    files: Vec<Arc<dyn DiskFile>>,
    /// Folders that may have new names in them.
    pub(crate) folders: BTreeSet<String>,
    /// Folders from which names were removed.
    pub(crate) gone: BTreeSet<String>,
}

impl Written<'_> {
    pub(crate) fn new(env: &Env, most: usize) -> Written<'_> {
        Written {
            env,
            most: most.max(1),
            files: Vec::new(),
            folders: BTreeSet::new(),
            gone: BTreeSet::new(),
        }
    }

    fn add(&mut self, file: Arc<dyn DiskFile>) -> io::Result<()> {
        self.files.push(file);
        match self.files.len() < self.most {
            true => Ok(()),
            false => self.sync_files(),
        }
    }

    fn sync_files(&mut self) -> io::Result<()> {
        let (files, Env { disk, faults, .. }) = (std::mem::take(&mut self.files), self.env);
        if faults.is(Fault::FilesNotSynced) {
            return Ok(());
        }
        match disk.sync_files(&files) {
            Err(_) if faults.is(Fault::FileSyncErrorIgnored) => disk.sync_files(&files),
            result => result,
        }
    }

    /// Makes it durable: contents, then names, folders before what is above them.
    pub(crate) fn sync(mut self) -> io::Result<()> {
        self.sync_files()?;
        let Env { disk, faults, .. } = self.env;
        if !faults.is(Fault::ObjectDirNotSynced) {
            let mut folders = self.folders.iter().rev();
            folders.try_for_each(|folder| disk.sync_dir(folder))?;
        }
        if !faults.is(Fault::UnlinkDirNotSynced) {
            // A folder that was never made has nothing to lose.
            let sync_dir = |folder: &String| match disk.sync_dir(folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                result => result,
            };
            self.gone.iter().try_for_each(sync_dir)?;
        }
        Ok(())
    }
}

/// An object's file as something to be written.
pub(crate) struct Target<'a> {
    pub(crate) path: &'a str,
    pub(crate) key: &'a crate::ObjectKey,
}

impl Target<'_> {
    /// Removes the file, which may be gone already.
    pub(crate) fn remove(&self, env: &Env) -> io::Result<()> {
        match env.disk.remove(self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    /// Writes pages and length.
    pub(crate) fn write<'p>(
        &self,
        written: &mut Written<'_>,
        in_file: u32,
        size: u32,
        pages: impl Iterator<Item = (u32, &'p [u8; PAGE_BYTES])>,
    ) -> io::Result<()> {
        let file = self.open(written, in_file)?;
        let bytes = |pages: u32| u64::from(pages) * PAGE_BYTES as u64;
        let length = file.len()?;
        // What was cut off and not written again must read as zeros.
        if length > bytes(in_file) {
            file.set_len(bytes(in_file))?;
        }
        for (number, page) in pages {
            file.write_at(&files::with_checksum(number, page), bytes(number - 1))?;
        }
        if file.len()? != bytes(size) {
            file.set_len(bytes(size))?;
        }
        written.add(file)
    }

    fn open(&self, written: &mut Written<'_>, in_file: u32) -> io::Result<Arc<dyn DiskFile>> {
        let Written { env, folders, .. } = written;
        let dir = files::dir(self.key);
        if in_file == 0 {
            let (slot, _) = dir
                .rsplit_once('/')
                .expect("a folder of an object has a slot above it");
            env.disk.make_dir(slot)?;
            env.disk.make_dir(&dir)?;
            // Whether they are new is not asked: a crash may have left them un-synced.
            folders.extend([files::ROOT.to_owned(), slot.to_owned(), dir]);
        }
        env.disk.open(self.path, true)
    }
}
