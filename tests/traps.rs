//! A trap resets one object, and nobody else notices.

use serde_json::json;
use tracing::Level;

use crate::harness::{World, logs_of};

/// Kinds of traps, and what the caller is told of them.
const TRAPS: [(&str, &str); 3] = [
    ("unreachable", "unreachable"),
    ("panic", "unreachable"),
    ("stack", "call stack exhausted"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_trap_resets_one_object_and_not_its_neighbour() {
    let world = World::probe().await;
    let count = json!([{"memory": "incr"}]);
    let neighbour = world.run("trap-neighbour", count.clone()).await;
    for (trap, told) in TRAPS {
        let name = format!("trap-{trap}");
        let before = world.run(&name, count.clone()).await;
        let answer = world.try_run(&name, json!([{"trap": trap}])).await;
        let problem = answer.problem(500, "object-reset");
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(told), "{trap}: {problem}");
        assert_eq!(problem["retryable"], true);

        let after = world.run(&name, count.clone()).await;
        assert_ne!(after.instance, before.instance, "{trap}");
        assert_eq!(after.results, [json!({"memory": 1})], "{trap}");
    }
    let still = world.run("trap-neighbour", count).await;
    assert_eq!(still.instance, neighbour.instance);
    assert_eq!(still.results, [json!({"memory": 2})]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn events_in_flight_share_the_fate_of_the_instance() {
    let world = World::probe().await;
    let name = "trap-siblings";
    let siblings = [(); 3].map(|()| world.start_run(name, json!([{"hold": "x"}])));
    let elsewhere = world.start_run("trap-elsewhere", json!([{"hold": "x"}]));
    world.until_held(name, "x", 3).await;
    world.until_held("trap-elsewhere", "x", 1).await;

    world
        .try_run(name, json!([{"trap": "unreachable"}]))
        .await
        .problem(500, "object-reset");
    for sibling in siblings {
        let problem = sibling.await.unwrap().problem(500, "object-reset");
        assert_eq!(problem["retryable"], true);
    }
    world.release("trap-elsewhere", "x").await;
    assert_eq!(elsewhere.await.unwrap().status, 200);
    assert_eq!(
        world.run(name, json!([{"held": "x"}])).await.results,
        [json!({"held": 0})]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_panic_is_in_the_log_with_class_object_and_request() {
    let world = World::probe().await;
    let answer = world.try_run("trap-log", json!([{"trap": "panic"}])).await;
    let request = answer.header("x-request-id");
    let records = logs_of("trap-log");
    let panic = records
        .iter()
        .find(|one| one.message().contains("told to panic"));
    let panic = panic.unwrap_or_else(|| panic!("no panic in {records:#?}"));
    assert_eq!((panic.level, &*panic.target), (Level::ERROR, "guest"));
    assert_eq!(panic.field("class"), "Probe");
    assert_eq!(panic.field("request"), request);
    assert!(panic.field("fields").contains("steps.rs"), "{panic:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_trap_tells_the_caller_nothing_of_the_insides() {
    let world = World::probe().await;
    let answer = world
        .try_run("trap-secret", json!([{"trap": "panic"}]))
        .await;
    for inside in ["told to panic", "steps.rs", "wasm function", "/"] {
        let detail = answer.problem(500, "object-reset")["detail"].to_string();
        assert!(!detail.contains(inside), "{inside} is in {detail}");
    }
}
