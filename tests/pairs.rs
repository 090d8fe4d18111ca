//! Key-value pairs: beside SQL, in the same transaction, typed by the SDK.

use serde_json::{Value as Json, json};

use crate::harness::{World, probe_app};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn pairs_outlive_the_host() {
    let world = World::probe().await;
    let steps = json!([
        {"kv_get": "a"},
        {"kv_put": "a", "value": {"n": 1.5, "list": ["ü", null]}},
        {"kv_put": "b", "value": {"hex": "00ff"}},
        {"kv_put_many": [["c", 1], ["d", 2], ["c", 3]]},
    ]);
    let ran = world.run("pairs", steps).await;
    assert_eq!(ran.results[0], json!({"value": null}));
    let world = world.restart(probe_app()).await;
    let steps = json!([
        {"kv_get": "a"},
        {"kv_get_bytes": "b"},
        {"kv_get_bytes": "c"},
        {"kv_get_many": ["d", "c", "gone"]},
        {"kv_delete": "c"},
        {"kv_delete": "c"},
        {"kv_delete_many": ["a", "d", "gone"]},
        {"kv_iterate": {}},
    ]);
    let wanted = [
        json!({"value": {"n": 1.5, "list": ["ü", null]}}),
        json!({"bytes": "00ff"}),
        json!({"bytes": "33"}),
        json!({"values": {"c": 3, "d": 2}}),
        json!({"deleted": true}),
        json!({"deleted": false}),
        json!({"deleted": 2}),
        json!({"keys": ["b"]}),
    ];
    assert_eq!(world.run("pairs", steps).await.results, wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_list_has_bounds_an_order_and_a_limit() {
    let world = World::probe().await;
    let put = json!([{"kv_put_many": [["b", 2], ["a", 1], ["ba", 3], ["c", 4]]}]);
    world.run("list", put).await;
    let steps = json!([
        {"kv_list": {}},
        {"kv_list": {"prefix": "b", "reverse": true}},
        {"kv_list": {"start": "b", "end": "c"}},
        {"kv_list": {"start_after": "b", "limit": 1}},
        {"kv_list": {"limit": 0}},
        {"kv_list": {"start": "a", "start_after": "b"}},
    ]);
    let results = world.run("list", steps).await.results;
    assert_eq!(
        results[..4],
        [
            json!({"list": [["a", 1], ["b", 2], ["ba", 3], ["c", 4]]}),
            json!({"list": [["ba", 3], ["b", 2]]}),
            json!({"list": [["b", 2], ["ba", 3]]}),
            json!({"list": [["ba", 3]]}),
        ]
    );
    let wrong = |message: &str| json!({"error": {"kind": "Invalid", "message": message, "code": null, "offset": null}});
    let limit = wrong("List limit must be positive.");
    let both = wrong("list() cannot be called with both start and startAfter values.");
    assert_eq!(results[4..], [limit, both]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_long_list_is_fetched_in_portions_without_loss() {
    let world = World::probe().await;
    let entries: Vec<Json> = (0..600).map(|n| json!([format!("k{n:03}"), n])).collect();
    let steps = json!([
        {"kv_put_many": entries},
        {"kv_iterate": {}},
        {"kv_iterate": {"start": "k100", "reverse": true, "limit": 300}},
    ]);
    let results = world.run("long", steps).await.results;
    let keys: Vec<_> = (0..600).map(|n| format!("k{n:03}")).collect();
    assert_eq!(results[1]["keys"], json!(keys));
    let last: Vec<_> = keys[300..].iter().rev().collect();
    assert_eq!(results[2]["keys"], json!(last));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn pairs_are_committed_and_undone_with_the_tables() {
    let world = World::probe().await;
    let table = json!([{"sql": "CREATE TABLE t (a)"}, {"kv_put": "a", "value": "before"}]);
    world.run("fate", table).await;
    let write = json!([{"sql": "INSERT INTO t VALUES (1)"}, {"kv_put": "a", "value": "lost"}]);
    let mut trapped = write.as_array().unwrap().clone();
    trapped.push(json!({"trap": "panic"}));
    let answer = world.try_run("fate", json!(trapped)).await;
    answer.problem(500, "object-reset");
    let steps = json!([
        {"savepoint": write, "fail": true},
        {"kv_get": "a"},
        {"sql": "SELECT a FROM t"},
    ]);
    let results = world.run("fate", steps).await.results;
    assert_eq!(results[1]["value"], "before");
    assert_eq!(results[2]["rows"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_does_not_fit_a_type_or_a_limit_is_an_error_that_says_so() {
    let world = World::probe().await;
    let steps = json!([
        {"kv_put": "text", "value": "three"},
        {"kv_put": "bytes", "value": {"hex": "03"}},
        {"kv_get_number": "text"},
        {"kv_get_number": "bytes"},
        {"kv_put": "large", "bytes": 4 << 20},
        {"kv_get_bytes": "large"},
    ]);
    let results = world.run("fit", steps).await.results;
    let said = |at: usize| {
        let error = &results[at]["error"];
        (
            error["kind"].as_str().unwrap(),
            error["message"].as_str().unwrap(),
        )
    };
    let (kind, message) = said(2);
    assert_eq!(kind, "Mismatch");
    assert!(
        message.starts_with("the value of key `text` does not fit `u64`"),
        "{message}"
    );
    let (kind, message) = said(3);
    assert_eq!(kind, "Mismatch");
    assert!(
        message.contains("is bytes; read it with `get_bytes`"),
        "{message}"
    );
    assert_eq!(said(4).0, "TooBig");
    assert_eq!(results[5], json!({"bytes": null}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn deleting_everything_leaves_an_empty_object_that_works() {
    let world = World::probe().await;
    let steps = json!([
        {"sql": "CREATE TABLE t (a)"},
        {"kv_put": "a", "value": 1},
        {"set_alarm_in_ms": 60_000},
    ]);
    world.run("empty", steps).await;
    let steps = json!([
        {"sql": "INSERT INTO t VALUES (1)"},
        {"savepoint": [{"delete_all": true}]},
        {"delete_all": true},
        {"sql": "SELECT * FROM t"},
        {"kv_iterate": {}},
        {"get_alarm": ""},
        {"kv_put": "b", "value": 2},
    ]);
    let results = world.run("empty", steps).await.results;
    let refused = &results[1]["savepoint"][0]["error"];
    assert_eq!(refused["kind"], "Denied");
    assert_eq!(
        refused["message"],
        "Cannot call deleteAll() within a transaction"
    );
    assert_eq!(results[2], json!({"deleted_all": true}));
    assert_eq!(
        results[3]["error"]["message"],
        "no such table: t: SQLITE_ERROR"
    );
    assert_eq!(results[4..6], [json!({"keys": []}), json!({"alarm": null})]);
    let world = world.restart(probe_app()).await;
    let results = world
        .run("empty", json!([{"kv_iterate": {}}]))
        .await
        .results;
    assert_eq!(results, [json!({"keys": ["b"]})]);
}
