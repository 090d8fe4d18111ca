//! The test kit: the same host, held still, crashed and shuffled at will.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, UNIX_EPOCH};

use dormouse_testing::{
    Builder, CrashAt, Heard, Message, Object, Request, TestHost, for_every_crash_point,
    for_every_schedule,
};
use serde_json::{Value as Json, json};

use crate::harness::guests;

const SECOND: Duration = Duration::from_secs(1);

fn counter() -> Builder {
    TestHost::builder().component(guests::counter())
}

fn probe() -> Builder {
    TestHost::builder().component(guests::probe())
}

fn run(object: &Object, steps: Json) -> Json {
    object.fetch(steps_request(steps)).ok().json()
}

fn steps_request(steps: Json) -> Request {
    Request::post("/run", steps.to_string())
}

fn count(host: &TestHost) -> u64 {
    let answer = host.object("Counter", "alice").get("/").ok();
    answer.text().trim().parse().unwrap()
}

#[test]
fn what_was_acknowledged_outlives_whatever_ends_the_host() {
    let host = counter().start();
    assert_eq!(count(&host), 1);
    host.crash();
    assert_eq!(count(&host), 2);
    host.cut_power();
    assert_eq!(count(&host), 3);
    host.restart();
    assert_eq!(count(&host), 4);
}

#[test]
fn an_app_is_named_by_its_folder() {
    let folder = guests::root().join("guests/counter");
    let host = TestHost::builder().project(folder).start();
    assert_eq!(count(&host), 1);
    let error = TestHost::builder()
        .project(guests::root().join("docs"))
        .try_start();
    let error = error.unwrap_err().to_string();
    assert!(error.contains("dormouse new"), "{error}");
}

#[test]
fn alarms_run_at_their_time_on_the_held_clock() {
    let host = probe().start();
    let object = host.object("Probe", "a");
    run(&object, json!([{"set_alarm_in_ms": 90_000}]));
    let due = host.now() + 90 * SECOND;
    assert_eq!(
        (object.next_alarm(), host.next_alarm()),
        (Some(due), Some(due))
    );
    host.advance(90 * SECOND - Duration::from_millis(1));
    assert!(!object.is_awake(), "idle for long");
    assert_eq!(object.alarms().len(), 1);
    assert_eq!(host.run_next_alarm(), Some(due));
    let ran = run(&object, json!([{"alarm_runs": true}, {"now": true}]));
    let due_ms = due.duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    assert_eq!(ran["results"][0]["runs"][0]["now_ms"], due_ms);
    assert_eq!(host.run_next_alarm(), None);
}

#[test]
fn a_failing_alarm_is_retried_and_ends_as_a_dead_letter() {
    let host = probe().start();
    let object = host.object("Probe", "a");
    run(
        &object,
        json!([{"on_alarm": "", "steps": [{"fail": "no"}]}, {"set_alarm_in_ms": 1_000}]),
    );
    host.advance(600 * SECOND);
    let [letter] = &object.alarms()[..] else {
        panic!("{:?}", object.alarms())
    };
    assert!(letter.dead.is_some());
    run(&object, json!([{"on_alarm": "", "steps": []}]));
    object.retry_dead_letter("");
    assert_eq!(object.alarms(), []);
}

#[test]
fn a_wait_for_what_cannot_come_says_what_to_do() {
    let host = probe().start();
    let object = host.object("Probe", "a");
    let stuck = catch_unwind(AssertUnwindSafe(|| {
        run(&object, json!([{"wait_ms": 5_000}]));
    }));
    let said = *stuck.unwrap_err().downcast::<String>().unwrap();
    assert!(
        said.contains("in 5s") && said.contains("`advance`"),
        "{said}"
    );
    let waiting = object.start_fetch(steps_request(json!([{"wait_ms": 5_000}])));
    assert!(!waiting.is_done());
    host.advance(5 * SECOND);
    assert!(waiting.is_done());
    assert_eq!(waiting.wait().status, 200);
}

#[test]
fn sleep_and_reset_come_when_they_are_asked_for() {
    let host = probe().start();
    let object = host.object("Probe", "a");
    let instance = |object: &Object| run(object, json!([]))["instance"].clone();
    let first = instance(&object);
    assert_eq!(instance(&object), first);
    object.evict();
    assert!(!object.is_awake());
    let second = instance(&object);
    assert_ne!(first, second);
    let waiting = object.start_fetch(steps_request(json!([{"wait_ms": 5_000}])));
    host.settle();
    object.reset();
    assert_eq!(waiting.wait().status, 500);
    assert_ne!(instance(&object), second);
    host.evict_all();
    assert_eq!(host.awake(), 0);
}

#[test]
fn sockets_can_be_cut_closed_and_left_unread() {
    let host = probe().start();
    let object = host.object("Sockets", "a");
    let socket = object.connect("/ws");
    socket.send("hello");
    assert_eq!(socket.expect_text(), "hello");
    socket.send(vec![1, 2]);
    assert_eq!(socket.expect(), Message::Binary(vec![1, 2]));
    socket.expect_nothing();
    host.advance(11 * SECOND);
    assert!(!object.is_awake());
    socket.send("still there?");
    assert_eq!(socket.expect_text(), "still there?");
    let other = object.connect("/ws");
    socket.cut();
    other.close(1000, "bye");
    assert_eq!(other.expect_close().0, 1000);
    assert_eq!(other.next(), Heard::Gone);
    let events: Vec<String> = object.get("/events").json();
    assert_eq!(events.len(), 2, "{events:?}");
    let refused = object.try_connect("/ws?refuse");
    assert!(refused.is_err());
}

#[test]
fn clients_differ_by_their_headers() {
    let host = probe().start();
    let ada = host
        .object("Probe", "a")
        .with_header("authorization", "Bearer ada");
    let seen = run(&ada, json!([]))["seen"]["headers"].to_string();
    assert!(seen.contains("Bearer ada"), "{seen}");
}

#[test]
fn logs_come_with_their_object() {
    let host = probe().start();
    let object = host.object("Probe", "a");
    run(
        &object,
        json!([{"log": {"level": "warn", "message": "careful"}}]),
    );
    run(
        &host.object("Probe", "b"),
        json!([{"log": {"level": "info", "message": "other"}}]),
    );
    let said: Vec<_> = object.logs().into_iter().map(|one| one.message).collect();
    assert_eq!(said, ["careful"]);
}

#[test]
fn a_full_disk_holds_answers_back_until_there_is_room() {
    let host = counter().start();
    assert_eq!(count(&host), 1);
    host.limit_disk(Some(0));
    let ask = |number: u32| {
        let object = host.object("Counter", &format!("new-{number}"));
        object.start_fetch("/")
    };
    let held = (0..5_000).map(ask).find(|pending| !pending.is_done());
    let held = held.expect("the disk is full some time");
    host.limit_disk(None);
    assert_eq!(held.wait().text(), "1\n");
    assert_eq!(count(&host), 2);
}

#[test]
fn a_crash_can_be_put_before_or_after_a_sync() {
    for (at, least) in [(CrashAt::BeforeSync(1), 2), (CrashAt::AfterSync(1), 3)] {
        let host = counter().start();
        assert_eq!(count(&host), 1);
        host.crash_at(at);
        assert!(catch_unwind(AssertUnwindSafe(|| count(&host))).is_err());
        host.cut_power();
        let next = count(&host);
        assert!((least..=3).contains(&next), "{at:?}: {next}");
    }
}

#[test]
fn a_counter_recovers_from_a_crash_at_every_moment() {
    let crashes = for_every_crash_point(
        counter(),
        |host, seen: &mut u64| {
            for _ in 0..2 {
                *seen = count(host);
            }
        },
        |host, seen| {
            let next = count(host);
            assert!((seen + 1..=seen + 2).contains(&next), "{next} after {seen}");
        },
    );
    assert!(crashes > 20, "{crashes}");
}

/// The guest keeps a number in a field across an await: the kit must find it out.
#[test]
fn a_lost_update_is_found_by_some_schedule() {
    let orders = |seeds: std::ops::Range<u64>| {
        let orders = std::cell::RefCell::new(Vec::new());
        for_every_schedule(seeds, probe(), |host| {
            let object = host.object("Probe", "a");
            let both = ["x", "y"].map(|word| {
                let steps = json!([{"log": {"level": "info", "message": word}}]);
                object.start_fetch(steps_request(steps))
            });
            for one in both {
                let _ = one.wait().ok();
            }
            let said: String = object.logs().iter().map(|one| &*one.message).collect();
            orders.borrow_mut().push(said);
        });
        orders.into_inner()
    };
    let first = orders(0..16);
    assert!(first.contains(&"xy".to_owned()), "{first:?}");
    assert!(first.contains(&"yx".to_owned()), "{first:?}");
    assert_eq!(orders(0..16), first, "a seed repeats its order");
}

#[test]
fn a_failing_test_leaves_its_databases() {
    let test = std::thread::Builder::new().name("kept-by-the-kit".into());
    let failing = test.spawn(|| {
        let host = counter().start();
        assert_eq!(count(&host), 7, "this failure is wanted");
    });
    assert!(failing.unwrap().join().is_err());
    let program = std::env::current_exe().unwrap();
    let scratch = program.ancestors().nth(2).unwrap().join("dormouse-testing");
    let kept = scratch.join("failed/kept-by-the-kit");
    let mut found = Vec::new();
    let mut folders = vec![kept];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => found.push(path),
            }
        }
    }
    assert!(
        found
            .iter()
            .any(|path| path.extension().is_some_and(|kind| kind == "db"))
    );
}
