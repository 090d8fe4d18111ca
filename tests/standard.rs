//! Workers that were not written for this host: plain `wasi:http`, 0.2 and 0.3.

use std::path::PathBuf;
use std::process::Command;

use bytes::Bytes;
use dormouse::App;
use dormouse::egress::Pattern;

use crate::harness::{World, app, counter, dormouse, wasip3_worker, wstd_worker};

/// The worker beside the counter's objects, which it does not know.
fn with_worker(component: PathBuf) -> App {
    let mut app = app("standard", counter());
    app.worker = Some(component);
    app
}

async fn serves(component: PathBuf, hello: &str) {
    let world = World::start(with_worker(component)).await;
    for _ in 0..3 {
        assert_eq!(world.get("/hello").await.text(), hello);
    }
    assert_eq!(world.post("/echo", "small").await.text(), "small");
    let large: Bytes = vec![7; 3 << 20].into();
    assert_eq!(world.post("/echo", large.clone()).await.body, large);
    // A worker of 0.2 drops its answer before its trap is known.
    assert_eq!(world.get("/trap").await.status, 500);
    assert_eq!(world.get("/hello").await.text(), hello);
    assert_eq!(world.get("/Counter/x").await.text(), "not found\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_component_of_wasi_http_0_2_is_a_worker() {
    serves(wstd_worker(), "hello by wasi:http 0.2\n").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_component_of_wasi_http_0_3_is_a_worker() {
    serves(wasip3_worker(), "hello by wasi:http 0.3\n").await;
}

/// Each asks the same host: what it lists may be asked, anything else may not.
async fn asks(component: PathBuf, scheme: &str) {
    let other = World::counter().await;
    let target = format!("{}/Counter/x/", other.address);
    let path = format!("/ask?{scheme}{target}");

    let denied = World::start(with_worker(component.clone())).await;
    let answer = denied.get(&path).await;
    assert!(answer.text().contains("HttpRequestDenied"), "{answer:?}");

    let mut app = with_worker(component.clone());
    let pattern = Pattern::parse(&other.address.to_string()).unwrap();
    app.manifest.outgoing.public.push(pattern.clone());
    let private = World::start(app).await;
    let answer = private.get(&path).await;
    assert!(
        answer.text().contains("DestinationIpProhibited"),
        "{answer:?}"
    );

    let mut app = with_worker(component);
    app.manifest.outgoing.private.push(pattern);
    let allowed = World::start(app).await;
    assert_eq!(allowed.get(&path).await.text(), "1\n");
    assert_eq!(allowed.get(&path).await.text(), "2\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_component_of_wasi_http_0_2_asks_the_outside_by_list() {
    asks(wstd_worker(), "http://").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_component_of_wasi_http_0_3_asks_the_outside_by_list() {
    asks(wasip3_worker(), "").await;
}

#[test]
fn inspect_says_what_kind_of_worker_a_component_holds() {
    for (component, kind) in [
        (wstd_worker(), "wasi:http/incoming-handler@0.2"),
        (wasip3_worker(), "wasi:http/handler@0.3"),
        (crate::harness::front(), "dormouse:object/worker"),
        (counter(), "none"),
    ] {
        let mut inspect: Command = dormouse();
        let output = inspect.arg("inspect").arg(&component).output().unwrap();
        let page = String::from_utf8(output.stdout).unwrap();
        let wanted = format!("worker     {kind}\n");
        assert!(page.contains(&wanted), "{page}");
    }
}
