//! A turn is a transaction: from one await to the next, all or nothing.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::harness::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_write_before_a_trap_in_the_same_turn_is_gone() {
    let world = World::probe().await;
    for trap in ["unreachable", "panic", "stack"] {
        prepare(&world, trap).await;
        let steps = json!([insert("lost"), {"trap": trap}]);
        world
            .try_run(trap, steps)
            .await
            .problem(500, "object-reset");
        assert_eq!(rows(&world, trap).await, json!([["before"]]), "{trap}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_write_in_a_turn_before_that_of_the_trap_stays() {
    let world = World::probe().await;
    prepare(&world, "earlier-turn").await;
    let steps = json!([
        insert("kept"), {"wait_ms": 5}, insert("lost"), {"trap": "unreachable"},
    ]);
    let running = world.start_run("earlier-turn", steps);
    world.pass(Duration::from_millis(5)).await;
    running.await.unwrap().problem(500, "object-reset");
    assert_eq!(
        rows(&world, "earlier-turn").await,
        json!([["before"], ["kept"]])
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_trap_undoes_only_its_own_turn_and_not_that_of_a_sibling() {
    let world = World::probe().await;
    let name = "sibling-turn";
    prepare(&world, name).await;
    let sibling = world.start_run(name, json!([insert("sibling"), {"hold": "x"}]));
    world.until_held(name, "x", 1).await;
    let steps = json!([insert("lost"), {"trap": "unreachable"}]);
    world
        .try_run(name, steps)
        .await
        .problem(500, "object-reset");
    sibling.await.unwrap().problem(500, "object-reset");
    assert_eq!(rows(&world, name).await, json!([["before"], ["sibling"]]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_error_keeps_its_writes() {
    let world = World::probe().await;
    prepare(&world, "error").await;
    let steps = json!([insert("kept"), {"fail": "as told"}]);
    let problem = world
        .try_run("error", steps)
        .await
        .problem(500, "object-failed");
    assert_eq!(problem["retryable"], false);
    assert_eq!(rows(&world, "error").await, json!([["before"], ["kept"]]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_trap_undid_is_not_seen_after_a_restart_either() {
    let world = World::probe().await;
    prepare(&world, "restarted").await;
    let steps = json!([insert("lost"), {"trap": "unreachable"}]);
    world
        .try_run("restarted", steps)
        .await
        .problem(500, "object-reset");
    let world = world.restart(crate::harness::probe_app()).await;
    assert_eq!(rows(&world, "restarted").await, json!([["before"]]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_savepoint_that_fails_leaves_the_rest_of_its_turn() {
    let world = World::probe().await;
    prepare(&world, "savepoint").await;
    let steps = json!([
        insert("outside"),
        {"savepoint": [insert("undone")], "fail": true},
        {"savepoint": [insert("inside")]},
    ]);
    world.run("savepoint", steps).await;
    let wanted = json!([["before"], ["outside"], ["inside"]]);
    assert_eq!(rows(&world, "savepoint").await, wanted);
}

async fn prepare(world: &World, object: &str) {
    let table = "CREATE TABLE t (id INTEGER PRIMARY KEY, word TEXT)";
    world
        .run(object, json!([{"sql": table}, insert("before")]))
        .await;
}

fn insert(word: &str) -> Json {
    json!({"sql": "INSERT INTO t (word) VALUES (?)", "params": [word]})
}

async fn rows(world: &World, object: &str) -> Json {
    let steps = json!([{"sql": "SELECT word FROM t ORDER BY id"}]);
    world.run(object, steps).await.results[0]["rows"].clone()
}
