//! SQL as a guest sees it: what comes back, what is refused, what is too much.

use serde_json::{Value as Json, json};

use crate::harness::{World, probe_app};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn values_of_all_types_come_back_as_they_went_in() {
    let world = World::probe().await;
    let values = json!([null, i64::MAX, i64::MIN, 0.5, "ü\u{0}x", {"hex": "00ff"}, true]);
    let steps = json!([
        {"sql": "CREATE TABLE t (a, b, c, d, e, f, g)"},
        {"sql": "INSERT INTO t VALUES (?, ?, ?, ?, ?, ?, ?)", "params": values},
        {"sql": "SELECT * FROM t"},
        {"sql": "SELECT 1 AS a, 2 AS a"},
        {"sql": "UPDATE t SET a = 1"},
    ]);
    let results = world.run("values", steps).await.results;
    assert_eq!(
        results[2]["columns"],
        json!(["a", "b", "c", "d", "e", "f", "g"])
    );
    let back = json!([[null, i64::MAX, i64::MIN, 0.5, "ü\u{0}x", {"hex": "00ff"}, 1]]);
    assert_eq!(results[2]["rows"], back);
    assert_eq!(results[3]["columns"], json!(["a", "a"]));
    assert_eq!(results[4]["columns"], json!([]));
    assert_eq!(results[4]["rows_written"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_call_runs_all_its_statements_and_a_cursor_reads_the_last_in_batches() {
    let world = World::probe().await;
    let fill = "CREATE TABLE t (n); WITH RECURSIVE c(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM c WHERE n < 10) INSERT INTO t SELECT n FROM c; -- done";
    let steps = json!([
        {"sql": fill},
        {"cursor": "DELETE FROM t WHERE n = 10; SELECT n FROM t WHERE n > ?", "params": [2], "batch": 3},
        {"sql": "INSERT INTO t VALUES (11); INSERT INTO nowhere VALUES (1)"},
        {"sql": "SELECT count(*) FROM t"},
    ]);
    let results = world.run("several", steps).await.results;
    let rows: Vec<_> = (3..10).map(|n| json!([n])).collect();
    assert_eq!(results[1]["rows"], json!(rows));
    assert_eq!(results[3]["rows"], json!([[10]]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn mistakes_are_told_in_the_words_of_the_reference() {
    let world = World::probe().await;
    world
        .run(
            "words",
            json!([{"sql": "CREATE TABLE t (a UNIQUE); INSERT INTO t VALUES (1)"}]),
        )
        .await;
    let cases = [
        ("", "Invalid", "SQL code did not contain a statement."),
        ("SELECT 1; -- only", "", ""),
        (
            "SELECT ?",
            "Invalid",
            "Wrong number of parameter bindings for SQL query.",
        ),
        (
            "SELECT ?; SELECT 1",
            "Invalid",
            "When executing multiple SQL statements in a single call, only the last statement can have parameters.",
        ),
        (
            "INSERT INTO t VALUES (1)",
            "Constraint",
            "UNIQUE constraint failed: t.a: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_UNIQUE)",
        ),
        (
            "SELEC 1",
            "Invalid",
            "near \"SELEC\": syntax error at offset 0: SQLITE_ERROR",
        ),
        (
            "PRAGMA user_version",
            "Denied",
            "not authorized: SQLITE_AUTH",
        ),
        ("ATTACH 'x' AS y", "Denied", "not authorized: SQLITE_AUTH"),
        (
            "SELECT sqlite_version()",
            "Denied",
            "not authorized to use function: sqlite_version",
        ),
    ];
    let steps: Vec<_> = cases.iter().map(|(sql, ..)| json!({"sql": sql})).collect();
    let results = world.run("words", json!(steps)).await.results;
    for ((sql, kind, message), result) in cases.iter().zip(results) {
        if kind.is_empty() {
            assert_eq!(result["error"], Json::Null, "{sql}");
            continue;
        }
        assert_eq!(result["error"]["kind"], *kind, "{sql}: {result}");
        let found = result["error"]["message"].as_str().unwrap();
        assert!(found.starts_with(message), "{sql}: {found}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_hosts_own_tables_are_seen_and_out_of_reach() {
    let world = World::probe().await;
    let steps = json!([
        {"kv_put": "a", "value": 1},
        {"sql": "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"},
        {"sql": "SELECT * FROM _dormouse_kv"},
        {"sql": "UPDATE _dormouse_meta SET value = 'other'"},
        {"sql": "CREATE TRIGGER t AFTER INSERT ON _dormouse_kv BEGIN SELECT 1; END"},
        {"sql": "CREATE VIEW v AS SELECT * FROM _dormouse_kv"},
        {"sql": "SELECT * FROM v"},
    ]);
    let results = world.run("hidden", steps).await.results;
    assert_eq!(
        results[1]["rows"],
        json!([["_dormouse_kv"], ["_dormouse_meta"]])
    );
    for at in [2, 3, 4, 6] {
        assert_eq!(
            results[at]["error"]["kind"], "Denied",
            "{at}: {}",
            results[at]
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn limits_are_those_of_the_manifest() {
    let mut app = probe_app();
    let sql = &mut app.manifest.limits.sql;
    (sql.value_bytes, sql.parameters, sql.result_rows) = (2_000, 2, 3);
    (sql.like_pattern_bytes, sql.compound_select_terms) = (10, 2);
    let world = World::start(app).await;
    let steps = json!([
        {"sql": "SELECT ?, ?", "params": [1, 2]},
        {"sql": "SELECT ?, ?, ?", "params": [1, 2, 3]},
        {"sql": "SELECT length(?)", "params": ["x".repeat(2_001)]},
        {"kv_put": "a", "bytes": 2_000},
        {"sql": "VALUES (1), (2), (3), (4)"},
        {"sql": "SELECT 'a' LIKE '12345678901'"},
        {"sql": "SELECT 1 UNION SELECT 2 UNION SELECT 3"},
    ]);
    let results = world.run("limits", steps).await.results;
    assert_eq!(results[0]["rows"], json!([[1, 2]]));
    let kinds: Vec<_> = results[1..]
        .iter()
        .map(|one| &one["error"]["kind"])
        .collect();
    assert_eq!(
        kinds,
        [
            "Invalid", "TooBig", "TooBig", "TooBig", "Invalid", "Invalid"
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_full_database_undoes_the_turn_and_resets_the_object_even_if_it_is_caught() {
    let mut app = probe_app();
    app.manifest.limits.database_mib = 1;
    let world = World::start(app).await;
    let table = json!([{"sql": "CREATE TABLE t (a)"}]);
    let first = world.run("full", table).await;
    let steps = json!([
        {"sql": "INSERT INTO t VALUES ('undone')"},
        {"sql": "INSERT INTO t VALUES (zeroblob(2000000))"},
        {"sql": "SELECT 1"},
    ]);
    let answer = world.try_run("full", steps).await;
    answer.problem(500, "object-reset");
    let after = world.run("full", json!([{"sql": "SELECT a FROM t"}])).await;
    assert_eq!(after.results[0]["rows"], json!([]));
    assert_ne!(after.instance, first.instance);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn extensions_of_the_reference_are_there() {
    let world = World::probe().await;
    let steps = json!([
        {"sql": "CREATE VIRTUAL TABLE f USING fts5(a); INSERT INTO f VALUES ('a quick fox'); SELECT highlight(f, 0, '[', ']') FROM f WHERE f MATCH 'quick'"},
        {"sql": "CREATE VIRTUAL TABLE r USING rtree(id, x0, x1); INSERT INTO r VALUES (1, 0, 1); SELECT id FROM r WHERE x0 < 0.5"},
        {"sql": "SELECT '{\"a\": [1, 2]}' ->> '$.a[1]', json_array_length('[1, 2]')"},
        {"sql": "SELECT pow(2, 10), floor(1.5), log10(100)"},
        {"sql": "SELECT sum(n) OVER (ORDER BY n) FROM (SELECT 1 AS n UNION ALL SELECT 2)"},
    ]);
    let results = world.run("extensions", steps).await.results;
    let rows: Vec<_> = results.iter().map(|one| one["rows"].clone()).collect();
    assert_eq!(rows[0], json!([["a [quick] fox"]]));
    assert_eq!(rows[1], json!([[1]]));
    assert_eq!(rows[2], json!([[2, 2]]));
    assert_eq!(rows[3], json!([[1024.0, 1.0, 2.0]]));
    assert_eq!(rows[4], json!([[1], [3]]));
}
