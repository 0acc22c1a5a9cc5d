//! What a leader is asked to do: append entries, change the membership, hand over.

use bytes::Bytes;
use raft::eraftpb as pb;
use raft::eraftpb::{EntryType, MessageType};

use super::RaftCore;
use crate::conf::{CONTEXT_MAX_BYTES, MembershipChange, MembershipEntry, RequestId};
use crate::error::{ProposeError, TransferError};
use crate::id::RaftId;
use crate::log::LogView;
use crate::membership::check_change;

/// Where proposed entries stand in the leader's log. They are committed if and only if entries
/// with these indexes *and* this term are handed out; another term at an index means that they
/// were lost to another leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proposed {
    /// The term of all of them.
    pub term: u64,
    /// The first.
    pub first_index: u64,
    /// The last.
    pub last_index: u64,
}

impl<L: LogView> RaftCore<L> {
    /// Appends entries to the leader's log, in one message to each member. Many entries in one
    /// call cost far less than many calls. Give every command a request id: a proposal whose fate
    /// is unknown will be repeated.
    ///
    /// # Errors
    /// [`ProposeError`]; none of the entries has been appended.
    pub fn propose(&mut self, entries: Vec<Bytes>) -> Result<Proposed, ProposeError> {
        self.check_leading()?;
        if entries.is_empty() || entries.iter().any(Bytes::is_empty) {
            return Err(ProposeError::Empty);
        }
        let longest = entries.iter().map(Bytes::len).max().unwrap_or(0) as u64;
        let len_bytes = entries.iter().map(|data| data.len() as u64).sum();
        if longest > self.config.entry_max_bytes as u64 {
            let max_bytes = self.config.entry_max_bytes as u64;
            return Err(ProposeError::TooLarge { len_bytes: longest, max_bytes });
        }
        if len_bytes > self.config.uncommitted_max_bytes {
            let max_bytes = self.config.uncommitted_max_bytes;
            return Err(ProposeError::TooLarge { len_bytes, max_bytes });
        }
        self.check_load(len_bytes, entries.len() as u64)?;
        let to_raft = |data| pb::Entry { data, ..pb::Entry::default() };
        self.append(entries.into_iter().map(to_raft).collect())
    }

    /// Proposes a membership change after checking that it is safe. It takes effect when its
    /// entry, recognised by `request`, has been handed out and decided on with
    /// [`RaftCore::apply_membership`].
    ///
    /// # Errors
    /// [`ProposeError`]; the change has not been appended.
    pub fn propose_membership(
        &mut self,
        change: MembershipChange,
        request: RequestId,
        context: Bytes,
    ) -> Result<Proposed, ProposeError> {
        self.check_leading()?;
        if context.len() > CONTEXT_MAX_BYTES {
            let (len_bytes, max_bytes) = (context.len() as u64, CONTEXT_MAX_BYTES as u64);
            return Err(ProposeError::TooLarge { len_bytes, max_bytes });
        }
        if self.node.raft.has_pending_conf() {
            return Err(ProposeError::MembershipPending);
        }
        check_change(&self.status(), &change, self.config.election_ticks.into())?;
        let mut entry = pb::Entry::default();
        entry.set_entry_type(EntryType::EntryConfChangeV2);
        entry.data = MembershipEntry { change, request, context }.to_raft_bytes();
        self.check_load(entry.data.len() as u64, 1)?;
        let proposed = self.append(vec![entry])?;
        // Raft replaces a change that it finds untimely by an empty entry, and says nothing.
        let unstable = &self.node.raft.raft_log.unstable.entries;
        match unstable.last().map(pb::Entry::get_entry_type) {
            Some(EntryType::EntryConfChangeV2) => Ok(proposed),
            _ => Err(ProposeError::MembershipPending),
        }
    }

    /// Hands the leadership to another voter. It ends by itself after an election timeout; until
    /// then proposals are refused.
    ///
    /// # Errors
    /// [`TransferError`]; this member goes on as it was.
    pub fn transfer_leader(&mut self, to: RaftId) -> Result<(), TransferError> {
        self.check()?;
        if let Some(number) = self.busy() {
            return Err(TransferError::Busy { number });
        }
        if self.leading.is_none() {
            return Err(TransferError::NotLeader { leader: self.leader() });
        }
        if !self.conf.voters.contains(&to) {
            return Err(TransferError::NotVoter { to });
        }
        self.node.transfer_leader(to.get());
        self.settle()?;
        Ok(())
    }

    fn check_leading(&self) -> Result<(), ProposeError> {
        self.check()?;
        if let Some(number) = self.busy() {
            return Err(ProposeError::Busy { number });
        }
        if self.leading.is_none() || !self.conf.contains(self.config.id) {
            return Err(ProposeError::NotLeader { leader: self.leader() });
        }
        match self.node.raft.lead_transferee.and_then(RaftId::new) {
            Some(to) => Err(ProposeError::Transferring { to }),
            None => Ok(()),
        }
    }

    /// Raft bounds the bytes that wait, but lets the first proposal through whatever its size,
    /// and does not count entries.
    fn check_load(&self, len_bytes: u64, count: u64) -> Result<(), ProposeError> {
        let raft = &self.node.raft;
        let waiting_bytes = raft.uncommitted_size() as u64;
        let waiting_entries = raft.raft_log.last_index() - raft.raft_log.committed;
        let fits = waiting_bytes + len_bytes <= self.config.uncommitted_max_bytes
            && waiting_entries + count <= self.config.uncommitted_max_entries;
        if fits { Ok(()) } else { Err(ProposeError::Overloaded { waiting_bytes, waiting_entries }) }
    }

    fn append(&mut self, entries: Vec<pb::Entry>) -> Result<Proposed, ProposeError> {
        let first_index = self.node.raft.raft_log.last_index() + 1;
        let mut message = pb::Message::default();
        message.set_msg_type(MessageType::MsgPropose);
        message.from = self.config.id.get();
        message.set_entries(entries.into());
        self.step(message)?.map_err(|source| ProposeError::Dropped { source })?;
        self.note_told_commit();
        let raft = &self.node.raft;
        let last_index = raft.raft_log.last_index();
        Ok(Proposed { term: raft.term, first_index, last_index })
    }
}

#[cfg(test)]
mod tests;
