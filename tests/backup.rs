//! A whole host is copied while it runs, and served from the copy.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value as Json, json};

use crate::admin::{Operated, done, refused};
use crate::harness::{
    Client, Process, app_folder, dormouse, eventually, probe, share_compiled_code,
};

const WRITERS: usize = 4;

/// Two tables that are always alike after a turn.
fn pair(number: u64) -> Json {
    json!([
        {"sql": "CREATE TABLE IF NOT EXISTS a (n); CREATE TABLE IF NOT EXISTS b (n)"},
        {"sql": "INSERT INTO a VALUES (?)", "params": [number]},
        {"sql": "INSERT INTO b VALUES (?)", "params": [number]},
    ])
}

/// Writes pairs until it is told to stop; how many were acknowledged.
async fn write(client: Client, name: String, acknowledged: Arc<AtomicU64>, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        let number = acknowledged.load(Ordering::Relaxed) + 1;
        client.run(&name, pair(number)).await;
        acknowledged.store(number, Ordering::Release);
    }
}

/// What both tables of a writer's object hold.
async fn counts(host: &Client, name: &str) -> (u64, u64) {
    let steps = json!([
        {"sql": "SELECT count(*), max(n) FROM a"},
        {"sql": "SELECT count(*), max(n) FROM b"},
    ]);
    let ran = host.run(name, steps).await;
    let of = |at: usize| {
        let row = &ran.results[at]["rows"][0];
        assert_eq!(row[0], row[1], "no number is missing: {row}");
        row[0].as_u64().unwrap()
    };
    (of(0), of(1))
}

/// Serves a copy, as it says itself what to serve.
async fn serve(data: &Path) -> Process {
    share_compiled_code(data).await;
    let mut command = dormouse();
    command.args(["serve", "--listen", "127.0.0.1:0", "--data"]);
    command.arg(data).current_dir(data);
    Process::start(&mut command).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_backup_under_load_holds_every_acknowledged_write_and_no_half_turn() {
    let world = Operated::start().await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for number in 0..WRITERS {
        let (name, acknowledged) = (format!("writer-{number}"), Arc::<AtomicU64>::default());
        let client = Client::clone(&world.host);
        let writing = write(client, name.clone(), acknowledged.clone(), stop.clone());
        writers.push((name, acknowledged, tokio::spawn(writing)));
    }
    eventually("writes", async || {
        let mut all = writers.iter();
        all.all(|(_, acknowledged, _)| acknowledged.load(Ordering::Acquire) > 3)
            .then_some(())
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let copy = folder.path().join(format!("copy-{round}"));
        let before: Vec<u64> = writers
            .iter()
            .map(|(_, acknowledged, _)| acknowledged.load(Ordering::Acquire))
            .collect();
        let mut backup = world.command();
        backup.arg("backup").arg(&copy);
        tokio::task::spawn_blocking(move || done(&mut backup))
            .await
            .unwrap();
        let restored = serve(&copy).await;
        for ((name, ..), before) in writers.iter().zip(before) {
            let (a, b) = counts(&restored, name).await;
            assert_eq!(a, b, "{name}: half of a turn");
            assert!(a >= before, "{name}: {a} of {before} acknowledged");
        }
    }
    stop.store(true, Ordering::Relaxed);
    for (_, acknowledged, writing) in writers {
        writing.await.unwrap();
        assert!(acknowledged.load(Ordering::Acquire) > 3);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_has_deployments_tokens_alarms_and_the_past() {
    let world = Operated::start().await;
    let steps = json!([
        {"sql": "CREATE TABLE t (v); INSERT INTO t VALUES ('old')"},
        {"bookmark": "current"},
        {"sql": "UPDATE t SET v = 'new'"},
        {"set_alarm_in_ms": 3_600_000},
    ]);
    let ran = world.host.run("kept", steps).await;
    let old = ran.results[1]["bookmark"].as_str().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("host.tar");
    let scoped = world.cli(&["token", "create", "t", "--scope", "read"]);
    let denied = refused(world.command().arg("backup").arg(&archive).args([
        "--to",
        &format!("http://{}", world.admin_address()),
        "--token",
        scoped.trim(),
    ]));
    assert!(denied.contains("`admin`"), "{denied}");
    done(world.command().arg("backup").arg(&archive));
    let twice = refused(world.command().arg("backup").arg(&archive));
    assert!(twice.contains("is there already"), "{twice}");

    // What everybody has unpacks it.
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    done(
        Command::new("tar")
            .arg("-xf")
            .arg(&archive)
            .arg("-C")
            .arg(&data),
    );
    let files = [
        data.join("admin/local.json"),
        data.join("LOCK"),
        data.join("cache"),
    ];
    assert_eq!(
        files.map(|file| file.exists()),
        [false; 3],
        "of that process only"
    );
    let restored = serve(&data).await;
    let ran = restored
        .run("kept", json!([{"sql": "SELECT v FROM t"}]))
        .await;
    assert_eq!(ran.results[0]["rows"], json!([["new"]]));
    let ask = |args: &[&str]| {
        let mut command = dormouse();
        done(command.args(args).arg("--data").arg(&data))
    };
    let alarms = ask(&["alarms", "Probe/kept", "--json"]);
    assert!(alarms.contains("\"due_ms\""), "{alarms}");
    ask(&["restore", "Probe/kept", old]);
    let ran = restored
        .run("kept", json!([{"sql": "SELECT v FROM t"}]))
        .await;
    assert_eq!(ran.results[0]["rows"], json!([["old"]]));
    let tokens = ask(&["token", "list"]);
    assert!(tokens.contains("read"), "{tokens}");
    let versions = ask(&["versions", "--json"]);
    assert!(versions.contains("\"current\": 1"), "{versions}");
}

#[test]
fn a_backup_without_a_host_says_what_to_do() {
    let app = app_folder("probe", &probe(), "");
    let said = refused(dormouse().current_dir(app.path()).args(["backup", "copy"]));
    assert!(said.contains("no host runs"), "{said}");
    assert!(!app.path().join("copy").exists());
}
