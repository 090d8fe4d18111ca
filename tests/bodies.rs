//! Bodies: whole or not at all, within their limits, and never faster than their reader.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dormouse::App;
use futures_util::stream::{self, StreamExt as _};
use http::header::{HeaderName, HeaderValue};
use http::{Method, Request};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;

use crate::harness::{
    Answer, Body, World, bounded, empty, eventually, logs_of, probe_app, stream, whole,
};

type Sent = hyper::Result<http::Response<Incoming>>;

const LIMIT: usize = 300_000;
const HEADER_LIMIT: usize = 64 << 10;
const CHUNK: usize = 64 << 10;

fn limited_app() -> App {
    let mut app = probe_app();
    app.manifest.limits.request_body_bytes = LIMIT as u64;
    app
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_body_of_exactly_the_limit_passes_and_one_byte_more_is_413() {
    let world = World::start(limited_app()).await;
    for body in [whole, in_chunks] {
        let send = async |bytes: usize| {
            let body = body(pattern(bytes));
            world.ask(Method::POST, "/Probe/limit/sink", body).await
        };
        assert_eq!(send(LIMIT).await.json()["bytes"], LIMIT);
        let problem = send(LIMIT + 1).await.problem(413, "body-too-large");
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(&LIMIT.to_string()), "{problem}");
        assert_eq!(send(0).await.json()["bytes"], 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_body_announced_too_large_wakes_nobody() {
    let world = World::start(limited_app()).await;
    let body = whole(pattern(LIMIT + 1));
    let answer = world.ask(Method::POST, "/Probe/large/sink", body).await;
    answer.problem(413, "body-too-large");
    assert_eq!(world.host.awake(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn headers_of_exactly_the_limit_pass_and_one_byte_more_is_431() {
    let world = World::probe().await;
    let send = async |bytes: usize| {
        let mut request = world.request(Method::GET, "/Second/headers", empty());
        let name = HeaderName::from_static("x-long");
        let sizes = request
            .headers()
            .iter()
            .map(|(k, v)| k.as_str().len() + v.len());
        let rest = bytes - sizes.sum::<usize>() - name.as_str().len();
        let value = HeaderValue::try_from("x".repeat(rest)).unwrap();
        request.headers_mut().insert(name, value);
        let response = bounded("an answer", world.send(request)).await.unwrap();
        Answer::read(response).await.unwrap()
    };
    assert_eq!(send(HEADER_LIMIT).await.status, 200);
    send(HEADER_LIMIT + 1)
        .await
        .problem(431, "headers-too-large");
    assert_eq!(send(10 * HEADER_LIMIT).await.status, 431);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn bodies_of_all_sizes_come_back_as_they_went() {
    let world = World::probe().await;
    for bytes in [
        0,
        1,
        CHUNK - 1,
        CHUNK,
        CHUNK + 1,
        256 << 10,
        (256 << 10) + 1,
        1 << 20,
    ] {
        for body in [whole, in_chunks] {
            let sent = pattern(bytes);
            let answer = world
                .ask(Method::PUT, "/Probe/echo/echo", body(sent.clone()))
                .await;
            assert_eq!(answer.status, 200);
            assert!(
                answer.body == sent,
                "{bytes}: {} came back",
                answer.body.len()
            );
        }
        let path = format!("/Probe/echo/big?bytes={bytes}");
        let answer = world.get(&path).await;
        assert!(answer.body == pattern(bytes), "{bytes}");
        assert_eq!(answer.header("content-length"), bytes.to_string());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_head_request_gets_the_head_alone_and_the_connection_goes_on() {
    let world = World::probe().await;
    let mut connection = world.connect().await;
    for path in [
        "/Probe/head/big?bytes=1000",
        "/Probe/head/source?bytes=1000&length=1000",
    ] {
        for (method, body) in [(Method::HEAD, 0), (Method::GET, 1000)] {
            let request = world.request(method.clone(), path, empty());
            let response = bounded("an answer", connection.send(request))
                .await
                .unwrap();
            assert_eq!(
                response.headers()["content-length"],
                "1000",
                "{method} {path}"
            );
            let answer = Answer::read(response).await.unwrap();
            assert_eq!(
                (answer.status, answer.body.len()),
                (200, body),
                "{method} {path}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stream_keeps_its_content_length_and_must_keep_its_word() {
    let world = World::probe().await;
    let path = |length: usize| format!("/Probe/length/source?bytes=100000&length={length}");
    let answer = world.get(&path(100_000)).await;
    assert_eq!(answer.header("content-length"), "100000");
    assert!(answer.body == pattern(100_000));
    for length in [99_999, 100_001] {
        assert!(
            is_broken(send(&world, &path(length)).await).await,
            "{length}"
        );
        assert!(
            is_broken(send_http2(&world, &path(length)).await).await,
            "{length}"
        );
    }
    let answer = world.get("/Probe/length/source?bytes=100000").await;
    assert_eq!(answer.header("transfer-encoding"), "chunked");
    assert!(answer.body == pattern(100_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_object_that_ends_amid_its_answer_never_looks_whole() {
    let world = World::probe().await;
    for path in ["source-then-trap", "source-then-fail"] {
        for bytes in [0, 1, 200_000] {
            let path = format!("/Probe/{path}/{path}?bytes={bytes}");
            assert!(
                is_broken(send(&world, &path).await).await,
                "{path}, HTTP/1.1"
            );
            assert!(
                is_broken(send_http2(&world, &path).await).await,
                "{path}, HTTP/2"
            );
        }
        // A failing answer is the event's own matter, a trap is the object's.
        assert_eq!(
            world.get(&format!("/Probe/{path}/status/200")).await.status,
            200
        );
    }
}

/// The same on the wire: no last chunk, and the connection is closed.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_broken_answer_has_no_last_chunk() {
    let world = World::probe().await;
    let mut tcp = world.tcp().await;
    let path = "/Probe/wire/source-then-trap?bytes=1000000";
    let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
    tcp.write_all(head.as_bytes()).await.unwrap();
    let mut wire = Vec::new();
    // A reset connection is as good an end as a closed one.
    let _ = bounded("the end", tcp.read_to_end(&mut wire)).await;
    let text = String::from_utf8_lossy(&wire);
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    assert!(text.contains("transfer-encoding: chunked\r\n"));
    assert!(!text.ends_with("0\r\n\r\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_client_that_breaks_off_leaves_the_object_an_error_and_no_whole_body() {
    let world = World::probe().await;
    let heads = [
        (
            "broken-chunked",
            "transfer-encoding: chunked",
            "5\r\nhello\r\n",
        ),
        ("broken-length", "content-length: 1000000", "hello"),
    ];
    for (name, length, body) in heads {
        let mut tcp = world.tcp().await;
        let head = format!("POST /Probe/{name}/sink HTTP/1.1\r\nhost: x\r\n{length}\r\n\r\n{body}");
        tcp.write_all(head.as_bytes()).await.unwrap();
        world.until_awake(1).await;
        drop(tcp);
        let failed = eventually("the failure of the event", async || {
            let records = logs_of(name).into_iter();
            records.map(|record| record.message().to_owned()).next()
        });
        let failed = failed.await;
        assert!(failed.contains("the object failed"), "{failed}");
        assert!(failed.contains("broke off"), "{failed}");
        world.clock.advance(Duration::from_secs(10));
        eventually("sleep", async || {
            world.clock.advance(Duration::from_secs(10));
            (world.host.awake() == 0).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_slow_answer_arrives_chunk_by_chunk() {
    let world = World::probe().await;
    let mut body = get(&world, "/Probe/drip/drip?chunks=3&wait_ms=1000")
        .await
        .into_body();
    for chunk in ["0\n", "1\n", "2\n"] {
        world.pass(Duration::from_secs(1)).await;
        let frame = bounded("a chunk", body.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), chunk);
    }
    assert!(bounded("the end", body.frame()).await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_slow_request_arrives_chunk_by_chunk() {
    let world = World::probe().await;
    let (sender, chunks) = mpsc::unbounded_channel::<&'static str>();
    let chunks = stream::unfold(chunks, async |mut chunks| {
        Some((chunks.recv().await?, chunks))
    });
    let body = stream(chunks.map(|chunk| Ok(Bytes::from(chunk))));
    let request = world.request(Method::POST, "/Probe/slow/echo", body);
    let response = bounded("the head", world.send(request)).await.unwrap();
    let mut echo = response.into_body();
    for chunk in ["one", "two", "three"] {
        sender.send(chunk).unwrap();
        let frame = bounded("a chunk", echo.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), chunk);
    }
    drop(sender);
    assert!(bounded("the end", echo.frame()).await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reader_that_stops_stops_the_writer() {
    const ALL: usize = 100 << 20;
    const MOST_AHEAD: usize = 24 << 20;
    let world = World::probe().await;
    let written = Arc::new(AtomicUsize::new(0));
    let counted = written.clone();
    let piece = pattern(CHUNK);
    let chunks = stream::iter(0..ALL / CHUNK).map(move |_| {
        counted.fetch_add(CHUNK, Ordering::Relaxed);
        Ok(piece.clone())
    });
    let request = world.request(Method::POST, "/Probe/pressure/echo", stream(chunks));
    let response = bounded("the head", world.send(request)).await.unwrap();

    let stuck = until_still(&written).await;
    assert!(stuck < MOST_AHEAD, "{stuck} bytes written, none read");
    let read = bounded("the body", Answer::read(response)).await.unwrap();
    assert_eq!(read.body.len(), ALL);
    assert_eq!(written.load(Ordering::Relaxed), ALL);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_object_may_answer_before_it_has_read_the_request() {
    let world = World::probe().await;
    let (sender, chunks) = mpsc::unbounded_channel::<Bytes>();
    let chunks = stream::unfold(chunks, async |mut chunks| {
        Some((chunks.recv().await?, chunks))
    });
    let request = world.request(
        Method::POST,
        "/Probe/early/status/202",
        stream(chunks.map(Ok)),
    );
    sender.send(pattern(CHUNK)).unwrap();
    let response = bounded("an answer", world.send(request)).await.unwrap();
    assert_eq!(Answer::read(response).await.unwrap().text(), "202\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_body_that_nobody_wanted_leaves_the_connection_in_order() {
    let world = World::probe().await;
    let mut connection = world.tcp().await;
    let head = "POST /Nobody/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    connection.write_all(head.as_bytes()).await.unwrap();
    assert!(
        answers(&mut connection, 1)
            .await
            .starts_with("HTTP/1.1 404")
    );
    // The answer was earlier than the body; the next request is served all the same.
    let rest = "5\r\nlater\r\n0\r\n\r\nGET /Probe/x/nowhere HTTP/1.1\r\nhost: a\r\n\r\n";
    connection.write_all(rest.as_bytes()).await.unwrap();
    answers(&mut connection, 1).await;

    let mut connection = world.tcp().await;
    let head =
        "POST /Nobody/x HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n";
    connection.write_all(head.as_bytes()).await.unwrap();
    assert!(
        answers(&mut connection, 1)
            .await
            .starts_with("HTTP/1.1 404")
    );
}

/// Reads until so many answers have begun, and gives all that was heard.
async fn answers(connection: &mut tokio::net::TcpStream, count: usize) -> String {
    let (mut heard, mut part) = (String::new(), [0; 4096]);
    while heard.matches("HTTP/1.1 ").count() < count {
        let read = bounded("an answer", connection.read(&mut part))
            .await
            .unwrap();
        assert_ne!(read, 0, "the connection was closed after {heard:?}");
        heard.push_str(&String::from_utf8_lossy(&part[..read]));
    }
    heard
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_client_that_leaves_amid_an_answer_harms_nobody() {
    let world = World::probe().await;
    let before = world.run("leaver", json!([{"memory": "incr"}])).await;
    for _ in 0..5 {
        let response = get(&world, "/Probe/leaver/source?bytes=50000000").await;
        drop(response);
    }
    let after = world.run("leaver", json!([{"memory": "incr"}])).await;
    assert_eq!(after.instance, before.instance);
    assert_eq!(after.results, [json!({"memory": 2})]);
}

/// What the counter says once it no longer moves.
async fn until_still(counter: &AtomicUsize) -> usize {
    let (mut last, mut same) = (0, 0);
    eventually("a counter that stands still", async || {
        let now = counter.load(Ordering::Relaxed);
        same = if now == last { same + 1 } else { 0 };
        last = now;
        (now > 0 && same == 100).then_some(now)
    })
    .await
}

async fn get(world: &World, path: &str) -> http::Response<Incoming> {
    let response = send(world, path).await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    response
}

async fn send(world: &World, path: &str) -> Sent {
    let request = world.request(Method::GET, path, empty());
    bounded("the head", world.send(request)).await
}

async fn send_http2(world: &World, path: &str) -> Sent {
    let mut connection = world.connect_http2().await;
    let uri = format!("http://{}{path}", world.address);
    let request = Request::builder().uri(uri).body(empty()).unwrap();
    bounded("the head", connection.send_request(request)).await
}

/// Whether the client can tell that it has no whole answer of the object, at the
/// latest at its end.
async fn is_broken(sent: Sent) -> bool {
    match sent {
        Ok(response) if response.status() == 200 => {
            bounded("the end", Answer::read(response)).await.is_err()
        }
        Ok(response) => response.status() == 500,
        Err(_) => true,
    }
}

fn in_chunks(bytes: Bytes) -> Body {
    let pieces: Vec<_> = bytes.chunks(10_000).map(Bytes::copy_from_slice).collect();
    stream(stream::iter(pieces.into_iter().map(Ok)))
}

/// As the probe makes it.
fn pattern(bytes: usize) -> Bytes {
    (0..bytes).map(|at| (at % 251) as u8).collect()
}
