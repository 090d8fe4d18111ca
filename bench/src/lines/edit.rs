//! One edit of a TinyBase store, from client to client, through our object and
//! through TinyBase's own class in workerd: `bench/tinybase/edit.mjs` does the work.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::install;
use crate::line::{Effort, Score};
use crate::peer::Peer;

/// Of the edits of one round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quantile {
    P50,
    P99,
}

/// What the script prints: for each server, the figures of each round in ms.
#[derive(Debug, Deserialize)]
struct Rounds {
    p50: Vec<f64>,
    p99: Vec<f64>,
}

pub(crate) fn measure(quantile: Quantile, peers: &[Peer], effort: Effort) -> Result<Vec<Score>> {
    let edits = effort.count(1000, 200);
    let folder = install::tinybase_clients()?;
    let mut node = Command::new("node");
    node.arg("edit.mjs").current_dir(folder);
    node.args([install::host_binary(), install::component("tinybase")]);
    node.args([effort.rounds.to_string(), edits.to_string()]);
    let output = node.output().context("Node 20 or newer is needed")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{node:?}: {said}");
    let mut rounds: BTreeMap<String, Rounds> = serde_json::from_slice(&output.stdout)?;
    // The script always runs both; asked for are perhaps less.
    let scores = peers.iter().filter_map(|peer| {
        let rounds = rounds.remove(peer.name)?;
        let mut score = Score::of(peer);
        score.samples = match quantile {
            Quantile::P50 => rounds.p50,
            Quantile::P99 => rounds.p99,
        };
        score.notes.push(("edits a round".to_owned(), edits as f64));
        Some(score)
    });
    Ok(scores.collect())
}
