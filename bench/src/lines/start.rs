//! From the start of the process to the first answer.

use anyhow::Result;

use super::burst::start;
use crate::line::{Effort, Score};
use crate::peer::Peer;

pub(crate) async fn measure(peers: &[Peer], effort: Effort) -> Result<Vec<Score>> {
    let mut field = start(peers).await?;
    for _ in 0..effort.rounds {
        let mut next = Vec::new();
        for (running, mut score) in field {
            let (running, took) = running.restart().await?;
            score.samples.push(took.as_secs_f64() * 1e3);
            next.push((running, score));
        }
        field = next;
    }
    Ok(field.into_iter().map(|(_, score)| score).collect())
}
