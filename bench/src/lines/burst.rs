//! Objects that are touched for the first time, and such as sleep.

use anyhow::Result;

use crate::client;
use crate::line::{Effort, Score};
use crate::peer::{Peer, Running};

pub(crate) async fn first_touch(peers: &[Peer], effort: Effort) -> Result<Vec<Score>> {
    let objects = effort.count(1000, 200);
    let mut field = start(peers).await?;
    for round in 0..effort.rounds {
        for (running, score) in &mut field {
            let paths = paths(running, round, objects, "write?k=1");
            let before = running.process.cpu_seconds()?;
            let (_, took) = client::each_once(running.port, paths, 16).await?;
            let cpu = running.process.cpu_seconds()? - before;
            score.samples.push(objects as f64 / took.as_secs_f64());
            score.cpu_us.push(cpu * 1e6 / objects as f64);
        }
    }
    Ok(field.into_iter().map(|(_, score)| score).collect())
}

/// A host that was just started has all its objects asleep.
pub(crate) async fn wake(peers: &[Peer], effort: Effort) -> Result<Vec<Score>> {
    let objects = effort.count(500, 100);
    let mut scores = Vec::new();
    for (mut running, mut score) in start(peers).await? {
        let writes = paths(&running, 0, objects * effort.rounds, "write?k=1");
        let reads = paths(&running, 0, objects * effort.rounds, "read?k=1");
        client::each_once(running.port, writes, 16).await?;
        (running, _) = running.restart().await?;
        for reads in reads.chunks(objects) {
            let before = running.process.cpu_seconds()?;
            let (_, took) = client::each_once(running.port, reads.to_vec(), 1).await?;
            let cpu = running.process.cpu_seconds()? - before;
            score
                .samples
                .push(took.as_secs_f64() * 1e3 / objects as f64);
            score.cpu_us.push(cpu * 1e6 / objects as f64);
        }
        scores.push(score);
    }
    Ok(scores)
}

pub(super) async fn start(peers: &[Peer]) -> Result<Vec<(Running, Score)>> {
    let mut field = Vec::new();
    for peer in peers {
        field.push((peer.run().await?, Score::of(peer)));
    }
    Ok(field)
}

pub(super) fn paths(running: &Running, series: usize, objects: usize, ask: &str) -> Vec<String> {
    let path = |n| {
        let object = format!("s{series}-{n}");
        running.path(&object, &format!("/sql/{object}/{ask}"))
    };
    (0..objects).map(path).collect()
}
