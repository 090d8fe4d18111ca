//! Limits on what clients may ask at once, each crossed by one.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use serde_json::json;

use crate::harness::{Answer, World, bounded, empty, eventually, probe_app};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_request_too_many_for_the_app_is_refused_and_the_others_go_on() {
    let mut app = probe_app();
    app.manifest.limits.concurrent_requests = 2;
    let world = World::start(app).await;
    let wait = json!([{"wait_ms": 1_000}]);
    let due = world.clock.now() + Duration::from_secs(1);
    let waiting = ["a", "b"].map(|object| world.start_run(object, wait.clone()));
    eventually("two requests that wait", async || {
        let deadlines = world.clock.deadlines();
        let waiting = deadlines.iter().filter(|at| **at == due).count();
        (waiting == 2).then_some(())
    })
    .await;
    let refused = world.get("/Second/one-too-many").await;
    assert_eq!(refused.header("retry-after"), "1");
    let problem = refused.problem(503, "overloaded");
    assert_eq!(problem["retryable"], true);
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("`limits.concurrent_requests`"), "{detail}");
    world.clock.advance(Duration::from_secs(1));
    for run in waiting {
        assert_eq!(run.await.unwrap().status, 200);
    }
    assert_eq!(world.get("/Second/later").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn headers_have_the_size_that_the_app_gives_them() {
    let mut app = probe_app();
    app.manifest.limits.request_header_bytes = 1_024;
    let world = World::start(app).await;
    let send = async |bytes: usize| {
        let mut request = world.request(Method::GET, "/Second/headers", empty());
        let name = HeaderName::from_static("x-long");
        let sizes = request
            .headers()
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len());
        let rest = bytes - sizes.sum::<usize>() - name.as_str().len();
        let value = HeaderValue::try_from("x".repeat(rest)).unwrap();
        request.headers_mut().insert(name, value);
        let response = bounded("an answer", world.send(request)).await.unwrap();
        Answer::read(response).await.unwrap()
    };
    assert_eq!(send(1_024).await.status, 200);
    let problem = send(1_025).await.problem(431, "headers-too-large");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("`limits.request_header_bytes`"), "{detail}");
}
