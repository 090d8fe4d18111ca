//! A line of the benchmark: what is measured, in which unit, against which bar.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::lines::{
    Growth, Load, Quantile, alarms, burst, edit, growth, load, memory, rate, sockets, start, switch,
};
use crate::peer::Peer;
use crate::stats::Spread;

/// How much is done for each line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    /// Of each round of load.
    pub(crate) seconds: f64,
    pub(crate) quick: bool,
    /// Asked for, for the memory of one.
    pub(crate) sockets: Option<usize>,
}

impl Effort {
    pub(crate) const fn full() -> Self {
        Self {
            rounds: 5,
            seconds: 2.0,
            quick: false,
            sockets: None,
        }
    }

    pub(crate) const fn quick() -> Self {
        Self {
            rounds: 2,
            seconds: 1.0,
            quick: true,
            sockets: None,
        }
    }

    /// How many of something: all, or few for a quick run.
    pub(crate) const fn count(&self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }
}

/// What all lines share.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) effort: Effort,
    pub(crate) peers: Vec<Peer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Better {
    More,
    Less,
}

/// Who takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takers {
    All,
    Objects,
    /// Those with sleep and alarms.
    DurableObjects,
    /// Nobody else has it.
    Dormouse,
}

#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) better: Better,
    pub(crate) takers: Takers,
    pub(crate) bar: Option<Bar>,
    pub(crate) work: Work,
}

/// What we want to reach.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Bar {
    /// So many times better than workerd in the same run.
    TimesWorkerd(f64),
    /// So many of the unit.
    Absolute(f64),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    Load(Load),
    /// Requests a second, of this load.
    Rate(Load, f64),
    FirstTouch,
    Wake,
    MemoryAwake,
    MemoryAsleep,
    Echo,
    FanOut,
    SocketMemory,
    SocketWake,
    Alarms,
    Edit(Quantile),
    Start,
    Switch,
    Growth(Growth),
}

/// One peer's figures on one line.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Score {
    pub(crate) peer: String,
    pub(crate) samples: Vec<f64>,
    /// Processor time of the peer for each unit of work, in microseconds.
    pub(crate) cpu_us: Vec<f64>,
    /// What else is worth a column, such as `p99 ms`.
    pub(crate) notes: Vec<(String, f64)>,
    /// For a growth line: size and cost.
    pub(crate) points: Vec<(f64, f64)>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) unit: String,
    pub(crate) better: Better,
    pub(crate) bar: Option<Bar>,
    /// What grows, for a growth line.
    pub(crate) grows: Option<String>,
    pub(crate) scores: Vec<Score>,
}

impl Score {
    pub(crate) fn of(peer: &Peer) -> Self {
        Self {
            peer: peer.name.to_owned(),
            ..Self::default()
        }
    }

    pub(crate) fn spread(&self) -> Option<Spread> {
        Spread::of(&self.samples)
    }
}

impl Outcome {
    pub(crate) fn score(&self, peer: &str) -> Option<&Score> {
        self.scores.iter().find(|score| score.peer == peer)
    }

    /// How many times better the first is than the second: the median over the pairs of
    /// rounds, so that a disturbance hits both. `None` where one is nothing.
    pub(crate) fn ratio(&self, ours: &str, theirs: &str) -> Option<f64> {
        let (ours, theirs) = (self.score(ours)?, self.score(theirs)?);
        let pairs = ours.samples.iter().zip(&theirs.samples);
        let ratios: Vec<_> = pairs
            .map(|(ours, theirs)| match self.better {
                Better::More => ours / theirs,
                Better::Less => theirs / ours,
            })
            .collect();
        let median = Spread::of(&ratios)?.median;
        (median.is_finite() && median > 0.0).then_some(median)
    }
}

impl Line {
    pub(crate) async fn measure(&self, context: &Context) -> Result<Outcome> {
        let takes_part = |peer: &&Peer| match self.takers {
            Takers::All => true,
            Takers::Objects => peer.objects,
            Takers::DurableObjects => peer.durable_objects,
            Takers::Dormouse => peer.needs_host(),
        };
        let is_load = matches!(self.work, Work::Load(_));
        let peers = context.peers.iter().filter(takes_part);
        let peers = peers.filter(|peer| is_load || !peer.only_load());
        let peers: Vec<_> = peers.cloned().collect();
        let effort = context.effort;
        let scores = match self.work {
            Work::Load(work) => load::measure(self.name, work, &peers, effort).await,
            Work::Rate(work, rate) => rate::measure(work, rate, &peers, effort).await,
            Work::FirstTouch => burst::first_touch(&peers, effort).await,
            Work::Wake => burst::wake(&peers, effort).await,
            Work::MemoryAwake => memory::awake(&peers, effort).await,
            Work::MemoryAsleep => memory::asleep(&peers, effort).await,
            Work::Echo => sockets::echo(&peers, effort).await,
            Work::FanOut => sockets::fan_out(&peers, effort).await,
            Work::SocketMemory => sockets::memory(&peers, effort).await,
            Work::SocketWake => sockets::wake(&peers, effort).await,
            Work::Alarms => alarms::measure(&peers, effort).await,
            Work::Edit(quantile) => edit::measure(quantile, &peers, effort),
            Work::Start => start::measure(&peers, effort).await,
            Work::Switch => switch::measure(&peers, effort).await,
            Work::Growth(growth) => growth::measure(growth, &peers, effort).await,
        };
        let grows = match self.work {
            Work::Growth(growth) => Some(growth.what().to_owned()),
            _ => None,
        };
        Ok(Outcome {
            name: self.name.to_owned(),
            title: self.title.to_owned(),
            unit: self.unit.to_owned(),
            better: self.better,
            bar: self.bar,
            grows,
            scores: scores?,
        })
    }
}
