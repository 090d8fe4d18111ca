//! Events of one object interleave at awaits, as many as the manifest allows.

use std::time::Duration;

use dormouse::App;
use serde_json::json;

use crate::harness::{World, bounded, eventually, logs_of, probe_app};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_request_that_waits_lets_the_next_one_run() {
    let world = World::probe().await;
    let name = "interleave";
    let steps = json!([{"memory": "incr"}, {"hold": "x"}, {"memory": "read"}]);
    let first = world.start_run(name, steps);
    world.until_held(name, "x", 1).await;
    let second = world
        .run(name, json!([{"memory": "incr"}, {"release": "x"}]))
        .await;
    let first = first.await.unwrap().ran();
    assert_eq!(first.instance, second.instance);
    let wanted = json!([{"memory": 1}, {"hold": "x"}, {"memory": 2}]);
    assert_eq!(json!(first.results), wanted);
    let wanted = json!([{"memory": 2}, {"released": 1}]);
    assert_eq!(json!(second.results), wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_runs_between_two_awaits() {
    let world = World::probe().await;
    let name = "interleave-not";
    let long = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
        SELECT max(i) FROM n";
    let steps = json!([{"memory": "incr"}, {"sql": long}, {"memory": "read"}]);
    let running: Vec<_> = (0..8)
        .map(|_| world.start_run(name, steps.clone()))
        .collect();
    for one in running {
        let ran = one.await.unwrap().ran();
        assert_eq!(ran.results[0], ran.results[2]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn with_one_event_at_a_time_the_second_waits_for_the_first() {
    let world = World::start(app(1, 100)).await;
    let name = "interleave-one";
    let steps =
        json!([{"log": entry("in")}, {"memory": "incr"}, {"wait_ms": 1000}, {"memory": "read"}]);
    let first = world.start_run(name, steps);
    until_logged(name, "in").await;
    let others = [(); 3].map(|()| world.start_run(name, json!([{"memory": "incr"}])));
    world.pass(SECOND).await;
    let first = first.await.unwrap().ran();
    assert_eq!(first.results[3], json!({"memory": 1}));
    let mut counts = Vec::new();
    for other in others {
        counts.push(other.await.unwrap().ran().results[0]["memory"].as_u64());
    }
    counts.sort();
    assert_eq!(counts, [Some(2), Some(3), Some(4)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_full_mailbox_refuses_one_more_with_503_and_retry_after() {
    let world = World::start(app(2, 1)).await;
    let name = "overload";
    let mut running = Vec::new();
    for word in ["first", "second"] {
        let steps = json!([{"log": entry(word)}, {"wait_ms": 1000}]);
        running.push(world.start_run(name, steps));
        until_logged(name, word).await;
    }
    // Both places are taken: of two more one finds room in the mailbox.
    let more = [(); 2].map(|()| world.start_run(name, json!([{"log": entry("late")}])));
    let (refused, _, rest) = bounded("a refusal", futures_util::future::select_all(more)).await;
    let refused = refused.unwrap();
    let problem = refused.problem(503, "overloaded");
    assert_eq!(problem["retryable"], true);
    assert_eq!(refused.header("retry-after"), "1");
    let late = logs_of(name)
        .iter()
        .any(|record| record.message() == "late");
    assert!(!late, "a third event runs beside two");

    // Another object is not concerned.
    world.run("overload-neighbour", json!([])).await;
    world.pass(SECOND).await;
    for one in running.into_iter().chain(rest) {
        one.await.unwrap().ran();
    }
    world.run(name, json!([])).await;
}

fn app(concurrent_events: u64, mailbox_events: u64) -> App {
    let mut app = probe_app();
    app.manifest.limits.concurrent_events = concurrent_events;
    app.manifest.limits.mailbox_events = mailbox_events;
    app
}

fn entry(message: &str) -> serde_json::Value {
    json!({"level": "info", "message": message})
}

async fn until_logged(object: &str, message: &str) {
    eventually(message, async || {
        let records = logs_of(object);
        let found = records.iter().any(|record| record.message() == message);
        found.then_some(())
    })
    .await;
}
