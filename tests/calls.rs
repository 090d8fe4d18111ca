//! Objects call each other: by stubs and by methods, in order, behind the gate.

use std::time::Duration;

use dormouse::App;
use futures_util::StreamExt as _;
use http::Method;
use serde_json::{Value as Json, json};

use crate::harness::{Answer, World, bounded, eventually, probe_app, stream, whole};

fn app(concurrent_events: u64, mailbox_events: u64) -> App {
    let mut app = probe_app();
    app.manifest.limits.concurrent_events = concurrent_events;
    app.manifest.limits.mailbox_events = mailbox_events;
    app
}

/// The error of a step; the message may have more than `message`.
fn refused(result: &Json, kind: &str, retryable: bool) -> String {
    let error = &result["error"];
    assert_eq!(error["kind"], kind, "{result}");
    assert_eq!(error["retryable"], retryable, "{result}");
    error["message"].as_str().expect("a text").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_asks_another_and_both_keep_what_they_wrote() {
    let world = World::probe().await;
    let create = json!({"sql": "CREATE TABLE IF NOT EXISTS t (a TEXT)"});
    let insert = json!({"sql": "INSERT INTO t VALUES ('x')"});
    let count = json!({"sql": "SELECT count(*) FROM t"});
    let inner = json!([create, insert, count]);
    let ran = world
        .run(
            "call-a",
            json!([create, insert, {"call": "call-b", "steps": inner}, count]),
        )
        .await;
    let other = &ran.results[2]["call"];
    assert_eq!(other["object"]["name"], "call-b");
    assert_ne!(other["instance"], json!(ran.instance));
    assert_eq!(other["results"][2]["rows"], json!([[1]]));
    assert_eq!(ran.results[3]["rows"], json!([[1]]));
    assert_eq!(
        world.run("call-b", json!([count])).await.results[0]["rows"],
        json!([[1]])
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_events_run_while_a_call_waits_and_a_cycle_goes_on() {
    let world = World::probe().await;
    let back = json!([{"memory": "incr"}]);
    let there = json!([{"hold": "x"}, {"call": "cycle-a", "steps": back}]);
    let steps =
        json!([{"memory": "incr"}, {"call": "cycle-b", "steps": there}, {"memory": "read"}]);
    let running = world.start_run("cycle-a", steps);
    world.until_held("cycle-b", "x", 1).await;
    world.run("cycle-a", json!([{"memory": "incr"}])).await;
    world.release("cycle-b", "x").await;
    let ran = bounded("the cycle", running).await.unwrap().ran();
    let came_back = &ran.results[1]["call"]["results"][1]["call"];
    assert_eq!(came_back["instance"], json!(ran.instance));
    assert_eq!(ran.results[2], json!({"memory": 3}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_that_are_full_of_each_others_calls_get_on() {
    let world = World::start(app(1, 100)).await;
    // One event at a time: each is full of an event that waits for the other.
    let there_and_back = |there: &str, back: &str| {
        let back = json!([{"call": back, "steps": [{"memory": "incr"}]}]);
        json!([{"wait_ms": 1000}, {"call": there, "steps": back}])
    };
    let a = world.start_run("full-a", there_and_back("full-b", "full-a"));
    let b = world.start_run("full-b", there_and_back("full-a", "full-b"));
    let due = world.clock.now() + Duration::from_secs(1);
    eventually("two events that wait", async || {
        let deadlines = world.clock.deadlines();
        let waiting = deadlines.iter().filter(|deadline| **deadline == due);
        (waiting.count() == 2).then_some(())
    })
    .await;
    world.clock.advance(Duration::from_secs(1));
    for running in [a, b] {
        let ran = bounded("an answer", running).await.unwrap().ran();
        let came_back = &ran.results[1]["call"]["results"][0]["call"]["results"];
        assert!(came_back[0]["memory"].is_u64(), "{}", ran.all);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_on_one_stub_arrive_in_their_order() {
    let world = World::probe().await;
    let ran = world
        .run("order-a", json!([{"note": "order-b", "count": 200}]))
        .await;
    assert_eq!(ran.results[0], json!({"noted": 200}));
    let notes = world.run("order-b", json!([{"notes": true}])).await;
    assert_eq!(
        notes.results[0]["notes"],
        json!((0..200).collect::<Vec<_>>())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_never_happens_if_the_turn_that_made_it_is_undone() {
    let world = World::probe().await;
    let steps = json!([{"abandon": "undone-b", "steps": [{"memory": "incr"}]}, {"trap": "panic"}]);
    let reset = world.try_run("undone-a", steps).await;
    reset.problem(500, "object-reset");
    let steps = json!([{"abandon": "undone-b", "steps": [{"memory": "incr"}]}, {"wait_ms": 0}]);
    world.run("undone-a", steps).await;
    let seen = eventually("the call that was made", async || {
        let ran = world.run("undone-b", json!([{"memory": "read"}])).await;
        (ran.results[0]["memory"] != 0).then_some(ran.results[0].clone())
    })
    .await;
    assert_eq!(seen, json!({"memory": 1}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_tell_what_the_caller_can_do() {
    let world = World::probe().await;
    let call = |steps: Json| json!({"call": "errors-b", "steps": steps});
    let ran = world
        .run(
            "errors-a",
            json!([
                call(json!([{"fail": "no luck"}])),
                call(json!([{"trap": "panic"}])),
                call(json!([{"memory": "read"}])),
                {"get": "Nobody/x"},
            ]),
        )
        .await;
    assert_eq!(refused(&ran.results[0], "Failed", false), "no luck");
    let reset = refused(&ran.results[1], "Reset", true);
    assert!(
        reset.starts_with("the object was reset: its code trapped"),
        "{reset}"
    );
    assert_eq!(ran.results[2]["call"]["results"], json!([{"memory": 0}]));
    let missing = refused(&ran.results[3], "Invalid", false);
    assert!(
        missing.contains("there is no namespace `Nobody`; bound are: "),
        "{missing}"
    );
    assert!(missing.contains("`[namespaces]`"), "{missing}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_object_refuses_calls_at_once() {
    let world = World::start(app(1, 1)).await;
    let hold = json!([{"wait_ms": 1000}]);
    let first = world.start_run("full", json!([{"call": "full-callee", "steps": hold}]));
    world.until_due(Duration::from_secs(1)).await;
    // One runs, one waits, and one finds no room, whichever is first.
    let call = json!([{"call": "full-callee", "steps": [{"memory": "read"}]}]);
    let others = ["full-1", "full-2", "full-3"].map(|name| world.start_run(name, call.clone()));
    let refusal = |ran: &Json| ran["results"][0]["error"]["kind"] == "Overloaded";
    let mut overloaded = 0;
    let (mut others, mut waiting) = (Vec::from(others), Vec::new());
    eventually("a refusal", async || {
        for one in others.drain(..) {
            if one.is_finished() {
                overloaded += usize::from(refusal(&one.await.unwrap().ran().all));
            } else {
                waiting.push(one);
            }
        }
        others.append(&mut waiting);
        (overloaded > 0).then_some(())
    })
    .await;
    world.clock.advance(Duration::from_secs(1));
    first.await.unwrap().ran();
    for one in others {
        bounded("an answer", one).await.unwrap().ran();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_of_calls_has_an_end() {
    let mut app = probe_app();
    app.manifest.limits.call_depth = 3;
    let world = World::start(app).await;
    let steps = (1..=4).rev().fold(
        json!([{"memory": "read"}]),
        |steps, nth| json!([{"call": format!("deep-{nth}"), "steps": steps}]),
    );
    let ran = world.run("deep-0", steps).await;
    let mut result = ran.results[0].clone();
    for _ in 0..3 {
        result = result["call"]["results"][0].clone();
    }
    let message = refused(&result, "TooDeep", false);
    assert!(message.contains("more than 3 calls"), "{message}");
    let chain = "Probe/deep-0 -> Probe/deep-1 -> Probe/deep-2 -> Probe/deep-3 -> Probe/deep-4";
    assert!(message.contains(chain), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_constructor_that_calls_itself_is_told_the_chain() {
    let world = World::probe().await;
    let told = world.get("/Circle/round/").await;
    assert_eq!(told.status, 200, "{told:?}");
    let message = refused(&told.json(), "Reentrant", false);
    let chain = "Circle/round -> Probe/round -> Circle/round";
    assert!(message.contains(chain), "{message}");
    assert!(message.contains("its constructor"), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cycle_closed_inside_a_critical_section_is_told_the_chain() {
    let world = World::probe().await;
    let back = json!([{"call": "alone-a", "steps": [{"memory": "incr"}]}]);
    let ran = world
        .run(
            "alone-a",
            json!([{"alone": [{"call": "alone-b", "steps": back}]}]),
        )
        .await;
    let refusal = &ran.results[0]["alone"][0]["call"]["results"][0];
    let message = refused(refusal, "Reentrant", false);
    let chain = "Probe/alone-a -> Probe/alone-b -> Probe/alone-a";
    assert!(message.contains(chain), "{message}");
    assert!(message.contains("its critical section"), "{message}");
    // Whoever does not wait for itself waits for the end of the section.
    let ran = world.run("alone-a", json!([{"memory": "incr"}])).await;
    assert_eq!(ran.results[0], json!({"memory": 1}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn giving_up_an_answer_does_not_undo_the_call() {
    let world = World::probe().await;
    let steps = json!([{"abandon": "given-up", "steps": [{"hold": "x"}, {"memory": "incr"}]}]);
    world.run("giver", steps).await;
    world.until_held("given-up", "x", 1).await;
    world.release("given-up", "x").await;
    eventually("the end of the call", async || {
        let ran = world.run("given-up", json!([{"memory": "read"}])).await;
        (ran.results[0]["memory"] == 1).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_flow_through_a_stub_both_ways() {
    let world = World::probe().await;
    let (sender, chunks) = tokio::sync::mpsc::channel::<std::io::Result<bytes::Bytes>>(1);
    let chunks = futures_util::stream::unfold(chunks, |mut chunks| async {
        chunks.recv().await.map(|chunk| (chunk, chunks))
    });
    let path = "/Probe/flow-a/forward/Probe/flow-b/echo";
    let request = world.request(Method::POST, path, stream(chunks));
    sender.send(Ok("one".into())).await.unwrap();
    let response = bounded("a response", world.send(request)).await.unwrap();
    let mut body = http_body_util::BodyStream::new(response.into_body());
    for (said, next) in [("one", "two"), ("two", "three")] {
        let frame = bounded("a chunk", body.next())
            .await
            .expect("not the end")
            .unwrap();
        assert_eq!(frame.into_data().unwrap(), said);
        sender.send(Ok(next.into())).await.unwrap();
    }
    drop(sender);
    let last = bounded("a chunk", body.next())
        .await
        .expect("not the end")
        .unwrap();
    assert_eq!(last.into_data().unwrap(), "three");
    assert!(bounded("the end", body.next()).await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_body_arrives_whole_and_a_broken_one_does_not() {
    let world = World::probe().await;
    let bytes = vec![7; 3 << 20];
    let path = "/Probe/large-a/forward/Probe/large-b/sink";
    let through = world.ask(Method::POST, path, whole(bytes.clone())).await;
    let direct = world.post("/Probe/large-b/sink", bytes).await;
    assert_eq!(through.json(), direct.json());
    assert_eq!(through.json()["bytes"], 3 << 20);
    let path = "/Probe/large-a/forward/Probe/large-b/source-then-fail?bytes=100000";
    let request = world.request(Method::GET, path, whole(""));
    let answer = async { Answer::read(world.send(request).await?).await };
    let cut = bounded("the end", answer).await;
    assert!(cut.is_err(), "{cut:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_status_and_query_pass_through_a_stub() {
    let world = World::probe().await;
    let steps = json!([{"memory": "read"}]).to_string();
    let path = "/Probe/pass-a/forward/Probe/pass-b/run?q=1";
    let answer = world.post(path, steps).await.ran();
    let seen = &answer.all["seen"];
    assert_eq!(seen["url"], "http://object/run?q=1");
    assert_eq!(seen["method"], "POST");
    let headers = seen["headers"].as_array().unwrap();
    assert!(
        headers.contains(&json!(["x-forwarded-by", "a probe"])),
        "{seen}"
    );
    let status = world
        .get("/Probe/pass-a/forward/Probe/pass-b/status/418")
        .await;
    assert_eq!(status.status, 418);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn methods_take_and_give_values_errors_and_streams() {
    let world = World::probe().await;
    let long = "abc".repeat(100_000);
    let ran = world
        .run(
            "typed-a",
            json!([
                {"divide": "typed-b", "by": 7},
                {"divide": "typed-b", "by": 0},
                {"reverse": "typed-b", "text": "stressed"},
                {"reverse": "typed-b", "text": long},
            ]),
        )
        .await;
    assert_eq!(ran.results[0], json!({"quotient": 14}));
    assert_eq!(ran.results[1], json!({"declared": {"by": 0}}));
    assert_eq!(ran.results[2], json!({"reversed": "desserts"}));
    let reversed = ran.results[3]["reversed"].as_str().unwrap();
    assert_eq!(reversed.len(), 300_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_can_be_read_checked_and_made_without_a_name() {
    let world = World::probe().await;
    let steps = json!([{"ids": true}, {"unique": [{"memory": "incr"}]}]);
    let ran = world.run("a", steps).await;
    let ids = &ran.results[0];
    assert_eq!(ids["named"], ran.all["object"]["hex"]);
    assert_eq!(ids["read"], ids["named"]);
    assert_ne!(ids["unique"], ids["named"]);
    let foreign = ids["foreign"].as_str().unwrap();
    assert_eq!(
        foreign,
        "object id is not valid for class `Second`; it was made for another namespace"
    );
    let unique = &ran.results[1];
    assert_eq!(
        unique["call"]["object"],
        json!({"hex": unique["id"], "name": null})
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_binding_leads_where_the_manifest_says() {
    let mut app = probe_app();
    let bind = |app: &mut App, class: &str| {
        let bindings = &mut app.manifest.namespaces;
        bindings.insert("PEERS".to_owned(), class.into());
    };
    bind(&mut app, "Probe");
    let world = World::start(app.clone()).await;
    let steps = json!([{"call": "bound", "binding": "PEERS", "steps": [{"memory": "incr"}]}]);
    let ran = world.run("binder", steps).await;
    assert_eq!(ran.results[0]["call"]["object"]["name"], "bound");
    bind(&mut app, "Prob");
    let refused = world
        .host
        .deploy(app)
        .await
        .expect_err("there is no such class");
    let text = format!("{refused:#}");
    assert!(
        text.starts_with("`namespaces.PEERS` in dormouse.toml leads to class `Prob`, which the component does not have; it has "),
        "{text}"
    );
}
