//! The participant: a store that answers its peers and pulls what it lacks.
//!
//! A state machine: each message gives frames to send and changes to save. A pull
//! asks one peer for tables, then rows, then cells, then values, and merges what it
//! was given as one change. Pulls live in memory only: one that is lost is made up
//! for by the next hashes.

use std::collections::BTreeMap;
use std::fmt;

use super::content::Content;
use super::encode::Encode;
use super::hash::Hash;
use super::hlc::{Clock, MAX_FUTURE_MS};
use super::message::{Envelope, Kind, Message, Response, compose};
use super::store::{Changes, Diff, Leaf, Store, Tables};
use super::{Random, random_id};

const MAX_PULLS: usize = 100;
const TRANSACTION_CHARACTERS: usize = 11;
const REQUEST_CHARACTERS: usize = 4;

/// The time (milliseconds since 1970) and the chance of an event.
pub struct Moment<'a> {
    pub now_ms: u64,
    pub random: &'a mut Random<'a>,
}

impl fmt::Debug for Moment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Moment");
        shown.field("now_ms", &self.now_ms).finish_non_exhaustive()
    }
}

/// A message on its way to one client, or, without an addressee, to all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    pub to: Option<String>,
    pub text: String,
}

/// What came of something: changes to save, then messages to send.
#[derive(Clone, Debug, Default)]
pub struct Received {
    pub changes: Changes,
    pub outgoing: Vec<Outgoing>,
}

/// A store with its clock and what it is waiting for.
#[derive(Debug)]
pub struct Participant {
    store: Store,
    clock: Clock,
    /// By request id.
    pulls: BTreeMap<String, Pull>,
    timeout_ms: u64,
}

#[derive(Clone, Debug)]
struct Pull {
    /// `None`: everybody was asked, and each may answer.
    peer: Option<String>,
    transaction: String,
    stage: Stage,
    /// The hash of the peer's values.
    values: Hash,
    kept: Vec<Diff>,
    began_ms: u64,
}

/// What a pull has asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Hashes,
    Tables,
    Rows,
    Cells,
    Values,
}

impl Stage {
    fn question(self) -> Kind {
        match self {
            Self::Hashes => Kind::GetContentHashes,
            Self::Tables => Kind::GetTableDiff,
            Self::Rows => Kind::GetRowDiff,
            Self::Cells => Kind::GetCellDiff,
            Self::Values => Kind::GetValueDiff,
        }
    }
}

impl Participant {
    /// `timeout_ms`: how long a peer may take for an answer.
    #[must_use]
    pub fn new(store: Store, mut clock: Clock, timeout_ms: u64, now_ms: u64) -> Self {
        clock.see(store.latest(), now_ms);
        Self {
            store,
            clock,
            pulls: BTreeMap::new(),
            timeout_ms,
        }
    }

    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Takes back what was merged and could not be kept: `store` is what was kept.
    pub fn restore(&mut self, store: Store) {
        self.store = store;
    }

    /// Asks everybody what they have, and tells them what is here: to be sent when
    /// clients may have gone on without this participant.
    pub fn greet(&mut self, moment: &mut Moment<'_>) -> Vec<Outgoing> {
        let transaction = random_id(moment.random, TRANSACTION_CHARACTERS);
        let pull = Pull::new(None, transaction, Hash(0), moment);
        let question = self.ask(pull, &(), moment);
        question
            .into_iter()
            .chain([self.announcement(moment)])
            .collect()
    }

    /// Takes a message of a client.
    pub fn receive(&mut self, from: &str, envelope: Envelope, moment: &mut Moment<'_>) -> Received {
        let id = envelope.request_id;
        let answer = |body: &dyn Encode| Received {
            outgoing: vec![Outgoing {
                to: Some(from.to_owned()),
                text: compose(id.as_deref(), Kind::Response, body),
            }],
            ..Received::default()
        };
        match envelope.message {
            Message::GetContentHashes => answer(&self.hashes()),
            Message::GetTableDiff(hashes) => answer(&self.store.table_diff(&hashes)),
            Message::GetRowDiff(hashes) => answer(&self.store.row_diff(&hashes)),
            Message::GetCellDiff(hashes) => answer(&self.store.cell_diff(&hashes)),
            Message::GetValueDiff(hashes) => answer(&self.store.value_diff(&hashes)),
            Message::ContentDiff(diff) => Received {
                changes: self.merge(vec![diff], moment),
                ..Received::default()
            },
            Message::ContentHashes(tables, values) => {
                let transaction =
                    id.unwrap_or_else(|| random_id(moment.random, TRANSACTION_CHARACTERS));
                let pull = Pull::new(Some(from.to_owned()), transaction, values, moment);
                self.begin(pull, tables, moment)
            }
            Message::Response(response) => {
                let pull = id.and_then(|id| self.answered(&id, from));
                let advance = |pull| self.advance(pull, &response, moment);
                pull.and_then(advance).unwrap_or_default()
            }
        }
    }

    /// Makes edits of the server's own; all clients get them as one change.
    pub fn edit(&mut self, edits: impl FnOnce(&mut Edit<'_>), moment: &mut Moment<'_>) -> Received {
        let mut edit = Edit {
            store: &self.store,
            clock: &mut self.clock,
            diff: Diff::default(),
            now_ms: moment.now_ms,
        };
        edits(&mut edit);
        let diff = edit.diff;
        if diff.is_empty() {
            return Received::default();
        }
        let id = random_id(moment.random, TRANSACTION_CHARACTERS);
        let text = compose(Some(&id), Kind::ContentDiff, &diff);
        Received {
            changes: self.store.merge(diff),
            outgoing: vec![Outgoing { to: None, text }],
        }
    }

    fn hashes(&self) -> (Hash, Hash) {
        (Hash(self.store.tables.hash), Hash(self.store.values.hash))
    }

    /// What has everybody pull that has something else.
    fn announcement(&self, moment: &mut Moment<'_>) -> Outgoing {
        let id = random_id(moment.random, TRANSACTION_CHARACTERS);
        Outgoing {
            to: None,
            text: compose(Some(&id), Kind::ContentHashes, &self.hashes()),
        }
    }

    /// Merges all or, if a stamp is too far ahead of the clock, nothing.
    fn merge(&mut self, diffs: Vec<Diff>, moment: &Moment<'_>) -> Changes {
        let latest = diffs.iter().map(Diff::latest).max().unwrap_or_default();
        if latest.time_ms() > moment.now_ms + MAX_FUTURE_MS {
            return Changes::default();
        }
        let merged = diffs.into_iter().map(|diff| self.store.merge(diff));
        let changes = merged.fold(Changes::default(), Changes::and);
        self.clock.see(latest, moment.now_ms);
        changes
    }

    /// Pulls what differs from a peer with these hashes.
    fn begin(&mut self, mut pull: Pull, tables: Hash, moment: &mut Moment<'_>) -> Received {
        if tables == self.hashes().0 {
            return self.go_on_with_values(pull, moment);
        }
        pull.stage = Stage::Tables;
        let hashes = self.store.table_hashes();
        self.ask_on(pull, &hashes, moment)
    }

    /// The pull that waits for this answer of this peer.
    fn answered(&mut self, id: &str, from: &str) -> Option<Pull> {
        match self.pulls.get(id)?.peer.as_deref() {
            None => Some(Pull {
                peer: Some(from.to_owned()),
                ..self.pulls.get(id)?.clone()
            }),
            Some(peer) if peer == from => self.pulls.remove(id),
            Some(_) => None,
        }
    }

    /// The next step; `None` if the answer is one to another question.
    fn advance(
        &mut self,
        mut pull: Pull,
        response: &Response,
        moment: &mut Moment<'_>,
    ) -> Option<Received> {
        Some(match pull.stage {
            Stage::Hashes => {
                let (tables, values) = response.hashes()?;
                pull.values = values;
                self.begin(pull, tables, moment)
            }
            Stage::Tables => {
                let (tables, differing) = response.tables_and()?;
                let hashes = self.store.row_hashes(&differing);
                self.dig(
                    pull,
                    tables,
                    Stage::Rows,
                    differing.is_empty(),
                    &hashes,
                    moment,
                )
            }
            Stage::Rows => {
                let (tables, differing) = response.tables_and()?;
                let hashes = self.store.cell_hashes(&differing);
                self.dig(
                    pull,
                    tables,
                    Stage::Cells,
                    differing.is_empty(),
                    &hashes,
                    moment,
                )
            }
            Stage::Cells => {
                pull.keep(response.tables()?);
                self.go_on_with_values(pull, moment)
            }
            Stage::Values => {
                pull.kept.push(Diff {
                    values: response.values()?,
                    ..Diff::default()
                });
                self.finish(pull, moment)
            }
        })
    }

    /// Keeps what is new and asks about what differs, if anything does.
    fn dig(
        &mut self,
        mut pull: Pull,
        tables: Tables,
        next: Stage,
        nothing_differs: bool,
        hashes: &impl Encode,
        moment: &mut Moment<'_>,
    ) -> Received {
        pull.keep(tables);
        if nothing_differs {
            return self.go_on_with_values(pull, moment);
        }
        pull.stage = next;
        self.ask_on(pull, hashes, moment)
    }

    fn go_on_with_values(&mut self, mut pull: Pull, moment: &mut Moment<'_>) -> Received {
        if pull.values == self.hashes().1 {
            return self.finish(pull, moment);
        }
        pull.stage = Stage::Values;
        let hashes = self.store.value_hashes();
        self.ask_on(pull, &hashes, moment)
    }

    /// Merges what was kept. Everybody hears of it: one who was pulling from a peer
    /// that left would otherwise never be told.
    fn finish(&mut self, pull: Pull, moment: &mut Moment<'_>) -> Received {
        let changes = self.merge(pull.kept, moment);
        let tell = changes.any.then(|| self.announcement(moment));
        Received {
            changes,
            outgoing: tell.into_iter().collect(),
        }
    }

    fn ask_on(&mut self, pull: Pull, body: &impl Encode, moment: &mut Moment<'_>) -> Received {
        Received {
            outgoing: self.ask(pull, body, moment).into_iter().collect(),
            ..Received::default()
        }
    }

    /// `None`: too many questions are open; the next hashes will ask again.
    fn ask(&mut self, pull: Pull, body: &dyn Encode, moment: &mut Moment<'_>) -> Option<Outgoing> {
        let timeout_ms = self.timeout_ms;
        self.pulls
            .retain(|_, pull| moment.now_ms.saturating_sub(pull.began_ms) <= timeout_ms);
        if self.pulls.len() >= MAX_PULLS {
            return None;
        }
        let suffix = random_id(moment.random, REQUEST_CHARACTERS);
        let id = format!("{}.{suffix}", pull.transaction);
        let outgoing = Outgoing {
            to: pull.peer.clone(),
            text: compose(Some(&id), pull.stage.question(), body),
        };
        let began_ms = moment.now_ms;
        self.pulls.insert(id, Pull { began_ms, ..pull });
        Some(outgoing)
    }
}

impl Pull {
    fn new(peer: Option<String>, transaction: String, values: Hash, moment: &Moment<'_>) -> Self {
        Self {
            peer,
            transaction,
            stage: Stage::Hashes,
            values,
            kept: Vec::new(),
            began_ms: moment.now_ms,
        }
    }

    fn keep(&mut self, tables: Tables) {
        self.kept.push(Diff {
            tables,
            ..Diff::default()
        });
    }
}

/// Edits made by the server itself.
#[derive(Debug)]
pub struct Edit<'a> {
    store: &'a Store,
    clock: &'a mut Clock,
    diff: Diff,
    now_ms: u64,
}

impl Edit<'_> {
    /// The store before these edits.
    #[must_use]
    pub fn store(&self) -> &Store {
        self.store
    }

    pub fn set_cell(&mut self, table: &str, row: &str, cell: &str, content: Content) {
        let leaf = self.leaf(content);
        let row = self.diff.tables.child(table).child(row);
        row.children.insert(cell.to_owned(), leaf);
    }

    pub fn del_cell(&mut self, table: &str, row: &str, cell: &str) {
        if self.store.cell(table, row, cell).is_some() {
            self.set_cell(table, row, cell, Content::UNDEFINED);
        }
    }

    /// Deletes all cells of a row, which is how a row goes.
    pub fn del_row(&mut self, table: &str, row: &str) {
        let store = self.store;
        let cells = store.tables.children.get(table);
        let cells = cells.and_then(|table| table.children.get(row));
        for cell in cells.into_iter().flat_map(|row| row.children.keys()) {
            self.del_cell(table, row, cell);
        }
    }

    pub fn set_value(&mut self, id: &str, content: Content) {
        let leaf = self.leaf(content);
        self.diff.values.children.insert(id.to_owned(), leaf);
    }

    pub fn del_value(&mut self, id: &str) {
        if self.store.value(id).is_some() {
            self.set_value(id, Content::UNDEFINED);
        }
    }

    fn leaf(&mut self, content: Content) -> Leaf {
        Leaf {
            content,
            hlc: self.clock.next(self.now_ms),
            hash: 0,
        }
    }
}

#[cfg(test)]
mod tests;
