//! Long answers: `guests/feed` streams while it lives, and goes on after it broke off.

use std::time::Duration;

use http::Method;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use crate::harness::{World, app, bounded, empty, eventually, feed};

const DRAIN: Duration = Duration::from_secs(10);
const KEEP_ALIVE: Duration = Duration::from_secs(15);

struct Listener(http::Response<Incoming>);

impl Listener {
    async fn open(world: &World, seen: Option<&str>) -> Self {
        let mut request = world.request(Method::GET, "/Feed/news/", empty());
        if let Some(seen) = seen {
            let seen = seen.parse().unwrap();
            request.headers_mut().insert("last-event-id", seen);
        }
        let response = bounded("a stream", world.send(request)).await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut listener = Self(response);
        assert_eq!(listener.hear().await, ": welcome\n\n");
        listener
    }

    async fn next(&mut self) -> Option<hyper::Result<String>> {
        let frame = bounded("an event", self.0.frame()).await?;
        Some(frame.map(|frame| {
            let data = frame.into_data().expect("no trailers");
            String::from_utf8(data.to_vec()).expect("text")
        }))
    }

    async fn hear(&mut self) -> String {
        self.next().await.expect("it goes on").expect("it is whole")
    }
}

async fn post(world: &World, text: &'static str) {
    assert_eq!(world.post("/Feed/news/", text).await.status, 204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_sent_events_go_on_where_they_broke_off() {
    let world = World::start(app("feed", feed())).await;
    let mut listener = Listener::open(&world, None).await;
    post(&world, "one").await;
    assert_eq!(listener.hear().await, "id: 1\ndata: one\n\n");
    post(&world, "two\nlines").await;
    assert_eq!(listener.hear().await, "id: 2\ndata: two\ndata: lines\n\n");

    world.host.deploy(app("feed", feed())).await.unwrap();
    world.pass(DRAIN).await;
    assert!(listener.next().await.unwrap().is_err(), "it looks whole");

    post(&world, "three").await;
    let mut listener = Listener::open(&world, Some("2")).await;
    assert_eq!(listener.hear().await, "id: 3\ndata: three\n\n");
    post(&world, "four").await;
    assert_eq!(listener.hear().await, "id: 4\ndata: four\n\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_streams_as_long_as_somebody_listens_and_then_sleeps() {
    let world = World::start(app("feed", feed())).await;
    let mut listener = Listener::open(&world, None).await;
    for _ in 0..4 {
        world.pass(KEEP_ALIVE).await;
        assert_eq!(listener.hear().await, ": still here\n\n");
    }
    assert_eq!(world.host.awake(), 1);
    drop(listener);
    // The next words find nobody; then nothing is left to do.
    eventually("sleep", async || {
        world.clock.advance(KEEP_ALIVE);
        (world.host.awake() == 0).then_some(())
    })
    .await;
}
