//! Latency at a constant rate that every peer can hold.

use anyhow::Result;

use super::Load;
use crate::client;
use crate::line::{Effort, Score};
use crate::peer::Peer;

pub(crate) async fn measure(
    load: Load,
    rate: f64,
    peers: &[Peer],
    effort: Effort,
) -> Result<Vec<Score>> {
    let mut field = Vec::new();
    for peer in peers {
        let running = peer.run().await?;
        load.seed(&running).await?;
        let paths = load.paths(&running);
        client::at_rate(running.port, &paths, rate, 1.0).await?;
        field.push((running, paths, Score::of(peer)));
    }
    let mut middles = vec![Vec::new(); field.len()];
    for _ in 0..effort.rounds {
        for ((running, paths, score), middles) in field.iter_mut().zip(&mut middles) {
            let latencies = client::at_rate(running.port, paths, rate, effort.seconds).await?;
            let ms = |quantile| latencies.value_at_quantile(quantile) as f64 / 1e3;
            score.samples.push(ms(0.99));
            middles.push(ms(0.5));
        }
    }
    let scores = field.into_iter().zip(middles);
    Ok(scores
        .map(|((_, _, mut score), middles)| {
            let middle = crate::stats::Spread::of(&middles).map_or(0.0, |spread| spread.median);
            score.notes.push(("p50 ms".to_owned(), middle));
            score
        })
        .collect())
}
