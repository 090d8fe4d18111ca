//! Unmodified TinyBase clients synchronize through our object as through their own.
//!
//! The clients are npm packages in Node and Chromium; see `tests/web`.

use std::fs;
use std::time::{Duration, SystemTime};

use dormouse::App;
use dormouse::manifest::Manifest;
use dormouse_tinybase::Store;
use dormouse_tinybase::core::{Envelope, Message};
use serde_json::Value as Json;

use crate::harness::{
    Process, Script, World, dormouse, eventually, logs_of, probe_app, root, tinybase,
};

const KINDS: [&str; 3] = ["Json", "Fragmented", "Kv"];
const IDLE: Duration = Duration::from_secs(10);

/// The guest's own manifest, with a built component.
fn pets_app() -> App {
    let manifest = root().join("guests/tinybase/dormouse.toml");
    App {
        manifest: Manifest::load(&manifest, None).expect("our own manifest is sound"),
        component: tinybase(),
        worker: None,
    }
}

/// A world on today's date, since clients refuse stamps of another.
async fn world() -> World {
    world_of(pets_app()).await
}

async fn world_of(app: App) -> World {
    let world = World::start(app).await;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    world.clock.set_unix(now.expect("it is after 1970"));
    world
}

fn scenario(world: &World, name: &str, kind: &str) -> Script {
    let url = format!("http://{}", world.address);
    Script::start("tinybase.mjs", &[&url, name, kind])
}

/// Lets every object sleep. News of a socket that was closed may come late and
/// wake one again, so time passes as often as an idle object waits for it.
async fn sleep_once(world: &World, script: &mut Script) {
    script.paused("asleep").await;
    eventually("that all objects sleep", async || {
        let due = world.clock.now() + IDLE;
        if world.clock.deadlines().contains(&due) {
            world.clock.advance(IDLE);
        }
        (world.host.awake() == 0).then_some(())
    })
    .await;
    script.go_on();
}

#[test]
fn any_order_of_delivery_gives_the_store_that_npm_tinybase_gives() {
    let output = Script::output("tinybase-histories.mjs", &["1", "40"]);
    let histories: Vec<Json> = output.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(histories.len(), 40);
    for history in &histories {
        let wanted = Store::from_stored(history["content"].as_str().unwrap()).unwrap();
        let messages: Vec<String> = serde_json::from_value(history["messages"].clone()).unwrap();
        let mut order: Vec<usize> = (0..messages.len()).collect();
        let mut chance = history["seed"].as_u64().unwrap();
        for _ in 0..5 {
            shuffle(&mut order, &mut chance);
            let mut store = Store::default();
            // Every third one twice: repeats change nothing.
            for index in order.iter().chain(order.iter().step_by(3)) {
                let envelope = Envelope::parse(&messages[*index]).unwrap();
                let Message::ContentDiff(diff) = envelope.message else {
                    panic!("an edit is a difference");
                };
                store.merge(diff);
            }
            assert_eq!(store, wanted, "seed {}", history["seed"]);
            assert!(!store.rehash(), "seed {}", history["seed"]);
        }
    }
}

/// Fisher and Yates, with the numbers of xorshift.
fn shuffle(order: &mut [usize], state: &mut u64) {
    for last in (1..order.len()).rev() {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        let other = usize::try_from(*state % (last as u64 + 1)).unwrap();
        order.swap(last, other);
    }
}

#[test]
fn the_page_carries_the_modules_of_the_npm_package() {
    let modules = [
        ("mergeable-store", "mergeable-store"),
        (
            "synchronizer-ws-client",
            "synchronizers/synchronizer-ws-client",
        ),
    ];
    for (ours, theirs) in modules {
        let theirs = format!("node_modules/tinybase10/min/{theirs}/index.js");
        let ours = root().join(format!("guests/tinybase/src/page/{ours}.js"));
        assert_eq!(
            fs::read_to_string(&ours).unwrap(),
            fs::read_to_string(Script::folder().join(theirs)).unwrap(),
            "{}",
            ours.display()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_three_versions_agree_and_so_does_the_server() {
    let world = world().await;
    for kind in KINDS {
        for name in ["together", "late", "offline", "edits"] {
            scenario(&world, name, kind).passed().await;
        }
    }
    scenario(&world, "relay", "Relay").passed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paths_frames_and_refusals_are_those_of_the_protocol() {
    let world = world().await;
    scenario(&world, "entry", "").passed().await;
    scenario(&world, "frames", "").passed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_megabytes_are_kept_in_fragments_and_read_back() {
    let world = world().await;
    let mut script = scenario(&world, "large", "");
    sleep_once(&world, &mut script).await;
    script.passed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_that_wakes_the_object_is_not_lost_when_its_sender_leaves() {
    let world = world().await;
    for kind in KINDS {
        let mut script = scenario(&world, "leaver", kind);
        sleep_once(&world, &mut script).await;
        script.passed().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_do_not_notice_that_the_object_sleeps() {
    let world = world().await;
    for kind in KINDS {
        let mut script = scenario(&world, "sleep", kind);
        for _ in 0..3 {
            sleep_once(&world, &mut script).await;
        }
        script.passed().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hashes_are_right_after_a_newer_stamp_on_the_same_content_and_a_reload() {
    let world = world().await;
    for kind in KINDS {
        let mut script = scenario(&world, "twins", kind);
        sleep_once(&world, &mut script).await;
        script.passed().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hooks_of_a_class_are_asked_and_told() {
    let world = world_of(probe_app()).await;
    let mut script = scenario(&world, "hooks", "");
    script.paused("later").await;
    // The class waits for five seconds, the default is one.
    world.clock.advance(Duration::from_secs(3));
    script.go_on();
    script.passed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_saved_is_refused_and_nobody_else_hears_of_it() {
    let mut app = pets_app();
    app.manifest.limits.sql.value_bytes = 65_536;
    let world = world_of(app).await;
    for kind in KINDS {
        let mut script = scenario(&world, "refused", kind);
        sleep_once(&world, &mut script).await;
        script.passed().await;
    }
    let warned = logs_of("refused").into_iter().find(|record| {
        let text = record.message();
        text.contains("one row") && text.contains("`limits.sql.value_bytes`")
    });
    assert_eq!(
        warned.map(|record| record.level),
        Some(tracing::Level::WARN)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_has_heard_survives_restarts_and_kill_9() {
    for kind in KINDS {
        let data = tempfile::tempdir().unwrap();
        let mut host = serve(data.path(), "127.0.0.1:0").await;
        let address = host.address.to_string();
        let url = format!("http://{address}");
        let mut script = Script::start("tinybase.mjs", &[&url, "restart", kind]);
        for round in 0..3 {
            script.paused("down").await;
            if round == 1 {
                host.terminate();
                assert!(host.ended().await.success());
            } else {
                host.kill();
            }
            host = serve(data.path(), &address).await;
            script.go_on();
        }
        script.passed().await;
    }
}

async fn serve(data: &std::path::Path, listen: &str) -> Process {
    crate::harness::share_compiled_code(data).await;
    let app = crate::harness::app_folder("tinybase", &tinybase(), WHOLE_PATHS);
    let mut command = dormouse();
    command.arg("serve").arg(app.path()).arg("--data").arg(data);
    let command = command.args(["--listen", listen, "--log-format", "json"]);
    Process::start(command).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn databases_are_interchangeable_with_those_of_the_original() {
    let world = World::probe().await;
    let url = format!("http://{}", world.address);
    for kind in KINDS {
        let mut script = Script::start("tinybase-layouts.mjs", &[&url, kind]);
        sleep_once(&world, &mut script).await;
        script.passed().await;
    }
}

const WHOLE_PATHS: &str = "router.whole_path = ['Json', 'Fragmented', 'Kv']";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_browsers_share_their_pets() {
    let world = world().await;
    let url = format!("http://{}", world.address);
    let mut script = Script::start("pets.mjs", &[&url]);
    sleep_once(&world, &mut script).await;
    script.passed().await;
}
