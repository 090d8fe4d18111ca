//! Rollout: a new version for some objects and requests, beside the current one.
//!
//! An object has one version at a time, by its id; as the share grows, those that have
//! the new one keep it. When the new version fails clearly more often than the current
//! one, the rollout is taken back. Used by `host`.

use std::sync::{Arc, PoisonError};

use super::deployments::Checked;
use super::{DeployError, Handle, Plan};
use crate::deploy::{Error as CatalogError, NewVersion, Rollout, Version};
use crate::tally::{Tally, judge};

/// What a rollout that was changed has become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RolledOut {
    /// So many of a hundred have it.
    To(Rollout),
    /// It is the current version.
    All(Rollout),
    /// Nobody has it any more.
    TakenBack(Rollout),
}

impl Handle {
    /// Serves a new version to `percent` of a hundred, 1 to 99. One that was being rolled
    /// out is taken back. On an error nothing has changed.
    pub async fn begin_rollout(
        &self,
        new: NewVersion,
        percent: u8,
    ) -> Result<(Version, Plan), DeployError> {
        let _one_at_a_time = self.deploying.lock().await;
        let checked = self.check(&new).await?;
        self.check_rollout(&checked)?;
        let (classes, now_ms) = (checked.plan.classes.clone(), self.now_ms());
        let version = self.catalog.add_rollout(new, classes, percent, now_ms)?;
        let plan = checked.plan.clone();
        self.begin(checked, &version, percent);
        Ok((version, plan))
    }

    /// Gives the version that is being rolled out to so many of a hundred: 100 makes it
    /// the current one, 0 takes it back.
    pub async fn set_rollout(&self, percent: u8) -> Result<RolledOut, DeployError> {
        let _one_at_a_time = self.deploying.lock().await;
        let rollout = self.catalog.rollout().ok_or(CatalogError::NoRollout)?;
        match percent {
            0 => Ok(RolledOut::TakenBack(self.take_back("asked for")?)),
            1..=99 => {
                let rollout = self.catalog.set_percent(percent)?;
                self.set_percent(percent);
                Ok(RolledOut::To(rollout))
            }
            _ => {
                let version = self.catalog.version(rollout.version)?;
                let app = self.catalog.app(&version)?;
                self.catalog
                    .set_current(version.number, self.catalog.classes())?;
                self.stop_watching();
                self.set_percent(100);
                self.set_manifest(app.manifest);
                Ok(RolledOut::All(rollout))
            }
        }
    }

    /// Goes on with a rollout after a start.
    pub async fn resume_rollout(&self) {
        let _one_at_a_time = self.deploying.lock().await;
        let Some(rollout) = self.catalog.rollout() else {
            return;
        };
        let begun = async {
            let version = self.catalog.version(rollout.version)?;
            let checked = self.check(&version.as_new()).await?;
            self.check_rollout(&checked)?;
            self.begin(checked, &version, rollout.percent);
            Ok::<_, DeployError>(())
        };
        if let Err(error) = begun.await {
            let reason = format!("it could not be served after a start: {error}");
            tracing::error!(version = rollout.version, "the rollout ends: {reason}");
            self.take_back(&reason).ok();
        }
    }

    /// No part of the rollout may be another class's, in either version.
    fn check_rollout(&self, checked: &Checked) -> Result<(), DeployError> {
        let plan = &checked.plan;
        let moved = checked.steps.classes != self.catalog.classes();
        if moved || !plan.added.is_empty() || !plan.removed.is_empty() {
            return Err(DeployError::OtherClasses);
        }
        Ok(())
    }

    fn begin(&self, checked: Checked, version: &Version, percent: u8) {
        let current = self.registry.served();
        let (old, new) = (current.tally.clone(), checked.served.tally.clone());
        old.watch();
        new.watch();
        let next = Arc::new(checked.served);
        self.registry
            .serve(self.registry.split().with(next, percent));
        self.workers.begin(checked.worker, percent);
        self.assets.begin(checked.manifest.assets, percent);
        let watcher = tokio::spawn(watch(self.clone(), version.number, old, new));
        let mut current = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = current.replace(watcher.abort_handle()) {
            before.abort();
        }
    }

    fn set_percent(&self, percent: u8) {
        self.registry.serve(self.registry.split().advanced(percent));
        self.workers.set_percent(percent);
        self.assets.set_percent(percent);
    }

    /// Everybody has the current version again, whatever the disk says of it.
    fn take_back(&self, reason: &str) -> Result<Rollout, DeployError> {
        self.set_percent(0);
        self.stop_watching();
        Ok(self.catalog.take_back(reason, self.now_ms())?)
    }

    /// Nobody looks at how a version does any more.
    pub(super) fn stop_watching(&self) {
        let split = self.registry.split();
        for served in [Some(split.main()), split.next()].into_iter().flatten() {
            served.tally.unwatch();
        }
        let mut watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watcher) = watcher.take() {
            watcher.abort();
        }
    }
}

/// Takes a version back when it fails clearly more often than the one before.
async fn watch(host: Handle, version: u64, old: Arc<Tally>, new: Arc<Tally>) {
    let reason = loop {
        new.failed().await;
        let clock = host.clock();
        if let Some(reason) = judge(old.lately(clock), new.lately(clock)) {
            break reason;
        }
    };
    let _one_at_a_time = host.deploying.lock().await;
    if host
        .catalog
        .rollout()
        .is_none_or(|now| now.version != version)
    {
        return;
    }
    // Whoever aborts this task from here on finds it at its end.
    match host.take_back(&reason) {
        Ok(rollout) => {
            let percent = rollout.percent;
            tracing::error!(version, percent, "the rollout was taken back: {reason}");
        }
        Err(error) => {
            tracing::error!(
                version,
                "the rollout was taken back: {reason}; after a start it begins again: {error}"
            );
        }
    }
}
