//! What a batch must keep, checked before anything is written: a defect of the caller must not
//! become a broken log.

use super::{Batch, Position, RaftLogError, State};

impl State {
    /// Refuses what would break the log, before anything is written.
    pub(super) fn check(&self, batch: &Batch) -> Result<(), RaftLogError> {
        let invalid = |index, what| Err(RaftLogError::InvalidBatch { index, what });
        let base = batch.restart_after.unwrap_or(self.index.base);
        let mut last = match batch.restart_after {
            Some(position) if position.index < self.hard_state.commit => {
                return invalid(position.index, "a snapshot behind the committed entries");
            }
            Some(position) => position,
            None => Position { index: self.index.last(), term: self.index.last_term() },
        };
        if let Some(first) = batch.entries.first() {
            if first.index <= base.index || first.index > last.index + 1 {
                return invalid(first.index, "entries must follow the log or replace its tail");
            }
            let replaces = first.index <= last.index;
            if replaces {
                if first.index <= self.hard_state.commit {
                    return self.check_rewrite(batch);
                }
                let index = first.index - 1;
                last = Position { index, term: self.index.term(index).unwrap_or(base.term) };
            }
        }
        for entry in &batch.entries {
            if entry.index != last.index + 1 {
                return invalid(entry.index, "entries must be consecutive");
            }
            if entry.term < last.term {
                return invalid(entry.index, "terms must not decrease");
            }
            last = Position { index: entry.index, term: entry.term };
        }
        self.check_hard_state(batch, last.index)
    }

    /// A rewrite from a committed entry on is allowed only if it repeats what is committed.
    fn check_rewrite(&self, batch: &Batch) -> Result<(), RaftLogError> {
        let differs = batch
            .entries
            .iter()
            .find(|entry| {
                entry.index <= self.hard_state.commit
                    && self.index.term(entry.index) != Some(entry.term)
            })
            .map(|entry| entry.index);
        let last = batch.entries.last().map_or(0, |entry| entry.index);
        let ordered = batch.entries.is_sorted_by(|a, b| b.index == a.index + 1 && b.term >= a.term);
        match differs {
            Some(index) => {
                Err(RaftLogError::InvalidBatch { index, what: "a committed entry must not change" })
            }
            None if !ordered || last < self.hard_state.commit => Err(RaftLogError::InvalidBatch {
                index: last,
                what: "a rewrite must keep all committed entries in order",
            }),
            None => self.check_hard_state(batch, last),
        }
    }

    fn check_hard_state(&self, batch: &Batch, last: u64) -> Result<(), RaftLogError> {
        let Some(hard_state) = batch.hard_state else { return Ok(()) };
        let what = if hard_state.term < self.hard_state.term {
            "the term must not decrease"
        } else if hard_state.commit < self.hard_state.commit {
            "the commit index must not decrease"
        } else if hard_state.commit > last {
            "the commit index is beyond the log"
        } else if hard_state.term == self.hard_state.term
            && self.hard_state.vote != 0
            && hard_state.vote != self.hard_state.vote
        {
            "a vote must not change within a term"
        } else {
            return Ok(());
        };
        Err(RaftLogError::InvalidBatch { index: hard_state.commit, what })
    }
}
