//! New code takes over between events; state stays, and nobody is cut off early.

use std::path::PathBuf;
use std::time::Duration;

use dormouse::App;
use serde_json::{Value as Json, json};

use crate::harness::{World, app, counter, probe, probe_app};

/// How long events on replaced code may take.
const DRAIN: Duration = Duration::from_secs(10);
const WAIT: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_next_event_runs_on_the_new_code_and_state_stays() {
    let world = World::start(version("one")).await;
    let before = world.run("deploy", with_state()).await;
    world.host.deploy(version("two")).await.unwrap();
    let after = world.run("deploy", with_state()).await;
    assert_ne!(after.instance, before.instance);
    let seen =
        |results: &[Json]| json!([results[0]["var"], results[1]["memory"], results[4]["rows"]]);
    assert_eq!(seen(&before.results), json!(["one", 1, [[1]]]));
    assert_eq!(seen(&after.results), json!(["two", 1, [[2]]]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn another_component_is_served_from_the_next_event_on() {
    let world = World::probe().await;
    let path = "/Broken/deploy";
    assert_eq!(world.get(path).await.text(), "not broken\n");
    let folder = tempfile::tempdir().unwrap();
    let changed = changed_probe(&folder);
    world.host.deploy(app("probe", changed)).await.unwrap();
    assert_eq!(world.get(path).await.text(), "NOT BROKEN\n");
    // One that sleeps, and one that nobody asked for before.
    assert_eq!(
        world.get("/Broken/deploy-other").await.text(),
        "NOT BROKEN\n"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_event_in_flight_finishes_on_the_old_code() {
    let world = World::start(version("one")).await;
    let name = "deploy-flight";
    let before = world.run(name, json!([])).await;
    let steps = json!([{"wait_ms": WAIT.as_millis() as u64}, {"var": "VERSION"}]);
    let old = world.start_run(name, steps);
    world.until_due(WAIT).await;
    world.host.deploy(version("two")).await.unwrap();
    let new = world.start_run(name, json!([{"var": "VERSION"}]));
    world.until_due(DRAIN).await;
    world.clock.advance(WAIT);

    let old = old.await.unwrap().ran();
    assert_eq!(
        (old.instance, &old.results[1]),
        (before.instance, &json!({"var": "one"}))
    );
    let new = new.await.unwrap().ran();
    assert_ne!(new.instance, before.instance);
    assert_eq!(new.results, [json!({"var": "two"})]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_event_that_does_not_end_is_cut_off_when_the_time_is_over() {
    let world = World::start(version("one")).await;
    let name = "deploy-endless";
    let old = world.start_run(name, json!([{"hold": "x"}]));
    world.until_held(name, "x", 1).await;
    world.host.deploy(version("two")).await.unwrap();
    let new = world.start_run(name, json!([{"var": "VERSION"}]));
    world.until_due(DRAIN).await;
    world.clock.advance(DRAIN - Duration::from_millis(1));
    assert!(!old.is_finished() && !new.is_finished());
    world.clock.advance(Duration::from_millis(1));

    let problem = old.await.unwrap().problem(500, "object-reset");
    let detail = problem["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("its code was replaced"), "{problem}");
    assert_eq!(problem["retryable"], true);
    assert_eq!(new.await.unwrap().ran().results, [json!({"var": "two"})]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn deployments_under_load_lose_no_request() {
    let world = World::start(version("0")).await;
    let clients: Vec<_> = (0..4)
        .map(|client| tokio::spawn(count((*world).clone(), client)))
        .collect();
    for number in 1..=10 {
        world
            .host
            .deploy(version(&number.to_string()))
            .await
            .unwrap();
    }
    for client in clients {
        client.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_class_that_is_gone_is_404() {
    let world = World::probe().await;
    world.run("deploy-gone", json!([])).await;
    world.host.deploy(app("probe", counter())).await.unwrap();
    let problem = world
        .try_run("deploy-gone", json!([]))
        .await
        .problem(404, "unknown-class");
    assert_eq!(problem["classes"], json!(["Counter"]));
    assert_eq!(world.get("/Counter/deploy-gone").await.text(), "1\n");
}

/// Counts on one object; each count comes once and in order, whatever the code.
async fn count(host: crate::harness::Client, client: u32) {
    let name = format!("deploy-load-{client}");
    let steps = json!([
        {"sql": "CREATE TABLE IF NOT EXISTS t (x)"},
        {"sql": "INSERT INTO t VALUES (0)"},
        {"sql": "SELECT count(*) FROM t"},
    ]);
    for number in 1..=60 {
        let ran = host.run(&name, steps.clone()).await;
        assert_eq!(ran.results[2]["rows"], json!([[number]]));
    }
}

fn with_state() -> Json {
    json!([
        {"var": "VERSION"},
        {"memory": "incr"},
        {"sql": "CREATE TABLE IF NOT EXISTS t (x)"},
        {"sql": "INSERT INTO t VALUES (0)"},
        {"sql": "SELECT count(*) FROM t"},
    ])
}

/// The probe with a variable that tells versions apart. Nobody falls asleep.
fn version(name: &str) -> App {
    let mut app = probe_app();
    app.manifest
        .vars
        .insert("VERSION".to_owned(), name.to_owned());
    app.manifest.limits.idle_ms = 3_600_000;
    app
}

/// The probe with other words in it: another component of the same classes.
fn changed_probe(folder: &tempfile::TempDir) -> PathBuf {
    const OLD: &[u8] = b"not broken\n";
    let mut wasm = std::fs::read(probe()).unwrap();
    let places = wasm.windows(OLD.len()).enumerate();
    let places: Vec<usize> = places
        .filter(|(_, part)| *part == OLD)
        .map(|(at, _)| at)
        .collect();
    let [at] = places[..] else {
        panic!("{places:?}: the words stand in one place");
    };
    wasm[at..at + OLD.len()].make_ascii_uppercase();
    let file = folder.path().join("changed.wasm");
    std::fs::write(&file, wasm).unwrap();
    file
}
