//! An object that has nothing to do sleeps after `idle_ms`, and wakes as it was.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Answer, World, empty, eventually, probe_app};

const IDLE: Duration = Duration::from_secs(10);
const MOMENT: Duration = Duration::from_millis(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_object_sleeps_after_exactly_its_idle_time() {
    let world = World::probe().await;
    let used = world.run("idle-used", json!([{"memory": "incr"}])).await;
    world.run("idle-left", json!([])).await;
    let due = world.clock.now() + IDLE;
    eventually("two objects that are idle", async || {
        let deadlines = world.clock.deadlines();
        let idle = deadlines
            .iter()
            .filter(|deadline| **deadline == due)
            .count();
        (idle == 2).then_some(())
    })
    .await;

    world.clock.advance(IDLE - MOMENT);
    let again = world.run("idle-used", json!([{"memory": "incr"}])).await;
    assert_eq!(again.instance, used.instance);
    assert_eq!(again.results, [json!({"memory": 2})]);
    assert_eq!(world.host.awake(), 2, "not a moment before");

    world.clock.advance(MOMENT);
    world.until_awake(1).await;
    let still = world.run("idle-used", json!([{"memory": "incr"}])).await;
    assert_eq!(
        still.instance, used.instance,
        "each use begins the time anew"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_idle_time_is_the_one_of_the_manifest() {
    let mut app = probe_app();
    app.manifest.limits.idle_ms = 123;
    let world = World::start(app).await;
    world.run("idle-manifest", json!([])).await;
    world.pass(Duration::from_millis(123)).await;
    world.until_awake(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sleep_forgets_memory_and_keeps_the_database() {
    let world = World::probe().await;
    let steps = json!([
        {"memory": "incr"},
        {"sql": "CREATE TABLE IF NOT EXISTS t (x)"},
        {"sql": "INSERT INTO t VALUES (7)"},
        {"sql": "SELECT count(*) FROM t"},
    ]);
    let before = world.run("idle-state", steps.clone()).await;
    world.pass(IDLE).await;
    world.until_awake(0).await;
    let after = world.run("idle-state", steps).await;
    assert_ne!(after.instance, before.instance);
    assert_eq!(after.results[0], json!({"memory": 1}));
    assert_eq!(after.results[3]["rows"], json!([[2]]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn work_after_the_answer_keeps_an_object_awake() {
    let world = World::probe().await;
    let name = "idle-background";
    let steps = json!([{"background": [{"hold": "x"}, {"memory": "incr"}]}]);
    let before = world.run(name, steps).await;
    world.until_held(name, "x", 1).await;
    for _ in 0..10 {
        world.clock.advance(IDLE);
    }
    let after = world.run(name, json!([{"release": "x"}])).await;
    assert_eq!(after.instance, before.instance);
    assert_eq!(after.results, [json!({"released": 1})]);
    let read = json!([{"memory": "read"}]);
    eventually("the work after the answer", async || {
        let ran = world.run(name, read.clone()).await;
        (ran.results == [json!({"memory": 1})]).then_some(())
    })
    .await;
    until_asleep(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_answer_that_flows_keeps_an_object_awake() {
    let world = World::probe().await;
    let path = "/Probe/idle-drip/drip?chunks=3&wait_ms=60000";
    let request = world.request(http::Method::GET, path, empty());
    let response = world.send(request).await.unwrap();
    let answer = tokio::spawn(Answer::read(response));
    for _ in 0..3 {
        world.pass(Duration::from_secs(60)).await;
    }
    assert_eq!(answer.await.unwrap().unwrap().text(), "0\n1\n2\n");
    until_asleep(&world).await;
}

/// Lets idle times pass until nobody is awake.
async fn until_asleep(world: &World) {
    eventually("sleep", async || {
        world.clock.advance(IDLE);
        (world.host.awake() == 0).then_some(())
    })
    .await;
}
