//! What comes from other members: checks that raft leaves out, and snapshot offers.

use bytes::Bytes;
use raft::eraftpb as pb;
use raft::eraftpb::MessageType;

use super::RaftCore;
use crate::config::LogTail;
use crate::error::MessageError;
use crate::id::RaftId;
use crate::log::LogView;
use crate::snapshot::SnapshotManifest;
use crate::wire;

/// The most read requests of others that a leader keeps at a time.
const FOREIGN_READS_MAX: usize = 1024;

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// Raft has taken it in.
    Stepped,
    /// It waits until the batch has been persisted; [`super::AfterPersist`] tells what became of
    /// it.
    Queued,
    /// It was not for the moment; Raft's own retries make up for it.
    Ignored,
    /// The leader offers a snapshot: fetch its state, verify it, and call
    /// [`RaftCore::snapshot_received`].
    Offer(SnapshotOffer),
}

/// A snapshot that the leader offers because the log no longer reaches back far enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotOffer {
    /// Who offers it, and streams its state.
    pub from: RaftId,
    /// What the state is.
    pub manifest: SnapshotManifest,
}

impl<L: LogView> RaftCore<L> {
    /// Takes in a message that came over the authenticated connection of `from`.
    ///
    /// # Errors
    /// [`MessageError`]. Only [`MessageError::AcknowledgedEntriesLost`] and
    /// [`MessageError::Failed`] ask for more than dropping the message.
    pub fn message(&mut self, from: RaftId, bytes: Bytes) -> Result<Received, MessageError> {
        self.check()?;
        self.heard_from(from);
        if self.outstanding.is_none() {
            return self.receive(from, bytes);
        }
        let limits = self.config.wire_limits();
        let (messages, len_bytes) = (self.deferred.messages.len(), self.deferred.len_bytes);
        let full = messages == self.config.inbox_max
            || len_bytes + bytes.len() > self.config.inbox_max_bytes;
        if full || bytes.len() > limits.message_max_bytes {
            return Err(MessageError::Overloaded { messages, len_bytes });
        }
        self.deferred.len_bytes += bytes.len();
        self.deferred.messages.push_back((from, bytes));
        Ok(Received::Queued)
    }

    pub(super) fn receive(&mut self, from: RaftId, bytes: Bytes) -> Result<Received, MessageError> {
        let decoded = wire::decode(from, self.config.id, bytes, self.config.wire_limits());
        let mut message = decoded.map_err(|source| MessageError::Wire { from, source })?;
        if self.leading.is_some() && self.conf.contains(from) {
            self.heard.insert(from, self.now_tick);
        }
        if !self.is_timely(&message) {
            return Ok(Received::Ignored);
        }
        self.check_claims(from, &mut message)?;
        if message.get_msg_type() == MessageType::MsgSnapshot
            && let Some(offer) = self.offer(from, &message)?
        {
            return Ok(Received::Offer(offer));
        }
        match self.step(message)? {
            Ok(()) => Ok(Received::Stepped),
            Err(raft::Error::StepPeerNotFound) => Err(MessageError::NotMember { from }),
            Err(source) => Err(MessageError::Raft { from, source }),
        }
    }

    /// False for messages that raft would act on at the wrong moment.
    fn is_timely(&self, message: &pb::Message) -> bool {
        match message.get_msg_type() {
            // A follower would pass it on in the name of its sender.
            MessageType::MsgReadIndex => {
                self.leading.is_some() && self.node.raft.pending_read_count() < FOREIGN_READS_MAX
            }
            MessageType::MsgTimeoutNow => self.tail == LogTail::Whole && !self.holds_election(),
            MessageType::MsgRequestVote | MessageType::MsgRequestPreVote => {
                self.tail == LogTail::Whole
            }
            _ => true,
        }
    }

    /// Refuses claims that can't be true. Raft would panic on the first and believe the second.
    fn check_claims(&self, from: RaftId, message: &mut pb::Message) -> Result<(), MessageError> {
        let raft = &self.node.raft;
        let last = raft.raft_log.last_index();
        let (commit, index) = (message.commit, message.index);
        match message.get_msg_type() {
            MessageType::MsgHeartbeat if message.term >= raft.term && commit > last => {
                if self.tail == LogTail::Whole {
                    return Err(MessageError::AcknowledgedEntriesLost { commit, last });
                }
                message.commit = raft.raft_log.committed;
            }
            MessageType::MsgAppendResponse
                if self.leading == Some(message.term) && !message.reject && index > last =>
            {
                return Err(MessageError::Impossible { from, index, last });
            }
            _ => {}
        }
        Ok(())
    }

    /// The offer in a snapshot message, if its state is news. Otherwise raft answers the message
    /// by itself with what this member has.
    fn offer(
        &mut self,
        from: RaftId,
        message: &pb::Message,
    ) -> Result<Option<SnapshotOffer>, MessageError> {
        let manifest = match SnapshotManifest::from_raft(message.get_snapshot()) {
            Ok(manifest) => manifest,
            Err(source) => return Err(self.fail(source).into()),
        };
        let raft = &self.node.raft;
        let log = &raft.raft_log;
        let known = manifest.index <= log.committed
            || log.match_term(manifest.index, manifest.term)
            || !manifest.conf.contains(self.config.id);
        self.settle()?;
        let stale = message.term < self.node.raft.term;
        Ok((!known && !stale).then_some(SnapshotOffer { from, manifest }))
    }

    /// Steps an offer whose state has arrived, been verified and been made durable. The next
    /// [`RaftCore::ready`] asks for its installation.
    ///
    /// A snapshot holds committed state only, which every later leader has too. So an offer stays
    /// good when its leader has changed meanwhile; it is confirmed to the present one.
    ///
    /// # Errors
    /// [`MessageError::NoLeader`], [`MessageError::Applying`] and [`MessageError::Busy`] ask for a
    /// repetition later.
    pub fn snapshot_received(&mut self, offer: &SnapshotOffer) -> Result<Received, MessageError> {
        self.check()?;
        if let Some(number) = self.busy() {
            return Err(MessageError::Busy { number });
        }
        if self.leading.is_some() || offer.manifest.index <= self.node.raft.raft_log.committed {
            return Ok(Received::Ignored);
        }
        if self.applied < self.handed_out {
            let (handed_out, applied) = (self.handed_out, self.applied);
            return Err(MessageError::Applying { handed_out, applied });
        }
        let leader = self.leader().ok_or(MessageError::NoLeader)?;
        let mut message = pb::Message::default();
        message.set_msg_type(MessageType::MsgSnapshot);
        message.from = leader.get();
        message.to = self.config.id.get();
        message.term = self.node.raft.term;
        message.set_snapshot(offer.manifest.to_raft());
        match self.step(message)? {
            Ok(()) => Ok(Received::Stepped),
            Err(source) => Err(MessageError::Raft { from: offer.from, source }),
        }
    }
}

#[cfg(test)]
mod tests;
