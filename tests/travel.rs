//! An operator looks at an object's past, brings it back, copies it, takes it out, and
//! deletes it; requests and sockets live through all of it.

use std::path::Path;
use std::time::Duration;

use dormouse::host::Moment;
use futures_util::{SinkExt as _, StreamExt as _};
use http::Method;
use rusqlite::Connection;
use serde_json::{Value as Json, json};
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::protocol::Message;

use crate::admin::{Operated, done, refused};
use crate::harness::{World, bounded, eventually, probe_app};

/// How long requests at work may take to finish.
const DRAIN: Duration = Duration::from_secs(10);

fn select() -> Json {
    json!([{"sql": "SELECT v FROM t"}])
}

fn update(value: &str) -> Json {
    json!([{"sql": "UPDATE t SET v = ?", "params": [value]}])
}

/// An object that was `old` at the bookmark and is `new`.
async fn grown(world: &crate::harness::Client, name: &str) -> String {
    let steps = json!([
        {"sql": "CREATE TABLE t (v); INSERT INTO t VALUES ('old')"},
        {"bookmark": "current"},
        {"sql": "UPDATE t SET v = 'new'"},
    ]);
    let ran = world.run(name, steps).await;
    ran.results[1]["bookmark"].as_str().unwrap().to_owned()
}

async fn value(world: &crate::harness::Client, name: &str) -> Json {
    let ran = world.run(name, select()).await;
    ran.results[0]["rows"][0][0].clone()
}

/// A world in which nothing else waits for `DRAIN`.
async fn patient() -> World {
    let mut app = probe_app();
    app.manifest.limits.idle_ms = 60_000;
    World::start(app).await
}

/// How many requests went into mailboxes.
fn delivered(world: &World) -> u64 {
    let mut registry = prometheus_client::registry::Registry::default();
    world.host.measures().register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let head = "dormouse_object_events_total{app=\"probe\",class=\"Probe\",kind=\"fetch\"} ";
    let count = text.lines().find_map(|line| line.strip_prefix(head));
    count.map_or(0, |count| count.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn requests_that_come_during_a_restore_are_served_after_it() {
    let world = patient().await;
    let name = "travel-waits";
    let old = grown(&world, name).await;
    let call = json!({"call": "travel-other", "steps": [{"hold": "x"}]});
    let at_work = world.start_run(name, json!([call, {"sql": "SELECT v FROM t"}]));
    world.until_held("travel-other", "x", 1).await;
    let host = world.host.handle();
    let restoring =
        tokio::spawn(async move { host.restore("Probe", name, Moment::Bookmark(old)).await });
    world.until_due(DRAIN).await;

    let before = delivered(&world);
    let waiting = [(); 8].map(|()| world.start_run(name, select()));
    eventually("mail", async || {
        (delivered(&world) == before + 8).then_some(())
    })
    .await;
    assert!(!restoring.is_finished(), "a request is at work");
    world.release("travel-other", "x").await;
    let finished = at_work.await.unwrap().ran();
    assert_eq!(finished.results[1]["rows"], json!([["new"]]));
    let restored = restoring.await.unwrap().unwrap();
    for one in waiting {
        assert_eq!(
            one.await.unwrap().ran().results[0]["rows"],
            json!([["old"]])
        );
    }
    let undo = Moment::Bookmark(restored.undo.to_string());
    world.host.restore("Probe", name, undo).await.unwrap();
    assert_eq!(value(&world, name).await, "new");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_request_that_does_not_end_holds_a_restore_up_for_ten_seconds() {
    let world = patient().await;
    let name = "travel-late";
    let old = grown(&world, name).await;
    let at_work = world.start_run(name, json!([{"hold": "x"}]));
    world.until_held(name, "x", 1).await;
    let host = world.host.handle();
    let restoring =
        tokio::spawn(async move { host.restore("Probe", name, Moment::Bookmark(old)).await });
    world.pass(DRAIN).await;
    let reset = at_work.await.unwrap().problem(500, "object-reset");
    assert!(
        reset["detail"].as_str().unwrap().contains("operator"),
        "{reset}"
    );
    restoring.await.unwrap().unwrap();
    assert_eq!(value(&world, name).await, "old");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_goes_back_and_forth_in_an_objects_past() {
    let world = Operated::start().await;
    let old = grown(&world.host, "past").await;
    let asked = |args: &[&str]| -> Json { serde_json::from_str(&world.cli(args)).unwrap() };
    let new = world.cli(&["bookmark", "Probe/past"]);
    let new = new.trim();
    assert!(*old < *new, "{old} {new}");

    let history = asked(&["history", "Probe/past", "--json"]);
    let commits = history["commits"].as_array().unwrap();
    assert_eq!(commits[0]["restored"], false, "{history}");
    let listed = world.cli(&["history", "Probe/past", "--limit", "1"]);
    let newest = commits[0]["bookmark"].as_str().unwrap();
    assert!(listed.contains(newest), "{listed}");
    let older = asked(&["history", "Probe/past", "--before", newest, "--json"]);
    assert!(!older.to_string().contains(newest), "{older}");

    let changes = asked(&["diff", "Probe/past", &old, "--json"]);
    let change = &changes["changes"][0];
    assert_eq!(
        (&change["changed"], &change["before"], &change["after"]),
        (&json!("updated"), &json!(["old"]), &json!(["new"])),
        "{changes}"
    );
    let shown = world.cli(&["diff", "Probe/past", &old, new]);
    assert_eq!(shown, "- t (v = old)\n+ t (v = new)\n");

    let restored = asked(&["restore", "Probe/past", &old, "--json"]);
    assert_eq!(restored["bookmark"], json!(old));
    assert_eq!(value(&world.host, "past").await, "old");
    let history = asked(&["history", "Probe/past", "--json"]);
    assert_eq!(history["commits"][0]["restored"], true, "{history}");
    let undo = restored["undo"].as_str().unwrap();
    // Without --json the undo is all that goes to stdout.
    let undo = world.cli(&["restore", "Probe/past", undo]);
    assert_eq!(value(&world.host, "past").await, "new");
    world.cli(&["restore", "Probe/past", undo.trim()]);
    assert_eq!(value(&world.host, "past").await, "old");
    // By time: before the object was made there was nothing.
    let undo = world.cli(&["restore", "Probe/past", "2000-01-01"]);
    let tables = json!([{"sql": "SELECT count(*) FROM sqlite_schema WHERE name = 't'"}]);
    let ran = world.host.run("past", tables).await;
    assert_eq!(ran.results[0]["rows"], json!([[0]]));
    world.cli(&["restore", "Probe/past", undo.trim()]);
    world.cli(&["restore", "Probe/past", "0s"]);
    assert_eq!(value(&world.host, "past").await, "old");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_is_forked_exported_and_imported_while_the_host_runs() {
    let world = Operated::start().await;
    let old = grown(&world.host, "source").await;
    let alarm = json!([{"set_alarm_in_ms": 3_600_000}]);
    world.host.run("source", alarm).await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();

    world.cli(&["fork", "Probe/source", "then", "--at", &old]);
    let made = world.cli(&["fork", "Probe/source", "now", "--json"]);
    assert!(made.contains("Probe/now"), "{made}");
    assert_eq!(value(&world.host, "then").await, "old");
    assert_eq!(value(&world.host, "now").await, "new");
    assert_eq!(world.cli(&["alarms", "Probe/now", "--json"]).trim(), "[]");
    let twice = refused(world.command().args(["fork", "Probe/source", "now"]));
    assert!(twice.contains("has data already; delete it"), "{twice}");

    // The object is awake, in the middle of an event.
    let held = world.host.start_run("source", json!([{"hold": "x"}]));
    world.host.until_held("source", "x", 1).await;
    world.cli(&["export", "Probe/source", &file("now.sqlite")]);
    world.cli(&["export", "Probe/source", &file("old.sqlite"), "--at", &old]);
    for (name, value) in [("now.sqlite", "new"), ("old.sqlite", "old")] {
        let opened = Connection::open(file(name)).unwrap();
        let found: String = opened
            .query_one("SELECT v FROM t", [], |row| row.get(0))
            .unwrap();
        assert_eq!(found, value);
        let check: String = opened
            .query_one("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(check, "ok");
    }
    let there = refused(
        world
            .command()
            .args(["export", "Probe/source", &file("now.sqlite")]),
    );
    assert!(there.contains("is there already"), "{there}");
    world.host.release("source", "x").await;
    held.await.unwrap().ran();

    // Its alarm comes along with what was exported.
    world.cli(&["import", "Probe/copy", &file("now.sqlite")]);
    assert_eq!(value(&world.host, "copy").await, "new");
    let alarms = world.cli(&["alarms", "Probe/copy", "--json"]);
    assert!(alarms.contains("\"due_ms\""), "{alarms}");
    let apps = world.get("/v1/apps").await;
    assert_eq!(apps[0]["objects_with_alarms"], 2, "{apps}");

    let plain = Connection::open(file("plain.sqlite")).unwrap();
    plain
        .execute_batch("PRAGMA page_size = 1024; CREATE TABLE t (v); INSERT INTO t VALUES ('own')")
        .unwrap();
    drop(plain);
    let full = refused(
        world
            .command()
            .args(["import", "Probe/copy", &file("plain.sqlite")]),
    );
    assert!(full.contains("has data already"), "{full}");
    world.cli(&["import", "Probe/copy", &file("plain.sqlite"), "--replace"]);
    assert_eq!(value(&world.host, "copy").await, "own");
    let apps = world.get("/v1/apps").await;
    assert_eq!(apps[0]["objects_with_alarms"], 1, "the plain file had none");
    std::fs::write(file("none.sqlite"), "no database").unwrap();
    let none = refused(
        world
            .command()
            .args(["import", "Probe/other", &file("none.sqlite")]),
    );
    assert!(none.contains("cannot be imported"), "{none}");
    assert!(!none.contains("exchange"), "no path of the host: {none}");
    let left = world.data.path().join("exchange");
    assert_eq!(std::fs::read_dir(left).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_byte_of_a_deleted_object_stays_in_the_data_folder() {
    let world = Operated::start().await;
    let marker = "Only-Here-7f3a9c51";
    grown(&world.host, "kept").await;
    grown(&world.host, "doomed").await;
    world.host.run("doomed", update(marker)).await;
    world.cli(&["history", "Probe/doomed"]);
    world
        .host
        .run("doomed", json!([{"set_alarm_in_ms": 3_600_000}]))
        .await;
    // In the log or in its file, and in its past.
    assert!(holds(world.data.path(), marker.as_bytes()));
    let unsure = refused(world.command().args(["delete", "Probe/doomed"]));
    assert!(unsure.contains("--yes"), "{unsure}");
    world.cli(&["delete", "Probe/doomed", "--yes"]);
    assert!(!holds(world.data.path(), marker.as_bytes()));
    assert!(!holds(world.data.path(), b"doomed"), "its name went, too");
    assert_eq!(world.get("/v1/apps").await[0]["objects_with_alarms"], 0);

    assert_eq!(value(&world.host, "kept").await, "new");
    let missing = refused(world.command().args(["history", "Probe/doomed"]));
    assert!(missing.contains("has ever written"), "{missing}");
    let again = world.cli(&["delete", "Probe/doomed", "--yes", "--json"]);
    let again: Json = serde_json::from_str(&again).unwrap();
    assert_eq!(again, json!({"existed": false}));
    // The name is free for a new object.
    let tables = "SELECT count(*) FROM sqlite_schema WHERE name = 't'";
    let ran = world.host.run("doomed", json!([{"sql": tables}])).await;
    assert_eq!(ran.results[0]["rows"], json!([[0]]));
}

/// Whether any file below a folder has these bytes in it; compiled code aside.
fn holds(folder: &Path, wanted: &[u8]) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_symlink() {
            return false;
        }
        if path.is_dir() {
            return holds(&path, wanted);
        }
        let bytes = std::fs::read(&path).unwrap();
        bytes.windows(wanted.len()).any(|window| window == wanted)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_stay_open_over_a_restore_and_close_with_a_deletion() {
    let world = Operated::start().await;
    let url = format!("ws://{}/Sockets/travelled/ws?tag=a", world.host.address);
    let (mut socket, _) = client_async(url, world.host.tcp().await).await.unwrap();
    let object = "Sockets/travelled";
    let first = world.cli(&["bookmark", object]);
    for text in ["write one", "write two"] {
        socket.send(Message::text(text)).await.unwrap();
    }
    let path = "/v1/apps/probe/objects/Sockets/travelled/sql";
    let count = json!({"sql": "SELECT count(*) FROM event"});
    let rows = async || {
        let answer = world.ask(Method::POST, path, count.clone()).await;
        answer.json()["rows"][0][0].as_u64().unwrap()
    };
    eventually("what the object noted", async || {
        (rows().await >= 2).then_some(())
    })
    .await;
    world.cli(&["restore", object, first.trim()]);
    assert_eq!(rows().await, 0);
    socket.send(Message::text("write three")).await.unwrap();
    eventually("a message after the restore", async || {
        (rows().await == 1).then_some(())
    })
    .await;
    let sockets = world.get("/v1/apps/probe/sockets").await;
    assert_eq!(sockets[0]["tags"], json!(["a"]), "{sockets}");

    let mut delete = world.command();
    delete.args(["delete", object, "--yes"]);
    let deleting = tokio::task::spawn_blocking(move || done(&mut delete));
    let close = bounded("a close", async {
        loop {
            match socket.next().await.unwrap().unwrap() {
                Message::Close(close) => return close.unwrap(),
                _ => continue,
            }
        }
    });
    assert_eq!(u16::from(close.await.code), 1001);
    // The answer to the close.
    bounded("the end", async {
        while socket.next().await.is_some_and(|one| one.is_ok()) {}
    })
    .await;
    deleting.await.unwrap();
    let missing = refused(world.command().args(["bookmark", object]));
    assert!(missing.contains("has ever written"), "{missing}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn travels_want_the_right_scope_and_say_what_is_wrong() {
    let world = Operated::start().await;
    let old = grown(&world.host, "guarded").await;
    let at = |rest: &str| format!("/v1/apps/probe/objects/Probe/guarded{rest}");
    let tries = [
        (Method::GET, at("/bookmark"), Json::Null),
        (Method::GET, at("/history"), Json::Null),
        (Method::GET, at(&format!("/diff?from={old}")), Json::Null),
        (Method::GET, at("/export"), Json::Null),
        (Method::POST, at("/restore"), json!({"to": old})),
        (Method::POST, at("/fork"), json!({"name": "guarded"})),
        (Method::PUT, at("/import"), json!("no database")),
        (Method::DELETE, at(""), Json::Null),
    ];
    let expected = [
        ("read", [200, 200, 403, 403, 403, 403, 403, 403]),
        ("sql-read", [403, 403, 200, 200, 403, 403, 403, 403]),
        ("call", [403; 8]),
        ("sql-write", [403, 403, 200, 200, 200, 409, 400, 403]),
        ("operate", [403, 403, 403, 403, 403, 403, 403, 200]),
    ];
    for (scope, statuses) in expected {
        let secret = world.cli(&["token", "create", "t", "--scope", scope]);
        for ((method, path, body), status) in tries.iter().zip(statuses) {
            let answer = world.ask_as(secret.trim(), method.clone(), path, body.clone());
            let answer = answer.await;
            let text = String::from_utf8_lossy(&answer.body);
            assert_eq!(answer.status, status, "{scope} {method} {path}: {text}");
        }
    }

    grown(&world.host, "guarded").await;
    let wrong = [
        (
            &["restore", "Probe/guarded", "yesterday"][..],
            "is no moment",
        ),
        (&["restore", "Probe/guarded", "2030-13-45"], "10m, 2h or 3d"),
        (
            &["restore", "Probe/guarded", "0000000000000000-0-00000000"],
            "mistyped",
        ),
        (&["restore", "Probe/nobody", "0s"], "has ever written"),
        (&["fork", "Nobody/guarded", "x"], "no class is called"),
        (
            &["export", "Probe/nobody", "/nowhere/x"],
            "has ever written",
        ),
        (
            &["export", "Probe/guarded", "/nowhere/x"],
            "cannot write /nowhere/x",
        ),
        (
            &["import", "Probe/x", "/nowhere/x"],
            "cannot read /nowhere/x",
        ),
        (&["diff", "guarded", "1h"], "write Class/name"),
    ];
    for (args, part) in wrong {
        let said = refused(world.command().args(args));
        assert!(said.contains(part), "{args:?}: {said}");
    }
}
