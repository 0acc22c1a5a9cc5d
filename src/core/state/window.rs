//! What is remembered of one node's requests, so that a repetition is answered and not run.

use super::Window;
use crate::command::{Outcome, Refusal};
use crate::id::Incarnation;
use crate::limits;

/// What the memory says of a request.
pub(super) enum Recall {
    /// It has not been run.
    New,
    /// It has, and this came of it.
    Seen(Outcome),
    /// Nobody remembers.
    TooOld,
}

impl Recall {
    /// The answer without running the request, if there is one.
    pub fn answer(self) -> Option<Outcome> {
        match self {
            Self::New => None,
            Self::Seen(outcome) => Some(outcome),
            Self::TooOld => Some(Outcome::Refused(Refusal::TooOld)),
        }
    }
}

impl Window {
    /// The memory of a run that has asked for nothing yet.
    pub(super) fn of(incarnation: Incarnation) -> Self {
        Self { incarnation, floor: 0, outcomes: Default::default(), weight: 0 }
    }

    pub(super) fn recall(&self, incarnation: Incarnation, seq: u64) -> Recall {
        if incarnation > self.incarnation {
            return Recall::New;
        }
        if incarnation < self.incarnation || seq <= self.floor {
            return Recall::TooOld;
        }
        self.outcomes.get(&seq).cloned().map_or(Recall::New, Recall::Seen)
    }

    /// Remembers an outcome; the oldest go when all weigh too much. The newest stays in any case.
    pub(super) fn keep(&mut self, seq: u64, outcome: Outcome) {
        self.weight += outcome.weight();
        if let Some(old) = self.outcomes.insert(seq, outcome) {
            self.weight -= old.weight();
        }
        while self.weight > limits::DEDUP_WINDOW {
            let Some((seq, gone)) = self.outcomes.pop_first() else { break };
            self.floor = seq;
            self.weight -= gone.weight();
        }
    }

    /// Forgets everything: what was asked before is refused from now on rather than run a second time.
    pub(super) fn close(&mut self) {
        let last = self.outcomes.last_key_value().map(|(seq, _)| *seq);
        self.floor = last.unwrap_or(self.floor).max(self.floor);
        self.outcomes.clear();
        self.weight = 0;
    }

    /// Counts anew what the outcomes weigh.
    pub(super) fn weighed(mut self) -> Self {
        self.weight = self.outcomes.values().map(Outcome::weight).sum();
        self
    }
}
