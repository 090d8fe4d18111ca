//! Nothing leaves an object before what it depends on is durable, and nothing else waits.

use serde_json::{Value as Json, json};
use tokio::task::JoinHandle;

use crate::harness::{Answer, World, eventually, logs_of};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_read_of_what_another_event_wrote_waits_for_the_disk_too() {
    let (world, latch) = World::on_held_disk().await;
    world.run("read", json!([table()])).await;
    latch.hold();
    let writing = world.start_run("read", json!([insert("new"), say("written")]));
    until_said(&world, "read", "written").await;
    let reading = world.start_run("read", json!([words(), say("seen")]));
    until_said(&world, "read", "seen").await;
    assert!(!writing.is_finished() && !reading.is_finished());
    latch.release();
    writing.await.unwrap().ran();
    let seen = reading.await.unwrap().ran();
    assert_eq!(seen.results[0]["rows"], json!([["new"]]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_has_seen_nothing_new_waits_for_nobody() {
    let (world, latch) = World::on_held_disk().await;
    for name in ["busy", "idle"] {
        world.run(name, json!([table()])).await;
    }
    latch.hold();
    let writing = world.start_run("busy", json!([insert("new"), say("written")]));
    until_said(&world, "busy", "written").await;
    let ran = world.run("idle", json!([words()])).await;
    assert_eq!(ran.results[0]["rows"], json!([]));
    assert!(!writing.is_finished());
    latch.release();
    writing.await.unwrap().ran();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_written_after_an_answer_does_not_hold_it_back() {
    let (world, latch) = World::on_held_disk().await;
    world.run("later", json!([table()])).await;
    latch.hold();
    // The background's write is a turn of its own, after the answer.
    let later = json!([{"wait_ms": 1}, insert("later"), say("written")]);
    let ran = world
        .run("later", json!([words(), {"background": later}]))
        .await;
    assert_eq!(ran.results[0]["rows"], json!([]));
    world.pass(std::time::Duration::from_millis(1)).await;
    until_said(&world, "later", "written").await;
    latch.release();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_unconfirmed_write_is_heard_at_once_and_sync_waits() {
    let (world, latch) = World::on_held_disk().await;
    world.run("unconfirmed", json!([table()])).await;
    latch.hold();
    let steps = json!([{"allow_unconfirmed": true}, insert("unconfirmed"), words()]);
    let ran = world.run("unconfirmed", steps).await;
    assert_eq!(ran.results[2]["rows"], json!([["unconfirmed"]]));
    let syncing = world.start_run("unconfirmed", json!([say("syncing"), {"sync": true}]));
    until_said(&world, "unconfirmed", "syncing").await;
    // It is in the middle of its event, and others go on.
    world.run("unconfirmed", json!([words()])).await;
    assert!(!syncing.is_finished());
    let confirmed = world.start_run("unconfirmed", json!([insert("confirmed"), say("written")]));
    until_said(&world, "unconfirmed", "written").await;
    assert!(!confirmed.is_finished());
    latch.release();
    assert_eq!(
        syncing.await.unwrap().ran().results[1],
        json!({"synced": true})
    );
    confirmed.await.unwrap().ran();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_answer_behind_a_transaction_waits_for_its_commit() {
    let (world, latch) = World::on_held_disk().await;
    world.run("transaction", json!([table()])).await;
    latch.hold();
    let steps =
        json!([{"transaction": [insert("one"), {"wait_ms": 1}, insert("two")]}, say("done")]);
    let running = world.start_run("transaction", steps);
    world.pass(std::time::Duration::from_millis(1)).await;
    until_said(&world, "transaction", "done").await;
    assert!(!running.is_finished());
    latch.release();
    assert_eq!(running.await.unwrap().ran().results[0]["kept"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn pairs_alarms_and_deletion_are_waited_for_like_tables() {
    let (world, latch) = World::on_held_disk().await;
    let writes = [
        ("pair", json!({"kv_put": "a", "value": 1})),
        ("alarm", json!({"set_alarm_in_ms": 60_000})),
        ("deletion", json!({"delete_all": true})),
    ];
    for (name, _) in &writes {
        world.run(name, json!([table()])).await;
    }
    latch.hold();
    let mut running: Vec<JoinHandle<Answer>> = Vec::new();
    for (name, write) in &writes {
        running.push(world.start_run(name, json!([write, say("written")])));
        until_said(&world, name, "written").await;
    }
    assert!(running.iter().all(|one| !one.is_finished()));
    latch.release();
    for one in running {
        one.await.unwrap().ran();
    }
}

fn table() -> Json {
    json!({"sql": "CREATE TABLE t (id INTEGER PRIMARY KEY, word TEXT)"})
}

fn insert(word: &str) -> Json {
    json!({"sql": "INSERT INTO t (word) VALUES (?)", "params": [word]})
}

fn words() -> Json {
    json!({"sql": "SELECT word FROM t ORDER BY id"})
}

/// Records do not wait for the disk, so they tell how far an event is.
fn say(word: &str) -> Json {
    json!({"log": {"level": "info", "message": word}})
}

/// Waits until an event is so far, and long enough for what is not held to be heard.
async fn until_said(world: &World, object: &str, word: &str) {
    eventually("a record of the object", async || {
        let log = logs_of(object);
        log.iter()
            .any(|record| record.message() == word)
            .then_some(())
    })
    .await;
    for _ in 0..5 {
        world.run("somebody-else", json!([])).await;
    }
}
