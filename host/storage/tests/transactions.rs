//! Transactions over several turns, and what waits for the disk.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use common::{Folder, key};
use dormouse_storage::{Database, Env, Kind, KvValue, Storage, Value};

/// A folder whose log is written when the test says so.
fn held(folder: &Folder) -> Storage {
    let env = Env {
        threads: false,
        ..Env::real(folder.path()).unwrap()
    };
    Storage::open_in(folder.options(), env).unwrap()
}

fn words(db: &mut Database) -> Vec<Value> {
    let rows = db.exec("SELECT word FROM t", &[]).unwrap().rows;
    rows.into_iter().flatten().collect()
}

fn insert(db: &mut Database, word: &str) {
    db.exec("INSERT INTO t VALUES (?)", &[word.into()]).unwrap();
}

fn prepared(storage: &Storage) -> Database {
    let mut db = storage.database(key(1));
    db.exec("CREATE TABLE t (word)", &[]).unwrap();
    db.end_turn().unwrap();
    db
}

#[test]
fn a_transaction_outlasts_turns_and_is_kept_or_undone_whole() {
    let folder = Folder::new();
    let mut db = prepared(&folder.storage());
    insert(&mut db, "before");
    let first = db.begin_transaction().unwrap();
    insert(&mut db, "undone");
    db.end_turn().unwrap();
    insert(&mut db, "undone, too");
    db.rollback_transaction(first).unwrap();
    assert_eq!(words(&mut db), ["before".into()]);

    let second = db.begin_transaction().unwrap();
    insert(&mut db, "kept");
    db.end_turn().unwrap();
    assert!(db.in_transaction());
    db.commit_transaction(second).unwrap();
    assert!(!db.in_transaction() && !db.in_turn());
    db.abandon_turn();
    assert_eq!(words(&mut db), ["before".into(), "kept".into()]);
}

#[test]
fn a_reset_undoes_the_transaction_and_not_what_was_before_it() {
    let folder = Folder::new();
    let mut db = prepared(&folder.storage());
    insert(&mut db, "before");
    db.begin_transaction().unwrap();
    insert(&mut db, "lost");
    db.end_turn().unwrap();
    db.abandon_turn();
    assert!(!db.in_transaction());
    assert_eq!(words(&mut db), ["before".into()]);
}

#[test]
fn transactions_nest_and_end_with_those_they_stand_in() {
    let folder = Folder::new();
    let mut db = prepared(&folder.storage());
    let outer = db.begin_transaction().unwrap();
    insert(&mut db, "outer");
    let inner = db.begin_transaction().unwrap();
    insert(&mut db, "inner");
    db.rollback_transaction(inner).unwrap();
    let left = db.begin_transaction().unwrap();
    insert(&mut db, "left open");
    db.commit_transaction(outer).unwrap();
    assert_eq!(words(&mut db), ["outer".into(), "left open".into()]);
    let error = db.commit_transaction(left).unwrap_err();
    assert_eq!(error.kind(), Kind::Closed);
    let text = "the transaction is no longer open: it was ended before, or undone";
    assert_eq!(error.to_string(), text);
}

#[test]
fn a_transaction_whose_beginning_was_undone_keeps_nothing() {
    let folder = Folder::new();
    let mut db = prepared(&folder.storage());
    db.exec("CREATE TABLE u (a UNIQUE)", &[]).unwrap();
    let transaction = db.begin_transaction().unwrap();
    db.exec("INSERT INTO u VALUES (1)", &[]).unwrap();
    db.exec("INSERT OR ROLLBACK INTO u VALUES (1)", &[])
        .unwrap_err();
    insert(&mut db, "half");
    db.commit_transaction(transaction).unwrap_err();
    assert_eq!(words(&mut db), []);
}

#[test]
fn what_cannot_be_in_a_transaction_is_refused() {
    let folder = Folder::new();
    let mut db = prepared(&folder.storage());
    let savepoint = db.open_savepoint().unwrap();
    assert_eq!(db.begin_transaction().unwrap_err().kind(), Kind::Denied);
    assert_eq!(db.sync().unwrap_err().kind(), Kind::Denied);
    db.release_savepoint(savepoint).unwrap();
    let transaction = db.begin_transaction().unwrap();
    assert_eq!(db.delete_all().unwrap_err().kind(), Kind::Denied);
    assert_eq!(db.sync().unwrap_err().kind(), Kind::Denied);
    db.commit_transaction(transaction).unwrap();
}

#[test]
fn an_unconfirmed_write_holds_nothing_back_and_sync_waits_for_it() {
    let folder = Folder::new();
    let storage = held(&folder);
    let mut db = prepared(&storage);
    assert!(!db.gate().is_open());
    storage.commit().unwrap();
    assert!(db.gate().is_open());

    db.allow_unconfirmed();
    insert(&mut db, "unconfirmed");
    db.end_turn().unwrap();
    assert!(db.gate().is_open());
    let synced = db.sync().unwrap();
    assert!(!synced.is_open());

    // The promise ends with its turn.
    db.kv_put("a", KvValue::Json("1".into())).unwrap();
    db.end_turn().unwrap();
    let confirmed = db.gate();
    assert!(!confirmed.is_open());
    db.allow_unconfirmed();
    insert(&mut db, "unconfirmed, too");
    db.end_turn().unwrap();
    assert_eq!(db.gate().position(), confirmed.position());
    storage.commit().unwrap();
    assert!(confirmed.is_open() && synced.is_open() && db.sync().unwrap().is_open());
}

#[test]
fn sync_commits_the_turn_it_ends() {
    let folder = Folder::new();
    let storage = held(&folder);
    let mut db = prepared(&storage);
    insert(&mut db, "kept");
    let synced = db.sync().unwrap();
    db.abandon_turn();
    assert_eq!(words(&mut db), ["kept".into()]);
    assert!(!synced.is_open());
    storage.commit().unwrap();
    assert!(synced.is_open());
}

#[test]
fn the_schema_version_shares_the_fate_of_the_tables() {
    let folder = Folder::new();
    let mut db = folder.storage().database(key(1));
    assert_eq!(db.schema_version().unwrap(), 0);
    db.set_schema_version(3).unwrap();
    db.end_turn().unwrap();
    db.set_schema_version(4).unwrap();
    db.abandon_turn();
    assert_eq!(db.schema_version().unwrap(), 3);
    assert_eq!(db.name().unwrap().as_deref(), Some("room 1"));
    db.delete_all().unwrap();
    assert_eq!(db.schema_version().unwrap(), 0);
}
