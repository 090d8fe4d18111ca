//! What guests may rely on when they keep pairs, and how these stand beside SQL.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use common::{Folder, key};
use dormouse_storage::{AlarmPolicy, Database, Kind, KvList, KvValue, Limits, Value};

fn json(text: &str) -> KvValue {
    KvValue::Json(text.into())
}

fn put(db: &mut Database, keys: &[&str]) {
    let entries = keys.iter().map(|key| ((*key).to_owned(), json("1")));
    db.kv_put_many(entries.collect()).unwrap();
}

fn keys(db: &mut Database, list: KvList) -> Vec<String> {
    let page = db.kv_list(&list).unwrap();
    assert!(page.done);
    page.entries.into_iter().map(|(key, _)| key).collect()
}

fn some(key: &str) -> Option<String> {
    Some(key.to_owned())
}

#[test]
fn pairs_come_back_as_they_went_in() {
    let folder = Folder::new();
    let storage = folder.storage();
    let mut db = storage.database(key(1));
    assert_eq!(db.kv_get("a").unwrap(), None);
    assert!(!db.kv_delete("a").unwrap());
    assert_eq!(db.kv_list(&KvList::default()).unwrap().entries, []);

    db.kv_put("a", json("{\"n\":1}")).unwrap();
    db.kv_put("", KvValue::Bytes(vec![0, 255])).unwrap();
    db.kv_put("a\0b", json("null")).unwrap();
    db.end_turn().unwrap();
    drop(db);
    let mut db = storage.database(key(1));
    assert_eq!(db.kv_get("a").unwrap(), Some(json("{\"n\":1}")));
    assert_eq!(db.kv_get("").unwrap(), Some(KvValue::Bytes(vec![0, 255])));
    let wanted = ["a\0b", "gone", "a", "a"].map(String::from);
    assert_eq!(
        db.kv_get_many(&wanted).unwrap(),
        [
            ("a".to_owned(), json("{\"n\":1}")),
            ("a\0b".to_owned(), json("null"))
        ]
    );
    assert_eq!(db.kv_delete_many(&wanted).unwrap(), 2);
    assert_eq!(keys(&mut db, KvList::default()), [""]);
}

#[test]
fn a_list_keeps_to_its_bounds() {
    let folder = Folder::new();
    let mut db = folder.storage().database(key(1));
    put(&mut db, &["b", "a", "ba", "bb", "c", "é", "b\u{10ffff}x"]);
    let mut list = |list: KvList| keys(&mut db, list);
    let all = KvList::default();
    let from_bytes = ["a", "b", "ba", "bb", "b\u{10ffff}x", "c", "é"];
    assert_eq!(list(all.clone()), from_bytes);

    let start = KvList {
        start: some("b"),
        end: some("bb"),
        ..all.clone()
    };
    assert_eq!(list(start.clone()), ["b", "ba"]);
    let reverse = KvList {
        reverse: true,
        ..start
    };
    assert_eq!(list(reverse), ["ba", "b"]);
    let after = KvList {
        start_after: some("b"),
        limit: Some(2),
        ..all.clone()
    };
    assert_eq!(list(after), ["ba", "bb"]);
    let prefix = KvList {
        prefix: some("b"),
        ..all.clone()
    };
    assert_eq!(list(prefix.clone()), ["b", "ba", "bb", "b\u{10ffff}x"]);
    let within = KvList {
        start: some("a"),
        end: some("bb"),
        ..prefix.clone()
    };
    assert_eq!(list(within), ["b", "ba"]);
    let last = KvList {
        reverse: true,
        limit: Some(1),
        ..prefix.clone()
    };
    assert_eq!(list(last), ["b\u{10ffff}x"]);
    let apart = KvList {
        start: some("c"),
        ..prefix
    };
    assert_eq!(list(apart), [""; 0]);
    let empty = KvList {
        start: some("c"),
        end: some("a"),
        ..all
    };
    assert_eq!(list(empty), [""; 0]);
}

#[test]
fn wrong_lists_are_refused_in_known_words() {
    let folder = Folder::new();
    let mut db = folder.storage().database(key(1));
    let mut refusal = |list: KvList| {
        let error = db.kv_list(&list).unwrap_err();
        (error.kind(), error.to_string())
    };
    let none = KvList {
        limit: Some(0),
        ..KvList::default()
    };
    let text = "List limit must be positive.";
    assert_eq!(refusal(none), (Kind::Invalid, text.to_owned()));
    let both = KvList {
        start: some("a"),
        start_after: some("a"),
        ..KvList::default()
    };
    let text = "list() cannot be called with both start and startAfter values.";
    assert_eq!(refusal(both), (Kind::Invalid, text.to_owned()));
}

#[test]
fn a_heavy_list_comes_in_portions() {
    let folder = Folder::new();
    let limits = Limits {
        result_bytes: 25,
        ..Limits::default()
    };
    let mut db = folder.storage_with(limits).database(key(1));
    for key in ["a", "b", "c"] {
        db.kv_put(key, KvValue::Bytes(vec![0; 10])).unwrap();
    }
    let first = db.kv_list(&KvList::default()).unwrap();
    assert_eq!((first.entries.len(), first.done), (2, false));
    let rest = KvList {
        start_after: some("b"),
        ..KvList::default()
    };
    assert_eq!(keys(&mut db, rest), ["c"]);
    // One that is heavier than a portion comes alone.
    db.kv_put("b", KvValue::Bytes(vec![0; 90])).unwrap();
    let from = KvList {
        start: some("b"),
        ..KvList::default()
    };
    let alone = db.kv_list(&from).unwrap();
    assert_eq!((alone.entries.len(), alone.done), (1, false));
    let many = ["a", "b", "c"].map(String::from);
    assert_eq!(db.kv_get_many(&many).unwrap_err().kind(), Kind::TooBig);
}

#[test]
fn what_does_not_fit_into_one_entry_is_refused_and_puts_nothing() {
    let folder = Folder::new();
    let mut db = folder.storage().database(key(1));
    let most = (4 << 20) - 32 - 3;
    db.kv_put("fit", KvValue::Bytes(vec![1; most])).unwrap();
    let entries = vec![
        ("small".to_owned(), json("1")),
        ("big".to_owned(), KvValue::Bytes(vec![1; most + 1])),
    ];
    let error = db.kv_put_many(entries).unwrap_err();
    assert_eq!(error.kind(), Kind::TooBig);
    let text = "key and value have 4194273 bytes together and one entry holds at most 4194272; \
                split the value over several keys";
    assert_eq!(error.to_string(), text);
    assert_eq!(keys(&mut db, KvList::default()), ["fit"]);
}

#[test]
fn pairs_tables_and_alarms_share_one_fate() {
    let folder = Folder::new();
    let mut db = folder.storage().database(key(1));
    db.exec("CREATE TABLE t (a)", &[]).unwrap();
    db.end_turn().unwrap();

    let write = |db: &mut Database| {
        db.exec("INSERT INTO t VALUES (1)", &[]).unwrap();
        db.kv_put("a", json("1")).unwrap();
        db.set_alarm("", 5, AlarmPolicy::default(), None).unwrap();
    };
    let seen = |db: &mut Database| {
        let rows = db.exec("SELECT a FROM t", &[]).unwrap().rows.len();
        let pair = db.kv_get("a").unwrap().is_some();
        (rows, pair, db.alarm("").unwrap().is_some())
    };
    write(&mut db);
    db.abandon_turn();
    assert_eq!(seen(&mut db), (0, false, false));
    let savepoint = db.open_savepoint().unwrap();
    write(&mut db);
    db.rollback_savepoint(savepoint).unwrap();
    assert_eq!(seen(&mut db), (0, false, false));
    write(&mut db);
    db.end_turn().unwrap();
    assert_eq!(seen(&mut db), (1, true, true));

    db.exec("INSERT INTO t VALUES (2)", &[]).unwrap();
    db.delete_all().unwrap();
    assert_eq!(db.kv_get("a").unwrap(), None);
    assert_eq!(db.alarm("").unwrap(), None);
    let error = db.exec("SELECT * FROM t", &[]).unwrap_err();
    assert_eq!(error.to_string(), "no such table: t: SQLITE_ERROR");
    assert_eq!(db.name().unwrap().as_deref(), Some("room 1"));
}

#[test]
fn everything_is_deleted_whole_and_never_inside_a_savepoint() {
    let folder = Folder::new();
    let mut db = folder.storage().database(key(1));
    db.exec("CREATE TABLE t (a); INSERT INTO t VALUES (1), (2)", &[])
        .unwrap();
    let savepoint = db.open_savepoint().unwrap();
    let error = db.delete_all().unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
    let text = "Cannot call deleteAll() within a transaction";
    assert_eq!(error.to_string(), text);
    db.release_savepoint(savepoint).unwrap();

    let old = db.query("SELECT a FROM t", &[]).unwrap();
    db.delete_all().unwrap();
    let canceled = "SQLite query was canceled because the database was deleted.";
    let error = db.next_batch(old, 1).unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string()),
        (Kind::Closed, canceled.into())
    );
    db.exec("CREATE TABLE t (a); INSERT INTO t VALUES (3)", &[])
        .unwrap();
    let new = db.query("SELECT a FROM t", &[]).unwrap();
    assert!(db.next_batch(old, 1).is_err());
    assert_eq!(db.next_batch(new, 1).unwrap().rows, [[Value::Integer(3)]]);
    let again = db.open_savepoint().unwrap();
    assert_eq!(
        db.release_savepoint(savepoint).unwrap_err().kind(),
        Kind::Closed
    );
    db.release_savepoint(again).unwrap();
}

#[test]
fn an_operator_reads_pairs_and_a_guest_cannot_reach_their_table() {
    let folder = Folder::new();
    let mut db = folder.storage().database(key(1));
    db.kv_put("a", json("[1]")).unwrap();
    for sql in [
        "SELECT * FROM _dormouse_kv",
        "DELETE FROM _dormouse_KV",
        "DROP TABLE _dormouse_kv",
    ] {
        assert_eq!(db.exec(sql, &[]).unwrap_err().kind(), Kind::Denied, "{sql}");
    }
}
