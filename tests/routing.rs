//! The public door: which object a path means, and what that object sees.

use dormouse::id::Namespace;
use http::header::{HeaderName, HeaderValue};
use http::{Method, Request, Version};
use serde_json::{Value as Json, json};

use crate::harness::{Answer, Client, World, bounded, empty, probe_app, whole};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_object_sees_method_path_and_query_as_they_were_sent() {
    let world = World::probe().await;
    let address = world.address;
    for method in [
        "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND",
    ] {
        let method: Method = method.parse().unwrap();
        let path = "/Probe/route/run?a=b%20c&d=%2F&d=%C3%A4&=&e";
        let answer = world.ask(method.clone(), path, whole("[]")).await;
        let seen = &answer.ran().all["seen"];
        assert_eq!(seen["method"], method.as_str());
        let url = format!("http://{address}/run?a=b%20c&d=%2F&d=%C3%A4&=&e");
        assert_eq!(seen["url"], url);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_rest_of_the_path_chooses_inside_the_object() {
    let world = World::probe().await;
    let statuses = [
        ("/Probe/rest/status/201", 201),
        ("/Probe/rest/status/404", 404),
        ("/Probe/rest", 404),
        ("/Probe/rest/", 404),
        ("/Second/rest", 200),
        ("/Second/rest/any/thing", 200),
    ];
    for (path, status) in statuses {
        let answer = world.get(path).await;
        assert_eq!(answer.status, status, "{path}");
        assert_ne!(answer.header("content-type"), "application/problem+json");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn names_are_percent_decoded_and_may_be_any_text() {
    let world = World::probe().await;
    let long = "x".repeat(1024);
    let longer = "x".repeat(1025);
    let names = [
        ("alice", "alice", true),
        ("a%2Fb", "a/b", true),
        ("%C3%A4%E2%82%AC%F0%9F%90%AD", "ä€🐭", true),
        ("a+b%20c", "a+b c", true),
        ("%61lice", "alice", true),
        ("..", "..", true),
        ("%00", "\0", true),
        (&long, &long, true),
        (&longer, &longer, false),
    ];
    let namespace = Namespace::new("Probe", "Probe");
    for (written, name, kept) in names {
        let object = world.run(written, json!([])).await.all["object"].clone();
        assert_eq!(object["hex"], namespace.id_from_name(name).id.to_string());
        assert_eq!(object["name"], if kept { json!(name) } else { Json::Null });
    }
    let alice = [
        world.run("alice", json!([])).await,
        world.run("%61lice", json!([])).await,
    ];
    assert_eq!(alice[0].instance, alice[1].instance);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_path_to_nobody_is_404_with_the_list_of_classes() {
    let world = World::probe().await;
    let classes = json!([
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
    ]);
    let paths = [
        ("/Nobody/alice", "unknown-class"),
        ("/probe/alice", "unknown-class"),
        ("/", "no-object"),
        ("/Probe", "no-object"),
        ("/Probe/", "no-object"),
    ];
    for (path, kind) in paths {
        let problem = world.get(path).await.problem(404, kind);
        assert_eq!(problem["classes"], classes, "{path}");
        assert_eq!(problem["retryable"], false);
    }
    world.get("/Probe/%FF/run").await.problem(400, "bad-name");
    assert_eq!(world.host.awake(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn headers_reach_the_object_but_for_those_of_the_connection() {
    let world = World::probe().await;
    let mut request = world.request(Method::POST, "/Probe/headers/run", whole("[]"));
    let sent = [
        ("x-many", &b"one"[..]),
        ("x-many", b"two"),
        ("x-bytes", b"caf\xe9"),
        ("cookie", b"a=1; b=2"),
        ("connection", b"keep-alive, x-hop"),
        ("x-hop", b"of this connection"),
        ("keep-alive", b"timeout=5"),
        ("te", b"trailers"),
        ("proxy-connection", b"keep-alive"),
    ];
    for (name, value) in sent {
        let name = HeaderName::from_static(name);
        let value = HeaderValue::from_bytes(value).unwrap();
        request.headers_mut().append(name, value);
    }
    let response = world.send(request).await.unwrap();
    let ran = Answer::read(response).await.unwrap().ran();
    let mut seen = ran.all["seen"]["headers"].as_array().unwrap().clone();
    seen.sort_by_key(|pair| pair[0].to_string());
    let wanted = json!([
        ["content-length", "2"],
        ["cookie", "a=1; b=2"],
        ["host", world.address.to_string()],
        ["x-bytes", "caf\u{fffd}"],
        ["x-many", "one"],
        ["x-many", "two"],
    ]);
    assert_eq!(json!(seen), wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn headers_of_the_object_reach_the_client() {
    let world = World::probe().await;
    let answer = world.get("/Probe/headers/headers").await;
    let cookies = answer.headers.get_all("set-cookie").iter();
    assert_eq!(cookies.collect::<Vec<_>>(), ["a=1", "b=2"]);
    assert_eq!(answer.header("x-probe"), "one");
    assert_eq!(answer.header("content-type"), "text/plain");
    assert_eq!(answer.header("content-length"), "8");
    assert_eq!(answer.headers["x-bytes"].as_bytes(), b"caf\xe9");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_answer_has_a_request_id_of_its_own() {
    let world = World::probe().await;
    let mut ids = Vec::new();
    for path in [
        "/Second/id",
        "/Second/id",
        "/Probe/id/status/500",
        "/Nobody/id",
        "/",
        "/Broken/bad-id",
    ] {
        let answer = world.get(path).await;
        let id = answer.header("x-request-id");
        assert!(
            id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit()),
            "{path}: {id:?}"
        );
        ids.push(id.to_owned());
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_answer_that_http_does_not_know_is_an_error_of_the_object() {
    let world = World::probe().await;
    for status in [100, 199, 600, 999] {
        let answer = world.get(&format!("/Probe/status/status/{status}")).await;
        answer.problem(500, "object-failed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_connection_carries_many_requests() {
    let world = World::probe().await;
    let mut connection = world.connect().await;
    let paths = [
        "/Second/keep",
        "/Nobody/keep",
        "/Probe/keep/status/204",
        "/Second/keep",
    ];
    let mut statuses = Vec::new();
    for path in paths {
        let request = world.request(Method::GET, path, empty());
        let response = bounded("an answer", connection.send(request))
            .await
            .unwrap();
        statuses.push(Answer::read(response).await.unwrap().status);
    }
    assert_eq!(statuses, [200, 404, 204, 200]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn http2_is_spoken_with_prior_knowledge() {
    let world = World::probe().await;
    let name = "http2";
    let mut connection = world.connect_http2().await;
    // Two at once on one connection, the first waits for the second.
    let first = http2(&world, name, json!([{"hold": "x"}]));
    let first = tokio::spawn(connection.send_request(first));
    world.until_held(name, "x", 1).await;
    let second = http2(&world, name, json!([{"release": "x"}]));
    let second = bounded("an answer", connection.send_request(second))
        .await
        .unwrap();
    assert_eq!(second.version(), Version::HTTP_2);
    let second = Answer::read(second).await.unwrap().ran();
    let url = format!("http://{}/run?q=1", world.address);
    assert_eq!(second.all["seen"]["url"], url);
    let first = bounded("an answer", first).await.unwrap().unwrap();
    assert_eq!(
        Answer::read(first).await.unwrap().ran().instance,
        second.instance
    );
}

fn http2(host: &Client, name: &str, steps: Json) -> Request<crate::harness::Body> {
    let uri = format!("http://{}/Probe/{name}/run?q=1", host.address);
    let request = Request::builder().method(Method::POST).uri(uri);
    request.body(whole(steps.to_string())).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_class_that_is_not_there_cannot_take_whole_paths() {
    let world = World::probe().await;
    let mut app = probe_app();
    app.manifest.router.whole_path = ["Nobody".to_owned()].into();
    let refused = world.host.deploy(app).await.unwrap_err();
    assert!(
        refused
            .to_string()
            .starts_with("`router.whole_path` names the class \"Nobody\"; the component has ["),
        "{refused}"
    );
    assert_eq!(world.run("a", json!([])).await.all["object"]["name"], "a");
}
