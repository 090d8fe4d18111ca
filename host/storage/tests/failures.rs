//! What fails in mid-turn undoes the turn, is named, and harms nothing else: a full
//! database, a disk that cannot be read, a statement that is stopped, no memory.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{Folder, key};
use dormouse_storage::simulated::{Hooks, hooked};
use dormouse_storage::{Database, Env, Error, Kind, Limits, Storage, Value};

/// Budgets of a disk: what still succeeds.
#[derive(Debug)]
struct Budgets {
    /// Reads of object files.
    reads: AtomicU64,
    /// Bytes that files may still grow by.
    space: AtomicU64,
}

fn spend(budget: &AtomicU64, cost: u64) -> bool {
    let spent = budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
        left.checked_sub(cost)
    });
    spent.is_ok()
}

impl Hooks for Budgets {
    fn before_read(&self, path: &str) -> io::Result<()> {
        match !path.starts_with("slots/") || spend(&self.reads, 1) {
            true => Ok(()),
            false => Err(io::Error::other("a simulated read error")),
        }
    }

    fn before_growth(&self, bytes: u64) -> io::Result<()> {
        match spend(&self.space, bytes) {
            true => Ok(()),
            false => Err(io::Error::from(ErrorKind::StorageFull)),
        }
    }
}

/// The real disk, with budgets that a test can cut.
fn frail(folder: &Folder, limits: Limits) -> (Storage, Arc<Budgets>) {
    let budgets = Arc::new(Budgets {
        reads: AtomicU64::new(u64::MAX),
        space: AtomicU64::new(u64::MAX),
    });
    let hooks = Arc::clone(&budgets) as Arc<dyn Hooks>;
    let env = Env {
        threads: false,
        ..hooked(Env::real(folder.path()).unwrap(), hooks)
    };
    let mut options = folder.options();
    (options.limits, options.cache_bytes) = (limits, 16 << 10);
    (Storage::open_in(options, env).unwrap(), budgets)
}

const ROWS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) \
    INSERT INTO t SELECT i, zeroblob(1000) FROM n";

/// A database of some pages whose content is in its file.
fn filled(storage: &Storage, number: u8) -> Database {
    let mut db = storage.database(key(number));
    db.exec("CREATE TABLE t (k INTEGER PRIMARY KEY, v)", &[])
        .unwrap();
    db.exec(ROWS, &[]).unwrap();
    db.end_turn().unwrap();
    storage.checkpoint().unwrap();
    db
}

fn count(storage: &Storage, number: u8) -> Value {
    let mut db = storage.database(key(number));
    db.exec("SELECT count(*) FROM t", &[]).unwrap().rows[0][0].clone()
}

/// The database is broken with this error, and the next session finds the last commit.
fn broken_and_whole_again(storage: &Storage, mut db: Database, kind: Kind, number: u8) {
    let again = db.exec("SELECT 1", &[]).unwrap_err();
    assert_eq!(again.kind(), kind, "it repeats its own error: {again}");
    assert!(db.end_turn().is_err());
    assert!(!db.in_turn());
    drop(db);
    assert_eq!(count(storage, number), Value::Integer(300));
}

#[test]
fn a_full_database_undoes_the_turn() {
    let folder = Folder::new();
    let limits = Limits {
        database_bytes: 1 << 20,
        ..Limits::default()
    };
    let (storage, _) = frail(&folder, limits);
    let mut db = filled(&storage, 1);
    db.exec("INSERT INTO t VALUES (1000, 1)", &[]).unwrap();
    let error = db
        .exec("INSERT INTO t VALUES (1001, zeroblob(2000000))", &[])
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (Kind::Full, Some(13)),
        "{error}"
    );
    broken_and_whole_again(&storage, db, Kind::Full, 1);
}

#[test]
fn a_turn_too_large_undoes_itself() {
    let folder = Folder::new();
    let mut options = folder.options();
    options.turn_bytes = 2 << 20;
    let storage = Storage::open(options).unwrap();
    let mut db = filled(&storage, 1);
    db.exec("INSERT INTO t VALUES (1000, 1)", &[]).unwrap();
    let large = "INSERT INTO t SELECT k + 2000, randomblob(20000) FROM t";
    let error = db.exec(large, &[]).and_then(|_| db.end_turn()).unwrap_err();
    assert_eq!(error.kind(), Kind::Full, "{error}");
    broken_and_whole_again(&storage, db, Kind::Full, 1);
}

#[test]
fn a_read_error_at_any_point_of_a_turn_undoes_it() {
    let folder = Folder::new();
    let (storage, switches) = frail(&folder, Limits::default());
    drop(filled(&storage, 1));
    let mut failed = 0;
    for budget in 0..400 {
        let mut db = storage.database(key(1));
        switches.reads.store(budget, Ordering::Relaxed);
        let result = db
            .exec("UPDATE t SET v = 1 WHERE k % 7 = 3", &[])
            .and_then(|_| db.exec("DELETE FROM t WHERE k > 250", &[]));
        switches.reads.store(u64::MAX, Ordering::Relaxed);
        match result {
            Ok(_) => db.abandon_turn(),
            Err(error) => {
                assert_eq!(error.kind(), Kind::Other, "{error}");
                assert!(error.to_string().contains("SQLITE_IOERR"), "{error}");
                assert!(!db.in_turn() || db.broken().is_some());
                db.abandon_turn();
                failed += 1;
            }
        }
        drop(db);
        let mut db = storage.database(key(1));
        let kept = db.exec(
            "SELECT count(*), count(CASE v WHEN 1 THEN 1 END) FROM t",
            &[],
        );
        assert_eq!(
            kept.unwrap().rows,
            [[Value::Integer(300), Value::Integer(0)]]
        );
    }
    assert!((20..400).contains(&failed), "{failed} turns met an error");
}

#[test]
fn a_statement_that_is_stopped_undoes_the_turn() {
    let folder = Folder::new();
    let (storage, _) = frail(&folder, Limits::default());
    let mut db = filled(&storage, 1);
    db.exec("INSERT INTO t VALUES (1000, 1)", &[]).unwrap();
    let asked = AtomicU64::new(0);
    db.set_interrupt(Box::new(move || asked.fetch_add(1, Ordering::Relaxed) > 10));
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) \
        INSERT INTO t SELECT i + 2000, 1 FROM n";
    let error = db.exec(endless, &[]).unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (Kind::Interrupted, Some(9)),
        "{error}"
    );
    broken_and_whole_again(&storage, db, Kind::Interrupted, 1);
}

#[test]
fn a_full_disk_refuses_turns_that_write_and_goes_on_with_space() {
    let folder = Folder::new();
    let (storage, switches) = frail(&folder, Limits::default());
    let mut db = filled(&storage, 1);
    let mut other = filled(&storage, 2);
    switches.space.store(0, Ordering::Relaxed);
    let mut refused = None;
    for round in 0..4000 {
        let noise = "INSERT OR REPLACE INTO t VALUES (1, randomblob(3000))";
        if let Err(error) = db.exec(noise, &[]) {
            refused = Some(error);
            break;
        }
        db.end_turn().unwrap();
        if round % 5 == 0 {
            let _ = storage.commit();
        }
    }
    let error = refused.expect("the log has no space for ever");
    assert!(matches!(error, Error::NoSpace), "{error}");
    assert_eq!(error.kind(), Kind::Full);
    // Reads go on, of this object and of others; what waits is not acknowledged.
    assert!(db.exec("SELECT count(*) FROM t", &[]).is_ok());
    assert!(other.exec("SELECT count(*) FROM t", &[]).is_ok());
    assert!(!db.gate().is_open());
    switches.space.store(u64::MAX, Ordering::Relaxed);
    while storage.commit().unwrap() {}
    assert!(db.gate().is_open());
    db.exec("INSERT OR REPLACE INTO t VALUES (1, 'at last')", &[])
        .unwrap();
    db.end_turn().unwrap();
    storage.checkpoint().unwrap();
}
