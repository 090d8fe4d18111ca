//! A guest brings its own past back, and what it cannot have leaves all as it was.

use serde_json::{Value as Json, json};

use crate::harness::{World, probe_app};

fn text(result: &Json, key: &str) -> String {
    let text = result[key].as_str();
    text.unwrap_or_else(|| panic!("no {key} in {result}"))
        .to_owned()
}

async fn value(world: &World, name: &str) -> Json {
    let steps = json!([{"sql": "SELECT v FROM t"}, {"kv_get": "v"}]);
    let ran = world.run(name, steps).await;
    json!([ran.results[0]["rows"], ran.results[1]["value"]])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_guest_goes_back_to_its_bookmark_and_undoes_that() {
    let world = World::probe().await;
    // All writes stand before the first await, so only the bookmark parts them.
    let steps = json!([
        {"sql": "CREATE TABLE t (v); INSERT INTO t VALUES ('old')"},
        {"kv_put": "v", "value": "old"},
        {"bookmark": "current"},
        {"sql": "UPDATE t SET v = 'new'"},
        {"kv_put": "v", "value": "new"},
        {"bookmark": "current"},
    ]);
    let ran = world.run("traveller", steps).await;
    let (old, new) = (
        text(&ran.results[2], "bookmark"),
        text(&ran.results[5], "bookmark"),
    );
    assert!(old < new, "{old} {new}");

    let ran = world.run("traveller", json!([{"restore": &old}])).await;
    let undo = text(&ran.results[0], "undo");
    let before = json!([[["new"]], "new"]);
    assert_eq!(
        value(&world, "traveller").await,
        before,
        "still this session"
    );
    let steps = json!([{"sql": "UPDATE t SET v = 'newest'"}, {"end_session": "go back"}]);
    let ended = world.try_run("traveller", steps).await;
    let ended = ended.problem(500, "object-reset");
    assert!(ended.to_string().contains("go back"), "{ended}");
    assert_eq!(value(&world, "traveller").await, json!([[["old"]], "old"]));

    // The undo brings back what was written until the session ended.
    let steps = json!([{"restore": &undo}, {"end_session": "and forth"}]);
    world
        .try_run("traveller", steps)
        .await
        .problem(500, "object-reset");
    assert_eq!(
        value(&world, "traveller").await,
        json!([[["newest"]], "new"])
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_restore_outlives_the_host_and_is_undone_with_its_turn() {
    let world = World::probe().await;
    let steps = json!([
        {"sql": "CREATE TABLE t (v); INSERT INTO t VALUES ('old')"},
        {"kv_put": "v", "value": "old"},
        {"bookmark": "current"},
        {"sql": "UPDATE t SET v = 'new'"},
    ]);
    let ran = world.run("sleeper", steps).await;
    let old = text(&ran.results[2], "bookmark");
    let steps = json!([{"restore": &old}, {"trap": "panic"}]);
    world
        .try_run("sleeper", steps)
        .await
        .problem(500, "object-reset");
    assert_eq!(value(&world, "sleeper").await, json!([[["new"]], "old"]));
    world.run("sleeper", json!([{"restore": &old}])).await;
    let world = world.restart(probe_app()).await;
    assert_eq!(value(&world, "sleeper").await, json!([[["old"]], "old"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_no_bookmark_is_refused() {
    let world = World::probe().await;
    let steps = json!([{"sql": "CREATE TABLE t (v)"}, {"bookmark": "current"}]);
    let ran = world.run("other", steps).await;
    let other = text(&ran.results[1], "bookmark");
    let steps = json!([
        {"sql": "CREATE TABLE t (v)"},
        {"restore": "yesterday"},
        {"restore": other},
        {"bookmark": 1},
    ]);
    let ran = world.run("one", steps).await;
    let said: Vec<String> = ran.results[1..3].iter().map(Json::to_string).collect();
    assert!(said[0].contains("not a bookmark"), "{said:?}");
    assert!(said[1].contains("another object"), "{said:?}");
    // Before the object was made there was nothing.
    let first = text(&ran.results[3], "bookmark");
    let steps = json!([{"restore": first}, {"end_session": "from the beginning"}]);
    world
        .try_run("one", steps)
        .await
        .problem(500, "object-reset");
    let steps = json!([{"sql": "SELECT count(*) FROM sqlite_master WHERE name = 't'"}]);
    let ran = world.run("one", steps).await;
    assert_eq!(ran.results[0]["rows"], json!([[0]]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_database_that_is_full_undoes_the_turn_and_resets_the_object() {
    let mut app = probe_app();
    app.manifest.limits.database_mib = 1;
    let world = World::start(app).await;
    let steps =
        json!([{"sql": "CREATE TABLE t (v); INSERT INTO t VALUES (1)"}, {"memory": "incr"}]);
    world.run("full", steps).await;
    let steps = json!([
        {"sql": "INSERT INTO t VALUES (2)"},
        {"sql": "INSERT INTO t VALUES (zeroblob(2000000))"},
    ]);
    let problem = world.try_run("full", steps).await;
    let problem = problem.problem(500, "object-reset");
    assert!(problem.to_string().contains("full"), "{problem}");
    let steps = json!([{"sql": "SELECT v FROM t"}, {"memory": "read"}]);
    let ran = world.run("full", steps).await;
    assert_eq!(ran.results[0]["rows"], json!([[1]]));
    assert_eq!(ran.results[1], json!({"memory": 0}), "a new instance");
}
