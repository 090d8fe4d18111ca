//! Gate: shut while one event of an instance wants to be alone.
//!
//! Kept in the context, opened and shut by the imports `gate` and `transaction`, asked
//! by the instance's loop: while it is shut no event starts. That the other events'
//! code stands still, too, is the guest's part; the host could not stop it. Sections
//! nest; one that ends takes those inside it along.

use dormouse_storage::SavepointId;

/// Sections inside each other; Cloudflare's limit.
const MAX_DEPTH: usize = 64;

/// Names a section; never used twice in an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SectionId(u64);

#[derive(Debug)]
struct Section {
    id: SectionId,
    transaction: Option<SavepointId>,
}

#[derive(Debug, Default)]
pub(super) struct Gate {
    /// The outermost first; all of one event.
    sections: Vec<Section>,
    /// The event's number in its instance.
    holder: Option<u64>,
    last: u64,
    /// How many of the turn's effects are older than the transaction that is open.
    pub(super) effects_before: usize,
}

/// Why a section cannot begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("blockConcurrencyWhile() calls are nested too deeply.")]
    TooDeep,
    #[error(
        "another event of the object has a critical section open; nothing else may run until it ends"
    )]
    Shut,
}

/// Carries the failure of a section through wasmtime's error to the instance.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct SectionFailed(pub(super) String);

impl Gate {
    /// The outermost open section.
    pub(super) fn section(&self) -> Option<SectionId> {
        self.sections.first().map(|section| section.id)
    }

    /// The number of the event that shut the gate; `None` while it is open, and for a
    /// constructor.
    pub(super) fn holder(&self) -> Option<u64> {
        self.holder
    }

    /// Whether the event `by` may begin a section now.
    pub(super) fn check(&self, by: Option<u64>) -> Result<(), Refusal> {
        if !self.sections.is_empty() && self.holder() != by {
            return Err(Refusal::Shut);
        }
        if self.sections.len() >= MAX_DEPTH {
            return Err(Refusal::TooDeep);
        }
        Ok(())
    }

    /// Begins a section of the event `by`, which was checked.
    pub(super) fn enter(&mut self, by: Option<u64>, transaction: Option<SavepointId>) -> SectionId {
        self.last += 1;
        let id = SectionId(self.last);
        self.holder = by;
        self.sections.push(Section { id, transaction });
        id
    }

    /// Ends a section; once more, or after an outer one, does nothing. Answers with the
    /// outermost transaction that ends by it.
    pub(super) fn leave(&mut self, id: SectionId) -> Option<SavepointId> {
        let at = self.sections.iter().position(|section| section.id == id)?;
        let mut ended = self.sections.drain(at..);
        let transaction = ended.find_map(|section| section.transaction);
        drop(ended);
        if self.sections.is_empty() {
            self.holder = None;
        }
        transaction
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_of_one_event_nest_and_others_stay_out() {
        let mut gate = Gate::default();
        assert_eq!(gate.section(), None);
        let outer = gate.enter(Some(1), None);
        assert_eq!(gate.check(Some(2)), Err(Refusal::Shut));
        assert_eq!(gate.check(None), Err(Refusal::Shut));
        assert_eq!(gate.check(Some(1)), Ok(()));
        let inner = gate.enter(Some(1), None);
        gate.leave(inner);
        assert_eq!((gate.section(), gate.holder()), (Some(outer), Some(1)));
        gate.enter(Some(1), None);
        gate.leave(outer);
        assert_eq!((gate.section(), gate.holder()), (None, None));
        gate.leave(outer);
        assert_eq!(gate.check(Some(2)), Ok(()));
    }

    #[test]
    fn sections_do_not_nest_for_ever() {
        let mut gate = Gate::default();
        for _ in 0..MAX_DEPTH {
            assert_eq!(gate.check(None), Ok(()));
            gate.enter(None, None);
        }
        assert_eq!(gate.check(None), Err(Refusal::TooDeep));
    }
}
