//! The host's side of alarms: finding them at the start, and what an operator may
//! ask. Used by `host`; decides nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use dormouse_storage::{Alarm, Storage};

use super::Handle;
use crate::alarm::{Address, Alarms, Deliver};
use crate::clock::Clock;
use crate::event::{AlarmAction, Kind, Reply};
use crate::id::ObjectId;

/// Before the folder is read again after an error.
const SCAN_RETRY: Duration = Duration::from_secs(10);

/// Looks for alarms while the host serves already; at once if storage has no threads
/// of its own, so that nothing happens beside the caller.
pub(super) fn look(storage: &Storage, alarms: &Alarms, clock: &Clock) {
    if storage.has_threads() {
        tokio::spawn(find(storage.clone(), alarms.clone(), clock.clone()));
    } else if let Err(error) = scan(storage, alarms) {
        tracing::error!("alarms may be late: {error}");
    }
}

async fn find(storage: Storage, alarms: Alarms, clock: Clock) {
    loop {
        let (storage, alarms) = (storage.clone(), alarms.clone());
        let scan = tokio::task::spawn_blocking(move || scan(&storage, &alarms));
        match scan.await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => tracing::error!("alarms may be late: {error}"),
            Err(panic) => tracing::error!("alarms may be late: {panic}"),
        }
        clock.sleep(SCAN_RETRY).await;
    }
}

fn scan(storage: &Storage, alarms: &Alarms) -> Result<(), dormouse_storage::Error> {
    let began = Instant::now();
    let mut classes: HashMap<String, Arc<str>> = HashMap::new();
    let mut found = 0_u64;
    storage.alarm_hints(&mut |hint| {
        let class = classes
            .entry(hint.namespace)
            .or_insert_with_key(|name| name.as_str().into());
        let address = Address {
            class: class.clone(),
            id: ObjectId::from_bytes(hint.id),
        };
        alarms.hint(address, hint.not_before_ms, hint.dead);
        found += 1;
    })?;
    let ms = began.elapsed().as_millis() as u64;
    tracing::debug!(objects = found, ms, "looked for alarms");
    Ok(())
}

impl Handle {
    /// The alarms and dead letters of one object; wakes nobody.
    pub async fn alarms(&self, object: &Address) -> anyhow::Result<Vec<Alarm>> {
        self.alarm_action(object, AlarmAction::List).await
    }

    /// Runs a dead letter again, now; the default alarm has the empty name. Answers
    /// with the alarms as they are then.
    pub async fn revive_alarm(&self, object: &Address, name: &str) -> anyhow::Result<Vec<Alarm>> {
        let action = AlarmAction::Revive(name.to_owned());
        self.alarm_action(object, action).await
    }

    /// Runs an alarm now, instead of at its time. Answers with the alarms as they are then.
    pub async fn hasten_alarm(&self, object: &Address, name: &str) -> anyhow::Result<Vec<Alarm>> {
        let action = AlarmAction::Hasten(name.to_owned());
        self.alarm_action(object, action).await
    }

    /// How many objects have an alarm to come, or one that is about to start.
    #[must_use]
    pub fn objects_with_alarms(&self) -> usize {
        self.alarms.len()
    }

    /// When the next object is to be looked at for an alarm: milliseconds since 1970,
    /// never later than the alarm.
    #[must_use]
    pub fn next_alarm_ms(&self) -> Option<i64> {
        self.alarms.next_ms()
    }

    /// Puts an object to sleep as soon as it has nothing to do.
    pub fn evict(&self, object: &Address) {
        self.registry.evict(object);
    }

    /// Puts every object to sleep as soon as it has nothing to do.
    pub fn evict_all(&self) {
        self.registry.evict_all();
    }

    /// Ends an object's instance whatever it does; what it committed stays.
    pub fn reset(&self, object: &Address) {
        self.registry.reset(object);
    }

    /// Whether an object has an instance or mail.
    #[must_use]
    pub fn is_awake(&self, object: &Address) -> bool {
        self.registry.is_awake(object)
    }

    /// Objects with dead letters.
    #[must_use]
    pub fn dead_letters(&self) -> Vec<Address> {
        self.alarms.dead()
    }

    async fn alarm_action(
        &self,
        object: &Address,
        action: AlarmAction,
    ) -> anyhow::Result<Vec<Alarm>> {
        let answer = Deliver::deliver(&self.registry, object, Kind::Alarms(action));
        let answer = answer.with_context(|| format!("no class `{}` is served", object.class))?;
        match answer.await.context("the object went away")?? {
            Reply::Alarms(alarms) => Ok(alarms),
            reply => anyhow::bail!("an unexpected reply: {reply:?}"),
        }
    }
}
