//! Retry: what follows a failed run, as pure functions.
//!
//! Asked by the guest room (a handler that answered `err`), the object room (a
//! reset) and the index (faults of the host). Delays are those of the Workers
//! platform: 2 s doubling, up to a quarter more at random.

use std::time::Duration;

use dormouse_storage::Alarm;

use crate::event::{Fault, Reset};

/// A handler that takes longer has failed.
pub const RUN_LIMIT: Duration = Duration::from_secs(15 * 60);
const FIRST_DELAY_MS: i64 = 2_000;
const MAX_RETRIES: u32 = 6;
/// Delays double up to here: 1,024 s by default.
const MAX_DOUBLINGS: u32 = 9;

/// What becomes of an alarm whose run failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    RetryAt { ms: i64 },
    Dead,
}

/// Whether a failure is the guest's and counts towards the dead letter. Faults of
/// the host and of the disk do not.
#[must_use]
pub const fn counts(fault: &Fault) -> bool {
    match fault {
        Fault::Guest(_) => true,
        Fault::Reset(reset) => match reset {
            Reset::Trap(_)
            | Reset::Cpu { .. }
            | Reset::Memory { .. }
            | Reset::ConstructTimeout { .. }
            | Reset::Section(_)
            | Reset::SectionTimeout { .. }
            | Reset::AlarmTimeout { .. }
            | Reset::SocketTimeout { .. } => true,
            Reset::Ended(_)
            | Reset::Storage(_)
            | Reset::Replaced { .. }
            | Reset::Operator
            | Reset::ShuttingDown => false,
        },
        Fault::Overloaded { .. }
        | Fault::Exhausted(_)
        | Fault::Away(_)
        | Fault::Late { .. }
        | Fault::ShuttingDown
        | Fault::Declared { .. }
        | Fault::BadCall(_)
        | Fault::Reentrant { .. } => false,
    }
}

/// After a counted failure of `alarm` at `now_ms`.
#[must_use]
pub fn verdict(alarm: &Alarm, now_ms: i64, random: u64) -> Verdict {
    if alarm.retries >= alarm.policy.max_retries.unwrap_or(MAX_RETRIES) {
        return Verdict::Dead;
    }
    let first = alarm.policy.first_delay_ms.unwrap_or(FIRST_DELAY_MS);
    let delay = delay_ms(first, alarm.retries, random);
    Verdict::RetryAt {
        ms: now_ms.saturating_add(delay),
    }
}

/// How long a fault of the host holds an object's alarms back.
pub(super) fn hold_ms(faults: u32, random: u64) -> i64 {
    delay_ms(FIRST_DELAY_MS, faults, random)
}

fn delay_ms(first: i64, failures: u32, random: u64) -> i64 {
    let plain = first.saturating_mul(1 << failures.min(MAX_DOUBLINGS));
    let quarter = plain as u64 / 4;
    plain.saturating_add((random % (quarter + 1)) as i64)
}

#[cfg(test)]
mod tests {
    use dormouse_storage::AlarmPolicy;

    use super::*;

    fn alarm(retries: u32, policy: AlarmPolicy) -> Alarm {
        Alarm {
            name: String::new(),
            generation: 1,
            scheduled_ms: Some(0),
            due_ms: Some(0),
            retries,
            policy,
            cron: None,
            dead: None,
        }
    }

    #[test]
    fn delays_double_with_jitter_and_end_after_six_retries() {
        let plain = [2_000, 4_000, 8_000, 16_000, 32_000, 64_000];
        for (retries, delay) in (0..).zip(plain) {
            let alarm = alarm(retries, AlarmPolicy::default());
            let at = |random| verdict(&alarm, 1_000, random);
            let bound = delay as u64 / 4;
            assert_eq!(at(0), Verdict::RetryAt { ms: 1_000 + delay });
            let latest = 1_000 + delay + delay / 4;
            assert_eq!(at(bound), Verdict::RetryAt { ms: latest });
            assert_eq!(at(bound + 1), at(0));
        }
        let last = alarm(6, AlarmPolicy::default());
        assert_eq!(verdict(&last, 1_000, 0), Verdict::Dead);
    }

    #[test]
    fn an_alarm_may_have_a_policy_of_its_own() {
        let policy = AlarmPolicy {
            max_retries: Some(20),
            first_delay_ms: Some(100),
        };
        let at = |retries| verdict(&alarm(retries, policy), 0, 0);
        assert_eq!(at(0), Verdict::RetryAt { ms: 100 });
        assert_eq!(at(9), Verdict::RetryAt { ms: 51_200 });
        assert_eq!(at(19), Verdict::RetryAt { ms: 51_200 }, "no further");
        assert_eq!(at(20), Verdict::Dead);
    }
}
