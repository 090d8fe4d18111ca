//! Crash: the machine goes off at a chosen moment, and at every moment there is.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use dormouse_storage::simulated::{Crash, SimDisk};

use crate::host::{Builder, TestHost};
use crate::outcome;

/// When the host is to crash, counted from now and from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashAt {
    /// During the nth operation that changes the disk: a write, a sync, a new name.
    Operation(u64),
    /// When the nth sync is about to begin. A commit is one sync of the log.
    BeforeSync(u64),
    /// When the nth sync is done, before anybody hears of it.
    AfterSync(u64),
}

impl CrashAt {
    pub(crate) fn arm(self, disk: &SimDisk) {
        match self {
            Self::Operation(nth) => disk.end_after(nth),
            Self::BeforeSync(nth) => disk.end_at_sync(nth, false),
            Self::AfterSync(nth) => disk.end_at_sync(nth, true),
        }
    }
}

/// What a test's own code is unwound with when the machine goes off.
pub(crate) struct Crashed;

/// Proves that an app recovers wherever a crash hits it.
///
/// Runs `scenario` on a fresh host once for every operation that changes the disk,
/// and lets the machine go off during just that operation: once as a process that is
/// killed, once as a machine that loses its power with none, with all and with some
/// of what was not synced. After each crash the host starts again, and `check` must
/// hold. `scenario` writes down in `S` what was acknowledged, as a client would.
/// Where it is cut off, its code unwinds silently. Answers how many crashes there
/// were.
///
/// # Panics
/// When `check` or `scenario` does; the moment of the crash is printed.
///
/// ```no_run
/// # use dormouse_testing::{TestHost, for_every_crash_point};
/// for_every_crash_point(
///     TestHost::builder(),
///     |host, acknowledged: &mut u64| {
///         for _ in 0..3 {
///             let response = host.object("Counter", "alice").get("/");
///             *acknowledged = response.text().trim().parse().unwrap();
///         }
///     },
///     |host, acknowledged| {
///         let next: u64 = host.object("Counter", "alice").get("/").text().trim().parse().unwrap();
///         assert!(next > *acknowledged, "a count that was acknowledged is lost");
///     },
/// );
/// ```
pub fn for_every_crash_point<S: Default>(
    builder: Builder,
    scenario: impl Fn(&TestHost, &mut S),
    check: impl Fn(&TestHost, &S),
) -> u64 {
    let operations = count(&builder, &scenario, &check);
    let ways = [Crash::Kill, Crash::CutNone, Crash::CutAll, Crash::CutSome];
    for nth in 1..=operations {
        for how in ways {
            let told = || format!("the crash at operation {nth} of {operations}, {how:?}");
            let host = builder.clone().start();
            host.crash_at(CrashAt::Operation(nth));
            let mut seen = S::default();
            let run = || {
                scenario(&host, &mut seen);
                finish(&host);
            };
            match catch_unwind(AssertUnwindSafe(run)) {
                Err(payload) if payload.is::<Crashed>() => (),
                Err(payload) => {
                    outcome::say(&format!("{} was on its way when this failed", told()));
                    resume_unwind(payload);
                }
                // The last ones may come after the end of the scenario.
                Ok(()) => host.disk().never_end(),
            }
            host.recover(how);
            let checked = catch_unwind(AssertUnwindSafe(|| check(&host, &seen)));
            if let Err(payload) = checked {
                outcome::say(&format!("{} is not recovered from", told()));
                resume_unwind(payload);
            }
        }
    }
    operations * ways.len() as u64
}

/// How many operations there are when nothing goes wrong.
fn count<S: Default>(
    builder: &Builder,
    scenario: &impl Fn(&TestHost, &mut S),
    check: &impl Fn(&TestHost, &S),
) -> u64 {
    let host = builder.clone().start();
    let before = host.disk().ops();
    let mut seen = S::default();
    scenario(&host, &mut seen);
    finish(&host);
    let operations = host.disk().ops() - before;
    check(&host, &seen);
    operations
}

/// Crashes may also hit what the host does when all is said.
fn finish(host: &TestHost) {
    host.settle();
    // It fails when the machine goes off meanwhile, which the next line tells.
    let _ = host.host().storage().checkpoint();
    host.settle();
}
