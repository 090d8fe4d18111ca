//! Alarms: never early, at least once, and never lost.

use std::time::Duration;

use dormouse_storage::Alarm;
use futures_util::future::select_all;
use serde_json::{Value as Json, json};

use crate::harness::{
    Process, Record, World, app, app_folder, bounded, eventually, logs_of, probe, probe_app,
    reminder,
};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const YEAR_3000_MS: u64 = 32_503_680_000_000;
const DELAYS_MS: [i64; 6] = [2_000, 4_000, 8_000, 16_000, 32_000, 64_000];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_alarm_is_set_read_replaced_and_deleted() {
    let world = World::probe().await;
    let later = now_ms(&world) + 60_000;
    let steps = json!([
        {"get_alarm": ""}, {"set_alarm": later}, {"set_alarm": later + 1, "name": "x"},
        {"get_alarm": ""}, {"set_alarm": YEAR_3000_MS}, {"delete_alarm": "x"},
        {"get_alarm": "x"}, {"delete_alarm": "x"}, {"get_alarm": ""},
    ]);
    let ran = world.run("basics", steps).await;
    let alarm = |ms: Option<u64>| json!({"alarm": ms});
    let wanted = [
        None,
        Some(later),
        Some(later + 1),
        Some(later),
        Some(YEAR_3000_MS),
        None,
        None,
        None,
        Some(YEAR_3000_MS),
    ];
    assert_eq!(ran.results, wanted.map(alarm));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_cannot_be_set_is_refused_at_the_call() {
    let world = World::probe().await;
    let steps = json!([
        {"set_alarm": 0}, {"set_alarm": -1}, {"set_alarm": 1, "name": "n".repeat(257)},
        {"set_alarm": 1, "max_retries": 101}, {"set_alarm": 1, "first_delay_ms": 0},
    ]);
    let ran = world.run("refused", steps).await;
    let kinds: Vec<_> = ran
        .results
        .iter()
        .map(|one| &one["error"]["kind"])
        .collect();
    assert_eq!(
        kinds,
        [
            "InvalidTime",
            "InvalidTime",
            "InvalidName",
            "InvalidPolicy",
            "InvalidPolicy",
        ]
    );
    let text = "setAlarm() cannot be called with an alarm time <= 0";
    assert_eq!(ran.results[0]["error"]["message"], text);

    let deaf = world.get("/Deaf/a").await.json();
    let text = "Your Durable Object class must have an alarm() handler in order to call setAlarm()";
    assert_eq!(deaf["error"], json!({"kind": "NoHandler", "message": text}));
    assert!(
        world
            .host
            .alarms(&world.host.object("Deaf", "a").unwrap())
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_alarm_runs_at_its_time_and_not_before() {
    let world = World::probe().await;
    let name = "on-time";
    let due = now_ms(&world) + 100_000;
    world.run(name, json!([{"set_alarm": due}])).await;
    world.pass_all_but(Duration::from_secs(100), MS).await;
    assert_eq!(handled(name), 0);
    world.clock.advance(MS);
    let runs = world.until_runs(name, 1).await;
    let wanted = json!({
        "name": "", "scheduled_ms": due, "now_ms": due, "retry_count": 0, "is_retry": false,
    });
    assert_eq!(runs, [wanted]);
    assert_eq!(world.alarms(name).await, [], "success deletes it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_time_that_is_over_means_now() {
    let world = World::probe().await;
    let now = now_ms(&world);
    let ran = world.run("past", json!([{"set_alarm": 1}])).await;
    assert_eq!(ran.results, [json!({"alarm": now})]);
    let runs = world.until_runs("past", 1).await;
    assert_eq!(runs[0]["scheduled_ms"], now);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_trap_or_a_rollback_undoes_what_was_set() {
    let world = World::probe().await;
    let (name, later) = ("undone", now_ms(&world) + 5_000);
    world.run(name, json!([{"set_alarm": later}])).await;
    let trap = json!([{"set_alarm": 1}, {"delete_alarm": ""}, {"trap": "panic"}]);
    world.try_run(name, trap).await.problem(500, "object-reset");
    let rollback = json!([{"savepoint": [{"set_alarm": 1}], "fail": true}, {"get_alarm": ""}]);
    let ran = world.run(name, rollback).await;
    assert_eq!(ran.results[1], json!({"alarm": later}));
    world.pass_all_but(Duration::from_secs(5), MS).await;
    assert_eq!(handled(name), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn alarms_of_an_object_start_in_the_order_of_their_times() {
    let world = World::probe().await;
    let (name, now) = ("ordered", now_ms(&world));
    let set = |alarm: &str, after| json!({"set_alarm": now + after, "name": alarm});
    world
        .run(
            name,
            json!([set("c", 3_000), set("a", 1_000), set("b", 2_000)]),
        )
        .await;
    world.clock.advance(Duration::from_secs(10));
    let runs = world.until_runs(name, 3).await;
    let order: Vec<_> = runs
        .iter()
        .map(|run| run["name"].as_str().unwrap())
        .collect();
    assert_eq!(order, ["a", "b", "c"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_its_handler_an_alarm_is_gone_unless_set_anew() {
    let world = World::probe().await;
    let (name, now) = ("within", now_ms(&world));
    let note = |steps: Json| json!({"on_alarm": "", "steps": steps});
    let again = now + 50_000;
    let in_handler = json!([
        {"get_alarm": ""}, {"delete_alarm": ""}, {"set_alarm": again}, {"get_alarm": ""},
    ]);
    world
        .run(name, json!([note(in_handler), {"set_alarm": now}]))
        .await;
    let _ = world.until_runs(name, 1).await;
    let alarms = world
        .until_alarms(name, |alarms| alarms[0].due_ms == Some(again as i64))
        .await;
    assert_eq!(alarms[0].retries, 0);

    // Set anew by a handler that fails: the new time replaces the retry.
    let later = again + 50_000;
    let failing = json!([{"set_alarm": later}, {"fail": "as told"}]);
    world.run(name, json!([note(failing)])).await;
    world.clock.advance(Duration::from_secs(50));
    world
        .until_alarms(name, |alarms| alarms[0].due_ms == Some(later as i64))
        .await;

    // Deleting does not keep a failure from being tried again.
    let failing = json!([{"delete_alarm": ""}, {"fail": "as told"}]);
    world.run(name, json!([note(failing)])).await;
    world.clock.advance(Duration::from_secs(50));
    world
        .until_alarms(name, |alarms| alarms[0].retries == 1)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_failing_alarm_is_tried_again_six_times_and_kept_as_a_dead_letter() {
    let world = World::probe().await;
    let (name, now) = ("dead-letter", now_ms(&world));
    let fail = json!([{"fail": "as told"}]);
    world
        .run(
            name,
            json!([{"on_alarm": "", "steps": fail}, {"set_alarm": now}]),
        )
        .await;
    for (retry, delay) in (1..).zip(DELAYS_MS) {
        let alarms = world
            .until_alarms(name, |alarms| alarms[0].retries == retry)
            .await;
        assert_eq!(alarms[0].scheduled_ms, Some(now as i64));
        let wait = alarms[0].due_ms.unwrap() - now_ms(&world) as i64;
        assert!(
            (delay..=delay + delay / 4).contains(&wait),
            "{retry}: {wait}"
        );
        let got = world.run(name, json!([{"get_alarm": ""}])).await;
        assert_eq!(
            got.results,
            [json!({"alarm": now})],
            "the time it was set to"
        );
        world
            .pass_all_but(Duration::from_millis(wait as u64), MS)
            .await;
        assert_eq!(handled(name), retry as usize);
        world.clock.advance(MS);
    }
    let alarms = world
        .until_alarms(name, |alarms| alarms[0].dead.is_some())
        .await;
    let letter = alarms[0].dead.as_ref().unwrap();
    assert_eq!(
        (letter.scheduled_ms, &*letter.error),
        (now as i64, "as told")
    );
    assert_eq!((alarms[0].scheduled_ms, alarms[0].due_ms), (None, None));
    let runs = world.runs(name).await;
    let counts: Vec<_> = runs
        .iter()
        .map(|run| (&run["retry_count"], &run["is_retry"]))
        .collect();
    let wanted: Vec<_> = (0..=6)
        .map(|count| (json!(count), json!(count > 0)))
        .collect();
    assert_eq!(
        counts,
        wanted.iter().map(|(a, b)| (a, b)).collect::<Vec<_>>()
    );

    let object = world.host.object("Probe", name).unwrap();
    assert_eq!(world.host.dead_letters(), std::slice::from_ref(&object));
    world.clock.advance(Duration::from_secs(100_000));
    assert_eq!(handled(name), 7);

    let world = world.restart(probe_app()).await;
    eventually("the dead letter", async || {
        (world.host.dead_letters() == [object.clone()]).then_some(())
    })
    .await;
    world
        .run(name, json!([{"on_alarm": "", "steps": []}]))
        .await;
    world.host.revive_alarm(&object, "").await.unwrap();
    let runs = world.until_runs(name, 8).await;
    assert_eq!(runs[7]["scheduled_ms"], now);
    assert_eq!(runs[7]["retry_count"], 0);
    world.until_alarms(name, |alarms| alarms.is_empty()).await;
    assert_eq!(world.host.dead_letters(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_trap_counts_and_undoes_the_writes_of_the_handler() {
    let world = World::probe().await;
    let (name, now) = ("alarm-trap", now_ms(&world));
    let trap = json!([{"set_alarm": now + 1, "name": "lost"}, {"trap": "unreachable"}]);
    world
        .run(
            name,
            json!([{"on_alarm": "", "steps": trap}, {"set_alarm": now}]),
        )
        .await;
    let alarms = world
        .until_alarms(name, |alarms| alarms[0].retries == 1)
        .await;
    assert_eq!(alarms.len(), 1);
    assert_eq!(world.runs(name).await.len(), 0, "the turn is undone");
    world
        .run(name, json!([{"on_alarm": "", "steps": []}]))
        .await;
    world.clock.advance(Duration::from_millis(2_500));
    let runs = world.until_runs(name, 1).await;
    assert_eq!(runs[0]["retry_count"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_alarm_may_have_a_retry_policy_of_its_own() {
    let world = World::probe().await;
    let (name, now) = ("own-policy", now_ms(&world));
    let fail = json!({"on_alarm": "", "steps": [{"fail": "as told"}]});
    let set = json!({"set_alarm": now, "max_retries": 1, "first_delay_ms": 100});
    world.run(name, json!([fail, set])).await;
    let alarms = world
        .until_alarms(name, |alarms| alarms[0].retries == 1)
        .await;
    let wait = alarms[0].due_ms.unwrap() - now as i64;
    assert!((100..=125).contains(&wait), "{wait}");
    world.clock.advance(Duration::from_millis(125));
    world
        .until_alarms(name, |alarms| alarms[0].dead.is_some())
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifteen_minutes_are_a_failure() {
    let world = World::probe().await;
    let (name, now) = ("too-long", now_ms(&world));
    let hold = json!({"on_alarm": "", "steps": [{"hold": "x"}]});
    world.run(name, json!([hold, {"set_alarm": now}])).await;
    world.until_held(name, "x", 1).await;
    world.pass(Duration::from_secs(15 * 60)).await;
    world
        .until_alarms(name, |alarms| alarms[0].retries == 1)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_the_host_cuts_off_does_not_count() {
    let world = World::probe().await;
    let (name, now) = ("replaced", now_ms(&world));
    let hold = json!({"on_alarm": "", "steps": [{"hold": "x"}]});
    world.run(name, json!([hold, {"set_alarm": now}])).await;
    world.until_held(name, "x", 1).await;
    // Its timer for sleep may stand at the same moment.
    let due = world.clock.now() + Duration::from_secs(10);
    let waiting = || {
        world
            .clock
            .deadlines()
            .iter()
            .filter(|at| **at == due)
            .count()
    };
    let before = waiting();
    world.host.deploy(probe_app()).await.unwrap();
    eventually("the old code's last ten seconds", async || {
        (waiting() > before).then_some(())
    })
    .await;
    world.clock.advance(Duration::from_secs(10));
    eventually("the end of the old code", async || {
        (world.host.awake() == 0).then_some(())
    })
    .await;
    assert_eq!(world.alarms(name).await[0].retries, 0);
    world
        .run(name, json!([{"on_alarm": "", "steps": []}]))
        .await;
    let runs = eventually("the retry", async || {
        world.clock.advance(SECOND);
        let runs = world.runs(name).await;
        (runs.len() == 2).then_some(runs)
    })
    .await;
    assert_eq!(
        (&runs[1]["retry_count"], &runs[1]["is_retry"]),
        (&json!(1), &json!(true))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_full_mailbox_loses_no_alarm() {
    let mut app = probe_app();
    app.manifest.limits.concurrent_events = 1;
    app.manifest.limits.mailbox_events = 1;
    let world = World::start(app).await;
    let name = "crowded";
    world.run(name, json!([{"set_alarm_in_ms": 1_000}])).await;
    let holding = world.start_run(name, json!([{"wait_ms": 5_000}]));
    world.until_due(Duration::from_secs(5)).await;
    // Of two more there is room for one, whichever comes first.
    let two = [0, 1].map(|_| world.start_run(name, json!([])));
    let (refused, _, waiting) = bounded("a refusal", select_all(two)).await;
    assert_eq!(refused.unwrap().status, 503);
    world.clock.advance(Duration::from_secs(1));
    world.clock.advance(Duration::from_secs(4));
    holding.await.unwrap().ran();
    for one in waiting {
        one.await.unwrap().ran();
    }
    let runs = eventually("the alarm", async || {
        world.clock.advance(SECOND);
        let answer = world.try_run(name, json!([{"alarm_runs": true}])).await;
        let runs = (answer.status == 200).then(|| answer.ran().results[0]["runs"].clone())?;
        (!runs.as_array()?.is_empty()).then_some(runs)
    })
    .await;
    assert_eq!(runs.as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_restart_keeps_alarms_and_runs_what_is_overdue() {
    let world = World::probe().await;
    let now = now_ms(&world);
    world
        .run("kept", json!([{"set_alarm": now + 3_600_000}]))
        .await;
    world
        .run("overdue", json!([{"set_alarm": now + 1_000, "name": "x"}]))
        .await;
    let world = world
        .restart_after(Duration::from_secs(60), probe_app())
        .await;
    let runs = world.until_runs("overdue", 1).await;
    let (name, scheduled) = (&runs[0]["name"], &runs[0]["scheduled_ms"]);
    assert_eq!((name, scheduled), (&json!("x"), &json!(now + 1_000)));
    let left = Duration::from_secs(3_540);
    world.pass_all_but(left, MS).await;
    assert_eq!(handled("kept"), 0);
    world.clock.advance(MS);
    let _ = world.until_runs("kept", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_entry_that_is_out_of_date_wakes_nobody() {
    let world = World::probe().await;
    let name = "stale";
    let due = now_ms(&world) / 32_000 * 32_000 + 63_000;
    world.run(name, json!([{"set_alarm": due}])).await;
    // After a restart the index has a hint, up to 32 s before the truth.
    let world = world.restart(probe_app()).await;
    let left = Duration::from_millis(due - now_ms(&world));
    world.pass_all_but(left, 500 * MS).await;
    assert_eq!(world.host.awake(), 0);
    world.clock.advance(500 * MS);
    let _ = world.until_runs(name, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn alarms_go_by_the_date_when_that_is_set() {
    let world = World::probe().await;
    let start = world.clock.unix();
    let hour = Duration::from_secs(3_600);
    world
        .run("clock", json!([{"set_alarm_in_ms": 10_000}]))
        .await;
    world.clock.set_unix(start - hour);
    world.pass_all_but(Duration::from_secs(10) + hour, MS).await;
    assert_eq!(handled("clock"), 0);
    world.clock.advance(MS);
    let _ = world.until_runs("clock", 1).await;

    world
        .run("clock", json!([{"set_alarm_in_ms": 3_600_000}]))
        .await;
    world.clock.set_unix(start + 5 * hour);
    world.clock.advance(SECOND);
    let _ = world.until_runs("clock", 2).await;

    world
        .run("clock", json!([{"set_alarm": YEAR_3000_MS}]))
        .await;
    world.clock.advance(1_000 * hour);
    // The scheduler has looked at the date of today before it changes.
    world.until_due(SECOND).await;
    world
        .clock
        .set_unix(Duration::from_millis(YEAR_3000_MS) - MS);
    world
        .pass_all_but(Duration::from_secs(1), Duration::from_secs(1))
        .await;
    assert_eq!(handled("clock"), 2);
    world.clock.advance(MS);
    world.clock.advance(SECOND);
    let runs = world.until_runs("clock", 3).await;
    assert_eq!(runs[2]["scheduled_ms"], YEAR_3000_MS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_schedule_sets_its_alarm_anew_after_success_and_after_a_dead_letter() {
    let world = World::probe().await;
    let name = "schedule";
    // The clock stands at midnight UTC on January 1, which is 01:00 in Berlin.
    let start = now_ms(&world);
    let (hour, day) = (3_600_000, 86_400_000);
    let cron = json!({"set_cron": "0 9 * * *", "zone": "Europe/Berlin", "name": "daily"});
    let ran = world.run(name, json!([cron.clone(), cron])).await;
    let first = start + 8 * hour;
    assert_eq!(
        ran.results,
        [json!({"alarm": first}), json!({"alarm": first})]
    );
    world.clock.advance(Duration::from_millis(8 * hour));
    let runs = world.until_runs(name, 1).await;
    assert_eq!(runs[0]["scheduled_ms"], first);
    let second = (first + day) as i64;
    world
        .until_alarms(name, |alarms| alarms[0].due_ms == Some(second))
        .await;

    // Missed ones are not made up for.
    world.clock.advance(Duration::from_millis(3 * day));
    let runs = world.until_runs(name, 2).await;
    assert_eq!(runs[1]["scheduled_ms"], second);
    let next = (first + 4 * day) as i64;
    world
        .until_alarms(name, |alarms| alarms[0].due_ms == Some(next))
        .await;

    let fail = json!({"on_alarm": "daily", "steps": [{"fail": "as told"}]});
    world.run(name, json!([fail])).await;
    world.clock.advance(Duration::from_millis(day));
    for retry in 1..=6 {
        world
            .until_alarms(name, |alarms| alarms[0].retries == retry)
            .await;
        world.clock.advance(Duration::from_secs(80));
    }
    let alarms = world
        .until_alarms(name, |alarms| alarms[0].dead.is_some())
        .await;
    assert_eq!(
        alarms[0].due_ms,
        Some(next + day as i64),
        "the schedule goes on"
    );

    let wrong = json!([
        {"set_cron": "0 99 * * *", "zone": "UTC"}, {"set_cron": "0 9 * * *", "zone": "Mars"},
    ]);
    let ran = world.run(name, wrong).await;
    let kinds: Vec<_> = ran
        .results
        .iter()
        .map(|one| &one["error"]["kind"])
        .collect();
    assert_eq!(kinds, ["InvalidSchedule", "InvalidSchedule"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reminder_moves_to_the_other_list_when_it_is_due() {
    let world = World::start(app("reminder", reminder())).await;
    let post = async |at: &str, text: &str| {
        let body = json!({"at": at, "text": text}).to_string();
        world.post("/Reminders/ada", body).await
    };
    assert_eq!(post("2030-01-01T00:02:00Z", "second").await.status, 201);
    assert_eq!(post("2030-01-01T00:01:00Z", "first").await.status, 201);
    assert_eq!(post("some day", "never").await.status, 400);
    let texts = async |list: &str| {
        let lists = world.get("/Reminders/ada").await.json();
        let texts = lists[list].as_array().unwrap().iter();
        texts
            .map(|one| one["text"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(texts("waiting").await, ["first", "second"]);
    for done in [&["first"][..], &["first", "second"]] {
        world.clock.advance(Duration::from_secs(60));
        eventually("a reminder", async || {
            (texts("done").await == done).then_some(())
        })
        .await;
    }
    assert!(texts("waiting").await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn kill_9_loses_no_alarm() {
    let app = app_folder("probe", &probe(), "");
    let data = tempfile::tempdir().unwrap();
    let mut host = Process::serve(app.path(), data.path(), &[]).await;
    let names: Vec<_> = (0..20).map(|number| format!("killed-{number}")).collect();
    for name in &names {
        host.run(name, json!([{"set_alarm_in_ms": 3_000}])).await;
    }
    host.kill();
    let host = Process::serve(app.path(), data.path(), &[]).await;
    for name in &names {
        let runs = eventually("a run", async || {
            let ran = host.run(name, json!([{"alarm_runs": true}])).await;
            let runs = ran.results[0]["runs"].as_array()?.clone();
            (!runs.is_empty()).then_some(runs)
        })
        .await;
        assert!(runs[0]["now_ms"].as_u64() >= runs[0]["scheduled_ms"].as_u64());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_restart_does_not_begin_the_retries_anew() {
    let world = World::probe().await;
    let (name, now) = ("retry-kept", now_ms(&world));
    let fail = json!({"on_alarm": "", "steps": [{"fail": "as told"}]});
    world.run(name, json!([fail, {"set_alarm": now}])).await;
    world
        .until_alarms(name, |alarms| alarms[0].retries == 1)
        .await;
    let world = world
        .restart_after(Duration::from_secs(60), probe_app())
        .await;
    world
        .until_alarms(name, |alarms| alarms[0].retries == 2)
        .await;
    let runs = world.runs(name).await;
    assert_eq!(runs[1]["retry_count"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_alarms_in_the_same_second_all_run() {
    let count = 1_000;
    let world = World::probe().await;
    let due = now_ms(&world) + 60_000;
    let set = async |number: u64| {
        let steps = json!([{"set_alarm": due + number % 1_000}]);
        world.run(&format!("same-{number}"), steps).await;
    };
    for chunk in (0..count).collect::<Vec<_>>().chunks(16) {
        futures_util::future::join_all(chunk.iter().map(|number| set(*number))).await;
    }
    world.clock.advance(Duration::from_secs(61));
    eventually("the last alarm", async || {
        world.clock.advance(SECOND);
        (world.host.objects_with_alarms() == 0).then_some(())
    })
    .await;
    for number in (0..count).step_by(5) {
        let name = format!("same-{number}");
        eventually("a run", async || (handled(&name) > 0).then_some(())).await;
    }
}

fn now_ms(world: &World) -> u64 {
    world.clock.unix().as_millis() as u64
}

/// How often the handler of the object has begun.
fn handled(object: &str) -> usize {
    let records = logs_of(object);
    let begins = |one: &&Record| one.message().starts_with("alarm {");
    records.iter().filter(begins).count()
}

impl World {
    /// Lets most of a time pass, and waits until the scheduler waits for the rest:
    /// it has seen that nothing is due yet.
    async fn pass_all_but(&self, all: Duration, rest: Duration) {
        self.until_scheduled().await;
        self.clock.advance(all - rest);
        self.until_due(rest.min(SECOND)).await;
    }

    /// Waits until the scheduler waits.
    async fn until_scheduled(&self) {
        eventually("a scheduler that waits", async || {
            let soon = self.clock.now() + SECOND;
            self.clock
                .deadlines()
                .iter()
                .any(|due| *due <= soon)
                .then_some(())
        })
        .await;
    }

    async fn runs(&self, object: &str) -> Vec<Json> {
        let ran = self.run(object, json!([{"alarm_runs": true}])).await;
        ran.results[0]["runs"].as_array().unwrap().clone()
    }

    async fn until_runs(&self, object: &str, count: usize) -> Vec<Json> {
        eventually("runs of the handler", async || {
            let runs = self.runs(object).await;
            (runs.len() >= count).then_some(runs)
        })
        .await
    }

    async fn alarms(&self, object: &str) -> Vec<Alarm> {
        let object = self.host.object("Probe", object).unwrap();
        self.host.alarms(&object).await.unwrap()
    }

    async fn until_alarms(&self, object: &str, wanted: impl Fn(&[Alarm]) -> bool) -> Vec<Alarm> {
        eventually("alarms", async || {
            let alarms = self.alarms(object).await;
            wanted(&alarms).then_some(alarms)
        })
        .await
    }
}
