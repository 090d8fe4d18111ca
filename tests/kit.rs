//! The test kit: what a test sees of objects, and the outside that it makes up.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use dormouse_testing::{
    Builder, CallError, Client, Object, Reply, Request, Response, TestHost, for_every_schedule,
};
use serde_json::{Value as Json, json};

use crate::harness::{Process, dormouse, eventually, guests};

const SECOND: Duration = Duration::from_secs(1);

fn probe() -> Builder {
    TestHost::builder().component(guests::probe())
}

fn run(object: &Object, steps: Json) -> Json {
    let request = Request::post("/run", steps.to_string());
    object.fetch(request).ok().json()
}

/// A worker that asks `?url=`, and may ask `api.example.com`.
fn asker() -> TestHost {
    let front = TestHost::builder().component(guests::front());
    front
        .manifest("name = 'front'\noutgoing.hosts = ['api.example.com', '*.test:81']")
        .start()
}

fn ask(path: &str) -> String {
    format!("/ask?url=http://api.example.com{path}")
}

fn failure(response: &Response) -> (String, String) {
    assert_eq!(response.status, 502, "{}", response.text());
    let told: Json = response.json();
    let text = |key: &str| told[key].as_str().unwrap().to_owned();
    (text("kind"), text("message"))
}

#[test]
fn sql_and_pairs_are_seen_without_waking() {
    let host = probe().start();
    let object = host.object("Probe", "a");
    assert_eq!(object.kv().len(), 0);
    run(
        &object,
        json!([
            {"sql": "CREATE TABLE word (id INTEGER PRIMARY KEY, text)"},
            {"sql": "INSERT INTO word (text) VALUES ('one'), (NULL), (x'00ff')"},
            {"kv_put": "b", "value": {"is": ["json"]}},
            {"kv_put": "a", "value": {"hex": "0a0b"}},
        ]),
    );
    object.evict();
    let rows = object.sql("SELECT * FROM word ORDER BY id");
    assert_eq!(rows.columns, ["id", "text"]);
    let wanted = [
        json!([1, "one"]),
        json!([2, null]),
        json!([3, {"blob": "00ff"}]),
    ];
    assert_eq!(json!(rows.rows), json!(wanted));
    let found = object.sql_with("SELECT id FROM word WHERE text = ?", ("one",));
    assert_eq!(found.one::<u8>(), 1);
    let pairs = json!({"a": {"blob": "0a0b"}, "b": {"is": ["json"]}});
    assert_eq!(json!(object.kv()), pairs);
    assert!(!object.is_awake());

    let refused = catch_unwind(AssertUnwindSafe(|| object.sql("DELETE FROM word")));
    assert!(refused.is_err(), "reading alone is allowed");
    assert_eq!(object.sql_write("DELETE FROM word", ()).written, 3);
    assert_eq!(object.sql("SELECT count(*) FROM word").one::<u8>(), 0);
}

#[test]
fn objects_and_their_instances_are_counted() {
    let host = probe().start();
    let [a, b] = ["a", "b"].map(|name| host.object("Probe", name));
    assert_eq!(a.instances(), 0);
    run(&a, json!([{"kv_put": "x", "value": 1}]));
    run(&b, json!([{"kv_put": "x", "value": 1}]));
    a.evict();
    let list = |host: &TestHost| -> Vec<(String, String, bool)> {
        let all = host.objects().into_iter();
        all.map(|one| (one.class, one.name, one.awake)).collect()
    };
    let named = |name: &str, awake| ("Probe".to_owned(), name.to_owned(), awake);
    assert_eq!(list(&host), [named("a", false), named("b", true)]);
    run(&a, json!([]));
    host.crash();
    assert_eq!(list(&host), [named("a", false), named("b", false)]);
    run(&a, json!([]));
    assert_eq!((a.instances(), b.instances()), (3, 1));
}

#[test]
fn sockets_are_seen_with_tags_and_attachments() {
    let host = probe().start();
    let object = host.object("Sockets", "a");
    let first = object.connect("/ws?tag=red&tag=blue");
    let _second = object.connect("/ws");
    first.send("attach something");
    host.evict_all();
    let [red, plain] = &object.sockets()[..] else {
        panic!("two are open")
    };
    assert_eq!(red.tags, ["red", "blue"]);
    assert_eq!(red.attached::<String>(), "something");
    assert_eq!(plain.tags.len(), 0);
    assert_eq!(plain.attached::<String>(), "fresh");
    assert_eq!(host.objects()[0].sockets, 2);
}

#[test]
fn methods_are_called_by_name_and_fail_in_their_own_way() {
    let host = probe().start();
    let object = host.object("Probe", "a");
    assert_eq!(object.call("add", (2, Some(3))), Ok(5));
    assert_eq!(object.call::<()>("note", (7,)), Ok(()));
    let declared = object.call::<i64>("divide", (0,)).unwrap_err();
    assert_eq!(declared.declared::<Json>(), json!({"by": 0}));
    let failed = object.call::<i64>("add", (2, None::<i64>));
    let words = "there is nothing to add".to_owned();
    assert_eq!(failed, Err(CallError::Failed(words)));
    for (method, arguments) in [("nothing", json!([])), ("add", json!([1]))] {
        let failed = object.call::<i64>(method, arguments);
        assert!(matches!(failed, Err(CallError::Invalid(_))), "{failed:?}");
    }
    let (one, two) = (
        object.start_call::<i64>("add", (1, Some(1))),
        object.start_call::<i64>("add", (2, Some(2))),
    );
    assert_eq!((two.wait(), one.wait()), (Ok(4), Ok(2)));
}

#[test]
fn replies_come_by_route_newest_first_and_one_after_the_other() {
    let host = asker();
    let client = host.client();
    let said = |path: &str| client.get(&ask(path)).text().to_owned();
    host.script("api.example.com", Reply::text("anything"));
    host.script(
        "GET api.example.com/users/*",
        [Reply::text("first"), Reply::status(503).body("second")],
    );
    assert_eq!(said("/users"), "anything");
    assert_eq!(
        ["first", "second", "second"],
        [1, 2, 3].map(|id| said(&format!("/users/{id}")))
    );
    host.script_with("POST **", |sent| {
        assert_eq!(sent.header("x-none"), "");
        Reply::json(&json!({"you sent": sent.text()})).with_status(201)
    });
    let posted = client.post(&ask("/users/4"), "a body");
    assert_eq!(posted.status, 201);
    assert_eq!(posted.json::<Json>(), json!({"you sent": "a body"}));

    host.crash();
    let sent = host.sent();
    let last = sent.last().unwrap();
    assert_eq!((sent.len(), &*last.method), (5, "POST"));
    assert_eq!(last.url, "http://api.example.com/users/4");
    assert_eq!((last.path(), &*last.text()), ("/users/4", "a body"));
    let now = host.now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    assert_eq!(i128::from(last.at_ms), now as i128);
    assert_eq!(last.route.as_deref(), Some("POST **"));
}

#[test]
fn the_outside_can_refuse_break_and_fall_silent() {
    let host = asker();
    let client = host.client();
    let fails = |reply: Reply| {
        host.script("api.example.com", reply);
        failure(&client.get(&ask("/")))
    };
    let (kind, message) = fails(Reply::refused());
    assert_eq!(kind, "Some(ErrorKind::Unreachable)");
    assert!(message.contains("refused, as its script says"), "{message}");
    let (kind, message) = fails(Reply::reset());
    assert_eq!(kind, "Some(ErrorKind::Broken)");
    assert!(message.contains("api.example.com broke off"), "{message}");

    let waits = |reply: Reply| {
        host.script("api.example.com", reply);
        let waiting = client.start_fetch(ask("/"));
        host.settle();
        waiting
    };
    let slow = waits(Reply::text("at last").after(3 * SECOND));
    host.advance(3 * SECOND - Duration::from_millis(1));
    assert!(!slow.is_done());
    host.advance(Duration::from_millis(1));
    assert_eq!(slow.wait().ok().text(), "at last");
    let silent = waits(Reply::silent());
    host.advance(10 * SECOND);
    assert_eq!(failure(&silent.wait()).0, "Some(ErrorKind::Timeout)");
}

/// A body that is not whole never comes through as one.
#[test]
fn a_body_from_outside_can_break_and_stall_in_the_middle() {
    let host = asker();
    let client = host.client();
    let is_whole = |reply: dormouse_testing::Pending| {
        catch_unwind(AssertUnwindSafe(|| reply.wait().ok())).is_ok()
    };
    host.script("api.example.com", Reply::text("0123456789"));
    assert!(is_whole(client.start_fetch(ask("/"))));
    host.script("api.example.com", Reply::text("0123456789").reset_after(4));
    assert!(!is_whole(client.start_fetch(ask("/"))));
    host.script("api.example.com", Reply::text("0123456789").stall_after(4));
    let stalled = client.start_fetch(ask("/"));
    host.advance(59 * SECOND);
    assert!(!stalled.is_done());
    host.advance(SECOND);
    assert!(stalled.is_done() && !is_whole(stalled));
}

#[test]
fn what_no_script_answers_fails_and_says_how_to_write_one() {
    let host = asker();
    let client: Client = host.client();
    let (kind, message) = failure(&client.get(&ask("/users/1?full")));
    assert_eq!(kind, "Some(ErrorKind::Unreachable)");
    let wanted = "host.script(\"GET api.example.com/users/1\", Reply::text(";
    assert!(message.contains(wanted), "{message}");
    assert!(host.logs().iter().any(|one| one.message.contains(wanted)));
    assert_eq!(host.sent()[0].route, None);
    host.script("GET api.example.com/users/1", Reply::text("there"));
    assert_eq!(client.get(&ask("/users/1?full")).text(), "there");

    // The manifest holds as it does in production, with and without a script.
    host.script("**", Reply::text("all"));
    let (kind, _) = failure(&client.get("/ask?url=http://other.example.com/"));
    assert_eq!(kind, "Some(ErrorKind::Denied)");
    assert_eq!(client.get("/ask?url=http://a.test:81/").text(), "all");
    host.script("a.test:81", Reply::text("81"));
    assert_eq!(client.get("/ask?url=http://a.test:81/").text(), "81");
    assert!(catch_unwind(AssertUnwindSafe(|| host.script("/path", Reply::refused()))).is_err());
}

#[test]
fn replies_from_outside_overtake_each_other_in_some_schedule() {
    let front = TestHost::builder().component(guests::front());
    let front = front.manifest("name = 'front'\noutgoing.hosts = ['api.example.com']");
    let orders = std::cell::RefCell::new(std::collections::BTreeSet::new());
    for_every_schedule(0..12, front, |host| {
        host.script_with("api.example.com/*", |sent| Reply::text(sent.path()));
        let asker = host.object("Asker", "a");
        let path = |which: &str| format!("/?url=http://api.example.com/{which}");
        let [x, y] = ["x", "y"].map(|which| asker.start_fetch(path(which)));
        assert_eq!((x.wait().text(), y.wait().text()), ("/x", "/y"));
        let sent: String = host
            .sent()
            .iter()
            .map(|one| one.path().to_owned())
            .collect();
        orders.borrow_mut().insert(sent);
    });
    assert_eq!(orders.into_inner().len(), 2);
}

fn failing_test(name: &str) -> PathBuf {
    let test = std::thread::Builder::new().name(name.into());
    let failing = test.spawn(|| {
        let host = probe().start();
        let object = host.object("Probe", "it's a");
        let log = |word: &str| json!({"log": {"level": "info", "message": word}});
        run(
            &object,
            json!([{"kv_put": "k", "value": "kept"}, log("one"), log("two")]),
        );
        panic!("as told");
    });
    assert!(failing.unwrap().join().is_err());
    let program = std::env::current_exe().unwrap();
    let scratch = program.ancestors().nth(2).unwrap().join("dormouse-testing");
    scratch.join("failed").join(name)
}

/// What follows a word on the line that has it.
fn behind<'a>(report: &'a str, word: &str) -> &'a str {
    let line = report.lines().find(|line| line.contains(word));
    let line = line.unwrap_or_else(|| panic!("no {word:?} in {report}"));
    line.split_once(word).unwrap().1.trim()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_failing_test_prints_opens_what_it_left() {
    let kept = tokio::task::spawn_blocking(|| failing_test("printed-by-the-kit"));
    let kept = kept.await.unwrap();
    let report = std::fs::read_to_string(kept.join("report.txt")).unwrap();
    let [one, two] = ["one", "two"].map(|word| report.find(&format!("Probe/it's a: {word}")));
    assert!(one.is_some() && one < two, "in order: {report}");
    let database = behind(&report, "sqlite3 -readonly ");
    assert!(report.contains("# Probe/it's a"), "{report}");
    let database = database.split("   # ").next().unwrap();
    assert!(Path::new(database).is_file(), "{report}");

    // The very words of the report, as a shell reads them.
    let serve = behind(&report, "dormouse serve ");
    let (component, data) = serve.split_once(" --data ").unwrap();
    let host = Process::serve(Path::new(component), Path::new(data), &[]).await;
    let steps = json!([{"kv_get": "k"}]).to_string();
    let ran = host.post("/Probe/it's%20a/run", steps).await;
    assert_eq!(ran.json()["results"][0]["value"], "kept");
    // The admin door opens last.
    eventually("the list of objects", async || {
        let list = dormouse()
            .args(["objects", "--data", data])
            .output()
            .unwrap();
        let list = String::from_utf8(list.stdout).unwrap();
        list.contains("it's a").then_some(())
    })
    .await;
}

/// How much a fresh world costs, for docs/testing.md: set `DORMOUSE_WORLDS` to 1000, and
/// look with `--nocapture`. Asserts nothing about time.
#[test]
#[allow(clippy::print_stderr, reason = "a figure for who asks for it")]
fn many_small_tests_have_a_fresh_world_each() {
    let worlds = std::env::var("DORMOUSE_WORLDS").map_or(10, |count| count.parse().unwrap());
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let one = || {
        let host = TestHost::builder().component(guests::counter()).start();
        let alice = host.object("Counter", "alice");
        assert_eq!(alice.get("/").text(), "1\n");
        assert_eq!(alice.get("/").text(), "2\n");
    };
    one();
    let began = std::time::Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || (thread..worlds).step_by(threads).for_each(|_| one()));
        }
    });
    let took = began.elapsed();
    eprintln!("{worlds} small tests in {took:?} on {threads} threads");
}
