//! WebSockets: echo, fan-out, what one costs, how fast a sleeping object answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::io::AsyncWriteExt as _;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Notify;

use super::burst::start;
use super::memory::ASLEEP;
use crate::frames::{self, Reader, Socket};
use crate::line::{Effort, Score};
use crate::machine;
use crate::peer::{Peer, Running};
use crate::report;
use crate::stats::Spread;

const ECHOES: usize = 64;
const READERS: usize = 1000;
/// Objects that many sockets are spread over.
const OBJECTS: usize = 100;

pub(crate) async fn echo(peers: &[Peer], effort: Effort) -> Result<Vec<Score>> {
    let mut field = Vec::new();
    for (running, score) in start(peers).await? {
        let sockets = open(&running, ECHOES, 1).await?;
        field.push((running, score, Some(sockets)));
    }
    for round in 0..=effort.rounds {
        for (running, score, slot) in &mut field {
            let sockets = slot.take().expect("put back after each round");
            let before = running.process.cpu_seconds()?;
            let (sockets, echoes) = echo_for(sockets, effort.seconds).await?;
            let cpu = running.process.cpu_seconds()? - before;
            *slot = Some(sockets);
            // The first round warms up.
            if round > 0 {
                score.samples.push(echoes as f64 / effort.seconds);
                score.cpu_us.push(cpu * 1e6 / echoes as f64);
            }
        }
    }
    Ok(field.into_iter().map(|(_, score, _)| score).collect())
}

async fn echo_for(sockets: Vec<Socket>, seconds: f64) -> Result<(Vec<Socket>, usize)> {
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let tasks = sockets.into_iter().map(|mut socket| {
        tokio::spawn(async move {
            let frame = frames::text("hello");
            let mut count = 0;
            while Instant::now() < end {
                socket.echo(&frame, "hello").await?;
                count += 1;
            }
            anyhow::Ok((socket, count))
        })
    });
    let done = futures_util::future::try_join_all(tasks).await?;
    let done = done.into_iter().collect::<Result<Vec<_>>>()?;
    let echoes = done.iter().map(|(_, count)| count).sum();
    Ok((done.into_iter().map(|(socket, _)| socket).collect(), echoes))
}

/// One message after the other, each when the one before has reached all.
pub(crate) async fn fan_out(peers: &[Peer], effort: Effort) -> Result<Vec<Score>> {
    let readers = effort.count(READERS, 200).min(most_sockets());
    let mut field = Vec::new();
    for (running, score) in start(peers).await? {
        let sockets = open(&running, readers, 1).await?;
        field.push((running, score, Audience::of(sockets)));
    }
    for round in 0..=effort.rounds {
        for (running, score, audience) in &mut field {
            let before = running.process.cpu_seconds()?;
            let (frames, took) = audience.hear_for(effort.seconds).await?;
            let cpu = running.process.cpu_seconds()? - before;
            if round > 0 {
                score.samples.push(frames as f64 / took.as_secs_f64());
                score.cpu_us.push(cpu * 1e6 / frames as f64);
            }
        }
    }
    Ok(field.into_iter().map(|(_, score, _)| score).collect())
}

/// Sockets of one object, all listening, one of them speaking.
struct Audience {
    speaker: OwnedWriteHalf,
    readers: usize,
    heard: Arc<AtomicUsize>,
    all_heard: Arc<Notify>,
    /// Kept open: a half that is dropped would close its socket.
    _silent: Vec<OwnedWriteHalf>,
}

impl Audience {
    fn of(sockets: Vec<Socket>) -> Self {
        let readers = sockets.len();
        let (heard, all_heard) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let mut writers = Vec::new();
        for Socket { reader, writer } in sockets {
            writers.push(writer);
            tokio::spawn(listen(reader, readers, heard.clone(), all_heard.clone()));
        }
        Self {
            speaker: writers.remove(0),
            readers,
            heard,
            all_heard,
            _silent: writers,
        }
    }

    async fn hear_for(&mut self, seconds: f64) -> Result<(usize, Duration)> {
        let frame = frames::text("broadcast");
        let began = Instant::now();
        let first = self.heard.load(Ordering::Relaxed);
        while began.elapsed().as_secs_f64() < seconds {
            self.speaker.write_all(&frame).await?;
            self.all_heard.notified().await;
        }
        let frames = self.heard.load(Ordering::Relaxed) - first;
        debug_assert!(frames.is_multiple_of(self.readers));
        Ok((frames, began.elapsed()))
    }
}

async fn listen(
    mut reader: Reader,
    readers: usize,
    heard: Arc<AtomicUsize>,
    all_heard: Arc<Notify>,
) {
    while let Ok(payload) = reader.next().await {
        assert_eq!(payload, b"broadcast");
        let count = heard.fetch_add(1, Ordering::Relaxed) + 1;
        if count.is_multiple_of(readers) {
            all_heard.notify_one();
        }
    }
}

/// Two series: the second finds what awake objects and handshakes need in the process
/// already, so what it adds is what sleeping sockets keep.
pub(crate) async fn memory(peers: &[Peer], effort: Effort) -> Result<Vec<Score>> {
    let most = most_sockets();
    let wanted = effort.sockets.unwrap_or(effort.count(10_000, 1000));
    let sockets = wanted.min(most * 2 / 3);
    let first = sockets.min(most - sockets);
    let mut scores = Vec::new();
    for (running, mut score) in start(peers).await? {
        let name = running.peer.name;
        match sleeping(&running, first, sockets).await {
            Ok(kib) => score.samples.push(kib),
            // Many hosts end long before the limit; the others are still measured.
            Err(error) if name != "dormouse" => {
                report::say(&format!("  {name} did not hold so many sockets: {error:#}"));
                continue;
            }
            Err(error) => return Err(error),
        }
        let all = (first + sockets) as f64;
        score.notes.push(("sockets in all".to_owned(), all));
        scores.push(score);
    }
    Ok(scores)
}

/// KiB that each of `sockets` adds, when there are `first` already.
async fn sleeping(running: &Running, first: usize, sockets: usize) -> Result<f64> {
    let mut open = open(running, first, OBJECTS).await?;
    tokio::time::sleep(ASLEEP).await;
    let before = running.process.memory_kib()?;
    open_more(running, &mut open, sockets, OBJECTS).await?;
    tokio::time::sleep(ASLEEP).await;
    let grown = running.process.memory_kib()? - before;
    Ok(grown.max(0.0) / sockets as f64)
}

pub(crate) async fn wake(peers: &[Peer], effort: Effort) -> Result<Vec<Score>> {
    let objects = effort.count(500, 100);
    let mut scores = Vec::new();
    for (running, mut score) in start(peers).await? {
        let mut sockets = open(&running, objects, objects).await?;
        tokio::time::sleep(ASLEEP).await;
        let frame = frames::text("hello");
        let mut waits = Vec::new();
        for socket in &mut sockets {
            let began = Instant::now();
            socket.echo(&frame, "hello").await?;
            waits.push(began.elapsed().as_secs_f64() * 1e3);
        }
        waits.sort_by(f64::total_cmp);
        score.samples.push(waits[waits.len() * 99 / 100]);
        let middle = Spread::of(&waits).map_or(0.0, |spread| spread.median);
        score.notes.push(("p50 ms".to_owned(), middle));
        scores.push(score);
    }
    Ok(scores)
}

/// Opens sockets, in turn on so many objects.
pub(super) async fn open(running: &Running, sockets: usize, objects: usize) -> Result<Vec<Socket>> {
    let mut opened = Vec::with_capacity(sockets);
    open_more(running, &mut opened, sockets, objects).await?;
    Ok(opened)
}

async fn open_more(
    running: &Running,
    opened: &mut Vec<Socket>,
    sockets: usize,
    objects: usize,
) -> Result<()> {
    for n in opened.len()..opened.len() + sockets {
        let object = format!("w{}", n % objects);
        let path = running.path(&object, &format!("/ws/{object}/connect"));
        opened.push(Socket::connect(running.port, &path, n).await?);
    }
    Ok(())
}

/// What the limit on open files leaves; each peer inherits ours.
pub(super) fn most_sockets() -> usize {
    machine::open_files().saturating_sub(1500)
}
