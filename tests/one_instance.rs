//! An object has one instance at a time, however many first requests it gets.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::json;

use crate::harness::{Ran, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_first_requests_share_one_instance() {
    let world = World::probe().await;
    for round in 0..20 {
        let name = format!("pair-{round}");
        let ran = first_requests(&world, &name, 2).await;
        assert_eq!(ran[0].instance, ran[1].instance);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_first_requests_share_one_instance() {
    let world = World::probe().await;
    let ran = first_requests(&world, "crowd", 50).await;
    let instances: BTreeSet<u64> = ran.iter().map(|ran| ran.instance).collect();
    assert_eq!(instances.len(), 1);
    assert_eq!(world.host.awake(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn another_name_has_another_instance_and_counts_apart() {
    let world = World::probe().await;
    let [alice, bob] = ["alice", "bob"].map(|name| first_requests(&world, name, 3));
    let (alice, bob) = (alice.await, bob.await);
    assert_ne!(alice[0].instance, bob[0].instance);
    assert_eq!(world.host.awake(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_name_in_two_classes_is_two_objects() {
    let world = World::probe().await;
    let values = |answer: crate::harness::Answer| answer.json()["value"].clone();
    assert_eq!(values(world.get("/Second/twin").await), 1);
    let made = "CREATE TABLE second (value)";
    let ran = world.run("twin", json!([{"sql": made}])).await;
    assert_eq!(ran.results[0]["rows"], json!([]), "a database of its own");
    assert_eq!(values(world.get("/Second/twin").await), 2);
    assert_eq!(world.host.awake(), 2);
}

/// Sends requests at once that count in memory and on disk; both counts are right.
async fn first_requests(world: &World, name: &str, count: u64) -> Vec<Ran> {
    let steps = json!([
        {"memory": "incr"},
        {"sql": "CREATE TABLE IF NOT EXISTS t (x)"},
        {"sql": "INSERT INTO t VALUES (1)"},
        {"sql": "SELECT count(*) FROM t"},
    ]);
    let requests = (0..count).map(|_| world.run(name, steps.clone()));
    let ran = join_all(requests).await;
    let wanted: BTreeSet<u64> = (1..=count).collect();
    let in_memory = ran.iter().map(|ran| &ran.results[0]["memory"]);
    let on_disk = ran.iter().map(|ran| &ran.results[3]["rows"][0][0]);
    let numbers = |value: &serde_json::Value| value.as_u64().expect("a number");
    assert_eq!(in_memory.map(numbers).collect::<BTreeSet<_>>(), wanted);
    assert_eq!(on_disk.map(numbers).collect::<BTreeSet<_>>(), wanted);
    ran
}
