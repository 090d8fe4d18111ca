//! How late alarms are when many are due in the same second.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};

use super::burst::start;
use crate::client::{Client, each_once};
use crate::line::{Effort, Score};
use crate::peer::{Peer, Running};
use crate::stats::Spread;

/// Alarms that show how long setting one takes.
const PROBES: usize = 400;
const CONNECTIONS: usize = 8;
const HOUR_MS: i64 = 3_600_000;

pub(crate) async fn measure(peers: &[Peer], effort: Effort) -> Result<Vec<Score>> {
    let alarms = effort.count(10_000, 200);
    let mut scores = Vec::new();
    for (running, mut score) in start(peers).await? {
        let mut lateness = fire(&running, alarms).await?;
        lateness.sort_by(f64::total_cmp);
        score.samples.push(lateness[lateness.len() * 99 / 100]);
        let middle = Spread::of(&lateness).map_or(0.0, |spread| spread.median);
        score.notes.push(("p50 ms".to_owned(), middle));
        score
            .notes
            .push(("last ms".to_owned(), lateness[lateness.len() - 1]));
        score.notes.push(("alarms".to_owned(), alarms as f64));
        scores.push(score);
    }
    Ok(scores)
}

/// Milliseconds after their time, of each alarm.
async fn fire(running: &Running, alarms: usize) -> Result<Vec<f64>> {
    let probes = (0..PROBES)
        .map(|n| running.path(&format!("p{n}"), &format!("/alarm/p{n}/set?in={HOUR_MS}")))
        .collect();
    let (_, took) = each_once(running.port, probes, CONNECTIONS).await?;
    // The first alarm lies beyond the time that it takes to set them all.
    let all_set = Duration::from_secs(3) + took * 2 * alarms as u32 / PROBES as u32;
    let due = now_ms() + all_set.as_millis() as i64;
    let setting = (0..CONNECTIONS).map(|first| async move {
        let mut client = Client::connect(running.port).await?;
        for n in (first..alarms).step_by(CONNECTIONS) {
            let spread = (n * 1000 / alarms) as i64;
            let in_ms = due + spread - now_ms();
            set(running, &mut client, &format!("a{n}"), in_ms).await?;
        }
        anyhow::Ok(())
    });
    futures_util::future::try_join_all(setting).await?;
    ensure!(now_ms() < due, "setting the alarms took too long");
    let rest = (due - now_ms()) as u64 + 6000;
    tokio::time::sleep(Duration::from_millis(rest)).await;
    let paths = (0..alarms)
        .map(|n| running.path(&format!("a{n}"), &format!("/alarm/a{n}/get")))
        .collect();
    let (bodies, _) = each_once(running.port, paths, CONNECTIONS).await?;
    bodies.iter().map(|body| lateness(body)).collect()
}

async fn set(running: &Running, client: &mut Client, object: &str, in_ms: i64) -> Result<()> {
    let path = format!("/alarm/{object}/set?in={in_ms}");
    client.get(&running.path(object, &path)).await.map(drop)
}

fn lateness(body: &str) -> Result<f64> {
    ensure!(!body.contains(';'), "an alarm fired twice: {body}");
    let (due, at) = body.split_once(',').context("an alarm did not fire")?;
    let (due, at): (i64, i64) = (due.parse()?, at.parse()?);
    ensure!(at >= due, "an alarm fired {} ms early", due - at);
    Ok((at - due) as f64)
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}
