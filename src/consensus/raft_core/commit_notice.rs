//! When followers learn what is committed.
//!
//! Raft can tell every move of the commit index at once. That is a message to each follower, its answer and a
//! turn of everybody's cycle: as much work again as the entry itself, on both sides, just when the next one
//! comes. The next entries carry the index anyway. So it is told with them, or by itself when the caller finds
//! that none come, or at the next tick. Raft itself still tells at once what ends a change of members.

use super::RaftCore;
use crate::error::CoreFailure;
use crate::log::LogView;

impl<L: LogView> RaftCore<L> {
    /// Whether this member leads and others may not know yet what is committed.
    pub fn has_untold_commit(&self) -> bool {
        self.leading.is_some() && self.node.raft.raft_log.committed > self.told_commit
    }

    /// Tells the others what is committed, unless that was done or a batch is out.
    ///
    /// # Errors
    /// [`CoreFailure`] if the core has failed.
    pub fn tell_commit(&mut self) -> Result<(), CoreFailure> {
        self.check()?;
        if !self.has_untold_commit() || self.outstanding.is_some() {
            return Ok(());
        }
        self.node.raft.bcast_append();
        self.note_told_commit();
        self.settle()
    }

    /// Everything that leaves from here on carries the present index.
    pub(super) fn note_told_commit(&mut self) {
        self.told_commit = self.node.raft.raft_log.committed;
    }
}

#[cfg(test)]
mod tests;
