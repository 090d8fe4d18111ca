//! What guests may rely on when they speak SQL to their object's database.

mod common;

use common::{Folder, key};
use dormouse_storage::{Error, Kind, Limits, Value};

fn int(value: i64) -> Value {
    Value::Integer(value)
}

fn refusal(error: Error) -> (Kind, String) {
    (error.kind(), error.to_string())
}

#[test]
fn values_come_back_as_they_went_in() {
    let folder = Folder::new();
    let mut db = folder.storage().database(key(1));
    db.exec("CREATE TABLE t (a, b, c, d, e)", &[]).unwrap();
    let row = vec![
        Value::Null,
        int(i64::MAX),
        Value::Real(0.5),
        Value::Text("ä\0b".into()),
        Value::Blob(vec![]),
    ];
    db.exec("INSERT INTO t VALUES (?, ?, ?, ?, ?)", &row)
        .unwrap();
    let result = db.exec("SELECT * FROM t", &[]).unwrap();
    assert_eq!(result.columns, ["a", "b", "c", "d", "e"]);
    assert_eq!(result.rows, [row]);
}

#[test]
fn several_statements_run_in_order_and_the_last_answers() {
    let folder = Folder::new();
    let mut db = folder.storage().database(key(1));
    let result = db
        .exec("CREATE TABLE t (a); INSERT INTO t VALUES (1), (2); SELECT a + ? AS more FROM t; -- done", &[int(10)])
        .unwrap();
    assert_eq!(result.rows, [[int(11)], [int(12)]]);
    let error = db
        .exec("INSERT INTO t VALUES (3); INSERT INTO t VALUES (1, 2)", &[])
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert_eq!(
        db.exec("SELECT count(*) FROM t", &[]).unwrap().rows,
        [[int(3)]]
    );
}

#[test]
fn mistakes_are_told_in_known_words() {
    let folder = Folder::new();
    let mut db = folder.storage().database(key(1));
    db.exec("CREATE TABLE t (a UNIQUE)", &[]).unwrap();
    db.exec("INSERT INTO t VALUES (1)", &[]).unwrap();
    let mut fail = |sql: &str, params: &[Value]| refusal(db.exec(sql, params).unwrap_err());
    let invalid = |text: &str| (Kind::Invalid, text.to_owned());
    assert_eq!(
        fail("  -- nothing", &[]),
        invalid("SQL code did not contain a statement.")
    );
    assert_eq!(
        fail("SELECT ?; SELECT 1", &[int(1)]),
        invalid(
            "When executing multiple SQL statements in a single call, only the last statement can have parameters."
        )
    );
    assert_eq!(
        fail("SELECT ?", &[]),
        invalid("Wrong number of parameter bindings for SQL query.")
    );
    assert_eq!(
        fail("SELEC 1", &[]),
        invalid("near \"SELEC\": syntax error at offset 0: SQLITE_ERROR")
    );
    assert_eq!(
        fail("SELECT * FROM x", &[]).1,
        "no such table: x: SQLITE_ERROR"
    );
    assert_eq!(
        fail("INSERT INTO t VALUES (1)", &[]),
        (
            Kind::Constraint,
            "UNIQUE constraint failed: t.a: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_UNIQUE)"
                .into()
        )
    );
    assert_eq!(fail("SELECT 1\0", &[]).0, Kind::Invalid);
}

#[test]
fn what_guests_may_not_do_is_refused() {
    let folder = Folder::new();
    let mut db = folder.storage().database(key(1));
    db.exec("CREATE TABLE t (a); CREATE INDEX i ON t (a)", &[])
        .unwrap();
    for sql in [
        "BEGIN",
        "COMMIT",
        "ROLLBACK",
        "SAVEPOINT s",
        "ATTACH 'x' AS y",
        "CREATE TEMP TABLE x (a)",
        "CREATE TABLE temp.x (a)",
        "CREATE TABLE _dormouse_x (a)",
        "CREATE TABLE _DORMOUSE_x (a)",
        "CREATE VIEW _dormouse_v AS SELECT 1",
        "CREATE INDEX _dormouse_i ON t (a)",
        "CREATE TRIGGER _dormouse_t AFTER INSERT ON t BEGIN SELECT 1; END",
        "ALTER TABLE t RENAME TO _dormouse_y",
        "ALTER TABLE t RENAME TO \"_Dormouse_y\"",
        "CREATE VIRTUAL TABLE _dormouse_f USING fts5(a)",
        "CREATE VIRTUAL TABLE f USING fts4(a)",
        "SELECT * FROM dbstat",
        "PRAGMA journal_mode=WAL",
        "PRAGMA locking_mode=NORMAL",
        "PRAGMA page_size=8192",
        "PRAGMA writable_schema=1",
        "PRAGMA user_version",
        "PRAGMA table_info(_dormouse_meta)",
        "SELECT load_extension('x')",
        "SELECT sqlite_version()",
        "SELECT fts3_tokenizer('x')",
        "VACUUM",
        "/* all */ vacuum;",
        "VACUUM INTO 'x'",
    ] {
        let error = db.exec(sql, &[]).expect_err(sql);
        assert_eq!(error.kind(), Kind::Denied, "{sql}: {error}");
        let text = error.to_string();
        assert!(
            text.contains("not authorized") || text.contains("prohibited"),
            "{sql}: {error}"
        );
    }
    // Refused by SQLite itself.
    for sql in [
        "UPDATE sqlite_master SET sql = ''",
        "DELETE FROM sqlite_schema",
    ] {
        db.exec(sql, &[]).expect_err(sql);
    }
}

#[test]
fn what_guests_need_is_there() {
    let folder = Folder::new();
    let mut db = folder.storage().database(key(1));
    for sql in [
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b INT GENERATED ALWAYS AS (length(a)) STORED)",
        "INSERT INTO t (a) VALUES ('x') ON CONFLICT DO UPDATE SET a = 'y' RETURNING id",
        "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 10) SELECT sum(i) FROM n",
        "SELECT row_number() OVER (ORDER BY a), lag(a) OVER () FROM t",
        "SELECT json_extract('{\"a\": 1}', '$.a'), '{\"a\": 1}' ->> 'a', value FROM json_each('[1, 2]')",
        "SELECT sqrt(2), pow(2, 10), log10(100), ceil(1.5), pi()",
        "CREATE VIRTUAL TABLE f USING fts5(a, content='t', content_rowid='id')",
        "CREATE TRIGGER fi AFTER INSERT ON t BEGIN INSERT INTO f (rowid, a) VALUES (new.id, new.a); END",
        "INSERT INTO t (a) VALUES ('a quick brown fox')",
        "SELECT highlight(f, 0, '[', ']'), bm25(f) FROM f WHERE f MATCH 'quick'",
        "INSERT INTO f(f) VALUES('optimize')",
        "CREATE VIRTUAL TABLE r USING rtree(id, x0, x1)",
        "INSERT INTO r VALUES (1, 0.0, 1.0)",
        "SELECT id FROM r WHERE x0 < 1",
        "CREATE TABLE s (a INT) STRICT",
        "ALTER TABLE s RENAME TO s2",
        "ALTER TABLE s2 ADD COLUMN c INT",
        "ALTER TABLE s2 RENAME COLUMN c TO d",
        "ALTER TABLE s2 DROP COLUMN d",
        "ANALYZE",
        "REINDEX",
        "PRAGMA table_info(t)",
        "SELECT name FROM pragma_table_info('t')",
        "PRAGMA foreign_keys",
        "PRAGMA optimize",
        "PRAGMA quick_check",
        "SELECT date('now'), unixepoch(), soundex('x'), hex(randomblob(4)), \"a string\"",
        "DROP TABLE s2",
        "DROP TABLE r",
        "DROP TABLE f",
        "EXPLAIN QUERY PLAN SELECT * FROM t",
    ] {
        db.exec(sql, &[])
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    db.end_turn().unwrap();
}

#[test]
fn a_turn_lands_as_a_whole_or_not_at_all() {
    let folder = Folder::new();
    let storage = folder.storage();
    let mut db = storage.database(key(1));
    assert!(!db.in_turn());
    db.exec("CREATE TABLE t (a)", &[]).unwrap();
    assert!(db.in_turn());
    db.end_turn().unwrap();
    assert!(!db.in_turn());
    db.exec("SELECT * FROM t", &[]).unwrap();
    assert!(!db.in_turn(), "reading opens no turn");
    db.exec("INSERT INTO t VALUES (1)", &[]).unwrap();
    db.abandon_turn();
    db.exec("INSERT INTO t VALUES (2)", &[]).unwrap();
    db.end_turn().unwrap();
    db.exec("INSERT INTO t VALUES (3)", &[]).unwrap();
    db.close();
    let mut db = storage.database(key(1));
    assert_eq!(db.exec("SELECT a FROM t", &[]).unwrap().rows, [[int(2)]]);
}

#[test]
fn savepoints_nest_and_end_with_their_outer_one() {
    let folder = Folder::new();
    let mut db = folder.storage().database(key(1));
    db.exec("CREATE TABLE t (a)", &[]).unwrap();
    let outer = db.open_savepoint().unwrap();
    db.exec("INSERT INTO t VALUES (1)", &[]).unwrap();
    let inner = db.open_savepoint().unwrap();
    db.exec("INSERT INTO t VALUES (2)", &[]).unwrap();
    db.rollback_savepoint(inner).unwrap();
    assert_eq!(db.exec("SELECT a FROM t", &[]).unwrap().rows, [[int(1)]]);
    let inner = db.open_savepoint().unwrap();
    db.release_savepoint(outer).unwrap();
    assert_eq!(
        db.release_savepoint(inner).unwrap_err().kind(),
        Kind::Closed
    );
    let open = db.open_savepoint().unwrap();
    db.exec("INSERT INTO t VALUES (3)", &[]).unwrap();
    db.end_turn().unwrap();
    assert_eq!(
        db.exec("SELECT a FROM t", &[]).unwrap().rows,
        [[int(1)]],
        "open at the end: rolled back"
    );
    assert_eq!(
        db.rollback_savepoint(open).unwrap_err().kind(),
        Kind::Closed
    );
}

#[test]
fn a_cursor_reads_in_portions_across_turns() {
    let folder = Folder::new();
    let mut db = folder.storage().database(key(1));
    db.exec(
        "CREATE TABLE t (a); INSERT INTO t VALUES (1), (2), (3), (4), (5)",
        &[],
    )
    .unwrap();
    db.end_turn().unwrap();
    let cursor = db
        .query("SELECT a AS n FROM t WHERE a > ?", &[int(0)])
        .unwrap();
    let other = db
        .query("SELECT a AS n FROM t WHERE a > ?", &[int(3)])
        .unwrap();
    assert_eq!(db.cursor_columns(cursor).unwrap(), ["n"]);
    let batch = db.next_batch(cursor, 0).unwrap();
    assert_eq!((batch.rows, batch.done), (vec![vec![int(1)]], false));
    db.exec("UPDATE t SET a = 30 WHERE a = 3", &[]).unwrap();
    db.end_turn().unwrap();
    let batch = db.next_batch(cursor, 10).unwrap();
    assert_eq!(batch.rows.len(), 4);
    assert!(batch.done);
    assert_eq!(db.next_batch(cursor, 10).unwrap().rows.len(), 0);
    assert_eq!(db.cursor_rows(cursor).unwrap(), (5, 0));
    assert_eq!(
        db.next_batch(other, 10).unwrap().rows,
        [[int(4)], [int(5)]],
        "3 lay behind it already"
    );
    db.close_cursor(cursor);
    assert_eq!(db.next_batch(cursor, 1).unwrap_err().kind(), Kind::Closed);
}

#[test]
fn cursors_over_one_text_do_not_disturb_each_other() {
    let folder = Folder::new();
    let mut db = folder.storage().database(key(1));
    db.exec(
        "CREATE TABLE t (a); INSERT INTO t VALUES (1), (2), (3)",
        &[],
    )
    .unwrap();
    let text = "SELECT a FROM t WHERE a >= ?";
    let one = db.query(text, &[int(1)]).unwrap();
    let two = db.query(text, &[int(2)]).unwrap();
    assert_eq!(db.next_batch(one, 1).unwrap().rows, [[int(1)]]);
    assert_eq!(db.next_batch(two, 1).unwrap().rows, [[int(2)]]);
    assert_eq!(db.exec(text, &[int(3)]).unwrap().rows, [[int(3)]]);
    assert_eq!(db.next_batch(one, 9).unwrap().rows, [[int(2)], [int(3)]]);
    assert_eq!(db.next_batch(two, 9).unwrap().rows, [[int(3)]]);
}

#[test]
fn a_writing_query_runs_to_its_end() {
    let folder = Folder::new();
    let mut db = folder.storage().database(key(1));
    db.exec("CREATE TABLE t (a)", &[]).unwrap();
    let cursor = db
        .query("INSERT INTO t VALUES (1), (2) RETURNING a", &[])
        .unwrap();
    db.end_turn().unwrap();
    assert_eq!(db.cursor_rows(cursor).unwrap().1, 2);
    assert_eq!(
        db.next_batch(cursor, 10).unwrap().rows,
        [[int(1)], [int(2)]]
    );
}

#[test]
fn a_cursor_ends_when_its_turn_is_undone() {
    let folder = Folder::new();
    let mut db = folder.storage().database(key(1));
    db.exec("CREATE TABLE t (a); INSERT INTO t VALUES (1), (2)", &[])
        .unwrap();
    let cursor = db.query("SELECT * FROM t", &[]).unwrap();
    db.abandon_turn();
    assert_eq!(db.next_batch(cursor, 1).unwrap_err().kind(), Kind::Closed);
}

#[test]
fn a_failing_statement_undoes_itself_only() {
    let folder = Folder::new();
    let mut db = folder.storage().database(key(1));
    db.exec("CREATE TABLE t (a UNIQUE); INSERT INTO t VALUES (1)", &[])
        .unwrap();
    db.exec("INSERT INTO t VALUES (2), (1)", &[]).unwrap_err();
    db.end_turn().unwrap();
    assert_eq!(db.exec("SELECT a FROM t", &[]).unwrap().rows, [[int(1)]]);
}

#[test]
fn a_guest_may_roll_its_turn_back_by_conflict_clause() {
    let folder = Folder::new();
    let mut db = folder.storage().database(key(1));
    db.exec("CREATE TABLE t (a UNIQUE); INSERT INTO t VALUES (1)", &[])
        .unwrap();
    db.end_turn().unwrap();
    db.exec("INSERT INTO t VALUES (2)", &[]).unwrap();
    db.exec("INSERT OR ROLLBACK INTO t VALUES (1)", &[])
        .unwrap_err();
    assert!(!db.in_turn());
    assert!(db.broken().is_none());
    assert_eq!(db.exec("SELECT a FROM t", &[]).unwrap().rows, [[int(1)]]);
}

#[test]
fn a_violated_deferred_constraint_breaks_the_object_at_commit() {
    let folder = Folder::new();
    let storage = folder.storage();
    let mut db = storage.database(key(1));
    db.exec(
        "CREATE TABLE p (id PRIMARY KEY); CREATE TABLE c (p REFERENCES p (id))",
        &[],
    )
    .unwrap();
    db.end_turn().unwrap();
    assert_eq!(
        db.exec("INSERT INTO c VALUES (1)", &[]).unwrap_err().kind(),
        Kind::Constraint,
        "foreign keys are on"
    );
    db.abandon_turn();
    db.exec(
        "PRAGMA defer_foreign_keys = on; INSERT INTO c VALUES (1)",
        &[],
    )
    .unwrap();
    let error = db.end_turn().unwrap_err();
    assert_eq!(error.kind(), Kind::Constraint);
    assert_eq!(
        db.exec("SELECT 1", &[]).unwrap_err().to_string(),
        error.to_string()
    );
    assert!(db.broken().is_some());
    let mut db = storage.database(key(1));
    assert_eq!(
        db.exec("SELECT count(*) FROM c", &[]).unwrap().rows,
        [[int(0)]]
    );
}

#[test]
fn a_full_database_undoes_the_turn_and_breaks_the_object() {
    let folder = Folder::new();
    let storage = folder.storage_with(Limits {
        database_bytes: 40 * 4096,
        ..Limits::default()
    });
    let mut db = storage.database(key(1));
    db.exec("CREATE TABLE t (a)", &[]).unwrap();
    db.end_turn().unwrap();
    let blob = Value::Blob(vec![1; 100_000]);
    db.exec("INSERT INTO t VALUES (?)", std::slice::from_ref(&blob))
        .unwrap();
    let error = db.exec("INSERT INTO t VALUES (?)", &[blob]).unwrap_err();
    assert_eq!((error.kind(), error.code()), (Kind::Full, Some(13)));
    assert!(!db.in_turn());
    assert_eq!(db.end_turn().unwrap_err().kind(), Kind::Full);
    let mut db = storage.database(key(1));
    assert_eq!(
        db.exec("SELECT count(*) FROM t", &[]).unwrap().rows,
        [[int(0)]]
    );
}

#[test]
fn an_endless_statement_is_interrupted() {
    let folder = Folder::new();
    let mut db = folder.storage().database(key(1));
    let mut asked = 0;
    db.set_interrupt(Box::new(move || {
        asked += 1;
        asked > 3
    }));
    let endless =
        "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";
    assert_eq!(db.exec(endless, &[]).unwrap_err().kind(), Kind::Interrupted);
    assert!(db.broken().is_none(), "outside of a turn nothing is lost");
    db.delete_all().unwrap();
    assert_eq!(db.exec(endless, &[]).unwrap_err().kind(), Kind::Interrupted);
}

#[test]
fn large_results_are_refused_and_undone() {
    let folder = Folder::new();
    let storage = folder.storage_with(Limits {
        result_rows: 3,
        value_bytes: 1000,
        ..Limits::default()
    });
    let mut db = storage.database(key(1));
    db.exec(
        "CREATE TABLE t (a); INSERT INTO t VALUES (1), (2), (3), (4)",
        &[],
    )
    .unwrap();
    assert_eq!(
        db.exec("SELECT * FROM t", &[]).unwrap_err().kind(),
        Kind::TooBig
    );
    assert_eq!(
        db.exec("UPDATE t SET a = 0 RETURNING a", &[])
            .unwrap_err()
            .kind(),
        Kind::TooBig
    );
    assert_eq!(
        db.exec("SELECT sum(a) FROM t", &[]).unwrap().rows,
        [[int(10)]]
    );
    let error = db
        .exec("INSERT INTO t VALUES (?)", &[Value::Blob(vec![0; 2000])])
        .unwrap_err();
    assert_eq!(
        refusal(error),
        (Kind::TooBig, "string or blob too big: SQLITE_TOOBIG".into())
    );
}

#[test]
fn a_cached_statement_sees_changed_tables() {
    let folder = Folder::new();
    let mut db = folder.storage().database(key(1));
    db.exec("CREATE TABLE t (a); INSERT INTO t VALUES (1)", &[])
        .unwrap();
    let all = "SELECT * FROM t";
    assert_eq!(db.exec(all, &[]).unwrap().columns, ["a"]);
    db.exec("ALTER TABLE t ADD COLUMN b DEFAULT 2", &[])
        .unwrap();
    let result = db.exec(all, &[]).unwrap();
    assert_eq!(result.columns, ["a", "b"]);
    assert_eq!(result.rows, [[int(1), int(2)]]);
    db.exec("ALTER TABLE t RENAME COLUMN b TO c", &[]).unwrap();
    let cursor = db.query(all, &[]).unwrap();
    assert_eq!(db.cursor_columns(cursor).unwrap(), ["a", "c"]);
}

#[test]
fn objects_are_listed_with_their_names() {
    let folder = Folder::new();
    let storage = folder.storage();
    for number in [2, 1] {
        let mut db = storage.database(key(number));
        db.exec("CREATE TABLE t (a)", &[]).unwrap();
        db.end_turn().unwrap();
    }
    let listed = storage.list("chat").unwrap();
    let names: Vec<_> = listed
        .iter()
        .map(|object| object.name.as_deref().unwrap())
        .collect();
    assert_eq!(names, ["room 1", "room 2"]);
    assert!(listed.iter().all(|object| object.bytes > 0));
    assert!(storage.list("other").unwrap().is_empty());
}

#[test]
fn the_gate_opens_after_the_commit() {
    let folder = Folder::new();
    let mut db = folder.storage().database(key(1));
    db.exec("CREATE TABLE t (a)", &[]).unwrap();
    db.end_turn().unwrap();
    let gate = db.gate();
    gate.wait().unwrap();
    assert!(gate.is_open());
}
