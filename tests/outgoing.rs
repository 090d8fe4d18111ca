//! Requests to the outside: by list, never back inside, through the output gate,
//! against a server that is slow, broken or endless.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use dormouse::App;
use dormouse::egress::Pattern;
use futures_util::stream;
use http::{Method, Request, Response, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value as Json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::harness::{
    Answer, Body, Client, World, app, bounded, empty, front, stream as body, whole,
};

/// A real HTTP server that does what the path says.
async fn server() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let served = http1::Builder::new().serve_connection(
                TokioIo::new(stream),
                service_fn(async |request| Ok::<_, Infallible>(answer(request).await)),
            );
            tokio::spawn(served);
        }
    });
    address
}

async fn answer(request: Request<Incoming>) -> Response<Body> {
    let (parts, sent) = request.into_parts();
    let text = |text: String| Response::new(whole(text));
    match parts.uri.path() {
        "/hello" => text("hello\n".to_owned()),
        "/echo" => {
            use http_body_util::BodyExt as _;
            Response::new(sent.map_err(std::io::Error::other).boxed_unsync())
        }
        "/headers" => text(format!("{:?}", parts.headers)),
        "/slow" => std::future::pending().await,
        "/endless" => Response::new(body(stream::repeat_with(|| {
            Ok(Bytes::from_static(&[b'x'; 64 << 10]))
        }))),
        "/broken" => {
            let pieces = [
                Ok(Bytes::from_static(b"begun")),
                Err(std::io::Error::other("x")),
            ];
            Response::new(body(stream::iter(pieces)))
        }
        "/stalls" => {
            use futures_util::StreamExt as _;
            let first = stream::iter([Ok(Bytes::from_static(b"begun"))]);
            Response::new(body(first.chain(stream::pending())))
        }
        "/to" | "/loop" => {
            let mut response = Response::new(empty());
            *response.status_mut() = http::StatusCode::FOUND;
            let to = parts.uri.query().unwrap_or("/loop").parse();
            let headers = response.headers_mut();
            headers.insert(header::LOCATION, to.expect("a header value"));
            response
        }
        other => text(format!("no {other}\n")),
    }
}

fn front_app() -> App {
    let mut app = app("front", front());
    app.manifest.worker.instances = 1;
    app
}

/// A host that may ask these, private as they are.
async fn host(private: &[SocketAddr]) -> World {
    let mut app = front_app();
    let patterns = private.iter().map(|one| Pattern::parse(&one.to_string()));
    app.manifest.outgoing.private = patterns.collect::<Result<_, _>>().unwrap();
    World::start(app).await
}

async fn failure(world: &World, path: &str) -> Json {
    let answer = world.get(path).await;
    assert_eq!(answer.status, 502, "{answer:?}");
    answer.json()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn bodies_stream_both_ways_and_connections_are_used_again() {
    let server = server().await;
    let world = host(&[server]).await;
    for from in ["/ask", "/Asker/a"] {
        let hello = format!("{from}?url=http://{server}/hello");
        assert_eq!(world.get(&hello).await.text(), "hello\n");
        let echo = format!("{from}?url=http://{server}/echo");
        let large: Bytes = vec![7; 3 << 20].into();
        assert_eq!(world.post(&echo, large.clone()).await.body, large);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_not_listed_is_denied_with_what_to_do() {
    let server = server().await;
    let world = World::start(front_app()).await;
    let told = failure(&world, &format!("/ask?url=http://{server}/hello")).await;
    assert_eq!(told["kind"], "Some(ErrorKind::Denied)");
    let message = told["message"].as_str().unwrap();
    assert!(message.contains("outgoing.hosts"), "{message}");
    assert!(message.contains(&server.to_string()), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_listed_name_does_not_lead_back_inside() {
    let server = server().await;
    let port = server.port();
    let mut app = front_app();
    app.manifest.outgoing.public = ["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]"]
        .map(|host| Pattern::parse(&format!("{host}:{port}")).unwrap())
        .to_vec();
    let world = World::start(app).await;
    for host in ["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]"] {
        let told = failure(&world, &format!("/ask?url=http://{host}:{port}/hello")).await;
        assert_eq!(told["kind"], "Some(ErrorKind::Denied)", "{host}: {told}");
        let message = told["message"].as_str().unwrap();
        assert!(message.contains("private_hosts"), "{host}: {message}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn redirects_are_followed_and_checked_like_the_first_request() {
    let (first, second, unlisted) = (server().await, server().await, server().await);
    let world = host(&[first, second]).await;
    let to = |target: String| format!("/ask?url=http://{first}/to?{target}");
    assert_eq!(world.get(&to("/hello".to_owned())).await.text(), "hello\n");
    let across = to(format!("http://{second}/hello"));
    assert_eq!(world.get(&across).await.text(), "hello\n");
    let told = failure(&world, &to(format!("http://{unlisted}/hello"))).await;
    assert_eq!(told["kind"], "Some(ErrorKind::Denied)");
    let told = failure(&world, &to("/loop".to_owned())).await;
    assert_eq!(told["kind"], "Some(ErrorKind::Redirects)", "{told}");
}

fn start(world: &World, path: String) -> JoinHandle<Answer> {
    let client: Client = (**world).clone();
    tokio::spawn(async move { client.get(&path).await })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_object_serves_others_while_it_waits_for_a_slow_server() {
    let server = server().await;
    let world = host(&[server]).await;
    let slow = format!("/Asker/a?url=http://{server}/slow&ms=7000");
    let slow = start(&world, slow);
    crate::harness::eventually("a request that waits", async || {
        (world.get("/Asker/a").await.text() == "1").then_some(())
    })
    .await;
    let meanwhile = format!("/Asker/a?url=http://{server}/hello");
    assert_eq!(world.get(&meanwhile).await.text(), "hello\n");
    world.pass(Duration::from_secs(7)).await;
    let told = slow.await.unwrap();
    assert_eq!(told.status, 502);
    assert_eq!(told.json()["kind"], "Some(ErrorKind::Timeout)");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_response_that_breaks_off_is_never_taken_for_a_whole_one() {
    let server = server().await;
    let world = host(&[server]).await;
    let path = format!("/ask?url=http://{server}/broken");
    let request = world.request(Method::GET, &path, empty());
    let response = world.send(request).await.unwrap();
    // Its end may be seen before its head has left.
    let whole = Answer::read(response).await;
    assert!(whole.is_err() || whole.unwrap().status == 502);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_response_that_stalls_is_cut_off_after_a_minute() {
    let server = server().await;
    let world = host(&[server]).await;
    let path = format!("/ask?url=http://{server}/stalls");
    let request = world.request(Method::GET, &path, empty());
    let response = world.send(request).await.unwrap();
    let reading = tokio::spawn(Answer::read(response));
    world.pass(Duration::from_secs(60)).await;
    assert!(reading.await.unwrap().is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_endless_response_waits_for_its_reader_and_ends_with_it() {
    use http_body_util::BodyExt as _;
    let server = server().await;
    let world = host(&[server]).await;
    let path = format!("/ask?url=http://{server}/endless");
    let request = world.request(Method::GET, &path, empty());
    let mut response = world.send(request).await.unwrap().into_body();
    let mut received = 0;
    while received < 8 << 20 {
        let frame = bounded("a piece", response.frame()).await;
        received += frame.unwrap().unwrap().into_data().unwrap().len();
    }
    drop(response);
    let hello = format!("/ask?url=http://{server}/hello");
    assert_eq!(world.get(&hello).await.text(), "hello\n");
}
