//! What a data folder promises, on the real file system with its threads.

mod common;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use common::{Folder, key};
use dormouse_storage::simulated::{Crash, SimDisk};
use dormouse_storage::{Env, Error, Faults, Kind, ObjectKey, Options, Storage, Value};

fn write(storage: &Storage, number: u8, value: i64) {
    let mut db = storage.database(key(number));
    db.exec("CREATE TABLE IF NOT EXISTS t (a)", &[])
        .expect("a table");
    db.exec("INSERT INTO t VALUES (?)", &[value.into()])
        .expect("a row");
    db.end_turn().expect("a commit");
    db.gate().wait().expect("a log that lives");
}

fn values(storage: &Storage, number: u8) -> Vec<Vec<Value>> {
    storage
        .database(key(number))
        .exec("SELECT a FROM t", &[])
        .expect("a table")
        .rows
}

fn object_files(folder: &Folder) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.path().join("slots")];
    while let Some(dir) = folders.pop() {
        for entry in std::fs::read_dir(dir)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").path())
        {
            if entry.is_dir() {
                folders.push(entry)
            } else {
                found.push(entry)
            }
        }
    }
    found
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "waited in vain: {what}"
        );
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_a_gate_let_out_is_there_at_the_next_start() {
    let folder = Folder::new();
    let storage = folder.storage();
    write(&storage, 1, 10);
    write(&storage, 2, 20);
    drop(storage);
    let storage = folder.storage();
    write(&storage, 1, 11);
    storage.close().expect("an orderly end");
    drop(storage);
    let storage = folder.storage();
    assert_eq!(
        values(&storage, 1),
        [[Value::Integer(10)], [Value::Integer(11)]]
    );
    assert_eq!(values(&storage, 2), [[Value::Integer(20)]]);
}

#[test]
fn a_folder_belongs_to_one_process() {
    let folder = Folder::new();
    let storage = folder.storage();
    let error = Storage::open(Options::new(folder.path())).expect_err("in use");
    assert!(matches!(error, Error::InUse { .. }), "{error}");
    drop(storage);
    folder.storage();
}

#[test]
fn an_object_is_opened_once() {
    let folder = Folder::new();
    let storage = folder.storage();
    let mut first = storage.database(key(1));
    first.exec("SELECT 1", &[]).expect("a first connection");
    storage
        .database(key(1))
        .exec("SELECT 1", &[])
        .expect_err("a second connection");
    first.close();
    storage
        .database(key(1))
        .exec("SELECT 1", &[])
        .expect("after the first is gone");
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[test]
fn a_gate_can_be_awaited() {
    let folder = Folder::new();
    let storage = folder.storage();
    let mut db = storage.database(key(1));
    for round in 0..50 {
        db.exec("CREATE TABLE IF NOT EXISTS t (a)", &[])
            .expect("a table");
        db.exec("INSERT INTO t VALUES (?)", &[round.into()])
            .expect("a row");
        db.end_turn().expect("a commit");
        let mut gate = pin!(db.gate());
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        while gate.as_mut().poll(&mut Context::from_waker(&waker)) == Poll::Pending {
            thread::park();
        }
        assert!(db.gate().is_open());
    }
}

#[test]
fn checkpoints_come_by_themselves_and_leave_plain_sqlite_files() {
    let folder = Folder::new();
    let mut options = folder.options();
    options.checkpoint_bytes = 64 << 10;
    let storage = Storage::open(options).expect("a folder");
    let mut db = storage.database(key(1));
    db.exec("CREATE TABLE t (a)", &[]).expect("a table");
    for _ in 0..100 {
        db.exec("INSERT INTO t VALUES (randomblob(3000))", &[])
            .expect("a row");
        db.end_turn().expect("a commit");
    }
    until("a checkpoint", || !object_files(&folder).is_empty());
    drop(db);
    storage.close().expect("an orderly end");
    let [file] = &object_files(&folder)[..] else {
        panic!("one object, one file")
    };
    let plain = rusqlite::Connection::open(file).expect("a SQLite file");
    let answer = |sql: &str| {
        plain
            .query_row(sql, [], |row| row.get::<_, Plain>(0))
            .expect("an answer")
    };
    assert_eq!(answer("PRAGMA integrity_check"), Plain::Text("ok".into()));
    assert_eq!(answer("SELECT count(*) FROM t"), Plain::Integer(100));
}

type Plain = rusqlite::types::Value;

#[test]
fn the_log_lets_go_of_what_the_files_have() {
    let folder = Folder::new();
    let storage = folder.storage();
    let mut db = storage.database(key(1));
    db.exec("CREATE TABLE t (a)", &[]).expect("a table");
    for _ in 0..10 {
        for _ in 0..20 {
            db.exec("INSERT INTO t VALUES (randomblob(30000))", &[])
                .expect("a row");
            db.exec("DELETE FROM t", &[]).expect("space");
            db.end_turn().expect("a commit");
        }
        storage.checkpoint().expect("a checkpoint");
    }
    let segments = std::fs::read_dir(folder.path().join("log"))
        .expect("a folder")
        .count();
    assert!(segments <= 5, "{segments} segments for nothing");
    assert_eq!(storage.trouble().map(|error| error.to_string()), None);
}

#[test]
fn a_deleted_object_leaves_no_file_and_can_begin_anew() {
    let folder = Folder::new();
    let storage = folder.storage();
    write(&storage, 1, 1);
    storage.checkpoint().expect("a checkpoint");
    assert_eq!(object_files(&folder).len(), 1);
    let mut db = storage.database(key(1));
    let cursor = db.query("SELECT * FROM t", &[]).expect("a cursor");
    db.delete_all().expect("a deletion");
    assert_eq!(
        db.next_batch(cursor, 1)
            .expect_err("deleted under it")
            .kind(),
        Kind::Closed
    );
    assert_eq!(db.database_size().expect("a size"), 0);
    assert!(storage.list("chat").expect("a list").is_empty());
    storage.checkpoint().expect("a checkpoint");
    assert_eq!(object_files(&folder).len(), 0);
    drop(db);
    write(&storage, 1, 2);
    assert_eq!(values(&storage, 1), [[Value::Integer(2)]]);
    assert_eq!(storage.list("chat").expect("a list").len(), 1);
}

#[test]
fn many_awake_objects_need_few_open_files() {
    let folder = Folder::new();
    let mut options = folder.options();
    (options.open_files, options.cache_bytes) = (4, 4096);
    let storage = Storage::open(options).expect("a folder");
    let mut awake: Vec<_> = (0..60)
        .map(|number| storage.database(key(number)))
        .collect();
    for (db, value) in awake.iter_mut().zip(0..) {
        db.exec("CREATE TABLE t (a); CREATE INDEX i ON t (a)", &[])
            .expect("a table");
        db.exec("INSERT INTO t VALUES (?)", &[Value::Integer(value)])
            .expect("a row");
        db.end_turn().expect("a commit");
    }
    storage.checkpoint().expect("a checkpoint");
    for (db, value) in awake.iter_mut().zip(0..) {
        let found = db.exec("SELECT a FROM t NOT INDEXED", &[]).expect("a row");
        assert_eq!(found.rows, [[Value::Integer(value)]]);
        let slots = folder.path().join("slots");
        let open = std::fs::read_dir("/proc/self/fd").expect("Linux");
        let paths = open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        let objects = paths.filter(|path| path.starts_with(&slots)).count();
        assert!((1..=4).contains(&objects), "{objects} files are open");
    }
}

#[test]
fn a_checkpoint_and_recovery_of_many_objects_need_few_open_files() {
    let disk = SimDisk::new(1);
    let open = || {
        let env = Env {
            disk: Arc::new(disk.clone()),
            clock: Arc::new(disk.clone()),
            threads: false,
            faults: Faults::default(),
        };
        let options = Options {
            open_files: 8,
            segment_bytes: 64 << 10,
            ..Options::new("simulated")
        };
        Storage::open_in(options, env).expect("a folder")
    };
    let write_all = |storage: &Storage| {
        for number in 0..200 {
            let mut db = storage.database(key(number));
            db.exec("CREATE TABLE IF NOT EXISTS t (a)", &[])
                .expect("a table");
            db.exec("INSERT INTO t VALUES (?)", &[i64::from(number).into()])
                .expect("a row");
            db.end_turn().expect("a commit");
        }
        while storage.commit().expect("a commit") {}
    };
    let storage = open();
    write_all(&storage);
    storage.checkpoint().expect("a checkpoint");
    write_all(&storage);
    drop(storage);
    disk.crash(Crash::CutNone);
    let storage = open();
    let expected = |number: u8| {
        [
            [Value::Integer(number.into())],
            [Value::Integer(number.into())],
        ]
    };
    for number in 0..200 {
        assert_eq!(values(&storage, number), expected(number));
    }
    // 8 for reading, 2 for writing, 64 for history, and those of the log.
    assert!(disk.most_open() < 80, "{} were open", disk.most_open());
}

#[test]
fn names_are_listed_after_a_restart_also_without_their_cache() {
    let folder = Folder::new();
    let storage = folder.storage();
    write(&storage, 1, 1);
    write(&storage, 2, 1);
    storage.close().expect("an orderly end");
    drop(storage);
    let names = |storage: &Storage| -> Vec<String> {
        let listed = storage.list("chat").expect("a list");
        listed
            .into_iter()
            .filter_map(|object| object.name)
            .collect()
    };
    assert_eq!(names(&folder.storage()), ["room 1", "room 2"]);
    std::fs::remove_file(folder.path().join("NAMES")).expect("a cache");
    assert_eq!(names(&folder.storage()), ["room 1", "room 2"]);
}

#[test]
fn an_unknown_format_is_refused_and_named() {
    let folder = Folder::new();
    drop(folder.storage());
    let path = folder.path().join("MANIFEST");
    std::fs::write(&path, "something else\n").expect("a file");
    let error = Storage::open(folder.options())
        .expect_err("not ours")
        .to_string();
    assert_eq!(
        error,
        "\"MANIFEST\" is damaged; restore the data folder from a backup"
    );
    std::fs::remove_file(&path).expect("a file");
    refuses_without_manifest(&folder);
}

/// A folder that has lost its manifest is not taken for a new one.
fn refuses_without_manifest(folder: &Folder) {
    let error = Storage::open(folder.options())
        .expect_err("no manifest")
        .to_string();
    assert!(error.starts_with("\"MANIFEST\" is missing"), "{error}");
}

#[test]
fn a_namespace_must_be_a_folder_name() {
    let folder = Folder::new();
    let storage = folder.storage();
    for namespace in ["", "../x", "a/b", ".x"] {
        let key = ObjectKey {
            namespace: namespace.into(),
            id: [1; 32],
            name: None,
        };
        let error = storage
            .database(key)
            .exec("SELECT 1", &[])
            .expect_err(namespace);
        assert!(matches!(error, Error::Namespace { .. }), "{error}");
    }
}

#[test]
fn many_threads_and_checkpoints_do_not_get_in_each_others_way() {
    let folder = Folder::new();
    let mut options = folder.options();
    (options.checkpoint_bytes, options.overlay_bytes) = (200 << 10, 100 << 10);
    let storage = Storage::open(options).expect("a folder");
    thread::scope(|scope| {
        for number in 0..6 {
            let storage = &storage;
            scope.spawn(move || {
                for round in 0..150 {
                    write(storage, number, round);
                }
            });
        }
    });
    assert_eq!(storage.trouble().map(|error| error.to_string()), None);
    drop(storage);
    let storage = folder.storage();
    for number in 0..6 {
        let expected: Vec<_> = (0..150).map(|round| vec![Value::Integer(round)]).collect();
        assert_eq!(values(&storage, number), expected);
    }
}

#[test]
fn names_of_objects_that_are_gone_do_not_pile_up() {
    let folder = Folder::new();
    for round in 0..3_u8 {
        let storage = folder.storage();
        for number in 0..200 {
            let object = ObjectKey {
                name: Some(format!("{round} {number} {}", "n".repeat(400))),
                id: [[round, number]; 16].concat().try_into().expect("32 bytes"),
                ..key(0)
            };
            let mut db = storage.database(object);
            db.exec("CREATE TABLE t (a)", &[]).expect("a table");
            db.end_turn().expect("a commit");
            drop(db);
        }
        storage.checkpoint().expect("a checkpoint");
        for number in 1..200 {
            let object = ObjectKey {
                name: None,
                id: [[round, number]; 16].concat().try_into().expect("32 bytes"),
                ..key(0)
            };
            storage.database(object).delete_all().expect("a deletion");
        }
        storage.checkpoint().expect("a checkpoint");
    }
    let storage = folder.storage();
    let bytes = std::fs::metadata(folder.path().join("NAMES"))
        .expect("a list")
        .len();
    assert!(bytes < 100_000, "{bytes} bytes of names");
    let listed = storage.list("chat").expect("a list");
    assert_eq!(listed.len(), 3);
    assert!(listed.iter().all(|object| object.name.is_some()));
}
