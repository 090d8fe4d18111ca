//! How many rows and index entries statements read and write, in the sense of the reference:
//! see `docs/storage.md`, "Counting rows".

#![allow(clippy::unwrap_used)]

mod common;

use common::{Folder, key};
use dormouse_storage::{Database, Value};

/// Ten rows in `t`, `a` three times 0, four times 1, three times 2; other tables empty.
fn filled(folder: &Folder) -> Database {
    let mut db = folder.storage().database(key(1));
    db.exec(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT, b INT); CREATE INDEX ta ON t (a);
         WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 10)
            INSERT INTO t SELECT i, i % 3, i FROM n;
         CREATE TABLE plain (a);
         CREATE TABLE pair (k PRIMARY KEY, v) WITHOUT ROWID;
         CREATE TABLE part (k INT); CREATE INDEX large ON part (k) WHERE k > 5;
         CREATE TABLE log (a); CREATE INDEX la ON log (a);
         CREATE TABLE told (a);
         CREATE TRIGGER tell AFTER INSERT ON told BEGIN INSERT INTO log VALUES (new.a); END;
         CREATE TABLE parent (id INTEGER PRIMARY KEY);
         CREATE TABLE child (p REFERENCES parent (id) ON DELETE CASCADE);
         CREATE INDEX cp ON child (p);
         INSERT INTO parent VALUES (1); INSERT INTO child VALUES (1), (1), (1);
         CREATE VIRTUAL TABLE words USING fts5(text)",
        &[],
    )
    .unwrap();
    db.end_turn().unwrap();
    db
}

/// Each statement on a database of its own, twice: what a first run counted is not in the
/// second, and undoing leaves the second nothing else to find.
fn counted(sql: &str) -> (u64, u64) {
    let folder = Folder::new();
    let mut db = filled(&folder);
    let mut run = || {
        let result = db
            .exec(sql, &[])
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
        db.abandon_turn();
        (result.rows_read, result.rows_written)
    };
    let first = run();
    assert_eq!(run(), first, "{sql}, the second time");
    let cursor = db.query(sql, &[]).unwrap();
    while !db.next_batch(cursor, 2).unwrap().done {}
    assert_eq!(db.cursor_rows(cursor).unwrap(), first, "{sql}, by a cursor");
    first
}

fn check(wanted: &[(&str, u64, u64)]) {
    let found: Vec<_> = wanted
        .iter()
        .map(|(sql, _, _)| {
            let (read, written) = counted(sql);
            (*sql, read, written)
        })
        .collect();
    assert_eq!(found, wanted);
}

#[test]
fn reading_counts_each_row_and_entry_that_a_cursor_stands_on() {
    check(&[
        ("SELECT 1", 0, 0),
        ("SELECT b FROM t", 10, 0),
        ("SELECT b FROM t WHERE b = 3", 10, 0),
        ("SELECT b FROM t LIMIT 4", 4, 0),
        // A search is one, also when it finds nothing.
        ("SELECT b FROM t WHERE id = 5", 1, 0),
        ("SELECT b FROM t WHERE id = 50", 1, 0),
        ("SELECT * FROM plain", 1, 0),
        // The entry behind the end of a range has been read, too, if there is one.
        ("SELECT b FROM t WHERE a = 1", 5, 0),
        ("SELECT b FROM t WHERE a = 2", 3, 0),
        ("SELECT b FROM t WHERE id BETWEEN 3 AND 6", 5, 0),
        ("SELECT id FROM t ORDER BY id DESC LIMIT 2", 2, 0),
        ("SELECT count(*) FROM t", 10, 0),
        ("SELECT count(*) FROM t WHERE a = 1", 5, 0),
        ("SELECT max(id) FROM t", 1, 0),
        // Sorted rows are read once more.
        ("SELECT b FROM t ORDER BY b", 20, 0),
        // One search for each row of the other side.
        ("SELECT y.b FROM t x CROSS JOIN t y ON y.id = x.b", 20, 0),
        (
            "SELECT (SELECT b FROM t y WHERE y.id = x.b) FROM t x",
            20,
            0,
        ),
    ]);
}

#[test]
fn writing_counts_rows_and_index_entries() {
    check(&[
        ("INSERT INTO plain VALUES (1)", 0, 1),
        ("INSERT INTO t (a, b) VALUES (1, 12)", 0, 2),
        // An id of the guest's is looked for first.
        ("INSERT INTO t VALUES (11, 1, 12)", 1, 2),
        (
            "INSERT INTO t (a, b) VALUES (1, 12), (1, 13), (1, 14)",
            0,
            6,
        ),
        ("INSERT INTO pair VALUES (1, 2)", 0, 1),
        ("INSERT INTO part VALUES (1)", 0, 1),
        ("INSERT INTO part VALUES (9)", 0, 2),
        // Only indexes whose columns are set.
        ("UPDATE t SET b = 0 WHERE id = 1", 1, 1),
        ("UPDATE t SET a = 0 WHERE id = 1", 1, 2),
        ("UPDATE t SET b = 0", 10, 10),
        ("DELETE FROM t WHERE id = 2", 1, 1),
        ("DELETE FROM t WHERE id = 20", 1, 0),
        ("DELETE FROM child", 6, 3),
        ("INSERT INTO plain VALUES (1), (2); DELETE FROM plain", 0, 2),
        // The row that is replaced does not count.
        ("INSERT OR REPLACE INTO t VALUES (1, 2, 3)", 1, 2),
        // What triggers and foreign keys do counts.
        ("INSERT INTO told VALUES (1)", 0, 3),
        ("INSERT INTO words VALUES ('a b c')", 0, 1),
    ]);
}

#[test]
fn a_cascade_counts_the_rows_it_deletes() {
    let (read, written) = counted("DELETE FROM parent WHERE id = 1");
    assert_eq!(written, 4, "a parent and three children");
    assert!(read >= 4, "{read}");
}

#[test]
fn a_cursor_counts_what_it_has_read_so_far() {
    let folder = Folder::new();
    let mut db = filled(&folder);
    for sql in [
        "SELECT b FROM t",
        "SELECT y.b FROM t x CROSS JOIN t y ON y.id = x.b",
    ] {
        let cursor = db.query(sql, &[]).unwrap();
        let (before, _) = db.cursor_rows(cursor).unwrap();
        db.next_batch(cursor, 4).unwrap();
        let (after, _) = db.cursor_rows(cursor).unwrap();
        // One row of look-ahead.
        assert_eq!(after, before * 5, "{sql}");
        db.close_cursor(cursor);
        let rows = db.exec(sql, &[]).unwrap().rows_read;
        assert_eq!(
            rows,
            before * 10,
            "{sql}, after a cursor that was left early"
        );
    }
}

#[test]
fn a_statement_compiled_anew_is_counted_as_it_is_now() {
    let folder = Folder::new();
    let mut db = filled(&folder);
    let insert = "INSERT INTO plain VALUES (?)";
    let mut written = |value| {
        let result = db.exec(insert, &[Value::Integer(value)]).unwrap();
        if value == 2 {
            db.exec(
                "CREATE INDEX pa ON plain (a); CREATE INDEX pb ON plain (a) WHERE a > 3",
                &[],
            )
            .unwrap();
        }
        result.rows_written
    };
    assert_eq!([1, 2, 3, 4].map(&mut written), [1, 1, 2, 3]);
}

#[test]
fn a_run_that_failed_is_not_in_the_next_one() {
    let folder = Folder::new();
    let mut db = filled(&folder);
    db.exec(
        "CREATE TABLE picky (a CHECK (a < 12));
         CREATE TRIGGER pick AFTER INSERT ON picky BEGIN INSERT INTO log VALUES (new.a); END",
        &[],
    )
    .unwrap();
    let insert = "INSERT INTO picky SELECT b + ? FROM t";
    db.exec(insert, &[Value::Integer(5)]).unwrap_err();
    let result = db.exec(insert, &[Value::Integer(0)]).unwrap();
    // Ten rows, ten of the trigger, ten entries.
    assert_eq!(result.rows_written, 30);
}

#[test]
fn what_one_object_has_told_is_good_for_the_same_tables_only() {
    let folder = Folder::new();
    let storage = folder.storage();
    let object = |number, tables: &str| {
        let mut db = storage.database(key(number));
        db.exec(tables, &[]).unwrap();
        db.end_turn().unwrap();
        db
    };
    let insert = |db: &mut Database| {
        let result = db.exec("INSERT INTO t VALUES (1, 2)", &[]).unwrap();
        result.rows_written
    };
    // As many changes of tables, so SQLite gives both the same number.
    let plain = "CREATE TABLE t (a, b); CREATE TABLE other (a)";
    let indexed = "CREATE TABLE t (a, b); CREATE INDEX ta ON t (a)";
    for (number, tables, written) in [
        (1, plain, 1),
        (2, plain, 1),
        (3, indexed, 2),
        (4, plain, 1),
        (5, indexed, 2),
    ] {
        let mut db = object(number, tables);
        assert_eq!(insert(&mut db), written, "object {number}");
    }
    let mut db = object(6, plain);
    db.exec("CREATE INDEX ta ON t (a)", &[]).unwrap();
    assert_eq!(insert(&mut db), 2, "in the turn that makes the index");
    db.abandon_turn();
    assert_eq!(insert(&mut db), 1, "after that turn was undone");
    let parent = "CREATE TABLE p (id INTEGER PRIMARY KEY); \
                  CREATE TABLE c (p REFERENCES p (id) ON DELETE CASCADE); CREATE INDEX cp ON c (p); \
                  INSERT INTO p VALUES (1); INSERT INTO c VALUES (1), (1)";
    let delete = |db: &mut Database| db.exec("DELETE FROM p", &[]).unwrap().rows_written;
    let with_keys = delete(&mut object(7, parent));
    let mut db = object(8, parent);
    db.exec("PRAGMA foreign_keys = OFF", &[]).unwrap();
    db.end_turn().unwrap();
    assert!(
        delete(&mut db) < with_keys,
        "a setting that changes the program"
    );
}
