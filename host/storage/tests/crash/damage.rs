//! Damage: a flipped bit or a cut file is refused, named or repaired, never believed.
//!
//! One exception is in the nature of a log: damage to the batch that was written last, and
//! to no other, looks like a torn tail.

use crate::disk::{Crash, Rng};
use crate::world::{Violation, World};

/// A world at rest whose last batch may go missing.
fn at_rest(seed: u64) -> World {
    let mut world = World::new(seed, None);
    world.start().unwrap();
    for _ in 0..60 {
        world.step().unwrap();
    }
    world.settle().unwrap();
    let known = world.seen.clone();
    world.write(0).unwrap();
    world.write(1).unwrap();
    world.storage().commit().unwrap();
    world.crash(Crash::CutAll);
    world.seen = known;
    world
}

#[derive(Debug, Default)]
struct Outcomes {
    refused: u64,
    named: u64,
    harmless: u64,
}

#[test]
fn damage_is_refused_named_or_repaired() {
    let mut outcomes = Outcomes::default();
    for seed in 300..304 {
        let rest = at_rest(seed);
        let mut rng = Rng(seed);
        for round in 0..150 {
            let mut world = rest.fork();
            let files: Vec<_> = world
                .disk
                .files()
                .into_iter()
                .filter(|(_, bytes)| *bytes > 0)
                .collect();
            let (path, bytes) = files[rng.below(files.len() as u64) as usize].clone();
            let at = rng.below(bytes as u64) as usize;
            let cut = rng.percent(20);
            world.disk.damage(&path, |content| match cut {
                true => content.truncate(at),
                false => content[at] ^= 1 << (at % 8),
            });
            let what =
                format!("seed {seed}, round {round}: {path}, cut {cut}, byte {at} of {bytes}");
            match world.start() {
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    outcomes.refused += 1;
                }
                Ok(()) => match world
                    .check_readable()
                    .and_then(|hidden| world.check_readable_past().map(|()| hidden))
                {
                    Ok(0) => outcomes.harmless += 1,
                    Ok(_) => outcomes.named += 1,
                    Err(Violation(found)) => panic!("{what}: {found}"),
                },
            }
        }
    }
    println!("{outcomes:?}");
    assert!(
        outcomes.refused > 20 && outcomes.named > 20 && outcomes.harmless > 20,
        "{outcomes:?}"
    );
}
