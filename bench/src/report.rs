//! The results: kept as JSON, shown as a table in the terminal.

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::line::{Bar, Better, Outcome, Score};
use crate::machine::Machine;
use crate::stats::{Spread, short};

/// Whom we compare ourselves with, as named in `peer`.
pub(crate) const OURS: &str = "dormouse";
pub(crate) const THEIRS: &str = "workerd";

/// A whole run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) load_after: f64,
    pub(crate) outcomes: Vec<Outcome>,
}

impl Report {
    pub(crate) fn new(machine: Machine) -> Self {
        Self {
            machine,
            ..Self::default()
        }
    }

    /// What a run before this one has left.
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file);
        let text = text.with_context(|| format!("no results in {}", file.display()))?;
        let report = serde_json::from_str(&text);
        report.with_context(|| format!("{} holds no results; remove it", file.display()))
    }

    pub(crate) fn has(&self, line: &str) -> bool {
        self.outcomes.iter().any(|outcome| outcome.name == line)
    }

    pub(crate) fn add(&mut self, outcome: Outcome) {
        self.outcomes.push(outcome);
    }
}

/// What became of a bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Reached,
    Missed,
    /// Not asked, or the peer it is measured by took no part.
    Open,
}

impl Verdict {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Reached => "reached",
            Self::Missed => "missed",
            Self::Open => "–",
        }
    }
}

impl Outcome {
    pub(crate) fn verdict(&self) -> Verdict {
        let reached = match self.bar {
            None => None,
            Some(Bar::TimesWorkerd(times)) => self.ratio(OURS, THEIRS).map(|ratio| ratio >= times),
            Some(Bar::Absolute(limit)) => {
                let ours = self.score(OURS).and_then(Score::spread);
                ours.map(|ours| match self.better {
                    Better::More => ours.median >= limit,
                    Better::Less => ours.median <= limit,
                })
            }
        };
        match reached {
            Some(true) => Verdict::Reached,
            Some(false) => Verdict::Missed,
            None => Verdict::Open,
        }
    }

    pub(crate) fn bar_in_words(&self) -> String {
        match (self.bar, self.better) {
            (None, _) => "–".to_owned(),
            (Some(Bar::TimesWorkerd(times)), _) => format!("{times}× workerd"),
            (Some(Bar::Absolute(limit)), Better::Less) => format!("≤ {}", short(limit)),
            (Some(Bar::Absolute(limit)), Better::More) => format!("≥ {}", short(limit)),
        }
    }
}

pub(crate) fn print(outcome: &Outcome) {
    for score in &outcome.scores {
        say(&row(outcome, score));
    }
    for peer in outcome.scores.iter().map(|score| &score.peer) {
        if let Some(ratio) = outcome.ratio(OURS, peer).filter(|_| peer != OURS) {
            say(&format!("  {OURS} is {}× {peer}", short(ratio)));
        }
    }
    if outcome.bar.is_some() {
        let (bar, verdict) = (outcome.bar_in_words(), outcome.verdict().word());
        say(&format!("  bar: {bar}, {verdict}"));
    }
}

fn row(outcome: &Outcome, score: &Score) -> String {
    let mut text = format!("  {:<10}", score.peer);
    if let Some(Spread { median, min, max }) = score.spread() {
        let range = format!("({}–{})", short(min), short(max));
        text += &format!("{:>12} {} {range}", short(median), outcome.unit);
    }
    if let Some(cpu) = Spread::of(&score.cpu_us) {
        text += &format!("  {} µs of processor each", short(cpu.median));
    }
    for (name, value) in &score.notes {
        text += &format!("  {name} {}", short(*value));
    }
    let points = score.points.iter();
    let points: Vec<_> = points
        .map(|(size, cost)| format!("{}: {}", short(*size), short(*cost)))
        .collect();
    if !points.is_empty() {
        let grows = outcome.grows.as_deref().unwrap_or_default();
        text += &format!("{} by {grows}: {}", outcome.unit, points.join(", "));
    }
    text
}

/// A line for whoever watches.
pub(crate) fn say(text: &str) {
    // A reader that went away stops nothing.
    let _ = writeln!(std::io::stdout(), "{text}");
}
