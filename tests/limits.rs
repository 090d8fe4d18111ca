//! Processor time and memory end with the limit, for one object alone.

use std::process::Command;
use std::time::{Duration, Instant};

use dormouse::App;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::harness::{
    Process, World, app_folder, counter, dormouse, probe_app, share_compiled_code,
};

const CPU_MS: u64 = 400;
const MEMORY_MIB: u64 = 16;

fn small_app() -> App {
    let mut app = probe_app();
    app.manifest.limits.cpu_ms = CPU_MS;
    app.manifest.limits.memory_mib = MEMORY_MIB;
    app
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_busy_loop_is_stopped_while_other_objects_answer() {
    busy_while_others_answer("spin-wasm", json!([{"spin": true}])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_busy_statement_is_stopped_while_other_objects_answer() {
    busy_while_others_answer("spin-sql", json!([{"spin_sql": true}])).await;
}

async fn busy_while_others_answer(busy: &str, steps: serde_json::Value) {
    let world = World::start(small_app()).await;
    let read = json!([{"memory": "incr"}]);
    let neighbour = world.run("spin-neighbour", read.clone()).await.instance;
    let before = world.run(busy, read.clone()).await.instance;

    let began = Instant::now();
    let running = world.start_run(busy, steps);
    let mut meanwhile = 0;
    while !running.is_finished() {
        let ran = world.run("spin-neighbour", read.clone()).await;
        assert_eq!(ran.instance, neighbour);
        meanwhile += 1;
    }
    let took = began.elapsed();
    assert!(meanwhile >= 3, "{meanwhile} answers in {took:?}");
    assert!(took >= Duration::from_millis(CPU_MS), "{took:?}");

    let problem = running.await.unwrap().problem(500, "object-reset");
    let detail = problem["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("limits.cpu_ms"), "{problem}");
    assert!(detail.contains(&CPU_MS.to_string()), "{problem}");
    let after = world.run(busy, read).await;
    assert_ne!(after.instance, before);
    assert_eq!(after.results, [json!({"memory": 1})]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_busy_loops_leave_room_for_others() {
    let world = World::start(small_app()).await;
    let spin = json!([{"spin": true}]);
    let busy = [0, 1, 2, 3, 4, 5].map(|n| world.start_run(&format!("spins-{n}"), spin.clone()));
    for _ in 0..3 {
        world.run("spins-neighbour", json!([])).await;
    }
    for one in busy {
        one.await.unwrap().problem(500, "object-reset");
    }
}

/// More statements than threads: none of them can yield, and yet others go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_busy_statements_leave_room_for_others() {
    let world = World::start(small_app()).await;
    let spin = json!([{"spin_sql": true}]);
    let busy = [0, 1, 2, 3].map(|n| world.start_run(&format!("sql-{n}"), spin.clone()));
    let mut meanwhile = 0;
    while !busy.iter().any(JoinHandle::is_finished) {
        world.run("sql-neighbour", json!([])).await;
        meanwhile += 1;
    }
    assert!(meanwhile >= 3, "{meanwhile} answers");
    for one in busy {
        one.await.unwrap().problem(500, "object-reset");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_statement_stopped_by_the_limit_leaves_nothing_of_its_turn() {
    let world = World::start(small_app()).await;
    let name = "spin-turn";
    world
        .run(name, json!([{"sql": "CREATE TABLE t (x)"}]))
        .await;
    let steps = json!([{"sql": "INSERT INTO t VALUES (1)"}, {"spin_sql": true}]);
    world
        .try_run(name, steps)
        .await
        .problem(500, "object-reset");
    let steps = json!([{"sql": "SELECT count(*) FROM t"}]);
    let ran = world.run(name, steps).await;
    assert_eq!(ran.results[0]["rows"], json!([[0]]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn waiting_is_not_work() {
    let world = World::start(small_app()).await;
    let running = world.start_run("waits", json!([{"hold": "x"}, {"memory": "incr"}]));
    world.until_held("waits", "x", 1).await;
    world.clock.advance(Duration::from_secs(3600));
    world.release("waits", "x").await;
    assert_eq!(
        running.await.unwrap().ran().results[1],
        json!({"memory": 1})
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn memory_past_the_limit_resets_only_that_object() {
    let world = World::start(small_app()).await;
    let neighbour = world
        .run("memory-neighbour", json!([{"allocate_mib": 8}]))
        .await;
    let name = "memory";
    let before = world.run(name, json!([{"allocate_mib": 8}])).await;
    let answer = world.try_run(name, json!([{"allocate_mib": 8}])).await;
    let problem = answer.problem(500, "object-reset");
    let detail = problem["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("limits.memory_mib"), "{problem}");
    assert!(
        detail.contains(&(MEMORY_MIB << 20).to_string()),
        "{problem}"
    );

    let after = world.run(name, json!([{"allocate_mib": 8}])).await;
    assert_ne!(after.instance, before.instance);
    let still = world.run("memory-neighbour", json!([])).await;
    assert_eq!(still.instance, neighbour.instance);
}

/// 32 GiB have room for five instances, so the nine objects take turns.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_on_address_space_makes_room_for_fewer_objects() {
    let app = app_folder("counter", &counter(), "");
    let data = tempfile::tempdir().unwrap();
    share_compiled_code(data.path()).await;
    let limit = "ulimit -v 33554432; exec \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", limit, "sh"]);
    command.arg(dormouse().get_program()).arg("serve");
    command.arg(app.path()).arg("--data").arg(data.path());
    let host = Process::start(command.args(["--listen", "127.0.0.1:0"])).await;
    for round in ["1\n", "2\n"] {
        for object in 0..9 {
            let answer = host.get(&format!("/Counter/o{object}")).await;
            assert_eq!(answer.text(), round);
        }
    }
}
