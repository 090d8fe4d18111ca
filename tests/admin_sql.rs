//! SQL of an operator beyond one object that is read: over a class, tried out, and what
//! is told of slow statements.

use http::Method;
use serde_json::{Value as Json, json};

use crate::admin::{Operated, refused};
use crate::harness::{app_folder, eventually, probe};

/// Objects with so many rows each, and one without the table.
async fn with_rows(world: &Operated) {
    for (name, rows) in [("a-one", 1), ("a-two", 2), ("b-three", 3)] {
        let insert = "INSERT INTO t (x) SELECT value FROM json_each(?)";
        let values: Vec<_> = (0..rows).map(|n| format!("{name}-{n}")).collect();
        let steps = json!([
            {"sql": "CREATE TABLE t (id INTEGER PRIMARY KEY, x)"},
            {"sql": insert, "params": [Json::from(values).to_string()]},
        ]);
        world.host.run(name, steps).await;
    }
    world
        .host
        .run("other", json!([{"sql": "CREATE TABLE u (x)"}]))
        .await;
    world.until_asleep().await;
}

fn lines(text: &str) -> Vec<Json> {
    let lines = text.lines().map(serde_json::from_str);
    lines
        .collect::<Result<_, _>>()
        .expect("a JSON value a line")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_objects_of_a_class_are_asked_and_none_wakes() {
    let world = Operated::start().await;
    with_rows(&world).await;
    let count = "SELECT count(*) AS n FROM t";
    let wakes = || async {
        let metrics = world.ask(Method::GET, "/metrics", Json::Null).await;
        let mut lines = metrics.text().lines();
        let found = lines.find(|line| line.starts_with("dormouse_object_wakes_total"));
        found.expect("objects woke").to_owned()
    };
    let before = wakes().await;

    let answers = lines(&world.cli(&["sql", "Probe", count, "--json"]));
    let told: Vec<_> = answers
        .iter()
        .map(|one| (one["object"].as_str().unwrap(), &one["rows"]))
        .collect();
    assert_eq!(
        told,
        [
            ("a-one", &json!([[1]])),
            ("a-two", &json!([[2]])),
            ("b-three", &json!([[3]])),
            ("other", &json!([])),
        ]
    );
    let error = answers[3]["error"].as_str().unwrap();
    assert!(error.contains("no such table: t"), "{error}");

    let table = world.cli(&[
        "sql",
        "Probe",
        "SELECT x FROM t WHERE id = ?",
        "1",
        "--prefix",
        "a-",
    ]);
    for word in ["object", "a-one-0", "a-two-0"] {
        assert!(table.contains(word), "{table}");
    }
    assert!(!table.contains("b-three"), "{table}");
    assert_eq!(wakes().await, before);
    world.until_asleep().await;

    // A limit of rows holds for all objects together.
    let few = ["sql", "Probe", "SELECT x FROM t", "--rows", "2", "--json"];
    let few = lines(&world.cli(&few));
    let rows: Vec<_> = few
        .iter()
        .map(|one| one["rows"].as_array().unwrap().len())
        .collect();
    assert_eq!(rows, [1, 1]);
    assert_eq!(
        (&few[0]["more"], &few[1]["more"]),
        (&json!(false), &json!(true))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_written_over_a_class() {
    let world = Operated::start().await;
    with_rows(&world).await;
    let said = refused(
        world
            .command()
            .args(["sql", "Probe", "--write", "DELETE FROM t"]),
    );
    assert!(said.contains("write Probe/NAME"), "{said}");
    let answers = lines(&world.cli(&["sql", "Probe", "DELETE FROM t", "--json"]));
    assert!(
        answers[0]["error"]
            .as_str()
            .unwrap()
            .contains("this statement writes")
    );
    let said = refused(world.command().args(["sql", "Nope", "SELECT 1"]));
    assert!(said.contains("no class is called \"Nope\""), "{said}");
    let token = world.cli(&["token", "create", "reader", "--scope", "read", "--json"]);
    let token: Json = serde_json::from_str(&token).unwrap();
    let path = "/v1/apps/probe/classes/Probe/sql";
    let secret = token["secret"].as_str().unwrap();
    let answer = world
        .ask_as(secret, Method::POST, path, json!({"sql": "SELECT 1"}))
        .await;
    assert_eq!(answer.status, 403, "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_shows_the_plan_and_the_rows_and_leaves_nothing() {
    let world = Operated::start().await;
    with_rows(&world).await;
    let dry = |sql: &str| json!({"sql": sql, "write": true, "dry_run": true});
    for state in ["asleep", "awake"] {
        let tried = world
            .sql("b-three", dry("DELETE FROM t WHERE id > 1"))
            .await
            .json();
        assert_eq!(tried["rows_written"], 2, "{state}: {tried}");
        let plan = tried["plan"][0].as_str().unwrap();
        assert!(
            plan.contains("SEARCH t USING INTEGER PRIMARY KEY"),
            "{plan}"
        );
        let tried = world
            .sql("b-three", dry("UPDATE t SET x = 'new' RETURNING x"))
            .await
            .json();
        assert_eq!(tried["rows"], json!([["new"], ["new"], ["new"]]));
        let tried = world
            .sql(
                "b-three",
                dry("CREATE TABLE v (x); INSERT INTO v VALUES (1)"),
            )
            .await;
        assert_eq!(
            (tried.status, tried.json()["rows_written"].clone()),
            (200, json!(1))
        );
        let wrong = world
            .sql("b-three", dry("INSERT INTO t (id) VALUES (1)"))
            .await;
        assert!(
            wrong.status == 400 || wrong.status == 422,
            "{}",
            wrong.text()
        );
        let left = json!({"sql": "SELECT count(*), max(x), (SELECT count(*) FROM sqlite_schema WHERE name = 'v') FROM t"});
        let left = world.sql("b-three", left).await.json();
        assert_eq!(left["rows"], json!([[3, "b-three-2", 0]]), "{state}");
        world.host.run("b-three", json!([{"memory": "incr"}])).await;
    }
    let said = world.cli(&[
        "sql",
        "Probe/a-two",
        "--write",
        "--dry-run",
        "DELETE FROM t",
        "--json",
    ]);
    assert_eq!(
        serde_json::from_str::<Json>(&said).unwrap()["rows_written"],
        2
    );
    let none = world.sql("nobody", dry("CREATE TABLE t (x)")).await;
    assert_eq!(none.status, 404, "{}", none.text());
    let odd = world
        .sql("a-two", json!({"sql": "SELECT 1", "dry_run": true}))
        .await;
    assert!(odd.text().contains("add `write`"), "{}", odd.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_statements_are_logged_with_their_rows_and_counted() {
    let rest = "limits.slow_sql_ms = 0\ndatabases.DB = 'main'";
    let app = app_folder("probe", &probe(), rest);
    let world = Operated::on(app, tempfile::tempdir().unwrap()).await;
    let steps = json!([
        {"sql": "CREATE TABLE t (x)"},
        {"sql": "INSERT INTO t VALUES (?), ('two')", "params": ["a secret"]},
        {"cursor": "SELECT x FROM t", "batch": 1},
        {"query": "SELECT 7", "database": "DB"},
    ]);
    world.host.run("slow", steps).await;
    let told = |text: &'static str| {
        let world = &world;
        async move {
            eventually(text, async || {
                let lines = lines(&world.cli(&["logs", "--text", text, "--json"]));
                lines.into_iter().next()
            })
            .await
        }
    };
    let insert = told("slow SQL: INSERT INTO t").await;
    assert_eq!(insert["object"], "slow");
    assert_eq!(insert["fields"]["rows_written"], "2");
    assert!(!insert.to_string().contains("secret"), "{insert}");
    let cursor = told("slow SQL: SELECT x").await;
    let fields = &cursor["fields"];
    assert_eq!(
        (&fields["rows"], &fields["rows_read"]),
        (&json!("2"), &json!("2"))
    );
    let store = told("slow SQL: SELECT 7").await;
    assert_eq!(
        (&store["class"], &store["object"]),
        (&json!("_database"), &json!("main"))
    );
    let metrics = world.ask(Method::GET, "/metrics", Json::Null).await;
    let counted = |class: &str| {
        let class = format!("class=\"{class}\"");
        let mut lines = metrics.text().lines();
        let found = lines.find(|line| {
            line.starts_with("dormouse_sql_slow_statements_total{") && line.contains(&class)
        });
        found.and_then(|line| line.rsplit(' ').next()?.parse().ok())
    };
    assert!(counted("Probe") >= Some(3), "{}", metrics.text());
    assert_eq!(counted("_database"), Some(1), "{}", metrics.text());
}
