//! Tests of `Counter` in the real host: run `cargo test`, or `dormouse test --watch`.
//!
//! The clock stands still until a test moves it, the disk is memory, and nothing leaves
//! the test. vendor/dormouse/docs/testing.md shows what else can be done.

use std::time::Duration;

use dormouse_testing::{TestHost, for_every_crash_point};

#[test]
fn every_object_counts_for_itself() {
    let host = TestHost::start();
    let [alice, bob] = ["alice", "bob"].map(|name| host.object("Counter", name));
    assert_eq!(alice.get("/").text(), "1\n");
    assert_eq!(alice.get("/").text(), "2\n");
    assert_eq!(bob.get("/").text(), "1\n");
    assert_eq!(alice.sql("SELECT value FROM counter").one::<i64>(), 2);
}

#[test]
fn a_count_outlives_sleep_and_restart() {
    let host = TestHost::start();
    let alice = host.object("Counter", "alice");
    assert_eq!(alice.get("/").text(), "1\n");
    host.advance(Duration::from_secs(60));
    assert!(!alice.is_awake(), "an idle object sleeps");
    assert_eq!(alice.get("/").text(), "2\n");
    host.restart();
    assert_eq!(alice.get("/").text(), "3\n");
}

#[test]
fn no_crash_loses_a_count_that_was_told() {
    let count = |host: &TestHost| -> i64 {
        let response = host.object("Counter", "alice").get("/").ok();
        response.text().trim().parse().unwrap()
    };
    for_every_crash_point(
        TestHost::builder(),
        |host, told: &mut i64| {
            *told = count(host);
            *told = count(host);
        },
        |host, told| assert!(count(host) > *told),
    );
}
