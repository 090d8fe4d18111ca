//! How costs grow: the same question asked as something else gets larger.

use std::time::Instant;

use anyhow::Result;

use super::burst::{paths, start};
use super::memory::ASLEEP;
use super::sockets::{most_sockets, open};
use super::{Kind, Load};
use crate::client::{Client, each_once};
use crate::frames;
use crate::line::{Effort, Score};
use crate::peer::{Peer, Running};
use crate::stats::Spread;
use crate::wrk;

/// A size is asked about so often; the median counts.
const ASKS: usize = 200;
/// Ballast is written in portions of so many MiB.
const PORTION: usize = 16;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Growth {
    Objects,
    Start,
    Sockets,
    Database,
    Log,
}

impl Growth {
    pub(crate) const fn what(self) -> &'static str {
        match self {
            Self::Objects | Self::Start => "objects on disk",
            Self::Sockets => "open sockets",
            Self::Database => "MiB in the database",
            Self::Log => "durable writes before",
        }
    }

    const fn sizes(self, effort: Effort) -> &'static [usize] {
        match (self, effort.quick) {
            (Self::Objects | Self::Start, true) => &[1, 100, 1000],
            (Self::Objects | Self::Start, false) => &[1, 100, 1000, 10_000],
            (Self::Sockets, true) => &[1, 100, 1000],
            (Self::Sockets, false) => &[1, 100, 1000, 10_000],
            (Self::Database, true) => &[1, 16],
            (Self::Database, false) => &[1, 16, 128, 1024],
            (Self::Log, true) => &[1000, 10_000],
            (Self::Log, false) => &[1000, 10_000, 50_000, 200_000],
        }
    }
}

pub(crate) async fn measure(growth: Growth, peers: &[Peer], effort: Effort) -> Result<Vec<Score>> {
    let mut scores = Vec::new();
    for (running, mut score) in start(peers).await? {
        let sizes = growth.sizes(effort);
        score.points = match growth {
            Growth::Objects => objects(running, sizes).await?,
            Growth::Start => starts(running, sizes).await?,
            Growth::Sockets => sockets(running, sizes).await?,
            Growth::Database => database(running, sizes).await?,
            Growth::Log => log(running, sizes).await?,
        };
        scores.push(score);
    }
    Ok(scores)
}

async fn objects(running: Running, sizes: &[usize]) -> Result<Vec<(f64, f64)>> {
    let mut points = Vec::new();
    for (at, &size) in sizes.iter().enumerate() {
        make_objects(&running, at, sizes).await?;
        points.push((size as f64, ask(&running, "read?k=1").await?));
    }
    Ok(points)
}

async fn starts(mut running: Running, sizes: &[usize]) -> Result<Vec<(f64, f64)>> {
    let mut points = Vec::new();
    for (at, &size) in sizes.iter().enumerate() {
        make_objects(&running, at, sizes).await?;
        let mut times = Vec::new();
        for _ in 0..3 {
            let (again, took) = running.restart().await?;
            running = again;
            times.push(took.as_secs_f64() * 1e3);
        }
        points.push((size as f64, median(&times)));
    }
    Ok(points)
}

/// As many as are missing from the size before to this one.
async fn make_objects(running: &Running, at: usize, sizes: &[usize]) -> Result<()> {
    let before = if at == 0 { 0 } else { sizes[at - 1] };
    let paths = paths(running, at, sizes[at] - before, "write?k=1");
    each_once(running.port, paths, 16).await?;
    Ok(())
}

async fn sockets(running: Running, sizes: &[usize]) -> Result<Vec<(f64, f64)>> {
    let mut points = Vec::new();
    let mut sleeping = Vec::new();
    let frame = frames::text("hello");
    for &size in sizes {
        let size = size.min(most_sockets());
        sleeping.extend(open(&running, size - sleeping.len(), 100).await?);
        tokio::time::sleep(ASLEEP).await;
        let path = running.path("hot", "/ws/hot/connect");
        let mut hot = frames::Socket::connect(running.port, &path, 0).await?;
        let mut waits = Vec::new();
        for _ in 0..ASKS {
            let began = Instant::now();
            hot.echo(&frame, "hello").await?;
            waits.push(began.elapsed().as_secs_f64() * 1e6);
        }
        points.push((size as f64, median(&waits)));
    }
    Ok(points)
}

async fn database(mut running: Running, sizes: &[usize]) -> Result<Vec<(f64, f64)>> {
    let mut points = Vec::new();
    let mut filled = 0;
    for &size in sizes {
        let mut client = Client::connect(running.port).await?;
        client
            .get(&running.path("big", "/sql/big/write?k=1"))
            .await?;
        while filled < size {
            let portion = PORTION.min(size - filled);
            let path = format!("/sql/big/fill?k={portion}");
            client.get(&running.path("big", &path)).await?;
            filled += portion;
        }
        let mut waits = Vec::new();
        for _ in 0..3 {
            (running, _) = running.restart().await?;
            let mut client = Client::connect(running.port).await?;
            // Another object first: what a process does once is not asked about.
            client
                .get(&running.path("small", "/sql/small/read?k=1"))
                .await?;
            let path = running.path("big", "/sql/big/read?k=1");
            let began = Instant::now();
            client.get(&path).await?;
            waits.push(began.elapsed().as_secs_f64() * 1e6);
        }
        points.push((size as f64, median(&waits)));
    }
    Ok(points)
}

async fn log(running: Running, sizes: &[usize]) -> Result<Vec<(f64, f64)>> {
    let load = Load {
        kind: Kind::Write,
        objects: 100,
        connections: 64,
    };
    load.seed(&running).await?;
    let paths = load.paths(&running);
    let mut points = Vec::new();
    let mut written = 0;
    for &size in sizes {
        // A slow peer is not waited for: the last size is what it reached.
        let deadline = Instant::now() + std::time::Duration::from_secs(20);
        while written < size && Instant::now() < deadline {
            let load = wrk::load(&running, &paths, load.connections, 1.0).await?;
            written += load.answers as usize;
        }
        points.push((written as f64, ask(&running, "write?k=1").await?));
    }
    Ok(points)
}

/// The median time of a request to one object, in microseconds.
async fn ask(running: &Running, what: &str) -> Result<f64> {
    let mut client = Client::connect(running.port).await?;
    let path = running.path("hot", &format!("/sql/hot/{what}"));
    let mut waits = Vec::new();
    for _ in 0..ASKS {
        let began = Instant::now();
        client.get(&path).await?;
        waits.push(began.elapsed().as_secs_f64() * 1e6);
    }
    Ok(median(&waits))
}

fn median(samples: &[f64]) -> f64 {
    Spread::of(samples).map_or(0.0, |spread| spread.median)
}
