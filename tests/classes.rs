//! Several classes in one component, and constructors that do not succeed.

use std::time::Duration;

use serde_json::json;

use crate::harness::{World, logs_of};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn classes_of_one_component_live_apart() {
    let world = World::probe().await;
    assert_eq!(
        world.host.classes(),
        [
            "Broken",
            "Circle",
            "Deaf",
            "Probe",
            "Second",
            "Sockets",
            "TinyFragmented",
            "TinyHooks",
            "TinyJson",
            "TinyKv"
        ]
    );
    let value = async |name: &str| world.get(&format!("/Second/{name}")).await.json();
    assert_eq!(
        value("classes").await,
        json!({"class": "Second", "value": 1})
    );
    assert_eq!(
        value("classes").await,
        json!({"class": "Second", "value": 2})
    );
    assert_eq!(
        value("others").await,
        json!({"class": "Second", "value": 1})
    );
    let probe = world.run("classes", json!([])).await;
    let second = dormouse::id::Namespace::new("Second", "Second");
    let second = second.id_from_name("classes").id.to_string();
    assert_ne!(
        probe.all["object"]["hex"], second,
        "ids belong to their class"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_constructor_that_fails_fails_its_event_and_the_next_one_tries_again() {
    let world = World::probe().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let answer = world.get("/Broken/bad-luck").await;
        answer.problem(500, "object-failed");
        ids.push(answer.header("x-request-id").to_owned());
    }
    let records = logs_of("bad-luck");
    let failed = records
        .iter()
        .filter(|one| one.message().contains("`bad-luck` is told to fail"));
    let logged: Vec<_> = failed.map(|record| record.field("request")).collect();
    assert_eq!(logged, ids, "once for each request");
    assert_eq!(world.get("/Broken/good").await.text(), "not broken\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_constructor_that_traps_resets_its_object() {
    let world = World::probe().await;
    for _ in 0..2 {
        let problem = world.get("/Broken/trap").await.problem(500, "object-reset");
        assert_eq!(problem["retryable"], true);
    }
    world.until_awake(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_constructor_has_thirty_seconds() {
    let world = World::probe().await;
    let client = (*world).clone();
    let slow = tokio::spawn(async move { client.get("/Broken/slow").await });
    world.until_due(Duration::from_secs(60)).await;
    world.until_due(Duration::from_secs(30)).await;
    world
        .clock
        .advance(Duration::from_secs(30) - Duration::from_millis(1));
    assert!(!slow.is_finished());
    world.clock.advance(Duration::from_millis(1));
    let problem = slow.await.unwrap().problem(500, "object-reset");
    let detail = problem["detail"].as_str().unwrap_or_default();
    assert!(
        detail.contains("constructor") && detail.contains("30000 ms"),
        "{problem}"
    );
    world.until_awake(0).await;
}
