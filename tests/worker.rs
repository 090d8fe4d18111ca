//! The worker in front: every request comes to it, many at once, and what goes
//! wrong in one instance stays there.

use std::time::Duration;

use bytes::Bytes;
use dormouse::App;
use http::{Method, header};
use serde_json::{Value as Json, json};
use tokio::task::JoinHandle;

use crate::harness::{Answer, Client, World, app, bounded, eventually, front, whole};

fn front_app() -> App {
    let mut app = app("front", front());
    app.manifest
        .vars
        .insert("GREETING".to_owned(), "hello".to_owned());
    // One instance, so that a test knows which one it talks to.
    app.manifest.worker.instances = 1;
    app
}

fn start(world: &World, path: &'static str) -> JoinHandle<Answer> {
    let client: Client = (**world).clone();
    tokio::spawn(async move { client.get(path).await })
}

async fn until_waiting(world: &World, count: u64) {
    eventually("requests that wait", async || {
        let state = world.get("/state").await.json();
        (state["waiting"] == count).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_path_comes_to_the_worker_as_the_client_sent_it() {
    let world = World::start(front_app()).await;
    let mut request = world.request(Method::PUT, "/seen?a=b%20c", whole("x"));
    request.headers_mut().insert("x-mine", "1".parse().unwrap());
    let seen = Answer::read(world.send(request).await.unwrap()).await;
    let seen = seen.unwrap().json();
    assert_eq!(seen["method"], "PUT");
    let url = format!("http://{}/seen?a=b%20c", world.address);
    assert_eq!(seen["url"], url);
    let headers = seen["headers"].as_array().unwrap();
    assert!(headers.contains(&json!(["x-mine", "1"])), "{seen}");
    assert_eq!(world.get("/Probe/x").await.status, 404);
    assert_eq!(world.get("/var").await.text(), "hello");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn bodies_of_any_length_pass_through_a_worker() {
    let world = World::start(front_app()).await;
    assert_eq!(world.post("/echo", "small").await.text(), "small");
    let large: Bytes = vec![7; 3 << 20].into();
    assert_eq!(world.post("/echo", large.clone()).await.body, large);
    let counting = start(&world, "/count");
    for _ in 0..3 {
        world.pass(Duration::from_millis(1)).await;
    }
    assert_eq!(counting.await.unwrap().text(), "0\n1\n2\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_instance_handles_many_requests_at_once_and_is_used_again() {
    let world = World::start(front_app()).await;
    let waiting = [0; 10].map(|_| start(&world, "/wait"));
    until_waiting(&world, 10).await;
    let opened = world.get("/open").await.json();
    let ticking = tokio::spawn({
        let clock = world.clock.clone();
        async move {
            loop {
                clock.advance(Duration::from_millis(1));
                tokio::task::yield_now().await;
            }
        }
    });
    for one in waiting {
        let answer = one.await.unwrap().json();
        assert_eq!(answer["instance"], opened["instance"]);
    }
    ticking.abort();
    let after = world.get("/state").await.json();
    assert_eq!(after["instance"], opened["instance"]);
    assert_eq!(after["waiting"], 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_instance_without_work_ends() {
    let world = World::start(front_app()).await;
    let before = instance(&world).await;
    world.pass(Duration::from_secs(10)).await;
    eventually("another instance", async || {
        (instance(&world).await != before).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn work_goes_on_after_the_answer_and_keeps_the_instance() {
    let world = World::start(front_app()).await;
    let before = world.get("/later").await.json();
    assert_eq!(before["afterwards"], 0);
    world.pass(Duration::from_secs(5)).await;
    eventually("the work after the answer", async || {
        let state = world.get("/state").await.json();
        assert_eq!(state["instance"], before["instance"]);
        (state["afterwards"] == 1).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_failure_harms_its_request_alone() {
    let world = World::start(front_app()).await;
    let before = instance(&world).await;
    let answer = world.get("/fail").await;
    answer.problem(500, "worker-failed");
    assert!(!answer.text().contains("told to fail"), "{answer:?}");
    assert_eq!(instance(&world).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_trap_ends_its_instance_and_the_next_request_has_another() {
    let world = World::start(front_app()).await;
    let before = instance(&world).await;
    let sibling = start(&world, "/wait");
    until_waiting(&world, 1).await;
    let problem = world.get("/trap").await.problem(500, "worker-reset");
    assert_eq!(problem["retryable"], true);
    sibling.await.unwrap().problem(500, "worker-reset");
    assert_ne!(instance(&world).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn with_one_request_per_instance_a_trap_harms_that_request_alone() {
    let mut app = front_app();
    app.manifest.worker.instances = 4;
    app.manifest.worker.concurrent_requests = 1;
    let world = World::start(app).await;
    let hanging = start(&world, "/hang");
    eventually("an instance of its own", async || {
        world.get("/trap").await.problem(500, "worker-reset");
        let state = world.get("/state").await.json();
        (state["count"] == 1).then_some(())
    })
    .await;
    assert!(!hanging.is_finished());
    world.pass(Duration::from_secs(300)).await;
    hanging.await.unwrap().problem(504, "worker-late");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_request_past_what_all_instances_take_is_refused() {
    let mut app = front_app();
    app.manifest.worker.concurrent_requests = 2;
    let world = World::start(app).await;
    let _first = start(&world, "/wait");
    until_waiting(&world, 1).await;
    // Of two more there is room for one, whichever comes first.
    let two = [(); 2].map(|()| start(&world, "/wait"));
    let (refused, _, _) = bounded("a refusal", futures_util::future::select_all(two)).await;
    let refused = refused.unwrap();
    let problem = refused.problem(503, "overloaded");
    assert_eq!(problem["retryable"], true);
    assert_eq!(refused.header("retry-after"), "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn processor_time_and_memory_of_a_worker_end_with_the_limit() {
    let mut app = front_app();
    app.manifest.limits.cpu_ms = 200;
    app.manifest.limits.memory_mib = 16;
    let world = World::start(app).await;
    for (path, limit) in [
        ("/spin", "limits.cpu_ms"),
        ("/allocate", "limits.memory_mib"),
    ] {
        let problem = world.get(path).await.problem(500, "worker-reset");
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(limit), "{problem}");
        assert_eq!(world.get("/var").await.text(), "hello");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_handler_that_hangs_is_given_up_and_its_instance_takes_no_more() {
    let mut app = front_app();
    app.manifest.worker.response_ms = 1_000;
    let world = World::start(app).await;
    let before = instance(&world).await;
    let hanging = start(&world, "/hang");
    world.pass(Duration::from_secs(1)).await;
    let problem = hanging.await.unwrap().problem(504, "worker-late");
    let detail = problem["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("1000 ms"), "{problem}");
    assert_ne!(instance(&world).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_worker_cannot_keep_a_socket_itself() {
    let world = World::start(front_app()).await;
    let mut request = world.request(Method::GET, "/upgrade", crate::harness::empty());
    for (name, value) in [
        (header::CONNECTION, "upgrade"),
        (header::UPGRADE, "websocket"),
        (header::SEC_WEBSOCKET_VERSION, "13"),
        (header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
    ] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let answer = Answer::read(world.send(request).await.unwrap()).await;
    answer.unwrap().problem(500, "worker-failed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn new_code_takes_over_while_requests_on_the_old_code_finish() {
    let world = World::start(front_app()).await;
    let waiting = start(&world, "/wait");
    until_waiting(&world, 1).await;
    let before = world.get("/open").await.json();
    let mut app = front_app();
    app.manifest
        .vars
        .insert("GREETING".to_owned(), "again".to_owned());
    world.host.deploy(app).await.unwrap();
    assert_eq!(world.get("/var").await.text(), "again");
    world.pass(Duration::from_millis(1)).await;
    let finished = waiting.await.unwrap().json();
    assert_eq!(finished["instance"], before["instance"]);
}

async fn instance(world: &World) -> Json {
    world.get("/state").await.json()["instance"].clone()
}
