//! Requests a second at a number of requests in flight, and what one costs.

use anyhow::{Result, ensure};

use crate::client::Client;
use crate::line::{Effort, Score};
use crate::peer::{Peer, Running};
use crate::wrk;

/// Rows that each object's table begins with.
const ROWS: usize = 1000;
/// Different paths that a round asks for, over and over.
const PATHS: usize = 4000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Hello,
    Memory,
    Read,
    Write,
    Selects,
    Mix,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) kind: Kind,
    pub(crate) objects: usize,
    pub(crate) connections: usize,
}

pub(crate) async fn measure(
    line: &str,
    load: Load,
    peers: &[Peer],
    effort: Effort,
) -> Result<Vec<Score>> {
    let mut field = Vec::new();
    for peer in peers {
        let running = peer.run().await?;
        load.seed(&running).await?;
        let paths = load.paths(&running);
        let warm = wrk::load(&running, &paths, load.connections, 1.0).await?;
        field.push((running, paths, Score::of(peer), vec![warm]));
    }
    for _ in 0..effort.rounds {
        for (running, paths, score, loads) in &mut field {
            let round = wrk::load(running, paths, load.connections, effort.seconds).await?;
            score.samples.push(round.per_second());
            score.cpu_us.push(round.cpu_us);
            loads.push(round);
        }
    }
    let mut scores = Vec::new();
    for (running, _, mut score, loads) in field {
        let last = loads[loads.len() - 1];
        score.notes.push(("p50 ms".to_owned(), last.p50 / 1e3));
        score.notes.push(("p99 ms".to_owned(), last.p99 / 1e3));
        if load.kind == Kind::Write {
            let answers = loads.iter().map(|load| load.answers).sum();
            let cut_off = (loads.len() * load.connections) as u64;
            load.check_writes(line, running, answers, cut_off).await?;
        }
        scores.push(score);
    }
    Ok(scores)
}

impl Load {
    pub(crate) async fn seed(&self, running: &Running) -> Result<()> {
        let rows = match self.kind {
            Kind::Hello => return Ok(()),
            Kind::Memory => return self.touch(running).await,
            // What is written is counted, so it begins at nothing.
            Kind::Write => 0,
            Kind::Read | Kind::Selects | Kind::Mix => ROWS,
        };
        let mut client = Client::connect(running.port).await?;
        for n in 0..self.objects {
            let object = object(n);
            let path = running.path(&object, &format!("/sql/{object}/seed?k={rows}"));
            ensure!(client.number(&path).await? == rows as i64, "seeding failed");
        }
        Ok(())
    }

    /// Objects that were never asked before are another line's matter.
    async fn touch(&self, running: &Running) -> Result<()> {
        let mut client = Client::connect(running.port).await?;
        for n in 0..self.objects {
            let object = object(n);
            let path = running.path(&object, &format!("/mem/{object}/incr"));
            ensure!(client.number(&path).await? > 0, "touching {object} failed");
        }
        Ok(())
    }

    /// What is asked, always the same for the same load.
    pub(crate) fn paths(&self, running: &Running) -> Vec<String> {
        let mut dice = Dice(0x2545_f491_4f6c_dd1d);
        let path = |_| {
            let name = object(dice.below(self.objects));
            let k = dice.below(ROWS);
            let path = match (self.kind, dice.below(20)) {
                (Kind::Hello, _) => return running.path("hello", "/hello"),
                (Kind::Memory, _) | (Kind::Mix, 0..2) => format!("/mem/{name}/incr"),
                (Kind::Read, _) | (Kind::Mix, 2..15) => format!("/sql/{name}/read?k={k}"),
                (Kind::Write, _) | (Kind::Mix, 15..19) => format!("/sql/{name}/write?k={k}"),
                (Kind::Selects, _) => format!("/sql/{name}/n1?k=101"),
                (Kind::Mix, _) => format!("/sql/{name}/n1?k=20"),
            };
            running.path(&name, &path)
        };
        (0..PATHS).map(path).collect()
    }

    /// Kills the peer, starts it on what is left, and counts: every answer that was given
    /// must be there, and nothing beyond what was asked when a round was cut off.
    async fn check_writes(
        &self,
        line: &str,
        running: Running,
        answers: u64,
        cut_off: u64,
    ) -> Result<()> {
        let (name, running) = (running.peer.name, running.kill_and_start().await?);
        let mut client = Client::connect(running.port).await?;
        let mut sum = 0;
        for n in 0..self.objects {
            let object = object(n);
            let path = running.path(&object, &format!("/sql/{object}/sum"));
            sum += client.number(&path).await? as u64;
        }
        ensure!(
            (answers..=answers + cut_off).contains(&sum),
            "{line}: {name} gave {answers} answers to writes and holds {sum} after `kill -9`"
        );
        Ok(())
    }
}

fn object(n: usize) -> String {
    format!("o{n}")
}

/// Marsaglia's xorshift: no randomness is wanted, only variety.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % bound
    }
}
