//! What an object costs in memory, awake and asleep.
//!
//! Anonymous resident memory of the whole process, before and after. The first objects
//! pay for pools and caches that later ones share, so they are not counted.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::burst::{paths, start};
use crate::client;
use crate::line::{Effort, Score};
use crate::peer::{Peer, Running};

/// Objects go to sleep after ten seconds; the host then needs a moment.
pub(super) const ASLEEP: Duration = Duration::from_secs(12);
/// No object that was touched within this time is asleep yet.
const STILL_AWAKE: Duration = Duration::from_secs(8);
/// Until a host has carried what a sleeping object wrote from memory to its file.
const AT_REST: Duration = Duration::from_secs(40);

/// Objects that have a database already are woken by a read: what writing needs
/// belongs to the host, and is found in the process or not as chance will have it.
pub(crate) async fn awake(peers: &[Peer], effort: Effort) -> Result<Vec<Score>> {
    let objects = effort.count(2000, 500);
    let mut scores = Vec::new();
    for (running, mut score) in start(peers).await? {
        touch(&running, 0, objects / 5).await?;
        touch(&running, 1, objects).await?;
        let (running, _) = running.restart().await?;
        wake(&running, 0, objects / 5).await?;
        let before = running.process.memory_kib()?;
        let woken = wake(&running, 1, objects).await?;
        let grown = running.process.memory_kib()? - before;
        score.samples.push(grown / woken as f64);
        score.notes.push(("objects".to_owned(), woken as f64));
        scores.push(score);
    }
    Ok(scores)
}

/// Reads one object after the other, until the first might fall asleep.
async fn wake(running: &Running, series: usize, objects: usize) -> Result<usize> {
    let paths = paths(running, series, objects, "read?k=1");
    let began = Instant::now();
    let mut woken = 0;
    for some in paths.chunks(100) {
        if began.elapsed() < STILL_AWAKE {
            client::each_once(running.port, some.to_vec(), 16).await?;
            woken += some.len();
        }
    }
    Ok(woken)
}

pub(crate) async fn asleep(peers: &[Peer], effort: Effort) -> Result<Vec<Score>> {
    let objects = effort.count(4000, 500);
    let rest = if effort.quick { ASLEEP } else { AT_REST };
    let mut field = start(peers).await?;
    let mut before = Vec::new();
    // Two series of the same size: the second finds the memory that awake objects need
    // in the process already, so what it adds is what sleeping ones keep.
    for (running, _) in &field {
        touch(running, 0, objects).await?;
    }
    tokio::time::sleep(rest).await;
    for (running, _) in &field {
        before.push(running.process.memory_kib()?);
        touch(running, 1, objects).await?;
    }
    tokio::time::sleep(rest).await;
    for ((running, score), before) in field.iter_mut().zip(before) {
        let grown = running.process.memory_kib()? - before;
        score.samples.push(grown.max(0.0) / objects as f64);
    }
    Ok(field.into_iter().map(|(_, score)| score).collect())
}

async fn touch(running: &Running, series: usize, objects: usize) -> Result<()> {
    let paths = paths(running, series, objects, "write?k=1");
    client::each_once(running.port, paths, 16).await?;
    Ok(())
}
