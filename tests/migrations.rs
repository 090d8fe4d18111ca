//! Classes that are renamed or deleted: their objects go along, or go for good.

use std::path::{Path, PathBuf};
use std::time::Duration;

use dormouse::App;
use dormouse::manifest::{Migration, Rename};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value as Json, json};
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

use crate::admin::Operated;
use crate::harness::{World, app, bounded, eventually, probe, probe_app, share_compiled_code};

/// The names of classes and what they become.
const NAMES: [(&str, &str); 2] = [("Probe", "Prove"), ("Sockets", "Sackets")];
const MARK: &str = "a-text-that-nobody-else-writes";

/// The probe with other names for two classes, each as long as before.
fn renamed(folder: &Path) -> PathBuf {
    let mut wasm = std::fs::read(probe()).unwrap();
    for (from, to) in NAMES {
        assert_eq!(from.len(), to.len());
        let places = wasm.windows(from.len()).enumerate();
        let found = places.filter(|(_, part)| *part == from.as_bytes());
        let places: Vec<usize> = found.map(|(at, _)| at).collect();
        assert!(!places.is_empty(), "{from} is in no place");
        for at in places {
            wasm[at..at + from.len()].copy_from_slice(to.as_bytes());
        }
    }
    let file = folder.join("renamed.wasm");
    std::fs::write(&file, wasm).unwrap();
    file
}

fn rename(tag: &str, names: &[(&str, &str)]) -> Migration {
    let rename = |(from, to): &(&str, &str)| Rename {
        from: (*from).to_owned(),
        to: (*to).to_owned(),
    };
    Migration {
        tag: tag.to_owned(),
        renamed_classes: names.iter().map(rename).collect(),
        ..Migration::default()
    }
}

fn renamed_app(folder: &Path) -> App {
    let mut app = app("probe", renamed(folder));
    app.manifest.migrations = vec![rename("v1", &NAMES)];
    app
}

async fn run(world: &World, class: &str, object: &str, steps: Json) -> Json {
    let path = format!("/{class}/{object}/run");
    let answer = world.post(&path, steps.to_string()).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_renamed_class_goes_on_with_objects_alarms_and_sockets() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::probe().await;
    let due = world.clock.unix().as_millis() as u64 + 100_000;
    let steps = json!([
        {"sql": "CREATE TABLE t (x)"}, {"sql": "INSERT INTO t VALUES (7)"}, {"set_alarm": due},
    ]);
    let before = run(&world, "Probe", "kept", steps).await;
    let bookmark = world.host.bookmark("Probe", "kept", None).await.unwrap();
    let url = format!("ws://{}/Sockets/room/ws", world.address);
    let opened = bounded("a handshake", client_async(&*url, world.tcp().await)).await;
    let (mut socket, _) = opened.unwrap();

    world.host.deploy(renamed_app(folder.path())).await.unwrap();
    let gone = world.get("/Probe/kept").await;
    gone.problem(404, "unknown-class");
    let read = json!([{"sql": "SELECT x FROM t"}, {"get_alarm": ""}]);
    let after = run(&world, "Prove", "kept", read.clone()).await;
    assert_eq!(after["results"][0]["rows"], json!([[7]]), "{after}");
    assert_eq!(after["results"][1]["alarm"], due, "{after}");
    assert_eq!(after["object"]["hex"], before["object"]["hex"]);
    let same = world.host.bookmark("Prove", "kept", None).await.unwrap();
    assert_eq!(same, bookmark);

    let text = Message::text("still there?");
    bounded("a frame", socket.send(text)).await.unwrap();
    let heard = bounded("an answer", socket.next()).await;
    assert_eq!(heard.unwrap().unwrap(), Message::text("still there?"));

    world.clock.advance(Duration::from_secs(101));
    eventually("the alarm of a renamed class", async || {
        let after = run(&world, "Prove", "kept", json!([{"get_alarm": ""}])).await;
        after["results"][0]["alarm"].is_null().then_some(())
    })
    .await;

    bounded("a close", socket.close(None)).await.unwrap();
    while bounded("its answer", socket.next()).await.is_some() {}
    let world = world.restart(renamed_app(folder.path())).await;
    let after = run(&world, "Prove", "kept", read).await;
    assert_eq!(after["results"][0]["rows"], json!([[7]]), "{after}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn code_from_before_a_migration_is_refused_and_a_new_class_may_have_the_old_name() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::probe().await;
    let steps = json!([{"sql": "CREATE TABLE t (x)"}]);
    let first = run(&world, "Probe", "kept", steps.clone()).await;
    let forward = renamed_app(folder.path());
    world.host.deploy(forward.clone()).await.unwrap();
    let refused = world.host.deploy(probe_app()).await.unwrap_err();
    let told = refused.to_string();
    assert!(told.contains("\"v1\" was applied"), "{told}");
    assert_eq!(world.get("/Probe/kept").await.status, 404);

    // The objects move on to a third name, and a class that begins anew has the first.
    let mut app = probe_app();
    app.manifest.migrations = vec![
        forward.manifest.migrations[0].clone(),
        rename("v2", &[("Prove", "Second"), ("Sackets", "Sockets")]),
        Migration {
            tag: "v3".to_owned(),
            new_classes: vec!["Probe".to_owned()],
            ..Migration::default()
        },
    ];
    world.host.deploy(app).await.unwrap();
    let fresh = run(&world, "Probe", "kept", steps).await;
    assert_eq!(fresh["results"][0]["error"], Json::Null, "{fresh}");
    assert_ne!(fresh["object"]["hex"], first["object"]["hex"]);
}

fn manifest(world: &Operated, component: &Path, migrations: &str) {
    let text = format!(
        "name = 'probe'\nbuild.component = '{}'\n{migrations}",
        component.display()
    );
    std::fs::write(world.app.path().join("dormouse.toml"), text).unwrap();
}

const DELETE: &str = "[[migrations]]\ntag = 'v1'\ndeleted_classes = ['Probe']\n";

/// Files of the data folder that hold the mark.
fn marked(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(bytes) = std::fs::read(&path)
                && bytes
                    .windows(MARK.len())
                    .any(|part| part == MARK.as_bytes())
            {
                found.push(path);
            }
        }
    }
    found
}

async fn fill(world: &Operated) {
    for number in 0..8 {
        let steps = json!([
            {"sql": "CREATE TABLE t (x)"},
            {"sql": "INSERT INTO t VALUES (?)", "params": [format!("{MARK} {number}")]},
            {"set_alarm": 32_503_680_000_000_u64},
        ]);
        world.host.run(&format!("{MARK}-{number}"), steps).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_class_asks_first_and_goes_with_every_byte() {
    let world = Operated::start().await;
    fill(&world).await;
    assert!(!marked(world.data.path()).is_empty());
    let folder = tempfile::tempdir().unwrap();
    manifest(&world, &renamed(folder.path()), DELETE);

    let refused = world.command().arg("deploy").output().unwrap();
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(
        told.contains("8 objects") && told.contains("--delete-data"),
        "{told}"
    );
    let planned: Json = serde_json::from_str(&world.cli(&["deploy", "--plan", "--json"])).unwrap();
    assert_eq!(
        planned["deleted"],
        json!([{"class": "Probe", "objects": 8}])
    );
    let (name, steps) = (format!("{MARK}-0"), json!([{"sql": "SELECT x FROM t"}]));
    let rows = &world.host.run(&name, steps).await.results[0]["rows"];
    assert_eq!(rows.as_array().map(Vec::len), Some(1));

    world.cli(&["deploy", "--delete-data"]);
    assert_eq!(marked(world.data.path()), [] as [PathBuf; 0]);
    let app = &world.get("/v1/apps").await[0];
    assert_eq!(app["objects_with_alarms"], 0, "{app}");
    // Applied once: the same again asks for nothing.
    world.cli(&["deploy"]);
    let rollback = world.command().args(["rollback", "1"]).output().unwrap();
    let told = String::from_utf8(rollback.stderr).unwrap();
    assert!(told.contains("\"v1\" was applied"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_that_a_kill_cut_short_is_finished_by_the_next_start() {
    let mut world = Operated::start().await;
    fill(&world).await;
    let folder = tempfile::tempdir().unwrap();
    let without = renamed(folder.path());
    let before = std::fs::read_to_string(world.app.path().join("dormouse.toml")).unwrap();
    manifest(&world, &without, DELETE);
    let catalog = world.data.path().join("deployments/catalog.json");
    let mut deploy = world.command();
    let mut deploying = deploy.args(["deploy", "--delete-data"]).spawn().unwrap();
    // At the very moment when the catalog says so, or a little later.
    eventually("the migration in the catalog", async || {
        let text = std::fs::read_to_string(&catalog).unwrap_or_default();
        text.contains("deleted_classes").then_some(())
    })
    .await;
    world.host.kill();
    deploying.wait().unwrap();

    // Whoever starts it: the code from before does not fit any more.
    std::fs::write(world.app.path().join("dormouse.toml"), before).unwrap();
    let mut serve = crate::harness::dormouse();
    share_compiled_code(world.data.path()).await;
    serve.args(["serve", "--listen", "127.0.0.1:0", "--data"]);
    serve.arg(world.data.path()).current_dir(folder.path());
    let host = crate::harness::Process::start(&mut serve).await;
    assert_eq!(host.get("/Probe/x").await.status, 404);
    assert_eq!(marked(world.data.path()), [] as [PathBuf; 0]);
    let text = std::fs::read_to_string(&catalog).unwrap();
    let list: Json = serde_json::from_str(&text).unwrap();
    assert_eq!(list["classes"]["deleting"], json!([]));
}
