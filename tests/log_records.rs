//! The log says what happened, to which object, in which request.

use serde_json::{Value as Json, json};
use tracing::Level;

use crate::harness::{Process, Record, World, app_folder, eventually, logs_of, probe};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_error_is_500_with_a_request_id_under_which_the_log_says_why() {
    let world = World::probe().await;
    let answer = world
        .try_run("log-error", json!([{"fail": "a secret reason"}]))
        .await;
    let problem = answer.problem(500, "object-failed");
    assert!(!problem.to_string().contains("secret"), "{problem}");
    let record = only(logs_of("log-error"), "a secret reason");
    assert_eq!(record.level, Level::ERROR);
    assert_eq!(record.field("class"), "Probe");
    assert_eq!(record.field("request"), answer.header("x-request-id"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_guest_logs_and_prints_carries_class_object_and_request() {
    let world = World::probe().await;
    let name = "log-guest";
    let entry = json!({"level": "debug", "message": "logged", "fields": {"a": "1", "b": "two"}});
    let steps =
        json!([{"log": entry}, {"print": "printed"}, {"print": "complained", "stderr": true}]);
    let answer = world.try_run(name, steps).await;
    let records = logs_of(name);
    let wanted = [
        ("logged", Level::DEBUG, "probe"),
        ("printed", Level::INFO, "stdout"),
        ("complained", Level::WARN, "stderr"),
    ];
    assert_eq!(records.len(), wanted.len(), "{records:#?}");
    for (record, (message, level, from)) in records.iter().zip(wanted) {
        let seen = (record.message(), record.level, record.field("from"));
        assert_eq!(seen, (message, level, from));
        assert_eq!((&*record.target, record.field("class")), ("guest", "Probe"));
        assert_eq!(record.field("request"), answer.header("x-request-id"));
    }
    assert_eq!(records[0].field("fields"), "a=1 b=two");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn records_of_events_that_interleave_carry_their_own_request() {
    let world = World::probe().await;
    let name = "log-interleaved";
    let say = |word: &str| json!({"log": {"level": "info", "message": word}});
    let print = |word: &str| json!({"print": word});
    let complain = |word: &str| json!({"print": word, "stderr": true});
    let steps = json!([
        say("first, before"),
        {"hold": "x"},
        say("first, after"),
        print("first, printed"),
        complain("first, complained"),
    ]);
    let first = world.start_run(name, steps);
    world.until_held(name, "x", 1).await;
    let steps = json!([
        say("second, before"),
        print("second, printed"),
        complain("second, complained"),
        {"release": "x"},
        say("second, after"),
    ]);
    let second = world.try_run(name, steps).await;
    let first = first.await.unwrap();
    let [first, second] = [&first, &second].map(|answer| answer.header("x-request-id"));
    assert_ne!(first, second);
    for (whose, word) in [(first, "first"), (second, "second")] {
        for when in ["before", "after", "printed", "complained"] {
            let record = only(logs_of(name), &format!("{word}, {when}"));
            assert_eq!(record.field("request"), whose, "{word}, {when}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn work_after_the_answer_logs_under_the_request_that_began_it() {
    let world = World::probe().await;
    let name = "log-background";
    let later = json!([{"hold": "x"}, {"log": {"level": "info", "message": "later"}}]);
    let answer = world.try_run(name, json!([{"background": later}])).await;
    world.until_held(name, "x", 1).await;
    world.release(name, "x").await;
    let record = eventually("the record", async || {
        logs_of(name)
            .into_iter()
            .find(|record| record.message() == "later")
    });
    assert_eq!(record.await.field("request"), answer.header("x-request-id"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn variables_reach_the_guest() {
    let mut app = crate::harness::probe_app();
    let vars = [("GREETING", "hello"), ("EMPTY", ""), ("LINES", "a\nb\tä")];
    app.manifest.vars = vars.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let world = World::start(app).await;
    for (name, value) in vars {
        let ran = world.run("vars", json!([{"var": name}])).await;
        assert_eq!(ran.results, [json!({"var": value})]);
    }
    let ran = world.run("vars", json!([{"var": "PATH"}])).await;
    assert!(
        ran.results[0]["error"].is_object(),
        "the host's own stay with it: {ran:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_binary_writes_records_as_json_with_the_same_facts() {
    let vars = "vars.GREETING = 'from the manifest'";
    let app = app_folder("probe", &probe(), vars);
    let data = tempfile::tempdir().unwrap();
    let host = Process::serve(app.path(), data.path(), &[]).await;
    let steps = json!([
        {"var": "GREETING"},
        {"print": "printed"},
        {"log": {"level": "debug", "message": "not asked for"}},
        {"log": {"level": "warn", "message": "logged"}},
    ]);
    let answer = host.try_run("log-json", steps).await;
    assert_eq!(answer.ran().results[0], json!({"var": "from the manifest"}));
    assert_eq!(answer.ran().results[2], json!({"logged": false}));
    let failed = host
        .try_run("log-json", json!([{"fail": "a reason"}]))
        .await;
    host.until_said("a reason").await;
    let records: Vec<Json> = host
        .log()
        .into_iter()
        .filter(|one| one["object"] == "log-json")
        .collect();
    let facts = |one: &Json| json!([one["level"], one["message"], one["class"], one["request"]]);
    let [id, failed_id] = [&answer, &failed].map(|answer| answer.header("x-request-id"));
    let wanted = json!([
        ["INFO", "printed", "Probe", id],
        ["WARN", "logged", "Probe", id],
        ["ERROR", "the object failed: a reason", "Probe", failed_id],
    ]);
    assert_eq!(json!(records.iter().map(facts).collect::<Vec<_>>()), wanted);
}

/// The one record whose message contains this.
fn only(records: Vec<Record>, part: &str) -> Record {
    let found: Vec<_> = records
        .iter()
        .filter(|one| one.message().contains(part))
        .collect();
    match found[..] {
        [record] => record.clone(),
        _ => panic!("{part:?} is not in just one of {records:#?}"),
    }
}
