//! Rebuilds the log's table from its records.

use super::records;
use super::{HardState, Index, Position, RaftLogError, Stored};
use crate::wal::Replayed;

/// What the records add up to.
#[derive(Debug, Default)]
pub(super) struct Replay {
    pub(super) index: Index,
    pub(super) hard_state: HardState,
    pub(super) suspect: bool,
    /// Where the log starts is known. Until the marker that was written before the front was
    /// deleted comes by, the start is only what the oldest kept segment happens to begin with.
    anchored: bool,
}

impl Replay {
    pub(super) fn record(&mut self, record: &Replayed<'_>) -> Result<(), RaftLogError> {
        let malformed = RaftLogError::Inconsistent {
            index: self.index.last(),
            what: "a record after it is malformed",
        };
        match record.kind {
            records::ENTRY => {
                let position = records::parse_entry_position(record.payload).ok_or(malformed)?;
                self.entry(position, Stored { term: position.term, at: record.at })
            }
            records::HARD_STATE => {
                self.hard_state = records::parse_hard_state(record.payload).ok_or(malformed)?;
                Ok(())
            }
            records::COMPACTED => {
                self.compacted(records::parse_position(record.payload).ok_or(malformed)?)
            }
            records::RESTART => {
                let base = records::parse_position(record.payload).ok_or(malformed)?;
                self.index = Index { base, ..Index::default() };
                self.anchored = true;
                Ok(())
            }
            records::SUSPECT => {
                self.suspect = record.payload == [1];
                Ok(())
            }
            _ => Err(malformed),
        }
    }

    fn entry(&mut self, position: Position, stored: Stored) -> Result<(), RaftLogError> {
        let Position { index, term } = position;
        let wrong = |what| Err(RaftLogError::Inconsistent { index, what });
        if index == 0 {
            return wrong("entries count from 1");
        }
        if self.anchored && index <= self.index.base.index {
            return wrong("an entry before the start of the log");
        }
        let gap = index > self.index.last() + 1;
        if gap || index <= self.index.base.index {
            // What lies between was in segments that are gone. A marker that was written before they
            // were deleted must follow; if none does, `finish` reports the gap.
            self.index = Index { base: Position { index: index - 1, term: 0 }, ..Index::default() };
            self.anchored = false;
        }
        self.index.truncate(index);
        if term < self.index.last_term() {
            return wrong("its term is lower than that of the entry before");
        }
        self.index.stored.push_back(stored);
        Ok(())
    }

    fn compacted(&mut self, position: Position) -> Result<(), RaftLogError> {
        let index = position.index;
        if index < self.index.base.index {
            if self.anchored {
                let what = "compaction markers must not go back";
                return Err(RaftLogError::Inconsistent { index, what });
            }
            // An older marker in the oldest kept segment; the one that counts follows.
            return Ok(());
        }
        self.index.compact(position);
        self.anchored = true;
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Self, RaftLogError> {
        let wrong = |index, what| Err(RaftLogError::Inconsistent { index, what });
        if !self.anchored && self.index.base.index != 0 {
            return wrong(self.index.first(), "entries before it are missing");
        }
        if self.hard_state.commit > self.index.last() {
            return wrong(self.hard_state.commit, "it is committed but missing");
        }
        Ok(self)
    }
}
