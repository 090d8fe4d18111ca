//! A full disk refuses turns before they run, loses nothing, and goes on when there is space.

use dormouse_storage::Error;

use crate::disk::Crash;
use crate::world::World;

#[test]
fn a_full_disk_refuses_turns_and_loses_nothing() {
    let mut refused = 0;
    for seed in 400..430 {
        let mut world = World::new(seed, None);
        world.travels = false;
        world.start().unwrap();
        for _ in 0..20 {
            world.step().unwrap();
        }
        world
            .disk
            .set_capacity(world.disk.used() + (seed as usize % 7) * 4096);
        for _ in 0..60 {
            match world.step() {
                Ok(()) => (),
                Err(Error::NoSpace) => refused += 1,
                Err(error) => panic!("seed {seed}: {error}"),
            }
        }
        if seed % 2 == 0 {
            world.disk.set_capacity(usize::MAX);
            for _ in 0..20 {
                world
                    .step()
                    .unwrap_or_else(|error| panic!("seed {seed}: with space again: {error}"));
            }
        }
        world.crash(Crash::CutSome);
        world.disk.set_capacity(usize::MAX);
        world.start().unwrap();
        world
            .check()
            .unwrap_or_else(|violation| panic!("seed {seed}: {}", violation.0));
    }
    assert!(refused > 30, "the disk was never full: {refused}");
}
