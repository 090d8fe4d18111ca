//! Storage: a data folder, its commit log and the databases in it.
//!
//! Made once per host; clones share it. With threads, one commits and one makes
//! checkpoints; without them, the owner does both by hand. Invariant: one process per
//! folder (LOCK), one connection per object.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::fmt;
use std::io::{self, ErrorKind};
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::alarm;
use crate::checkpoint::{Checkpoint, Job};
use crate::database::Database;
use crate::disk::Env;
use crate::error::Error;
use crate::fault::Fault;
use crate::files::{self, Files};
use crate::history::{self, History};
use crate::key::{ObjectKey, unhex};
use crate::log::{Log, Progress, segment};
use crate::manifest::Manifest;
use crate::names::Names;
use crate::options::{Limits, Options};
use crate::pages::{Common, Holder, Pages};
use crate::recovery::recover;
use crate::reserved;
use crate::sqlite::{Connection, start};
use crate::tallies::Tallies;
use crate::threads::Threads;
use crate::ticket::Ticket;
use crate::vfs;

const LOCK: &str = "LOCK";

/// Four times what a merged pack holds at most.
const PACK_BYTES: u64 = 1 << 30;

/// Handle to a data folder.
#[derive(Debug, Clone)]
pub struct Storage {
    shared: Arc<Owner>,
}

/// What `Storage` and `Database` share. The last one to go ends the threads, which hold
/// `Shared` only, and with it gives the folder free.
#[derive(Debug)]
pub(crate) struct Owner(Arc<Shared>);

impl Deref for Owner {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.threads.stop(&self.common.log);
    }
}

/// One object that has a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub id: [u8; 32],
    pub name: Option<String>,
    pub bytes: u64,
}

pub(crate) struct Shared {
    options: Options,
    env: Env,
    common: Arc<Common>,
    names: Names,
    tallies: Tallies,
    /// Objects that are awake, or that have pages for their files.
    objects: Mutex<BTreeMap<u128, Arc<Pages>>>,
    ledger: Mutex<Ledger>,
    /// A copy of the manifest's redo position.
    redo: AtomicU64,
    trouble: Mutex<Option<Error>>,
    threads: Threads,
    _lock: Box<dyn Any + Send + Sync>,
}

/// What checkpoints change; whoever holds its lock finds the files still.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) manifest: Manifest,
    pub(crate) history: History,
    /// Paths of objects' files that checkpoints have written or removed, while a backup
    /// wants to know.
    pub(crate) touched: Option<BTreeSet<String>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("options", &self.options)
            .field("redo", &self.redo)
            .finish_non_exhaustive()
    }
}

impl Storage {
    /// Opens a data folder and recovers it from whatever ended its last use.
    pub fn open(options: Options) -> Result<Storage, Error> {
        let env =
            Env::real(&options.dir).map_err(|source| Error::io("opening", &options.dir, source))?;
        Storage::open_in(options, env)
    }

    /// As `open`, in a given world; `options.dir` is then only a name.
    pub fn open_in(options: Options, env: Env) -> Result<Storage, Error> {
        start();
        let lock = env
            .disk
            .lock(LOCK)
            .map_err(|source| Error::io("locking", &options.dir, source))?;
        let lock = match lock {
            None if env.faults.is(Fault::SecondOwner) => Some(Box::new(()) as Box<_>),
            lock => lock,
        };
        let lock = lock.ok_or_else(|| Error::InUse {
            path: options.dir.clone(),
        })?;
        let names = Names::default();
        let recovered = recover(&env, &names, &options)?;
        let manifest = recovered.manifest;
        let log = Log::new(
            env.clone(),
            manifest.log,
            recovered.epoch,
            recovered.writer,
            recovered.end,
            recovered.last_ms,
        );
        let common = Arc::new(Common {
            log: Arc::new(log),
            files: Files::new(env.clone(), options.open_files),
            overlay_bytes: AtomicU64::new(0),
            turn_bytes: options.turn_bytes,
        });
        let shared = Arc::new(Shared {
            env,
            common,
            names,
            tallies: Tallies::default(),
            objects: Mutex::default(),
            redo: AtomicU64::new(manifest.redo),
            ledger: Mutex::new(Ledger {
                manifest,
                history: recovered.history,
                touched: None,
            }),
            trouble: Mutex::default(),
            threads: Threads::default(),
            _lock: lock,
            options,
        });
        if shared.env.threads {
            shared.threads.start(&shared);
        } else {
            shared.prepare()?;
        }
        Ok(Storage {
            shared: Arc::new(Owner(shared)),
        })
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Names a database; opens nothing yet.
    pub fn database(&self, key: ObjectKey) -> Database {
        Database::new(key, Arc::clone(&self.shared))
    }

    /// All objects of a namespace that have written something, by id.
    pub fn list(&self, namespace: &str) -> Result<Vec<Listed>, Error> {
        self.shared.list(namespace)
    }

    /// When the file of an object last changed; `None` while all of it is in the log.
    pub fn file_changed(&self, key: &ObjectKey) -> Option<SystemTime> {
        let path = self.shared.options.dir.join(files::path(key));
        std::fs::metadata(path).ok()?.modified().ok()
    }

    /// Tells of all objects that had alarms when the folder was opened.
    pub fn alarm_hints(&self, visit: &mut dyn FnMut(alarm::Hint)) -> Result<(), Error> {
        alarm::scan(&self.shared.env, visit)
    }

    /// Whether it commits by itself; otherwise the owner calls `commit`.
    pub fn has_threads(&self) -> bool {
        self.shared.env.threads
    }

    /// Writes and syncs one batch of the log, for an owner without threads. Whether there
    /// was one.
    pub fn commit(&self) -> Result<bool, Error> {
        match self.shared.common.log.commit() {
            Progress::Idle => Ok(false),
            Progress::Synced => Ok(true),
            Progress::Starved => Err(Error::NoSpace),
            Progress::Dead => self
                .shared
                .common
                .log
                .admit()
                .map(|_| false)
                .map_err(Error::from),
        }
    }

    /// Carries all committed pages to their files and lets go of the log before them.
    pub fn checkpoint(&self) -> Result<(), Error> {
        self.shared.checkpoint()
    }

    /// Why the last checkpoint failed, until one succeeds. Nothing is lost by it, but log
    /// and memory grow.
    pub fn trouble(&self) -> Option<Error> {
        self.shared.lock_trouble().clone()
    }

    /// Whether nobody else holds the folder: no other handle, no database. It is
    /// free for another process once this handle is dropped, too.
    pub fn is_last(&self) -> bool {
        Arc::strong_count(&self.shared) == 1
    }

    /// Whether it is a clone of the other.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Makes everything durable and ends the threads; for an orderly end.
    pub fn close(&self) -> Result<(), Error> {
        let result = self.shared.checkpoint();
        self.shared.threads.stop(&self.shared.common.log);
        result
    }
}

impl Shared {
    pub(crate) fn limits(&self) -> &Limits {
        &self.options.limits
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    pub(crate) fn env(&self) -> &Env {
        &self.env
    }

    pub(crate) fn common(&self) -> &Common {
        &self.common
    }

    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    pub(crate) fn tallies(&self) -> &Tallies {
        &self.tallies
    }

    pub(crate) fn log(&self) -> &Arc<Log> {
        &self.common.log
    }

    pub(crate) fn ticket(&self, off: u64) -> Ticket {
        Ticket::new(Arc::clone(&self.common.log), off)
    }

    pub(crate) fn ungated(&self, wrote: bool) -> bool {
        self.env.faults.is(Fault::UngatedRead) && !wrote
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<u128, Arc<Pages>>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_trouble(&self) -> MutexGuard<'_, Option<Error>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the one connection of an object.
    pub(crate) fn connect(&self, key: &ObjectKey) -> Result<(Arc<Pages>, Connection), Error> {
        let pages = self.find(key)?;
        let connection = self.connect_to(&pages, Holder::Session)?;
        Ok((pages, connection))
    }

    /// The pages of an object, whether it has any or not.
    pub(crate) fn find(&self, key: &ObjectKey) -> Result<Arc<Pages>, Error> {
        check_namespace(&key.namespace)?;
        self.pages(key)
            .map_err(|source| Error::io("opening", files::path(key), source))
    }

    /// Opens the one connection to an object's pages.
    pub(crate) fn connect_to(
        &self,
        pages: &Arc<Pages>,
        holder: Holder,
    ) -> Result<Connection, Error> {
        if !pages.wait_until_free(holder) {
            let object = pages.key().to_string();
            return Err(Error::Awake { object });
        }
        let name = CString::new(pages.path()).expect("namespace and hex digits have no NUL");
        let connection = vfs::with_pages(Arc::clone(pages), holder, |vfs| {
            Connection::open(&name, vfs, files::RESERVED_BYTES)
        })?;
        let cache_kib = self.options.cache_bytes / 1024;
        let most = self.options.limits.database_bytes / crate::log::delta::PAGE_BYTES as u64;
        connection.run_trusted(&format!(
            "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=MEMORY; PRAGMA synchronous=OFF; \
             PRAGMA cache_size=-{cache_kib}; PRAGMA max_page_count={most}"
        ))?;
        Ok(connection)
    }

    fn pages(&self, key: &ObjectKey) -> io::Result<Arc<Pages>> {
        let mut objects = self.objects();
        let number = files::number(key);
        if let Some(pages) = objects.get(&number) {
            return Ok(Arc::clone(pages));
        }
        let pages = Arc::new(Pages::open(key.clone(), Arc::clone(&self.common))?);
        objects.insert(number, Arc::clone(&pages));
        Ok(pages)
    }

    /// How far the log must be durable for an object that is not open here.
    pub(crate) fn gate(&self, key: &ObjectKey) -> u64 {
        self.objects()
            .get(&files::number(key))
            .map_or(0, |pages| pages.gate())
    }

    /// An object went to sleep: its pages stay only as long as the file lacks some.
    pub(crate) fn disconnect(&self, key: &ObjectKey) {
        self.forget_unused(files::number(key));
    }

    pub(crate) fn forget_unused(&self, number: u128) {
        let mut objects = self.objects();
        // Nobody may be about to connect to pages that are no longer found here.
        let unused = |pages: &Arc<Pages>| Arc::strong_count(pages) == 1 && pages.is_idle();
        if objects.get(&number).is_some_and(unused) {
            objects.remove(&number);
        }
    }

    /// Whether a turn may begin: what it writes must find its way to the disk.
    pub(crate) fn admit(&self) -> Result<(), Error> {
        if self.common.overlay_bytes.load(Ordering::Relaxed)
            > self.options.overlay_bytes.saturating_mul(4)
        {
            self.checkpoint()?;
        }
        if self.common.log.admit()? {
            Ok(())
        } else {
            Err(Error::NoSpace)
        }
    }

    /// Asks for a checkpoint when one is due.
    pub(crate) fn after_commit(&self) {
        let log_bytes = self.common.log.end() - self.redo.load(Ordering::Relaxed);
        let overlay_bytes = self.common.overlay_bytes.load(Ordering::Relaxed);
        if log_bytes > self.options.checkpoint_bytes || overlay_bytes > self.options.overlay_bytes {
            self.threads.poke();
        }
    }

    /// A place for a wrong ordering: the file goes before its record is durable.
    pub(crate) fn after_delete(&self, pages: &Pages) {
        if self.env.faults.is(Fault::UnlinkBeforeDurable) {
            self.common.files.forget(pages.number());
            let _ = self.env.disk.remove(pages.path());
        }
    }

    pub(crate) fn checkpoint(&self) -> Result<(), Error> {
        self.checkpoint_in(&mut self.ledger())
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn checkpoint_in(&self, ledger: &mut Ledger) -> Result<(), Error> {
        let mut checkpoint = Checkpoint {
            env: &self.env,
            log: &self.common.log,
            names: &self.names,
            manifest: &mut ledger.manifest,
            history: &mut ledger.history,
            open_files: self.options.files_while_writing(),
        };
        // First the position, then the pages: what is committed in between is in both.
        let redo = checkpoint.begin();
        let jobs = self.jobs();
        if let Some(touched) = &mut ledger.touched {
            touched.extend(jobs.iter().map(|job| job.pages.path().to_owned()));
        }
        let result = checkpoint
            .run(redo, &jobs, |pages| {
                self.common.files.forget(pages.number())
            })
            .and_then(|()| self.prepare());
        self.redo.store(ledger.manifest.redo, Ordering::Relaxed);
        for Job { pages, .. } in jobs {
            let number = pages.number();
            drop(pages);
            self.forget_unused(number);
        }
        let result = result.and_then(|()| self.tend(ledger));
        *self.lock_trouble() = result.as_ref().err().cloned();
        result
    }

    /// Lets go of history that is too old, and keeps its packs few.
    fn tend(&self, ledger: &mut Ledger) -> Result<(), Error> {
        let failed = |source| Error::io("tending", history::DIR, source);
        let keep_ms = u64::try_from(self.options.history.as_millis()).unwrap_or(u64::MAX);
        let oldest_ms = self.env.clock.now_ms().saturating_sub(keep_ms);
        let most_bytes = self.options.history_bytes;
        let Ledger {
            manifest, history, ..
        } = ledger;
        if let Some((count, horizon)) = history.expired(oldest_ms, most_bytes, manifest.redo) {
            if self.env.faults.is(Fault::HorizonAfterPacks) {
                history.forget(&self.env, count).map_err(failed)?;
            }
            let next = Manifest {
                horizon,
                ..*manifest
            };
            next.store(&self.env).map_err(failed)?;
            *manifest = next;
            if !self.env.faults.is(Fault::HorizonAfterPacks) {
                history.forget(&self.env, count).map_err(failed)?;
            }
        }
        // One pack shall not keep a small rest of it for long.
        let (bytes, ms) = (most_bytes.min(PACK_BYTES) / 4, keep_ms / 16);
        history.merge(&self.env, bytes, ms)
    }

    /// Makes room for the log before it needs it.
    pub(crate) fn prepare(&self) -> Result<(), Error> {
        let prepared = self.common.log.prepare(self.options.segment_bytes);
        prepared.map_err(|source| Error::io("preparing a segment in", segment::DIR, source))
    }

    fn jobs(&self) -> Vec<Job> {
        let all: Vec<Arc<Pages>> = self.objects().values().cloned().collect();
        let job = |pages: Arc<Pages>| pages.snapshot().map(|snapshot| Job { pages, snapshot });
        all.into_iter().filter_map(job).collect()
    }

    fn list(&self, namespace: &str) -> Result<Vec<Listed>, Error> {
        check_namespace(namespace)?;
        let failed = |source| Error::io("listing", files::ROOT, source);
        let mut sizes = self.sizes_on_disk(namespace).map_err(failed)?;
        let mut names = self.names.of(&self.env, namespace).map_err(failed)?;
        for pages in self
            .objects()
            .values()
            .filter(|pages| pages.key().namespace == namespace)
        {
            let ObjectKey { id, name, .. } = pages.key();
            sizes.insert(*id, pages.committed_bytes());
            names.extend(name.clone().map(|name| (*id, name)));
        }
        sizes.retain(|_, bytes| *bytes > 0);
        let describe = |(id, bytes)| {
            let name = match names.remove(&id) {
                Some(name) => Some(name),
                None => self.name_in_file(namespace, id)?,
            };
            Ok(Listed { id, name, bytes })
        };
        sizes.into_iter().map(describe).collect()
    }

    fn sizes_on_disk(&self, namespace: &str) -> io::Result<BTreeMap<[u8; 32], u64>> {
        let mut sizes = BTreeMap::new();
        for slot in self.env.disk.list(files::ROOT)? {
            let entries =
                match self
                    .env
                    .disk
                    .list(&format!("{}/{}/{namespace}", files::ROOT, slot.name))
                {
                    Ok(entries) => entries,
                    Err(error) if error.kind() == ErrorKind::NotADirectory => continue,
                    Err(error) => return Err(error),
                };
            let ids = entries
                .iter()
                .filter_map(|entry| Some((unhex(entry.name.strip_suffix(".db")?)?, entry.bytes)));
            sizes.extend(ids);
        }
        Ok(sizes)
    }

    /// Asks the object itself; an object that is awake has told its name, if it has one.
    fn name_in_file(&self, namespace: &str, id: [u8; 32]) -> Result<Option<String>, Error> {
        let key = ObjectKey {
            namespace: namespace.to_owned(),
            id,
            name: None,
        };
        let Ok(claim) = self.claim_if_free(&key) else {
            return Ok(None);
        };
        match self.connect_to(claim.pages(), Holder::Claimant) {
            Ok(connection) => reserved::read_name(&connection),
            Err(Error::Sql { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Namespaces are folder names on every file system.
fn check_namespace(namespace: &str) -> Result<(), Error> {
    let fits = (1..=200).contains(&namespace.len())
        && !namespace.starts_with('.')
        && namespace
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if fits {
        Ok(())
    } else {
        Err(Error::Namespace {
            namespace: namespace.into(),
        })
    }
}
