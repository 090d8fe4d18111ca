//! Schedule: the same scenario in many orders of what may happen in any order.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::host::{Builder, TestHost};
use crate::outcome;

/// Finds what depends on an order that nobody promises.
///
/// Runs `scenario` on a fresh host once for each seed. Requests that the scenario has
/// under way at the same time ([`Object::start_fetch`](crate::Object::start_fetch))
/// arrive, interleave at awaits and come back in an order that follows from the seed;
/// what the host promises to keep in order stays in order. A seed repeats its order
/// exactly.
///
/// # Panics
/// When `scenario` does; the seed is printed, and `seed..seed + 1` runs it alone.
///
/// ```no_run
/// # use dormouse_testing::{TestHost, for_every_schedule};
/// for_every_schedule(0..100, TestHost::builder(), |host| {
///     let counter = host.object("Counter", "alice");
///     let both = [counter.start_fetch("/"), counter.start_fetch("/")];
///     let mut counts = both.map(|one| one.wait().text().to_owned());
///     counts.sort();
///     assert_eq!(counts, ["1\n", "2\n"]);
/// });
/// ```
pub fn for_every_schedule(seeds: Range<u64>, builder: Builder, scenario: impl Fn(&TestHost)) {
    for seed in seeds {
        let host = builder.clone().shuffled(seed).start();
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| scenario(&host))) {
            outcome::say(&format!("it fails in the order of seed {seed}"));
            resume_unwind(payload);
        }
    }
}
