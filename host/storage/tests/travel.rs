//! Time travel on the real file system: bookmarks, restore, fork, export, import, deletion.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::{Folder, key};
use dormouse_storage::{
    AlarmPolicy, Changed, Clock, Database, Env, Error, ObjectKey, Options, Storage, Value,
};

fn set(db: &mut Database, value: &str) -> String {
    db.exec(
        "CREATE TABLE IF NOT EXISTS t (k INTEGER PRIMARY KEY, v)",
        &[],
    )
    .unwrap();
    db.exec("INSERT OR REPLACE INTO t VALUES (1, ?)", &[value.into()])
        .unwrap();
    db.end_turn().unwrap();
    db.current_bookmark().to_string()
}

fn get(storage: &Storage, key: &ObjectKey) -> Option<String> {
    let mut db = storage.database(key.clone());
    match db.exec("SELECT v FROM t WHERE k = 1", &[]) {
        Ok(result) => match &result.rows[..] {
            [row] => match &row[0] {
                Value::Text(text) => Some(text.clone()),
                other => panic!("no text: {other:?}"),
            },
            _ => None,
        },
        Err(Error::Sql { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn every_commit_can_be_brought_back_and_the_restore_undone() {
    let folder = Folder::new();
    let storage = folder.storage();
    let mut db = storage.database(key(1));
    let mut bookmarks = Vec::new();
    for number in 0..40 {
        let value = format!("version {number}");
        bookmarks.push((set(&mut db, &value), value));
        if number % 7 == 3 {
            storage.checkpoint().unwrap();
        }
    }
    assert!(bookmarks.is_sorted(), "bookmarks sort in their order");
    drop(db);
    for (bookmark, value) in bookmarks.iter().rev().step_by(3) {
        let undo = storage.restore(&key(1), bookmark).unwrap().to_string();
        assert_eq!(get(&storage, &key(1)).as_ref(), Some(value));
        storage.restore(&key(1), &undo).unwrap();
        assert_eq!(get(&storage, &key(1)).as_deref(), Some("version 39"));
    }
}

#[test]
fn a_restore_waits_for_the_next_session_and_has_an_undo() {
    let folder = Folder::new();
    let storage = folder.storage();
    let mut db = storage.database(key(1));
    let first = set(&mut db, "first");
    set(&mut db, "second");
    db.set_alarm("", 5_000, AlarmPolicy::default(), None)
        .unwrap();
    let undo = db.restore_on_next_session(&first).unwrap().to_string();
    set(&mut db, "third");
    assert!(undo > first);
    let early = storage.database(key(2)).restore_on_next_session(&undo);
    assert!(early.unwrap_err().to_string().contains("another object"));
    let error = db.restore_on_next_session(&undo).unwrap_err().to_string();
    assert!(error.contains("has not happened"), "{error}");
    drop(db);

    // Also a crash is the end of a session: only what is in the folder counts.
    drop(storage);
    let storage = folder.storage();
    assert_eq!(get(&storage, &key(1)).as_deref(), Some("first"));
    let mut db = storage.database(key(1));
    assert_eq!(
        db.alarm("").unwrap(),
        Some(5_000),
        "alarms are not restored"
    );
    db.restore_on_next_session(&undo).unwrap();
    db.end_turn().unwrap();
    drop(db);
    assert_eq!(get(&storage, &key(1)).as_deref(), Some("third"));
    assert_eq!(get(&storage, &key(1)).as_deref(), Some("third"), "once");
}

#[test]
fn a_restore_that_was_undone_with_its_turn_does_not_happen() {
    let folder = Folder::new();
    let storage = folder.storage();
    let mut db = storage.database(key(1));
    let first = set(&mut db, "first");
    set(&mut db, "second");
    db.restore_on_next_session(&first).unwrap();
    db.abandon_turn();
    drop(db);
    assert_eq!(get(&storage, &key(1)).as_deref(), Some("second"));
}

#[test]
fn a_deleted_database_comes_back() {
    let folder = Folder::new();
    let storage = folder.storage();
    let mut db = storage.database(key(1));
    let empty = db.current_bookmark().to_string();
    let full = set(&mut db, "something");
    db.delete_all().unwrap();
    drop(db);
    storage.checkpoint().unwrap();
    assert_eq!(get(&storage, &key(1)), None);
    storage.restore(&key(1), &full).unwrap();
    assert_eq!(get(&storage, &key(1)).as_deref(), Some("something"));
    storage.restore(&key(1), &empty).unwrap();
    assert_eq!(storage.list("chat").unwrap(), []);
}

#[test]
fn an_object_that_is_awake_is_not_replaced_but_can_be_copied_and_exported() {
    let folder = Folder::new();
    let storage = folder.storage();
    let mut db = storage.database(key(1));
    let first = set(&mut db, "first");
    set(&mut db, "second");
    let awake = storage.restore(&key(1), &first).unwrap_err();
    assert!(matches!(awake, Error::Awake { .. }), "{awake}");
    storage.fork(&key(1), Some(&first), &key(2)).unwrap();
    storage.fork(&key(1), None, &key(3)).unwrap();
    assert_eq!(get(&storage, &key(2)).as_deref(), Some("first"));
    assert_eq!(get(&storage, &key(3)).as_deref(), Some("second"));
    assert_eq!(
        storage.database(key(2)).name().unwrap().as_deref(),
        Some("room 2"),
        "a copy has its own name"
    );
    let error = storage.fork(&key(1), None, &key(3)).unwrap_err();
    assert!(matches!(error, Error::Exists { .. }), "{error}");
    let error = storage.fork(&key(9), None, &key(8)).unwrap_err();
    assert!(matches!(error, Error::Missing { .. }), "{error}");
}

fn stock(path: &Path, sql: &str) -> String {
    let db = rusqlite::Connection::open(path).unwrap();
    db.query_row(sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn an_export_is_a_plain_file_and_an_import_brings_it_back() {
    let folder = Folder::new();
    let storage = folder.storage();
    let mut db = storage.database(key(1));
    let first = set(&mut db, "first");
    db.exec("CREATE TABLE big (a, b)", &[]).unwrap();
    db.exec(
        "INSERT INTO big SELECT value, randomblob(900) FROM generate_series(1, 2000)",
        &[],
    )
    .or_else(|_| {
        db.exec(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) \
             INSERT INTO big SELECT i, randomblob(900) FROM n",
            &[],
        )
    })
    .unwrap();
    let second = set(&mut db, "second");
    let (now, then) = (folder.path().join("now.db"), folder.path().join("then.db"));
    storage.export(&key(1), None, &now).unwrap();
    storage.export(&key(1), Some(&first), &then).unwrap();
    assert_eq!(stock(&now, "SELECT v FROM t"), "second");
    assert_eq!(stock(&now, "SELECT count(*) || '' FROM big"), "2000");
    assert_eq!(stock(&now, "PRAGMA integrity_check"), "ok");
    assert_eq!(stock(&then, "SELECT v FROM t"), "first");
    assert!(
        storage.export(&key(1), None, &now).is_err(),
        "never over a file"
    );
    drop(db);

    storage.import(&key(2), &now, false).unwrap();
    assert_eq!(get(&storage, &key(2)).as_deref(), Some("second"));
    let refused = storage.import(&key(1), &then, false).unwrap_err();
    assert!(matches!(refused, Error::Exists { .. }), "{refused}");
    storage.import(&key(1), &then, true).unwrap();
    assert_eq!(get(&storage, &key(1)).as_deref(), Some("first"));
    storage.restore(&key(1), &second).unwrap();
    assert_eq!(get(&storage, &key(1)).as_deref(), Some("second"));
}

#[test]
fn an_import_takes_any_page_size_and_refuses_what_is_no_database() {
    let folder = Folder::new();
    let storage = folder.storage();
    let file = folder.path().join("other.db");
    let other = rusqlite::Connection::open(&file).unwrap();
    other
        .execute_batch(
            "PRAGMA page_size = 1024; PRAGMA journal_mode = WAL; \
             CREATE TABLE t (k INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (1, 'from outside'); \
             CREATE TABLE rows (a); INSERT INTO rows (rowid, a) VALUES (77, 1);",
        )
        .unwrap();
    storage.import(&key(1), &file, false).unwrap();
    drop(other);
    assert_eq!(get(&storage, &key(1)).as_deref(), Some("from outside"));
    let mut db = storage.database(key(1));
    let rowid = db.exec("SELECT rowid FROM rows", &[]).unwrap().rows;
    assert_eq!(rowid, [[Value::Integer(77)]]);
    assert_eq!(db.name().unwrap().as_deref(), Some("room 1"));
    drop(db);
    let text = folder.path().join("text");
    std::fs::write(&text, "no database at all, but some text ".repeat(300)).unwrap();
    let error = storage
        .import(&key(2), &text, false)
        .unwrap_err()
        .to_string();
    assert!(error.contains("not a database"), "{error}");
    assert!(
        storage
            .import(&key(2), &folder.path().join("none"), false)
            .is_err()
    );
    assert_eq!(
        storage.list("chat").unwrap().len(),
        1,
        "nothing is left behind"
    );
}

fn files_with(dir: &Path, marker: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, marker));
        } else if std::fs::read(&path)
            .unwrap()
            .windows(marker.len())
            .any(|bytes| bytes == marker)
        {
            found.push(path);
        }
    }
    found
}

#[test]
fn a_deletion_leaves_no_byte_in_the_folder() {
    let folder = Folder::new();
    let storage = folder.storage();
    // Each where LZ4 cannot hide it: at the front of a page that does not compress.
    let marker = b"marked-6f1d2c3b9a";
    let doomed = ObjectKey {
        name: Some(String::from_utf8_lossy(marker).into_owned()),
        ..key(1)
    };
    let mut db = storage.database(doomed.clone());
    let mut other = storage.database(key(2));
    let kept = set(&mut other, "kept");
    db.exec("CREATE TABLE t (k INTEGER PRIMARY KEY, v)", &[])
        .unwrap();
    for round in 0..30 {
        let mut noise = marker.to_vec();
        let mut word = 1_u64 + round;
        noise.extend((0..3000).map(|_| {
            word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (word >> 56) as u8
        }));
        db.exec(
            "INSERT OR REPLACE INTO t VALUES (?, ?)",
            &[Value::Integer((round % 5) as i64), Value::Blob(noise)],
        )
        .unwrap();
        db.end_turn().unwrap();
        set(&mut other, &format!("round {round}"));
        if round % 3 == 1 {
            storage.checkpoint().unwrap();
        }
    }
    db.gate().wait().unwrap();
    drop(db);
    let before = files_with(folder.path(), marker);
    assert!(
        before.len() > 3,
        "in file, log, history and names: {before:?}"
    );
    storage.delete(&doomed).unwrap();
    assert_eq!(files_with(folder.path(), marker), Vec::<PathBuf>::new());
    storage.delete(&doomed).unwrap();
    drop(other);
    drop(storage);
    let storage = folder.storage();
    assert_eq!(storage.list("chat").unwrap().len(), 1);
    storage.restore(&key(2), &kept).unwrap();
    assert_eq!(get(&storage, &key(2)).as_deref(), Some("kept"));
}

/// A clock that a test holds.
#[derive(Debug, Default)]
struct HeldClock(AtomicU64);

impl Clock for HeldClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

const HOUR: u64 = 60 * 60 * 1000;

fn held(folder: &Folder, days: u64) -> (Storage, Arc<HeldClock>) {
    let clock = Arc::new(HeldClock(AtomicU64::new(1_700_000_000_000)));
    let env = Env {
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        threads: false,
        ..Env::real(folder.path()).unwrap()
    };
    let options = Options {
        history: Duration::from_secs(days * 24 * 60 * 60),
        ..folder.options()
    };
    (Storage::open_in(options, env).unwrap(), clock)
}

#[test]
fn a_bookmark_for_a_time_names_the_last_commit_before_it() {
    let folder = Folder::new();
    let (storage, clock) = held(&folder, 30);
    let start = clock.now_ms();
    let mut db = storage.database(key(1));
    for hour in 0..24 {
        clock.0.store(start + hour * HOUR, Ordering::Relaxed);
        set(&mut db, &format!("hour {hour}"));
        set(&mut storage.database(key(2)), "noise");
        if hour % 5 == 4 {
            storage.checkpoint().unwrap();
        }
    }
    drop(db);
    for hour in (0..24).rev() {
        for (late, expected) in [(0, hour), (HOUR - 1, hour)] {
            let time = start + hour * HOUR + late;
            let bookmark = storage
                .bookmark_for_time(&key(1), time)
                .unwrap()
                .to_string();
            let copy = ObjectKey {
                id: [100 + hour as u8 * 2 + u8::from(late > 0); 32],
                ..key(1)
            };
            storage.fork(&key(1), Some(&bookmark), &copy).unwrap();
            assert_eq!(get(&storage, &copy), Some(format!("hour {expected}")));
        }
    }
    let before = storage
        .bookmark_for_time(&key(1), start - 1)
        .unwrap()
        .to_string();
    let error = storage.fork(&key(1), Some(&before), &key(9)).unwrap_err();
    assert!(matches!(error, Error::Missing { .. }), "{error}");
}

#[test]
fn history_is_merged_and_forgotten_with_age_and_the_rest_stays_exact() {
    let folder = Folder::new();
    let (storage, clock) = held(&folder, 10);
    let start = clock.now_ms();
    let mut db = storage.database(key(1));
    let mut bookmarks = Vec::new();
    let (mut most, mut packs) = (0, 0);
    for step in 0..24 * 40_u64 {
        clock.0.store(start + step * HOUR, Ordering::Relaxed);
        bookmarks.push(set(&mut db, &format!("step {step}")));
        storage.checkpoint().unwrap();
        if step > 24 * 12 {
            most = most.max(storage.history().bytes);
            packs = packs.max(storage.history().packs);
        }
    }
    drop(db);
    let info = storage.history();
    assert!(packs < 60, "{packs} packs");
    assert!(
        most < 200_000,
        "{most} bytes for ten days of one small commit an hour"
    );
    let horizon = (info.since_ms - start) / HOUR;
    let (oldest, newest) = (24 * 40 - 24 * 11, 24 * 40 - 24 * 10);
    assert!((oldest..newest).contains(&horizon), "{horizon}");
    for step in (horizon + 1..24 * 40).step_by(17) {
        storage.restore(&key(1), &bookmarks[step as usize]).unwrap();
        assert_eq!(get(&storage, &key(1)), Some(format!("step {step}")));
    }
    let error = storage
        .restore(&key(1), &bookmarks[5])
        .unwrap_err()
        .to_string();
    assert!(error.contains("before what history holds"), "{error}");
    let error = storage
        .bookmark_for_time(&key(1), start)
        .unwrap_err()
        .to_string();
    assert!(error.contains("before what history holds"), "{error}");
}

#[test]
fn without_history_nothing_is_kept_and_nothing_wrong_is_told() {
    let folder = Folder::new();
    let (storage, _) = held(&folder, 0);
    let first = set(&mut storage.database(key(1)), "first");
    storage.checkpoint().unwrap();
    set(&mut storage.database(key(1)), "second");
    storage.checkpoint().unwrap();
    let error = storage.restore(&key(1), &first).unwrap_err().to_string();
    assert!(error.contains("keeps no history"), "{error}");
    assert_eq!(storage.history().bytes, 0);
    drop(storage);
    let (storage, _) = held(&folder, 30);
    let error = storage.restore(&key(1), &first).unwrap_err().to_string();
    assert!(error.contains("before what history holds"), "{error}");
    let second = storage.bookmark(&key(1)).unwrap().to_string();
    set(&mut storage.database(key(1)), "third");
    storage.restore(&key(1), &second).unwrap();
    assert_eq!(get(&storage, &key(1)).as_deref(), Some("second"));
}

#[test]
fn a_diff_tells_rows_and_tables() {
    let folder = Folder::new();
    let storage = folder.storage();
    let mut db = storage.database(key(1));
    let run = |db: &mut Database, sql: &str| {
        db.exec(sql, &[]).unwrap();
        db.end_turn().unwrap();
        db.current_bookmark().to_string()
    };
    let first = run(
        &mut db,
        "CREATE TABLE a (k TEXT PRIMARY KEY COLLATE NOCASE, v TEXT COLLATE NOCASE); \
         CREATE TABLE free (x); INSERT INTO a VALUES ('one', 'x'), ('two', 'y'), ('three', 'z'); \
         INSERT INTO free VALUES (1), (2)",
    );
    let second = run(
        &mut db,
        "UPDATE a SET v = 'X' WHERE k = 'one'; DELETE FROM a WHERE k = 'two'; \
         INSERT INTO a VALUES ('four', NULL); UPDATE free SET x = 2.0 WHERE x = 2; \
         CREATE TABLE fresh (y); INSERT INTO fresh VALUES ('new')",
    );
    run(&mut db, "DROP TABLE fresh; DELETE FROM a");
    let diff = storage.diff(&key(1), &first, Some(&second), 100).unwrap();
    let told: Vec<_> = diff
        .changes
        .iter()
        .map(|change| (change.table.as_str(), change.changed))
        .collect();
    assert_eq!(
        told,
        [
            ("a", Changed::Removed),
            ("a", Changed::Added),
            ("a", Changed::Updated),
            ("free", Changed::Updated),
            ("fresh", Changed::Schema),
            ("fresh", Changed::Added),
        ]
    );
    assert_eq!(diff.changes[2].before, Some(vec!["one".into(), "x".into()]));
    assert_eq!(diff.changes[2].after, Some(vec!["one".into(), "X".into()]));
    assert!(!diff.more);
    let some = storage.diff(&key(1), &first, Some(&second), 2).unwrap();
    assert_eq!((some.changes.len(), some.more), (2, true));
    let now = storage.diff(&key(1), &second, None, 100).unwrap();
    assert_eq!(now.changes.len(), 3 + 1 + 1, "{now:?}");
    assert_eq!(
        storage
            .diff(&key(1), &second, Some(&second), 9)
            .unwrap()
            .changes,
        []
    );
}

#[test]
fn a_damaged_pack_is_named_and_harms_only_the_past() {
    let folder = Folder::new();
    let storage = folder.storage();
    let mut db = storage.database(key(1));
    let first = set(&mut db, "first");
    storage.checkpoint().unwrap();
    set(&mut db, "second");
    storage.checkpoint().unwrap();
    let third = set(&mut db, "third");
    drop(db);
    drop(storage);
    let pack = folder.path().join("history/00000002-00000002.pack");
    let mut bytes = std::fs::read(&pack).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&pack, &bytes).unwrap();
    let storage = folder.storage();
    let error = storage.restore(&key(1), &first).unwrap_err().to_string();
    assert!(
        error.contains("00000002") && error.contains("damaged"),
        "{error}"
    );
    assert_eq!(get(&storage, &key(1)).as_deref(), Some("third"));
    drop(storage);
    std::fs::write(&pack, &bytes[..200]).unwrap();
    let storage = folder.storage();
    assert_eq!(storage.history().damaged, ["00000002-00000002.pack"]);
    let error = storage.restore(&key(1), &first).unwrap_err().to_string();
    assert!(error.contains("before what history holds"), "{error}");
    storage.restore(&key(1), &third).unwrap();
    assert_eq!(get(&storage, &key(1)).as_deref(), Some("third"));
}
