//! A worker asks who somebody is and hands requests and sockets on to an object.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::protocol::Message;
use tokio_tungstenite::tungstenite::{Error, http};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::harness::{Answer, World, app, bounded, empty, eventually, lobby};

type Socket = WebSocketStream<TcpStream>;

async fn start() -> World {
    let mut app = app("lobby", lobby());
    let kv = &mut app.manifest.kv;
    kv.insert("SEEN".to_owned(), "seen".to_owned());
    World::with_secret(app, "TOKENS", "ada=sesame bob=please").await
}

async fn connect(world: &World, path: &str) -> Result<(Socket, Response), Error> {
    let request = format!("ws://{}{path}", world.address).into_client_request()?;
    bounded("a handshake", client_async(request, world.tcp().await)).await
}

async fn hear(socket: &mut Socket) -> String {
    let heard = bounded("a frame", socket.next()).await;
    let heard = heard.expect("it is open").expect("the protocol is kept");
    heard.into_text().expect("text").to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_worker_hands_requests_on_with_what_it_has_found_out() {
    let world = start().await;
    assert_eq!(world.get("/kitchen/whoami").await.status, 401);
    let mut request = world.request(http::Method::GET, "/kitchen/whoami", empty());
    let headers = request.headers_mut();
    headers.insert("authorization", "Bearer sesame".parse().unwrap());
    headers.insert("x-user", "eve".parse().unwrap());
    let answer = Answer::read(world.send(request).await.unwrap()).await;
    assert_eq!(answer.unwrap().text(), "ada in kitchen\n");
    assert_eq!(world.get("/?token=please").await.status, 404);
    assert_eq!(world.get("/who?token=sesame").await.text(), "ada\nbob\n");
    let later = world.clock.unix() + Duration::from_secs(3_600);
    world.clock.set_unix(later);
    assert_eq!(world.get("/who?token=sesame").await.text(), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_socket_passes_through_the_worker_to_the_object_it_chose() {
    let world = start().await;
    match connect(&world, "/hall/ws?token=wrong").await {
        Err(Error::Http(refused)) => assert_eq!(refused.status(), 401),
        other => panic!("{other:?}"),
    }
    let (mut ada, handshake) = connect(&world, "/hall/ws?token=sesame").await.unwrap();
    assert_eq!(handshake.headers()["x-room"], "hall");
    let (mut bob, _) = connect(&world, "/hall/ws?token=please").await.unwrap();
    let (mut elsewhere, _) = connect(&world, "/attic/ws?token=please").await.unwrap();
    ada.send(Message::text("hello")).await.unwrap();
    assert_eq!(hear(&mut ada).await, "ada: hello");
    assert_eq!(hear(&mut bob).await, "ada: hello");

    // The rooms and the worker sleep; the sockets stay.
    eventually("that all sleep", async || {
        world.clock.advance(Duration::from_secs(10));
        (world.host.awake() == 0).then_some(())
    })
    .await;
    bob.send(Message::text("still here")).await.unwrap();
    assert_eq!(hear(&mut ada).await, "bob: still here");
    elsewhere.send(Message::text("alone")).await.unwrap();
    assert_eq!(hear(&mut elsewhere).await, "bob: alone");
}
