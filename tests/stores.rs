//! Key-value stores and SQL databases for all of an app: shared, durable, in turns.

use std::time::Duration;

use dormouse::App;
use http::Method;
use serde_json::{Value as Json, json};

use crate::admin::Operated;
use crate::harness::{World, app, app_folder, front, probe_app};

const BINDINGS: &str = "kv.CACHE = 'cache'\nkv.SAME = 'cache'\ndatabases.DB = 'main'";

fn bound(mut app: App) -> App {
    let manifest = &mut app.manifest;
    for binding in ["CACHE", "SAME"] {
        manifest.kv.insert(binding.to_owned(), "cache".to_owned());
    }
    manifest
        .databases
        .insert("DB".to_owned(), "main".to_owned());
    app
}

async fn world() -> World {
    World::start(bound(probe_app())).await
}

fn put(key: &str, value: Json) -> Json {
    json!({"store": "CACHE", "put": key, "value": value})
}

fn get(key: &str) -> Json {
    json!({"store": "CACHE", "get": key})
}

fn query(sql: &str) -> Json {
    json!({"database": "DB", "query": sql})
}

async fn one(world: &World, object: &str, step: Json) -> Json {
    world.run(object, json!([step])).await.results.remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_and_the_worker_share_a_store_that_outlives_the_host() {
    let world = world().await;
    let steps = json!([get("a"), put("a", json!({"n": 1})), get("a"),
        {"store": "CACHE", "put_bytes": "b", "text": "by\u{0}tes"}]);
    let results = world.run("one", steps).await.results;
    assert_eq!(results[0], json!({"value": null}));
    assert_eq!(results[2], json!({"value": {"n": 1}}));
    let other = json!([{"store": "SAME", "get": "a"}, {"store": "SAME", "get_bytes": "b"},
        {"store": "SAME", "delete": "b"}, {"store": "SAME", "delete": "b"}]);
    let wanted = [
        json!({"value": {"n": 1}}),
        json!({"bytes": "627900746573"}),
        json!({"deleted": true}),
        json!({"deleted": false}),
    ];
    assert_eq!(world.run("two", other).await.results, wanted);
    let world = world.restart(bound(probe_app())).await;
    let found = one(&world, "three", get("a")).await;
    assert_eq!(found, json!({"value": {"n": 1}}));

    let world = World::start(bound(app("front", front()))).await;
    for visits in 1..3 {
        let wanted = json!({"visits": visits, "twice": visits * 2});
        assert_eq!(world.get("/stores").await.json(), wanted);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_is_there_until_its_time_is_over() {
    let world = world().await;
    let brief = |key: &str| json!({"store": "CACHE", "put": key, "value": 1, "ttl_ms": 1_000});
    let steps = json!([brief("brief"), brief("kept"), put("kept", json!(2))]);
    world.run("a", steps).await;
    let now = world.clock.unix();
    world.clock.set_unix(now + Duration::from_millis(999));
    let look = json!([get("brief"), get("kept"), {"store": "CACHE", "list": ""}]);
    let seen = world.run("a", look.clone()).await.results;
    assert_eq!(seen[0], json!({"value": 1}));
    assert_eq!(seen[2], json!({"keys": ["brief", "kept"], "next": null}));
    world.clock.set_unix(now + Duration::from_millis(1_000));
    let seen = world.run("a", look).await.results;
    assert_eq!(seen[0], json!({"value": null}));
    // The later `put` has no end.
    assert_eq!(seen[1], json!({"value": 2}));
    assert_eq!(seen[2], json!({"keys": ["kept"], "next": null}));
    let deleted = one(&world, "a", json!({"store": "CACHE", "delete": "brief"})).await;
    assert_eq!(deleted, json!({"deleted": false}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_listed_by_prefix_in_pages() {
    let world = world().await;
    let keys = ["b", "a:2", "a:10", "a", "a:1", "ä"];
    let puts: Vec<_> = keys.iter().map(|key| put(key, json!(0))).collect();
    world.run("a", json!(puts)).await;
    let list = |prefix: &str, limit: u32, after: Json| json!({"store": "CACHE", "list": prefix, "limit": limit, "after": after});
    let steps = json!([
        list("a:", 2, Json::Null),
        list("a:", 2, json!("a:10")),
        list("", 10, Json::Null),
        list("none", 1, Json::Null)
    ]);
    let wanted = [
        json!({"keys": ["a:1", "a:10"], "next": "a:10"}),
        json!({"keys": ["a:2"], "next": null}),
        json!({"keys": ["a", "a:1", "a:10", "a:2", "b", "ä"], "next": null}),
        json!({"keys": [], "next": null}),
    ];
    assert_eq!(world.run("a", steps).await.results, wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_of_statements_is_all_or_nothing() {
    let world = world().await;
    let batch = |batch: Json| json!({"database": "DB", "batch": batch});
    let steps = json!([
        query("CREATE TABLE people (name TEXT UNIQUE, photo BLOB)"),
        batch(json!([
            ["INSERT INTO people VALUES (?, ?)", ["Ada", {"hex": "00ff"}]],
            ["INSERT INTO people VALUES (?, ?) RETURNING name", ["Grace", null]],
        ])),
        batch(json!([
            ["INSERT INTO people VALUES ('Lost', NULL)", []],
            ["INSERT INTO people VALUES ('Ada', NULL)", []],
        ])),
    ]);
    let results = world.run("one", steps).await.results;
    // A row, and its entry in the index.
    assert_eq!(
        results[1],
        json!({"batch": [{"rows": [], "rows_written": 2}, {"rows": [["Grace"]], "rows_written": 2}]})
    );
    let error = results[2]["error"].as_str().unwrap();
    assert!(
        error.contains("UNIQUE constraint failed: people.name"),
        "{error}"
    );
    let world = world.restart(bound(probe_app())).await;
    let seen = one(&world, "two", query("SELECT * FROM people ORDER BY name")).await;
    let rows = json!([["Ada", {"hex": "00ff"}], ["Grace", null]]);
    assert_eq!(seen["rows"], rows);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_store_cannot_do_is_told() {
    let world = world().await;
    let long = "k".repeat(513);
    let cases = [
        (get(""), "the key has 0 bytes, not 1 to 512"),
        (get(&long), "the key has 513 bytes, not 1 to 512"),
        (
            json!({"store": "CACHE", "put": "a", "value": 1, "ttl_ms": 0}),
            "the entry would expire at ",
        ),
        (
            json!({"store": "CACHE", "list": "", "limit": 1_001}),
            "`limit` is 1001, not 1 to 1000",
        ),
        (
            json!({"store": "DB", "get": "a"}),
            "there is no method `get`; a database has query, batch",
        ),
        (
            json!({"store": "NOBODY", "get": "a"}),
            "the binding `NOBODY` cannot be opened",
        ),
        (query("SELEC 1"), "near \"SELEC\": syntax error"),
        (query("SELECT ?"), "Wrong number of parameter bindings"),
        (query("PRAGMA foreign_keys = 0"), ""),
        (query("BEGIN"), ""),
    ];
    for (step, wanted) in cases {
        let result = one(&world, "a", step.clone()).await;
        let error = result["error"].as_str();
        assert!(
            error.is_some_and(|error| error.contains(wanted)),
            "{step}: {result}"
        );
    }
    // Nothing of this has harmed the store.
    assert_eq!(one(&world, "a", get("a")).await, json!({"value": null}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_answers_drivers_at_the_admin_door() {
    let app = app_folder("probe", &crate::harness::probe(), BINDINGS);
    let host = Operated::on(app, tempfile::tempdir().unwrap()).await;
    let path = |what: &str| format!("/v1/apps/probe/databases/DB/{what}");
    let ask = async |body: Json| {
        let answer = host.ask(Method::POST, &path("query"), body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["rows"].clone()
    };
    let run = json!({"sql": "CREATE TABLE t (n INTEGER, word TEXT)", "method": "run"});
    assert_eq!(ask(run).await, json!([]));
    let insert = "INSERT INTO t VALUES (?, ?)";
    let batch = json!([
        {"sql": insert, "params": [1, "one"], "method": "run"},
        {"sql": insert, "params": [2, null], "method": "run"},
        {"sql": "SELECT n FROM t ORDER BY n", "method": "values"},
    ]);
    let answer = host.ask(Method::POST, &path("batch"), batch).await;
    let wanted = json!([{"rows": []}, {"rows": []}, {"rows": [[1], [2]]}]);
    assert_eq!((answer.status, answer.json()), (200, wanted));
    let select = "SELECT * FROM t WHERE n >= ? ORDER BY n";
    let with = |method: &str, from: i64| json!({"sql": select, "params": [from], "method": method});
    assert_eq!(ask(with("all", 1)).await, json!([[1, "one"], [2, null]]));
    assert_eq!(ask(with("get", 2)).await, json!([2, null]));
    assert_eq!(ask(with("get", 3)).await, Json::Null);
    let broken = json!({"sql": "SELECT missing FROM t"});
    let refused = host.ask(Method::POST, &path("query"), broken).await;
    let problem = refused.problem(400, "sql");
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("no such column: missing"),
        "{problem}"
    );
    let nobody = "/v1/apps/probe/databases/NOBODY/query";
    let refused = host
        .ask(Method::POST, nobody, json!({"sql": "SELECT 1"}))
        .await;
    refused.problem(404, "not-found");

    // Who may only read cannot write.
    let token = host.cli(&["token", "create", "reader", "--scope", "sql-read"]);
    let (token, write) = (token.trim(), json!({"sql": "DELETE FROM t"}));
    let refused = host
        .ask_as(token, Method::POST, &path("query"), write)
        .await;
    refused.problem(400, "sql");
    let read = json!({"sql": "SELECT count(*) FROM t", "method": "get"});
    let answer = host.ask_as(token, Method::POST, &path("query"), read).await;
    assert_eq!(answer.json()["rows"], json!([2]));

    // The command line reaches the same objects, the public door none of them.
    host.cli(&["call", "_kv/cache", "put", "a", "[1]"]);
    let found = host.cli(&["call", "_kv/cache", "get", "a"]);
    let found: Json = serde_json::from_str(&found).unwrap();
    assert_eq!(found, json!({"value": [1], "expires_ms": null}));
    let rows = host.cli(&["sql", "_database/main", "SELECT max(n) FROM t", "--json"]);
    assert!(rows.contains('2'), "{rows}");
    let listed = host.cli(&["objects", "--json"]);
    assert!(
        listed.contains("\"_kv\"") && listed.contains("\"_database\""),
        "{listed}"
    );
    host.host
        .get("/_kv/cache/")
        .await
        .problem(404, "unknown-class");
}
