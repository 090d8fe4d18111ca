//! What alarms promise as rows: one transaction with everything else, runs that end
//! without touching what was set meanwhile, and a file that says when to look into it.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Folder, key};
use dormouse_storage::{
    AlarmHint, AlarmOutcome, AlarmPolicy, AlarmSummary, Cron, Database, MAX_ALARMS, Storage,
};

const DONE: AlarmOutcome<'_> = AlarmOutcome::Done { next_ms: None };

fn set(db: &mut Database, name: &str, at_ms: i64) {
    assert!(
        db.set_alarm(name, at_ms, AlarmPolicy::default(), None)
            .unwrap()
    );
}

fn daily() -> Option<Cron> {
    Some(Cron {
        expression: "0 9 * * *".into(),
        zone: "UTC".into(),
    })
}

fn hints(storage: &Storage) -> Vec<AlarmHint> {
    storage.checkpoint().unwrap();
    let mut hints = Vec::new();
    storage.alarm_hints(&mut |hint| hints.push(hint)).unwrap();
    hints
}

#[test]
fn an_alarm_is_set_read_replaced_and_deleted() {
    let folder = Folder::new();
    let mut db = folder.storage().database(key(1));
    assert_eq!(db.alarm("").unwrap(), None);
    assert!(!db.in_turn(), "asking writes nothing");
    set(&mut db, "", 5_000);
    set(&mut db, "other", 4_000);
    set(&mut db, "", 6_000);
    db.end_turn().unwrap();
    assert_eq!(db.alarm("").unwrap(), Some(6_000));
    assert_eq!(db.alarm_summary().unwrap().next_ms, Some(4_000));
    db.delete_alarm("other").unwrap();
    db.delete_alarm("never set").unwrap();
    assert_eq!(db.alarm("other").unwrap(), None);
    assert_eq!(db.alarm_summary().unwrap().next_ms, Some(6_000));
}

#[test]
fn an_alarm_shares_the_fate_of_its_turn() {
    let folder = Folder::new();
    let mut db = folder.storage().database(key(1));
    db.exec("CREATE TABLE t (a)", &[]).unwrap();
    set(&mut db, "", 5_000);
    db.end_turn().unwrap();
    assert_eq!(
        db.take_alarm_change().unwrap().unwrap().next_ms,
        Some(5_000)
    );

    db.exec("INSERT INTO t VALUES (1)", &[]).unwrap();
    set(&mut db, "", 7_000);
    db.abandon_turn();
    assert_eq!(db.alarm("").unwrap(), Some(5_000));

    let savepoint = db.open_savepoint().unwrap();
    set(&mut db, "", 8_000);
    set(&mut db, "more", 1);
    db.rollback_savepoint(savepoint).unwrap();
    db.end_turn().unwrap();
    assert_eq!(
        db.take_alarm_change().unwrap().unwrap().next_ms,
        Some(5_000)
    );
    assert_eq!(db.take_alarm_change().unwrap(), None);

    set(&mut db, "", 5_000);
    assert!(!db.in_turn(), "the same value writes nothing");
}

#[test]
fn the_first_alarm_of_an_object_can_be_undone() {
    let folder = Folder::new();
    let mut db = folder.storage().database(key(1));
    set(&mut db, "", 5_000);
    db.abandon_turn();
    assert_eq!(db.alarm("").unwrap(), None);
    set(&mut db, "", 6_000);
    db.end_turn().unwrap();
    assert_eq!(db.alarm("").unwrap(), Some(6_000));
}

#[test]
fn runs_start_in_order_and_never_early() {
    let folder = Folder::new();
    let mut db = folder.storage().database(key(1));
    for (name, at) in [("c", 3_000), ("a", 1_000), ("b", 2_000)] {
        set(&mut db, name, at);
    }
    db.end_turn().unwrap();
    assert_eq!(db.start_alarm(999).unwrap(), None);
    let mut names = Vec::new();
    while let Some(run) = db.start_alarm(2_000).unwrap() {
        names.push(run.name);
    }
    assert_eq!(names, ["a", "b"]);
    assert_eq!(db.alarm_summary().unwrap().next_ms, Some(3_000));
}

#[test]
fn a_running_alarm_is_gone_unless_it_is_set_anew() {
    let folder = Folder::new();
    let mut db = folder.storage().database(key(1));
    set(&mut db, "", 1_000);
    db.end_turn().unwrap();

    let run = db.start_alarm(1_000).unwrap().unwrap();
    assert_eq!(db.alarm("").unwrap(), None);
    db.delete_alarm("").unwrap();
    assert!(
        db.finish_alarm(&run, AlarmOutcome::Retry { at_ms: 3_000 })
            .unwrap()
    );
    assert_eq!(db.alarm("").unwrap(), Some(1_000), "the time it was set to");
    assert_eq!(db.alarm_summary().unwrap().next_ms, Some(3_000));

    let run = db.start_alarm(3_000).unwrap().unwrap();
    assert_eq!(run.retries, 1);
    set(&mut db, "", 1_000);
    assert_eq!(db.alarm("").unwrap(), Some(1_000));
    assert!(!db.finish_alarm(&run, DONE).unwrap(), "it was set anew");
    assert_eq!(db.alarm("").unwrap(), Some(1_000));

    let run = db.start_alarm(3_000).unwrap().unwrap();
    assert_eq!(run.retries, 0);
    set(&mut db, "", 9_000);
    db.delete_alarm("").unwrap();
    set(&mut db, "", 9_000);
    assert!(!db.finish_alarm(&run, DONE).unwrap());
    assert_eq!(
        db.alarm("").unwrap(),
        Some(9_000),
        "not taken for the one that ran"
    );

    let run = db.start_alarm(9_000).unwrap().unwrap();
    db.delete_all().unwrap();
    set(&mut db, "", 10_000);
    assert!(!db.finish_alarm(&run, DONE).unwrap());
    assert_eq!(db.alarm("").unwrap(), Some(10_000));
}

#[test]
fn success_deletes_and_failure_ends_in_a_dead_letter() {
    let folder = Folder::new();
    let mut db = folder.storage().database(key(1));
    set(&mut db, "", 1_000);
    let run = db.start_alarm(1_000).unwrap().unwrap();
    assert!(db.finish_alarm(&run, DONE).unwrap());
    db.end_turn().unwrap();
    assert_eq!(db.alarms().unwrap(), []);
    assert_eq!(
        db.take_alarm_change().unwrap(),
        Some(AlarmSummary::default())
    );

    set(&mut db, "x", 2_000);
    let run = db.start_alarm(2_000).unwrap().unwrap();
    let error = "out of cheese";
    let dead = AlarmOutcome::Dead {
        error,
        next_ms: None,
    };
    assert!(db.finish_alarm(&run, dead).unwrap());
    assert_eq!(db.alarm("x").unwrap(), None);
    assert_eq!(db.start_alarm(i64::MAX).unwrap(), None);
    let summary = AlarmSummary {
        next_ms: None,
        dead: true,
    };
    assert_eq!(db.alarm_summary().unwrap(), summary);
    let letter = db.alarms().unwrap().remove(0).dead.unwrap();
    assert_eq!((letter.scheduled_ms, letter.error.as_str()), (2_000, error));

    assert!(db.revive_alarm("x", 7_000).unwrap());
    assert!(!db.revive_alarm("x", 7_000).unwrap(), "it is alive");
    let run = db.start_alarm(7_000).unwrap().unwrap();
    assert_eq!((run.scheduled_ms, run.retries), (Some(2_000), 0));
    assert!(!db.hasten_alarm("x", 7_000).unwrap(), "it runs");
}

#[test]
fn an_alarm_that_is_hastened_is_due_at_once_and_keeps_its_time() {
    let folder = Folder::new();
    let mut db = folder.storage().database(key(1));
    assert!(!db.hasten_alarm("x", 1_000).unwrap());
    let policy = AlarmPolicy::default();
    assert!(db.set_alarm("x", 9_000, policy, None).unwrap());
    assert_eq!(db.start_alarm(1_000).unwrap(), None);
    assert!(db.hasten_alarm("x", 1_000).unwrap());
    assert_eq!(db.alarm_summary().unwrap().next_ms, Some(1_000));
    let run = db.start_alarm(1_000).unwrap().unwrap();
    assert_eq!((run.scheduled_ms, run.due_ms), (Some(9_000), Some(1_000)));
    assert!(
        db.finish_alarm(&run, AlarmOutcome::Done { next_ms: None })
            .unwrap()
    );
    assert_eq!(db.alarms().unwrap(), []);
}

#[test]
fn a_schedule_goes_on_after_success_and_beside_a_dead_letter() {
    let folder = Folder::new();
    let mut db = folder.storage().database(key(1));
    let policy = AlarmPolicy::default();
    assert!(db.set_alarm("d", 1_000, policy, daily()).unwrap());
    db.end_turn().unwrap();
    assert!(db.set_alarm("d", 9_999, policy, daily()).unwrap());
    assert!(!db.in_turn(), "the same schedule is set already");

    let run = db.start_alarm(1_000).unwrap().unwrap();
    let done = AlarmOutcome::Done {
        next_ms: Some(2_000),
    };
    assert!(db.finish_alarm(&run, done).unwrap());
    let run = db.start_alarm(2_000).unwrap().unwrap();
    let dead = AlarmOutcome::Dead {
        error: "no",
        next_ms: Some(3_000),
    };
    assert!(db.finish_alarm(&run, dead).unwrap());
    let alarm = db.alarms().unwrap().remove(0);
    assert_eq!((alarm.due_ms, alarm.cron), (Some(3_000), daily()));
    assert_eq!(alarm.dead.unwrap().scheduled_ms, 2_000);
    let run = db.start_alarm(3_000).unwrap().unwrap();
    assert!(db.finish_alarm(&run, DONE).unwrap());
    assert!(
        db.alarms().unwrap()[0].dead.is_some(),
        "success elsewhere mends nothing"
    );
}

#[test]
fn there_is_an_end_to_names() {
    let folder = Folder::new();
    let mut db = folder.storage().database(key(1));
    for number in 0..MAX_ALARMS {
        set(&mut db, &format!("n{number}"), 1_000);
    }
    let policy = AlarmPolicy::default();
    assert!(!db.set_alarm("more", 1_000, policy, None).unwrap());
    assert!(db.set_alarm("n0", 2_000, policy, None).unwrap());
}

#[test]
fn files_tell_whose_alarms_they_hold_after_any_end() {
    let folder = Folder::new();
    let storage = folder.storage();
    for number in 1..=4 {
        let mut db = storage.database(key(number));
        db.exec("CREATE TABLE t (a)", &[]).unwrap();
        match number {
            1 => set(&mut db, "", 1_000_000),
            2 => {
                set(&mut db, "", 1);
                let run = db.start_alarm(1).unwrap().unwrap();
                let dead = AlarmOutcome::Dead {
                    error: "",
                    next_ms: None,
                };
                assert!(db.finish_alarm(&run, dead).unwrap());
            }
            3 => {
                set(&mut db, "", 2_000_000);
                db.end_turn().unwrap();
                db.delete_alarm("").unwrap();
            }
            _ => (),
        }
        db.end_turn().unwrap();
    }
    let found = |hints: Vec<AlarmHint>| {
        let mut found: Vec<_> = hints
            .into_iter()
            .map(|hint| (hint.id[0], hint.not_before_ms, hint.dead))
            .collect();
        found.sort_unstable();
        found
    };
    let wanted = [(1, Some(992_000), false), (2, None, true)];
    assert_eq!(found(hints(&storage)), wanted);
    storage.database(key(3)).delete_all().unwrap();
    drop(storage);
    assert_eq!(found(hints(&folder.storage())), wanted);
}

#[test]
fn guests_reach_neither_table_nor_header() {
    let folder = Folder::new();
    let mut db = folder.storage().database(key(1));
    set(&mut db, "", 5_000);
    for sql in [
        "SELECT * FROM _dormouse_alarms",
        "SELECT count(*) FROM _dormouse_alarms",
        "SELECT max(generation) FROM _dormouse_alarms",
        "DELETE FROM _dormouse_alarms WHERE name = ?",
        "PRAGMA application_id",
        "PRAGMA application_id = 7",
    ] {
        db.exec(sql, &[]).unwrap_err();
    }
    assert_eq!(db.alarm("").unwrap(), Some(5_000));
}

#[test]
fn a_file_tells_the_name_of_its_object() {
    let folder = Folder::new();
    let storage = folder.storage();
    let mut db = storage.database(key(1));
    set(&mut db, "", 5_000);
    db.end_turn().unwrap();
    drop(db);
    let nameless = dormouse_storage::ObjectKey {
        name: None,
        ..key(1)
    };
    assert_eq!(
        storage.database(nameless).name().unwrap().as_deref(),
        Some("room 1")
    );
}
