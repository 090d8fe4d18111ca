//! A host in small: objects, their outputs, and what the outside has seen of them.
//!
//! It drives the shipping code over a `SimDisk` and keeps, per object, every committed
//! version. After a crash it checks I1 and I6 (nothing seen is lost, nothing half or
//! extra is there) and I7 (what survived is a prefix of the log), and SQLite's own
//! integrity check.

mod check;
mod travel;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use dormouse_storage::{
    Database, Env, Error, Fault, Faults, ObjectKey, Options, Storage, Ticket, Value,
};

use crate::disk::{Crash, Rng, SimDisk};

/// Rows of the object's table; `None` without a table.
type Content = Option<BTreeMap<i64, Vec<u8>>>;

#[derive(Debug, Clone)]
struct Version {
    /// Where in the log it became true.
    position: u64,
    content: Content,
    /// What brings it back.
    bookmark: Option<String>,
}

/// Something that waits to be told. Its gate wakes it, and it leaves at that very moment.
struct Output {
    object: usize,
    version: usize,
    bell: Arc<Bell>,
    _waiting: Ticket,
}

struct Bell {
    gate: Ticket,
    disk: SimDisk,
    left: AtomicBool,
}

impl Bell {
    /// Nothing leaves a machine that is off.
    fn look(&self) {
        if self.gate.is_open() && !self.disk.has_ended() {
            self.left.store(true, Ordering::Relaxed);
        }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.look();
    }
}

pub struct World {
    pub disk: SimDisk,
    pub rng: Rng,
    fault: Option<Fault>,
    options: Options,
    storage: Option<Storage>,
    awake: Vec<Option<Database>>,
    history: Vec<Vec<Version>>,
    /// The newest version of each object that the outside knows.
    pub seen: Vec<usize>,
    outputs: Vec<Output>,
    /// What was before is deleted for good.
    purged: Vec<u64>,
    purging: bool,
    left_behind: Option<String>,
    /// What was done to whole objects, for who has to find out.
    trace: Vec<String>,
    stamp: u8,
    /// All commits alike in size, which is what an old record behind a torn tail needs.
    pub uniform: bool,
    /// Whether objects are also restored, deleted for good and imported.
    pub travels: bool,
}

/// What the suite is looking for.
#[derive(Debug)]
pub struct Violation(pub String);

type Check = Result<(), Violation>;

pub const OBJECTS: usize = 3;

fn key(object: usize) -> ObjectKey {
    let name = (object != 1).then(|| format!("object {object}"));
    ObjectKey {
        namespace: "crash".into(),
        id: [object as u8; 32],
        name,
    }
}

/// Bytes that no other object has.
fn marker(object: usize) -> [u8; 24] {
    let mut rng = Rng(0x6d61_726b + object as u64);
    std::array::from_fn(|_| rng.next() as u8)
}

impl World {
    pub fn new(seed: u64, fault: Option<Fault>) -> World {
        let mut rng = Rng(seed);
        let segment_bytes = [8, 16, 64][rng.below(3) as usize] << 10;
        // In some worlds the past is forgotten soon, by age or by size.
        let history = Duration::from_millis(if seed % 5 == 3 { 400 } else { u64::MAX >> 1 });
        let history_bytes = if seed % 5 == 4 { 60_000 } else { u64::MAX };
        let options = Options {
            segment_bytes,
            history,
            history_bytes,
            cache_bytes: 16 << 10,
            open_files: 2,
            ..Options::new("simulated")
        };
        World {
            disk: SimDisk::new(seed ^ 0xd15c),
            rng,
            fault,
            options,
            storage: None,
            awake: (0..OBJECTS).map(|_| None).collect(),
            history: vec![
                vec![Version {
                    position: 0,
                    content: None,
                    bookmark: None,
                }];
                OBJECTS
            ],
            seen: vec![0; OBJECTS],
            outputs: Vec::new(),
            purged: vec![0; OBJECTS],
            purging: false,
            left_behind: None,
            trace: Vec::new(),
            stamp: 0,
            uniform: false,
            travels: true,
        }
    }

    /// A world of its own in the same state, asleep.
    pub fn fork(&self) -> World {
        World {
            disk: self.disk.fork(),
            rng: self.rng.clone(),
            fault: self.fault,
            options: self.options.clone(),
            storage: None,
            awake: (0..OBJECTS).map(|_| None).collect(),
            history: self.history.clone(),
            seen: self.seen.clone(),
            outputs: Vec::new(),
            purged: self.purged.clone(),
            purging: false,
            left_behind: None,
            trace: Vec::new(),
            stamp: self.stamp,
            uniform: self.uniform,
            travels: self.travels,
        }
    }

    pub fn start(&mut self) -> Result<(), Error> {
        self.storage = Some(self.open()?);
        Ok(())
    }

    fn open(&self) -> Result<Storage, Error> {
        let env = Env {
            disk: Arc::new(self.disk.clone()),
            clock: Arc::new(self.disk.clone()),
            threads: false,
            faults: self.fault.map_or(Faults::default(), Faults::only),
        };
        Storage::open_in(self.options.clone(), env)
    }

    /// Somebody else takes the folder over, while its owner only seems to be gone and goes
    /// on afterwards.
    fn rival(&mut self) -> Result<(), Error> {
        match self.open() {
            Ok(rival) => drop(rival),
            Err(Error::InUse { .. }) => (),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    pub fn storage(&self) -> &Storage {
        self.storage.as_ref().unwrap()
    }

    /// The process is gone; the disk is as `how` leaves it.
    pub fn crash(&mut self, how: Crash) {
        self.deliver();
        self.outputs.clear();
        self.awake
            .iter_mut()
            .for_each(|database| drop(database.take()));
        self.storage = None;
        self.disk.crash(how);
    }

    /// A step of work. An error means that the process has to end.
    pub fn step(&mut self) -> Result<(), Error> {
        let object = self.rng.below(OBJECTS as u64) as usize;
        if self.uniform {
            return self.uniform_step();
        }
        match self.rng.below(100) {
            0..50 => self.write(object)?,
            50..60 => self.tell(object, object),
            60..65 => {
                let other = (object + 1) % OBJECTS;
                self.tell(other, object);
            }
            65..79 => drop(self.storage().commit()?),
            79 => self.rival()?,
            80..88 => self.checkpoint()?,
            88..94 => drop(self.awake[object].take()),
            94..96 => self.delete(object)?,
            _ if !self.travels => (),
            96..98 => self.restore(object)?,
            98 => self.purge(object)?,
            _ => self.reimport(object)?,
        }
        self.deliver();
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<(), Error> {
        match self.storage().checkpoint() {
            // A file could not be written or synced: nothing is lost, it is tried again.
            Err(Error::Io { .. }) if !self.disk.has_ended() => Ok(()),
            result => result,
        }
    }

    fn database(&mut self, object: usize) -> &mut Database {
        let storage = self.storage.as_ref().unwrap();
        self.awake[object].get_or_insert_with(|| storage.database(key(object)))
    }

    pub fn write(&mut self, object: usize) -> Result<(), Error> {
        let mut rng = self.rng.clone();
        self.stamp = self.stamp.wrapping_add(1);
        let stamp = self.stamp;
        let mut content = self.history[object]
            .last()
            .unwrap()
            .content
            .clone()
            .unwrap_or_default();
        let db = self.database(object);
        db.exec(
            "CREATE TABLE IF NOT EXISTS t (k INTEGER PRIMARY KEY, v BLOB)",
            &[],
        )?;
        db.exec("CREATE INDEX IF NOT EXISTS i ON t (v)", &[])?;
        let rows = if rng.percent(10) {
            60
        } else {
            1 + rng.below(5)
        };
        for _ in 0..rows {
            let (k, length) = (rng.below(80) as i64, 1 + rng.below(900) as usize);
            let undo = rng.percent(8).then(|| db.open_savepoint()).transpose()?;
            if rng.percent(15) {
                db.exec("DELETE FROM t WHERE k = ?", &[Value::Integer(k)])?;
                if undo.is_none() {
                    content.remove(&k);
                }
            } else {
                let mut value = vec![stamp; length];
                value[length / 2] = rng.next() as u8;
                db.exec(
                    "INSERT OR REPLACE INTO t VALUES (?, ?)",
                    &[Value::Integer(k), Value::Blob(value.clone())],
                )?;
                if undo.is_none() {
                    content.insert(k, value);
                }
            }
            undo.map_or(Ok(()), |undo| db.rollback_savepoint(undo))?;
        }
        // Makes every version different from all others.
        let mut mark = vec![stamp, (rng.next() & 0xff) as u8, rows as u8];
        mark.extend(marker(object));
        db.exec(
            "INSERT OR REPLACE INTO t VALUES (-1, ?)",
            &[Value::Blob(mark.clone())],
        )?;
        content.insert(-1, mark);
        if rng.percent(10) {
            db.abandon_turn();
        } else {
            db.end_turn()?;
            let position = db.gate().position().off;
            self.committed(object, position, Some(content));
        }
        self.rng = rng;
        Ok(())
    }

    fn uniform_step(&mut self) -> Result<(), Error> {
        if self.rng.percent(40) {
            self.storage().commit()?;
        } else {
            let value: Vec<u8> = (0..2000).map(|_| self.rng.next() as u8).collect();
            let db = self.database(0);
            db.exec(
                "CREATE TABLE IF NOT EXISTS t (k INTEGER PRIMARY KEY, v BLOB)",
                &[],
            )?;
            db.exec(
                "INSERT OR REPLACE INTO t VALUES (1, ?)",
                &[Value::Blob(value.clone())],
            )?;
            db.end_turn()?;
            let position = db.gate().position().off;
            self.committed(0, position, Some(BTreeMap::from([(1, value)])));
        }
        self.deliver();
        Ok(())
    }

    fn delete(&mut self, object: usize) -> Result<(), Error> {
        if self.history[object].last().unwrap().content.is_none() {
            return Ok(());
        }
        let db = self.database(object);
        db.delete_all()?;
        let position = db.gate().position().off;
        self.committed(object, position, None);
        Ok(())
    }

    fn committed(&mut self, object: usize, position: u64, content: Content) {
        self.push(object, position, content);
        // Every commit is answered to whoever asked for it.
        let (version, gate) = (self.history[object].len() - 1, self.database(object).gate());
        self.put_out(object, version, gate);
    }

    /// `speaker` says what it knows of `subject`: of itself, or from a message.
    fn tell(&mut self, speaker: usize, subject: usize) {
        let version = self.history[subject].len() - 1;
        let read = self
            .database(subject)
            .exec("SELECT count(*) FROM sqlite_master", &[]);
        let cause = self.database(subject).gate();
        if read.is_err() {
            return;
        }
        let speaker = self.database(speaker);
        speaker.observe(&cause);
        let gate = speaker.gate();
        self.put_out(subject, version, gate);
    }

    fn put_out(&mut self, object: usize, version: usize, gate: Ticket) {
        let bell = Arc::new(Bell {
            gate: gate.clone(),
            disk: self.disk.clone(),
            left: AtomicBool::new(false),
        });
        let (mut waiting, waker) = (gate, Waker::from(Arc::clone(&bell)));
        if Pin::new(&mut waiting)
            .poll(&mut Context::from_waker(&waker))
            .is_ready()
        {
            bell.look();
        }
        self.outputs.push(Output {
            object,
            version,
            bell,
            _waiting: waiting,
        });
    }

    /// What has left is known outside.
    fn deliver(&mut self) {
        let seen = &mut self.seen;
        self.outputs.retain(|output| {
            let left = output.bell.left.load(Ordering::Relaxed);
            if left {
                seen[output.object] = seen[output.object].max(output.version);
            }
            !left
        });
    }

    /// Makes all versions so far known to the outside.
    pub fn settle(&mut self) -> Result<(), Error> {
        while self.storage().commit()? {}
        self.deliver();
        for object in 0..OBJECTS {
            self.seen[object] = self.history[object].len() - 1;
        }
        Ok(())
    }
}
