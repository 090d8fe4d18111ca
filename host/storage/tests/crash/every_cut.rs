//! Fixed scenarios, cut at every single disk operation, also at every one of recovery.

use crate::disk::Crash;
use crate::world::{Violation, World};

const KINDS: [Crash; 6] = [
    Crash::Kill,
    Crash::CutNone,
    Crash::CutAll,
    Crash::CutSome,
    Crash::CutSome,
    Crash::CutSome,
];

fn scenario(seed: u64, steps: usize, end_after: Option<u64>) -> World {
    let mut world = World::new(seed, None);
    if let Some(end_after) = end_after {
        world.disk.end_after(end_after);
    }
    if world.start().is_err() {
        return world;
    }
    for _ in 0..steps {
        if world.step().is_err() {
            break;
        }
    }
    world
}

fn start_and_check(world: &mut World, what: &str) {
    if let Err(error) = world.start() {
        panic!("{what}: recovery refused: {error}");
    }
    if let Err(Violation(found)) = world.check() {
        panic!("{what}: {found}");
    }
    if let Err(Violation(found)) = world.check_past() {
        panic!("{what}: {found}");
    }
}

#[test]
fn a_crash_at_any_operation_loses_nothing_that_was_seen() {
    for seed in 100..104 {
        let total = scenario(seed, 30, None).disk.ops();
        for cut in 1..=total {
            for (round, kind) in KINDS.into_iter().enumerate() {
                let mut world = scenario(seed, 30, Some(cut));
                // Makes every round draw other sectors.
                world.disk.stir(round as u64);
                world.crash(kind);
                start_and_check(
                    &mut world,
                    &format!("seed {seed}, operation {cut} of {total}, {kind:?} {round}"),
                );
            }
        }
    }
}

#[test]
fn a_crash_at_any_operation_of_recovery_loses_nothing_that_was_seen() {
    for seed in 200..206 {
        let mut world = scenario(seed, 40, None);
        world.crash(Crash::CutSome);
        let mut whole = world.fork();
        let before = whole.disk.ops();
        start_and_check(&mut whole, &format!("seed {seed}"));
        let total = whole.disk.ops() - before;
        for cut in 1..=total {
            for (round, kind) in KINDS.into_iter().enumerate() {
                let what = format!(
                    "seed {seed}, operation {cut} of {total} in recovery, {kind:?} {round}"
                );
                let mut world = world.fork();
                world.disk.stir(round as u64);
                world.disk.end_after(cut);
                // It may get through when the last operation is the one that is cut.
                let _ = world.start();
                world.crash(kind);
                start_and_check(&mut world, &what);
            }
        }
    }
}
