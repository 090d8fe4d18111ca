//! Sockets stay open while their object sleeps, traps or gets new code.

use std::time::Duration;

use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use serde_json::{Value as Json, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::protocol::{Message, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, http};
use tokio_tungstenite::{WebSocketStream, client_async, client_async_with_config};

use crate::harness::{World, bounded, eventually, probe_app};

const IDLE: Duration = Duration::from_secs(10);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

type Socket = WebSocketStream<TcpStream>;

async fn connect(world: &World, path: &str) -> Result<(Socket, Response), Error> {
    let url = format!("ws://{}{path}", world.address);
    let mut request = url.into_client_request()?;
    let offered = http::HeaderValue::from_static("first, second");
    request
        .headers_mut()
        .insert("sec-websocket-protocol", offered);
    bounded("a handshake", client_async(request, world.tcp().await)).await
}

async fn open(world: &World, object: &str) -> Socket {
    let path = format!("/Sockets/{object}/ws");
    connect(world, &path).await.expect("the object takes it").0
}

async fn say(socket: &mut Socket, text: &str) {
    socket.send(Message::text(text)).await.expect("it is open");
}

async fn hear(socket: &mut Socket) -> Message {
    let heard = bounded("a frame", socket.next()).await;
    heard.expect("it is open").expect("the protocol is kept")
}

async fn ask(socket: &mut Socket, text: &str) -> String {
    say(socket, text).await;
    hear(socket).await.into_text().expect("text").to_string()
}

async fn asleep(world: &World) {
    world.pass(IDLE).await;
    world.until_awake(0).await;
}

async fn state(world: &World, object: &str) -> Json {
    world.get(&format!("/Sockets/{object}/")).await.json()
}

/// The object's own notes, once there are so many.
async fn events(world: &World, object: &str, count: usize) -> Vec<String> {
    eventually("events of a socket", async || {
        let noted = world.get(&format!("/Sockets/{object}/events")).await.json();
        let noted: Vec<String> = serde_json::from_value(noted).expect("a list of texts");
        (noted.len() >= count).then_some(noted)
    })
    .await
}

/// Lets time pass until the object is told that its socket is lost.
async fn lost(world: &World, object: &str) {
    let told = eventually("the end of a socket", async || {
        world.clock.advance(CLOSE_TIMEOUT);
        let told = events(world, object, 0).await;
        (!told.is_empty()).then_some(told)
    });
    let told = told.await;
    assert!(told[0].starts_with("closed 1006"), "{told:?}");
}

/// The code of the host's close frame; reads on, which sends the answer to it.
async fn close_code(socket: &mut Socket) -> u16 {
    loop {
        if let Message::Close(close) = hear(socket).await {
            end(socket).await;
            return close.expect("it has a code").code.into();
        }
    }
}

async fn end(socket: &mut Socket) {
    bounded("the end", async {
        while let Some(Ok(_)) = socket.next().await {}
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_and_bytes_come_back_as_they_were() {
    let world = World::probe().await;
    let (mut socket, response) = connect(&world, "/Sockets/a/ws?greet=welcome")
        .await
        .unwrap();
    assert_eq!(response.headers()["x-told"], "by the object");
    assert_eq!(response.headers()["sec-websocket-protocol"], "first");
    assert_eq!(hear(&mut socket).await, Message::text("welcome"));
    assert_eq!(ask(&mut socket, "hällo").await, "hällo");
    let large = Message::binary(vec![7; 3 << 20]);
    socket.send(large.clone()).await.unwrap();
    assert_eq!(hear(&mut socket).await, large);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sleeping_object_keeps_its_socket_tags_and_attachment() {
    let world = World::probe().await;
    let (mut socket, _) = connect(&world, "/Sockets/a/ws?tag=x&tag=y").await.unwrap();
    let before = ask(&mut socket, "instance").await;
    say(&mut socket, "attach kept").await;
    assert_eq!(ask(&mut socket, "attached").await, "\"kept\"");
    asleep(&world).await;
    assert_ne!(ask(&mut socket, "instance").await, before);
    assert_eq!(ask(&mut socket, "attached").await, "\"kept\"");
    assert_eq!(ask(&mut socket, "tags").await, r#"["x","y"]"#);
    assert_eq!(ask(&mut socket, "count x").await, "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pings_and_auto_responses_wake_nobody() {
    let world = World::probe().await;
    world
        .get("/Sockets/a/auto?request=knock&response=who%20is%20there")
        .await;
    let mut socket = open(&world, "a").await;
    asleep(&world).await;
    assert_eq!(ask(&mut socket, "knock").await, "who is there");
    socket.send(Message::Ping("x".into())).await.unwrap();
    assert_eq!(hear(&mut socket).await, Message::Pong("x".into()));
    assert_eq!(world.host.awake(), 0);
    assert_eq!(state(&world, "a").await["sockets"][0]["auto"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trap_closes_no_socket_and_loses_no_later_frame() {
    let world = World::probe().await;
    let (mut mine, mut other) = (open(&world, "a").await, open(&world, "a").await);
    let before = ask(&mut other, "instance").await;
    say(&mut mine, "trap").await;
    for text in ["one", "two", "three"] {
        say(&mut mine, text).await;
    }
    for text in ["one", "two", "three"] {
        assert_eq!(hear(&mut mine).await, Message::text(text));
    }
    assert_ne!(ask(&mut other, "instance").await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_trapped_turn_sent_never_leaves() {
    let world = World::probe().await;
    let mut socket = open(&world, "a").await;
    say(&mut socket, "say-then-trap never").await;
    assert_eq!(ask(&mut socket, "after").await, "after");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_of_a_handler_leaves_the_socket_open() {
    let world = World::probe().await;
    let mut socket = open(&world, "a").await;
    let before = ask(&mut socket, "instance").await;
    say(&mut socket, "fail").await;
    assert_eq!(ask(&mut socket, "instance").await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_code_closes_no_socket() {
    let world = World::probe().await;
    let mut socket = open(&world, "a").await;
    let before = ask(&mut socket, "instance").await;
    world.host.deploy(probe_app()).await.unwrap();
    eventually("an instance of the new code", async || {
        (ask(&mut socket, "instance").await != before).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_one_socket_never_overlap_and_those_of_two_do() {
    let world = World::probe().await;
    let (mut mine, mut other) = (open(&world, "a").await, open(&world, "a").await);
    say(&mut mine, "wait 5000").await;
    say(&mut mine, "second").await;
    world.until_due(Duration::from_secs(5)).await;
    assert_eq!(ask(&mut other, "meanwhile").await, "meanwhile");
    world.clock.advance(Duration::from_secs(5));
    assert_eq!(hear(&mut mine).await, Message::text("wait 5000"));
    assert_eq!(hear(&mut mine).await, Message::text("second"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_of_either_side_is_answered_and_told() {
    let world = World::probe().await;
    let mut socket = open(&world, "a").await;
    say(&mut socket, "close 4001 enough").await;
    assert_eq!(close_code(&mut socket).await, 4001);
    let told = events(&world, "a", 1).await;
    assert!(
        told[0].starts_with("closed 4001 \"enough\" clean=true"),
        "{told:?}"
    );

    let mut socket = open(&world, "a").await;
    socket.close(None).await.unwrap();
    end(&mut socket).await;
    let told = events(&world, "a", 2).await;
    assert!(
        told[1].starts_with("closed 1005 \"\" clean=true"),
        "{told:?}"
    );

    drop(open(&world, "a").await);
    let told = events(&world, "a", 3).await;
    assert!(told[2].starts_with("closed 1006"), "{told:?}");
    assert!(told[2].contains("clean=false attached=Some"), "{told:?}");
    eventually("no socket", async || {
        (state(&world, "a").await["sockets"] == json!([])).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_wakes_the_sleeping_object() {
    let world = World::probe().await;
    let socket = open(&world, "a").await;
    asleep(&world).await;
    drop(socket);
    world.until_awake(1).await;
    events(&world, "a", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_protocol_gets_the_right_close_code() {
    let world = World::probe().await;
    let unmasked = vec![0x81, 1, b'x'];
    let not_utf8 = vec![0x81, 0x81, 0, 0, 0, 0, 0xff];
    let reserved = vec![0xf1, 0x80, 0, 0, 0, 0];
    let mut too_large = vec![0x82, 0xff];
    too_large.extend_from_slice(&(33_u64 << 20).to_be_bytes());
    too_large.extend_from_slice(&[0; 4]);
    let cases = [
        (unmasked, 1002),
        (not_utf8, 1007),
        (reserved, 1002),
        (too_large, 1009),
    ];
    for (frame, code) in cases {
        let mut socket = open(&world, "a").await;
        socket.get_mut().write_all(&frame).await.unwrap();
        assert_eq!(close_code(&mut socket).await, code);
    }
    let told = events(&world, "a", 8).await;
    assert_eq!(
        told.iter()
            .filter(|event| event.starts_with("error"))
            .count(),
        4
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_is_closed_and_others_go_on() {
    let world = World::probe().await;
    let (mut slow, mut other) = (open(&world, "a").await, open(&world, "a").await);
    // More than the queue and the kernel's buffers together hold.
    say(&mut slow, "flood 100 1000000").await;
    assert_eq!(ask(&mut other, "still here").await, "still here");
    let mut received = 0;
    let code = loop {
        match hear(&mut slow).await {
            Message::Close(close) => break u16::from(close.expect("it has a code").code),
            _ => received += 1,
        }
    };
    assert_eq!(code, 1013);
    assert!(
        received < 100,
        "{received} frames were kept for a slow reader"
    );
    assert_eq!(ask(&mut other, "and now").await, "and now");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_knows_how_much_waits_for_a_reader() {
    let world = World::probe().await;
    let mut socket = open(&world, "a").await;
    say(&mut socket, "buffered 3 1000").await;
    for _ in 0..3 {
        assert_eq!(hear(&mut socket).await.len(), 1000);
    }
    assert_eq!(hear(&mut socket).await, Message::text("3000"));
    eventually("nothing that waits", async || {
        (state(&world, "a").await["sockets"][0]["buffered"] == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_frame_waits_for_the_disk_and_those_behind_it_keep_their_places() {
    let (world, latch) = World::on_held_disk().await;
    let (mut mine, mut other) = (open(&world, "gate").await, open(&world, "gate").await);
    let object = world.host.object("Sockets", "gate").unwrap();
    let waiting = async |texts: &str| {
        eventually("frames behind the gate", async || {
            let sockets = world.host.sockets(&object);
            (sockets[0].buffered_bytes == texts.len() as u64).then_some(())
        })
        .await;
    };
    latch.hold();
    say(&mut mine, "write first").await;
    waiting("write first").await;
    say(&mut other, "all second").await;
    waiting("write firstsecond").await;
    assert!(mine.next().now_or_never().is_none());
    latch.release();
    assert_eq!(hear(&mut mine).await, Message::text("write first"));
    assert_eq!(hear(&mut mine).await, Message::text("second"));
    assert_eq!(hear(&mut other).await, Message::text("second"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_32_mib_comes_back_and_one_byte_more_is_too_large() {
    const LARGEST: usize = 32 << 20;
    let world = World::probe().await;
    let url = format!("ws://{}/Sockets/large/ws", world.address);
    let no_limit = WebSocketConfig::default().max_frame_size(None);
    let shaken = client_async_with_config(url, world.tcp().await, Some(no_limit)).await;
    let mut socket = shaken.expect("the object takes it").0;
    let message = Message::binary(vec![7; LARGEST]);
    socket.send(message.clone()).await.unwrap();
    assert!(hear(&mut socket).await == message, "another message");
    // The host may hang up in the middle of it.
    let _ = socket.send(Message::binary(vec![7; LARGEST + 1])).await;
    assert_eq!(close_code(&mut socket).await, 1009);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_never_reads_is_cut_off() {
    let world = World::probe().await;
    let mut stuck = open(&world, "a").await;
    say(&mut stuck, "flood 100 1000000").await;
    eventually("a close that gets nowhere", async || {
        let sockets = state(&world, "a").await["sockets"].clone();
        (sockets[0]["state"] == "Closing").then_some(())
    })
    .await;
    lost(&world, "a").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_does_not_answer_a_close_is_left() {
    let world = World::probe().await;
    let mut mute = open(&world, "a").await;
    say(&mut mute, "close 4001 enough").await;
    lost(&world, "a").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_past_its_limit_resets_the_object_and_closes_nothing() {
    let world = World::probe().await;
    let (mut slow, mut other) = (open(&world, "a").await, open(&world, "a").await);
    assert_eq!(ask(&mut slow, "limit 5000").await, "Some(5s)");
    let before = ask(&mut other, "instance").await;
    asleep(&world).await;
    say(&mut slow, "wait 60000").await;
    world.pass(Duration::from_secs(5)).await;
    assert_eq!(ask(&mut slow, "after").await, "after");
    assert_ne!(ask(&mut other, "instance").await, before);
    for refused in ["limit 0", "limit 604800001"] {
        say(&mut slow, refused).await;
    }
    assert_eq!(ask(&mut slow, "limit 604800000").await, "Some(604800s)");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_says_goodbye_and_leaves_is_heard_to_the_end() {
    let world = World::probe().await;
    let mut socket = open(&world, "a").await;
    for word in ["one", "two", "three"] {
        say(&mut socket, &format!("write {word}")).await;
    }
    socket.close(None).await.unwrap();
    drop(socket);
    let told = events(&world, "a", 4).await;
    assert_eq!(told[..3], ["one", "two", "three"]);
    assert!(told[3].starts_with("closed 1005"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_message_reaches_all_sockets() {
    let world = World::probe().await;
    let mut sockets = Vec::new();
    for _ in 0..50 {
        sockets.push(open(&world, "a").await);
    }
    say(&mut sockets[0], "all hello").await;
    for socket in &mut sockets {
        assert_eq!(hear(socket).await, Message::text("hello"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tags_can_be_changed_and_limits_hold() {
    let world = World::probe().await;
    let (mut socket, _) = connect(&world, "/Sockets/a/ws?tag=old&tag=old")
        .await
        .unwrap();
    assert_eq!(ask(&mut socket, "tags").await, r#"["old"]"#);
    say(&mut socket, "tag new,newer").await;
    assert_eq!(ask(&mut socket, "count old").await, "0");
    assert_eq!(ask(&mut socket, "count newer").await, "1");
    let eleven: Vec<String> = (0..11).map(|n| format!("tag=t{n}")).collect();
    let refused = connect(&world, &format!("/Sockets/a/ws?{}", eleven.join("&"))).await;
    assert!(matches!(refused, Err(Error::Http(response)) if response.status() == 500));
    say(&mut socket, &format!("attach {}", "x".repeat(16_384))).await;
    assert_eq!(ask(&mut socket, "attached").await, "\"fresh\"");
    say(&mut socket, &format!("attach {}", "x".repeat(16_382))).await;
    assert_eq!(ask(&mut socket, "attached").await.len(), 16_384);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_that_is_not_taken_leaves_nothing() {
    let world = World::probe().await;
    for (query, status) in [("refuse=1", 403), ("answer=200", 200), ("trap=1", 500)] {
        let refused = connect(&world, &format!("/Sockets/a/ws?{query}")).await;
        assert!(
            matches!(&refused, Err(Error::Http(response)) if response.status() == status),
            "{query}: {refused:?}"
        );
    }
    assert_eq!(state(&world, "a").await["sockets"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malformed_handshake_is_refused_with_words() {
    let world = World::probe().await;
    let shake = async |change: fn(&mut http::HeaderMap)| {
        let mut request =
            world.request(http::Method::GET, "/Sockets/a/ws", crate::harness::empty());
        let headers = request.headers_mut();
        headers.insert("upgrade", "websocket".parse().unwrap());
        headers.insert("connection", "Upgrade".parse().unwrap());
        headers.insert("sec-websocket-version", "13".parse().unwrap());
        headers.insert(
            "sec-websocket-key",
            "dGhlIHNhbXBsZSBub25jZQ==".parse().unwrap(),
        );
        change(headers);
        world.send(request).await.unwrap().status().as_u16()
    };
    assert_eq!(shake(|_| {}).await, 101);
    let version = shake(|h| drop(h.insert("sec-websocket-version", "8".parse().unwrap())));
    assert_eq!(version.await, 426);
    assert_eq!(shake(|h| drop(h.remove("sec-websocket-key"))).await, 400);
    assert_eq!(shake(|h| drop(h.remove("connection"))).await, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_the_host_closes_sockets_with_1012() {
    let world = World::probe().await;
    let (mut awake, mut asleep) = (open(&world, "a").await, open(&world, "b").await);
    ask(&mut asleep, "x").await;
    let ended = tokio::spawn(world.restart(probe_app()));
    assert_eq!(close_code(&mut awake).await, 1012);
    assert_eq!(close_code(&mut asleep).await, 1012);
    drop((awake, asleep));
    bounded("the restart", ended).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_frame_sent_in_a_transaction_leaves_at_its_end_or_never() {
    let world = World::probe().await;
    let (mut one, mut two) = (open(&world, "held").await, open(&world, "held").await);
    say(&mut one, "say-in-transaction 5 late").await;
    world.until_due(Duration::from_millis(5)).await;
    // Nothing else of the object runs, so this waits in the mailbox.
    say(&mut two, "all early").await;
    world.pass(Duration::from_millis(5)).await;
    assert_eq!(hear(&mut one).await, Message::text("late"));
    assert_eq!(hear(&mut one).await, Message::text("early"));
    say(&mut one, "say-in-transaction 5 trap").await;
    world.pass(Duration::from_millis(5)).await;
    assert_eq!(ask(&mut one, "back").await, "back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_that_is_passed_on_belongs_to_the_object_that_takes_it() {
    let world = World::probe().await;
    let path = "/Probe/door/forward/Sockets/behind/ws?greet=welcome&tag=x";
    let (mut socket, response) = connect(&world, path).await.unwrap();
    assert_eq!(response.headers()["x-told"], "by the object");
    assert_eq!(hear(&mut socket).await, Message::text("welcome"));
    assert_eq!(ask(&mut socket, "count x").await, "1");
    asleep(&world).await;
    assert_eq!(ask(&mut socket, "awake again").await, "awake again");
    assert_eq!(world.host.awake(), 1);
    assert_eq!(
        state(&world, "behind").await["sockets"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    say(&mut socket, "close 3000 enough").await;
    assert_eq!(close_code(&mut socket).await, 3000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_that_nobody_behind_takes_is_a_plain_answer() {
    let world = World::probe().await;
    let path = "/Probe/door-2/forward/Sockets/refuser/ws?refuse";
    let refused = connect(&world, path).await;
    assert!(matches!(refused, Err(Error::Http(_))), "{refused:?}");
    let path = "/Probe/door-2/forward/Sockets/trapper/ws?trap";
    let refused = connect(&world, path).await;
    assert!(matches!(refused, Err(Error::Http(_))), "{refused:?}");
}
