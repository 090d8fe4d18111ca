//! Being alone, and transactions that last over awaits.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::harness::{World, bounded, logs_of, probe_app};

const MS: Duration = Duration::from_millis(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn while_an_event_is_alone_no_other_begins_or_goes_on() {
    let world = World::probe().await;
    let earlier = world.start_run("alone", json!([{"wait_ms": 5}, {"memory": "incr"}]));
    world.until_due(5 * MS).await;
    let waits = json!([{"wait_ms": 10}, {"wait_ms": 10}, {"memory": "read"}]);
    let alone = world.start_run("alone", json!([{"alone": waits}]));
    world.until_due(10 * MS).await;
    let later = world.start_run("alone", json!([{"memory": "incr"}]));
    world.pass(10 * MS).await;
    world.pass(10 * MS).await;
    let alone = alone.await.unwrap().ran();
    assert_eq!(alone.results[0]["alone"][2], json!({"memory": 0}));
    earlier.await.unwrap().ran();
    later.await.unwrap().ran();
    let ran = world.run("alone", json!([{"memory": "read"}])).await;
    assert_eq!(ran.results[0], json!({"memory": 2}));
    assert_eq!(ran.instance, alone.instance);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_section_starts_in_the_background_goes_on_inside_it() {
    let world = World::probe().await;
    let steps = json!([{"alone": [
        {"background": [{"wait_ms": 5}, {"release": "x"}]},
        {"hold": "x"},
    ]}]);
    let alone = world.start_run("inside", steps);
    world.pass(5 * MS).await;
    alone.await.unwrap().ran();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_section_that_fails_resets_the_object_and_the_log_says_why() {
    let world = World::probe().await;
    let first = world
        .run("fails", json!([{"sql": "CREATE TABLE t (a)"}]))
        .await;
    let other = world.start_run("fails", json!([{"hold": "x"}]));
    world.until_held("fails", "x", 1).await;
    let steps = json!([
        {"sql": "INSERT INTO t VALUES ('committed')"},
        {"wait_ms": 1},
        {"sql": "INSERT INTO t VALUES ('undone')"},
        {"alone": [], "fail": "the key is 1234"},
    ]);
    let failed = world.start_run("fails", steps);
    world.pass(MS).await;
    let problem = failed.await.unwrap().problem(500, "object-reset");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("critical section failed"), "{detail}");
    assert!(!detail.contains("1234"), "the client sees {detail}");
    other.await.unwrap().problem(500, "object-reset");
    let after = world
        .run("fails", json!([{"sql": "SELECT a FROM t"}]))
        .await;
    assert_eq!(after.results[0]["rows"], json!([["committed"]]));
    assert_ne!(after.instance, first.instance);
    let log = logs_of("fails");
    let said = log
        .iter()
        .any(|record| record.message().contains("the key is 1234"));
    assert!(said, "{log:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_section_has_30_seconds() {
    let world = World::probe().await;
    for kind in ["alone", "transaction"] {
        let first = world
            .run(kind, json!([{"sql": "CREATE TABLE t (a)"}]))
            .await;
        // The constructor had 30 seconds, too; their end is another moment.
        world.clock.advance(MS);
        let insert = json!({"sql": "INSERT INTO t VALUES (1)"});
        let endless = world.start_run(kind, json!([{kind: [insert, {"hold": "x"}]}]));
        world.pass(Duration::from_secs(30)).await;
        let problem = endless.await.unwrap().problem(500, "object-reset");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("did not end within 30000 ms"), "{detail}");
        let after = world.run(kind, json!([{"sql": "SELECT a FROM t"}])).await;
        let kept = if kind == "alone" {
            json!([[1]])
        } else {
            json!([])
        };
        assert_eq!(after.results[0]["rows"], kept, "{kind}");
        assert_ne!(after.instance, first.instance);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_section_has_30_seconds_of_its_own() {
    let world = World::probe().await;
    let long = json!({"alone": [{"wait_ms": 20_000}]});
    let running = world.start_run("each", json!([long, long]));
    world.pass(Duration::from_secs(20)).await;
    world.pass(Duration::from_secs(20)).await;
    running.await.unwrap().ran();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sections_nest_64_deep() {
    let world = World::probe().await;
    let results = world
        .run("deep", json!([{"deep": 64}, {"deep": 65}]))
        .await
        .results;
    assert_eq!(results[0], json!({"deep": 64}));
    let text = "blockConcurrencyWhile() calls are nested too deeply.";
    assert_eq!(results[1]["error"]["message"], text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_transaction_over_awaits_is_kept_whole() {
    let world = World::probe().await;
    world.run("kept", json!([table()])).await;
    let steps = json!([{"transaction": [
        insert("one"), {"wait_ms": 5}, {"kv_put": "pair", "value": 1},
        {"transaction": [insert("inner"), {"wait_ms": 5}, insert("inner")], "undo": true},
        insert("two"),
    ]}]);
    let running = world.start_run("kept", steps);
    world.until_due(5 * MS).await;
    let reading = world.start_run("kept", json!([words(), {"kv_get": "pair"}]));
    world.pass(5 * MS).await;
    world.pass(5 * MS).await;
    assert_eq!(running.await.unwrap().ran().results[0]["kept"], true);
    // It could not begin before the end.
    let seen = reading.await.unwrap().ran().results;
    assert_eq!(seen[0]["rows"], json!([["one"], ["two"]]));
    assert_eq!(seen[1]["value"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_transaction_that_fails_or_traps_leaves_nothing() {
    let world = World::probe().await;
    world.run("undone", json!([table()])).await;
    let write = [
        insert("lost"),
        json!({"kv_put": "pair", "value": 1}),
        json!({"set_alarm_in_ms": 100}),
    ];
    let mut steps = write.to_vec();
    steps.extend([json!({"wait_ms": 5}), insert("lost")]);
    let transaction = json!({"transaction": steps, "undo": true});
    let running = world.start_run(
        "undone",
        json!([insert("before"), transaction, insert("after")]),
    );
    world.pass(5 * MS).await;
    let ran = running.await.unwrap().ran();
    assert_eq!(ran.results[1]["kept"], false);
    let look = json!([words(), {"kv_get": "pair"}, {"get_alarm": ""}]);
    let wanted = [json!([["before"], ["after"]]), Json::Null, Json::Null];
    let seen = async |world: &World| {
        let found = world.run("undone", look.clone()).await.results;
        [
            found[0]["rows"].clone(),
            found[1]["value"].clone(),
            found[2]["alarm"].clone(),
        ]
    };
    assert_eq!(seen(&world).await, wanted);

    steps.push(json!({"trap": "panic"}));
    let running = world.start_run("undone", json!([{"transaction": steps}]));
    world.pass(5 * MS).await;
    running.await.unwrap().problem(500, "object-reset");
    assert_eq!(seen(&world).await, wanted);
    let world = world.restart(probe_app()).await;
    assert_eq!(seen(&world).await, wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_call_in_a_transaction_leaves_at_once_with_all_of_its_body() {
    let world = World::probe().await;
    world.run("caller", json!([table()])).await;
    let call = json!({"reverse": "other", "pieces": ["desserts", "!"]});
    let steps = json!([{"transaction": [insert("lost"), call], "undo": true}, words()]);
    let ran = bounded("an answer", world.run("caller", steps)).await;
    let reversed = json!({"reversed": "stressed!"});
    assert_eq!(ran.results[0]["transaction"][1], reversed);
    assert_eq!(ran.results[0]["kept"], false);
    assert_eq!(ran.results[1]["rows"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_transaction_cannot_hold_is_refused() {
    let world = World::probe().await;
    let steps = json!([
        {"transaction": [{"delete_all": true}, {"sync": true}]},
        {"sync": true},
        {"allow_unconfirmed": true},
        {"sql": "BEGIN"},
    ]);
    let results = world.run("refused", steps).await.results;
    let inside = &results[0]["transaction"];
    let text = "Cannot call deleteAll() within a transaction";
    assert_eq!(inside[0]["error"]["message"], text);
    assert_eq!(inside[1]["error"]["kind"], "Denied");
    assert_eq!(
        results[1..3],
        [json!({"synced": true}), json!({"unconfirmed": true})]
    );
    assert_eq!(results[3]["error"]["kind"], "Denied");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn migrations_run_once_and_whole() {
    let world = World::probe().await;
    let create = "CREATE TABLE t (word TEXT); INSERT INTO t VALUES ('made')";
    let add = "ALTER TABLE t ADD COLUMN more TEXT DEFAULT 'm'";
    let results = world
        .run("migrate", json!([{"migrate": [create]}]))
        .await
        .results;
    assert_eq!(results, [json!({"version": 1})]);
    let world = world.restart(probe_app()).await;
    let broken = json!({"migrate": [create, add, "INSERT INTO nowhere VALUES (1)"]});
    let steps = json!([
        {"migrate": [create]},
        broken,
        {"sql": "SELECT * FROM t"},
        {"migrate": [create, add]},
        {"sql": "SELECT * FROM t"},
        {"migrate": [create]},
    ]);
    let results = world.run("migrate", steps).await.results;
    assert_eq!(results[0], json!({"version": 1}));
    assert_eq!(
        results[1]["error"]["message"],
        "migration step 3 of 3 failed, the tables stay at version 1: no such table: nowhere: SQLITE_ERROR"
    );
    assert_eq!(results[2]["rows"], json!([["made"]]));
    assert_eq!(results[3], json!({"version": 2}));
    assert_eq!(results[4]["rows"], json!([["made", "m"]]));
    let older = results[5]["error"]["message"].as_str().unwrap();
    assert!(
        older.contains("at version 2 and this code knows 1 steps"),
        "{older}"
    );
}

fn table() -> Json {
    json!({"sql": "CREATE TABLE t (id INTEGER PRIMARY KEY, word TEXT)"})
}

fn insert(word: &str) -> Json {
    json!({"sql": "INSERT INTO t (word) VALUES (?)", "params": [word]})
}

fn words() -> Json {
    json!({"sql": "SELECT word FROM t ORDER BY id"})
}
