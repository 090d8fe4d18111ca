//! The guests of this repository, each tested as its author would, with the test kit.
//! The guide in docs/testing.md shows examples from here.

use std::collections::BTreeSet;
use std::time::Duration;

use dormouse_testing::{Builder, Reply, Request, TestHost, for_every_crash_point};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::harness::guests as built;

const SECOND: Duration = Duration::from_secs(1);

/// The guest of this name, as `TestHost::builder()` alone would be in its own crate.
fn guest(name: &str) -> Builder {
    let manifest = built::root().join(format!("guests/{name}/dormouse.toml"));
    let manifest = std::fs::read_to_string(manifest).unwrap();
    TestHost::builder()
        .component(built::component(name))
        .manifest(manifest)
}

#[test]
fn every_guest_is_tested_here() {
    let manifest = std::fs::read_to_string(built::root().join("guests/Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let members = manifest["workspace"]["members"].as_array().unwrap();
    let members: BTreeSet<_> = members.iter().filter_map(|name| name.as_str()).collect();
    // Tested elsewhere: what other hosts' authors wrote, and what serves other tests; the
    // benchmark checks the answers of its worker itself.
    let elsewhere = BTreeSet::from(["bench-worker", "probe", "wasip3-worker", "wstd-worker"]);
    let here = BTreeSet::from([
        "bank", "bench", "chat", "counter", "feed", "front", "lobby", "reminder", "tinybase",
    ]);
    assert_eq!(members, &here | &elsewhere);
}

#[test]
fn no_crash_doubles_or_loses_money_between_two_banks() {
    let south = guest("bank")
        .manifest("name = 'south'\nnamespaces.ACCOUNTS = 'Account'\nshare.Account = ['north']");
    let north = "name = 'north'\nnamespaces.ACCOUNTS = { app = 'south', class = 'Account' }";
    let balance = |app: &TestHost| -> i64 {
        let account = app.object("Account", "ada");
        account.call("balance", ()).unwrap()
    };
    let crashes = for_every_crash_point(
        guest("bank").manifest(north).app("south", south),
        |host, told: &mut (bool, bool)| {
            let payer = host.object("Account", "ada");
            told.0 = payer.post("/deposit?cents=500", "").status == 200;
            told.1 = payer.call::<i64>("transfer", ("ada", 200)).is_ok();
        },
        |host, told| {
            host.advance(60 * SECOND);
            let (north, south) = (balance(host), balance(&host.app("south")));
            assert!(!told.0 || north + south == 500, "{north} + {south}");
            assert!(!told.1 || (north, south) == (300, 200), "{north} + {south}");
        },
    );
    assert!(crashes > 20, "{crashes}");
}

#[test]
fn a_counter_counts_and_survives() {
    let host = guest("counter").start();
    let alice = host.object("Counter", "alice");
    assert_eq!(alice.get("/").text(), "1\n");
    host.crash(); // kill -9, and a new start on the same disk
    assert_eq!(alice.get("/").text(), "2\n");
    assert_eq!(alice.sql("SELECT value FROM counter").one::<i64>(), 2);
    host.advance(Duration::from_secs(60)); // the clock moves only here
    assert!(!alice.is_awake());
    assert_eq!(alice.instances(), 2);
}

#[test]
fn money_moves_from_a_bank_to_another_one() {
    let south = guest("bank").route("/south").manifest(
        "name = 'south'\n\
         [namespaces]\nACCOUNTS = 'Account'\n\
         [share]\nAccount = ['north']",
    );
    let north = guest("bank").manifest(
        "name = 'north'\n\
         [namespaces]\nACCOUNTS = { app = 'south', class = 'Account' }",
    );
    let host = north.app("south", south).start();
    let south = host.app("south");
    // The same class and name in two apps are two objects.
    let [payer, payee] = [&host, &south].map(|app| app.object("Account", "ada"));
    payer.post("/deposit?cents=500", "").ok();
    assert_eq!(payer.call("transfer", ("ada", 200)), Ok(300_i64));
    assert_eq!(payee.call("balance", ()), Ok(200_i64));
    host.crash(); // both apps are on the machine that dies
    assert_eq!(payee.call("balance", ()), Ok(200_i64));
    assert_eq!(payer.call("balance", ()), Ok(300_i64));
    assert_eq!(host.client().get("/south/Account/ada").text(), "200\n");
    assert_eq!((host.objects().len(), south.objects().len()), (1, 1));
}

#[test]
fn money_moves_by_methods() {
    let host = guest("bank").start();
    let [ada, bob] = ["ada", "bob"].map(|name| host.object("Account", name));
    assert_eq!(ada.post("/deposit?cents=500", "").ok().text(), "500\n");
    assert_eq!(ada.call("transfer", ("bob", 200)), Ok(300_i64));
    assert_eq!(bob.call("balance", ()), Ok(200_i64));
    let declined = ada.call::<i64>("transfer", ("bob", 301)).unwrap_err();
    assert_eq!(declined.to_string(), "there are only 300 cents");
    let entries = ada.sql("SELECT cents FROM entry ORDER BY cents");
    assert_eq!(entries.all::<(i64,)>(), [(-200,), (500,)]);
}

/// The alarm is set before the call leaves, so a payment is never forgotten.
#[test]
fn money_is_neither_lost_nor_doubled_by_a_crash_at_any_moment() {
    let balance = |host: &TestHost, name| -> i64 {
        host.object("Account", name).call("balance", ()).unwrap()
    };
    for_every_crash_point(
        guest("bank"),
        |host, deposited: &mut bool| {
            let ada = host.object("Account", "ada");
            ada.call::<()>("receive", ("salary", 500)).unwrap();
            *deposited = true;
            ada.call::<i64>("transfer", ("bob", 200)).unwrap();
        },
        |host, deposited| {
            host.advance(10 * SECOND);
            let (ada, bob) = (balance(host, "ada"), balance(host, "bob"));
            let sound = [(0, 0), (500, 0), (300, 200)].contains(&(ada, bob));
            assert!(sound && (!deposited || ada + bob == 500), "{ada} and {bob}");
        },
    );
}

#[test]
fn a_room_sleeps_behind_its_sockets_and_says_each_line_once() {
    let host = guest("chat").start();
    let room = host.object("Room", "lobby");
    let [ada, bob] = ["ada", "bob"].map(|name| room.connect(format!("/ws?name={name}")));
    let said = |socket: &dormouse_testing::Socket, kind: &str| loop {
        let heard: Json = serde_json::from_str(&socket.expect_text()).unwrap();
        if heard["type"] == kind {
            return heard;
        }
    };
    assert_eq!(said(&ada, "people")["names"], json!(["ada"]));
    assert_eq!(said(&bob, "people")["names"], json!(["ada", "bob"]));

    host.advance(60 * SECOND);
    assert!(!room.is_awake());
    let tags: Vec<_> = room.sockets().into_iter().map(|one| one.tags).collect();
    assert_eq!(tags, [["name:ada"], ["name:bob"]]);
    for _ in 0..2 {
        ada.send(r#"{"type": "say", "key": "k1", "text": "hello"}"#);
        assert_eq!(said(&bob, "said")["text"], "hello");
    }
    assert_eq!(room.sql("SELECT count(*) FROM line").one::<u32>(), 1);

    ada.send(r#"{"type": "typing"}"#);
    assert_eq!(said(&bob, "typing")["names"], json!(["ada"]));
    let guest: Json = room.sockets()[0].attached();
    assert_ne!(guest["typing_until"], Json::Null);
    host.run_next_alarm();
    assert_eq!(said(&bob, "typing")["names"], json!([]));
    ada.cut();
    assert_eq!(said(&bob, "people")["names"], json!(["bob"]));
}

#[test]
fn a_feed_keeps_what_is_posted_and_is_awake_while_somebody_listens() {
    let host = guest("feed").start();
    let news = host.object("Feed", "news");
    let listener = news.start_fetch("/");
    news.post("/", "Hello").ok();
    assert_eq!(news.sql("SELECT text FROM entry").one::<String>(), "Hello");
    host.advance(60 * SECOND);
    assert!(!listener.is_done() && news.is_awake());
    listener.abandon();
    host.advance(60 * SECOND);
    assert!(!news.is_awake());
}

#[test]
fn a_worker_asks_the_outside_by_script() {
    let manifest = "name = 'front'\noutgoing.hosts = ['api.example.com']";
    let host = guest("front").manifest(manifest).start();
    host.script("GET api.example.com/hello", Reply::text("hello"));
    let client = host.client();
    let hello = "?url=http://api.example.com/hello";
    for path in ["/ask", "/Asker/a"] {
        assert_eq!(client.get(&format!("{path}{hello}")).ok().text(), "hello");
    }
    assert_eq!(host.sent().len(), 2);
}

#[test]
fn the_lobby_lets_in_who_has_a_token() {
    let tokens = "ada=sesame bob=please";
    let host = guest("lobby").secret("TOKENS", tokens).start();
    let nobody = host.client();
    assert_eq!(nobody.get("/kitchen/whoami").status, 401);
    let ada = nobody.with_header("authorization", "Bearer sesame");
    let bob = nobody.with_header("authorization", "Bearer please");
    assert_eq!(ada.get("/kitchen/whoami").ok().text(), "ada in kitchen\n");
    let [ears, mouth] = [ada.connect("/hall/ws"), bob.connect("/hall/ws")];
    mouth.send("hello");
    assert_eq!(ears.expect_text(), "bob: hello");
    assert!(nobody.try_connect("/hall/ws").is_err());
    assert_eq!(host.object("Room", "hall").sockets().len(), 2);
}

#[test]
fn a_reminder_comes_at_its_time_after_a_power_cut() {
    #[derive(Deserialize)]
    struct Lists {
        waiting: Vec<Json>,
        done: Vec<Json>,
    }
    let host = guest("reminder").start();
    let ada = host.object("Reminders", "ada");
    let new = json!({"at": "2030-01-01T09:00:00Z", "text": "call Bob"});
    ada.fetch(Request::post("/", "").json(&new)).ok();
    host.cut_power();
    let nine = host.now() + Duration::from_secs(9 * 60 * 60);
    assert_eq!(ada.next_alarm(), Some(nine));
    assert_eq!(host.run_next_alarm(), Some(nine));
    let lists: Lists = ada.get("/").ok().json();
    assert_eq!((lists.waiting.len(), lists.done.len()), (0, 1));
    assert_eq!(ada.logs()[0].message, "a reminder is due");
    assert_eq!(host.next_alarm(), None);
}

#[test]
fn tinybase_clients_hear_each_other_through_a_relay() {
    let host = guest("tinybase").start();
    let lobby = host.object("Relay", "lobby");
    let [ada, bob] = [lobby.connect("/"), lobby.connect("/")];
    assert_eq!(ada.expect_text(), bob.expect_text());
    ada.send("\n[null,1,\"\"]");
    let heard = bob.expect_text();
    assert!(heard.ends_with("\n[null,1,\"\"]"), "{heard}");
    ada.expect_nothing();
}

#[test]
fn the_benchmark_guest_keeps_its_contract() {
    let host = guest("bench").start();
    let object = host.object("Bench", "a");
    assert_eq!(object.get("/hello").text(), "Hello, world!\n");
    assert_eq!(object.get("/mem/a/incr").text(), "1");
    assert_eq!(object.get("/sql/a/write?k=1").text(), "1");
    assert_eq!(object.get("/sql/a/write?k=1").text(), "2");
    assert_eq!(object.get("/sql/a/read?k=1").text(), "2");
    object.get("/alarm/a/set?in=1000").ok();
    let due = host.run_next_alarm().unwrap();
    let ms = due
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_millis();
    assert_eq!(object.get("/alarm/a/get").text(), format!("{ms},{ms}"));
}
