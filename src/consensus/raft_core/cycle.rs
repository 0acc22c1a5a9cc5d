//! The cycle of a batch: hand out what must be persisted, then what rests on it, then note what
//! has been applied.

use bytes::Bytes;
use raft::eraftpb as pb;

use super::RaftCore;
use crate::conf::{ConfState, MembershipChange, MembershipEntry, RequestId};
use crate::error::{CoreFailure, CycleError, MessageError};
use crate::id::RaftId;
use crate::log::{EntryKind, HardState, LogEntry, LogView};
use crate::raft_core::{Received, SnapshotOffer};
use crate::reads::ReadGrant;
use crate::snapshot::SnapshotManifest;
use crate::wire::{self, MessageKind};

/// What is to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// The number to confirm with [`RaftCore::persisted`].
    pub number: u64,
    /// What must be durable before that.
    pub batch: Batch,
    /// Messages that may leave at once, before the batch is durable.
    pub messages: Vec<Outgoing>,
}

/// Writes that belong together: all of them become durable, or none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// A snapshot to install first: the state, which has been received, becomes the newest
    /// checkpoint and the applied state, and the log becomes empty and starts after the snapshot's
    /// entry. This member then serves others from it.
    pub snapshot: Option<SnapshotManifest>,
    /// Entries to write. Whatever the log holds from the first one on is void.
    pub entries: Vec<LogEntry>,
    /// The new hard state.
    pub hard_state: Option<HardState>,
    /// False if the batch may become durable later, with the next one: only the commit index has
    /// moved.
    pub must_sync: bool,
}

/// Something for another member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outgoing {
    /// A message. It may be lost, delayed or overtaken.
    Message {
        /// For whom.
        to: RaftId,
        /// What it is for.
        kind: MessageKind,
        /// The message.
        bytes: Bytes,
    },
    /// A snapshot offer. Send the message, stream the state that the manifest names when the
    /// receiver asks, and tell [`RaftCore::report_snapshot`] how it went.
    Snapshot {
        /// For whom.
        to: RaftId,
        /// The message.
        bytes: Bytes,
        /// The state to stream.
        manifest: SnapshotManifest,
    },
}

/// What may happen once a batch is durable.
#[derive(Debug, Default)]
pub struct AfterPersist {
    /// Messages to send.
    pub messages: Vec<Outgoing>,
    /// The snapshot that the batch has installed; load its state before applying anything.
    pub restored: Option<SnapshotManifest>,
    /// Committed entries to apply, in order. Report them with [`RaftCore::applied`].
    pub committed: Vec<Committed>,
    /// Reads that may be answered now.
    pub reads: Vec<ReadGrant>,
    /// Snapshot offers among the messages that were queued.
    pub offers: Vec<SnapshotOffer>,
    /// Queued messages that were refused.
    pub rejected: Vec<MessageError>,
}

/// A committed entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Committed {
    /// An entry of the application.
    Entry {
        /// Its index.
        index: u64,
        /// Its term.
        term: u64,
        /// What was proposed.
        data: Bytes,
    },
    /// A membership change. Decide on it with [`RaftCore::apply_membership`] in its turn.
    Membership {
        /// Its index.
        index: u64,
        /// Its term.
        term: u64,
        /// The change.
        change: MembershipChange,
        /// The proposer's number for it.
        request: RequestId,
        /// What the proposer attached to it.
        context: Bytes,
    },
    /// An entry without content: a new leader's first one, or what became of an untimely
    /// membership change. It has an index and takes part in [`RaftCore::applied`].
    Empty {
        /// Its index.
        index: u64,
        /// Its term.
        term: u64,
    },
}

impl Committed {
    /// The index of the entry.
    pub fn index(&self) -> u64 {
        match self {
            Self::Entry { index, .. }
            | Self::Membership { index, .. }
            | Self::Empty { index, .. } => *index,
        }
    }
}

/// The application's word on a committed membership change. It must be the same on every member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The change takes effect.
    Accept,
    /// The entry counts as empty.
    Reject,
}

/// What a decision has led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MembershipOutcome {
    /// The group has this configuration now. Store it with the applied index.
    Changed(ConfState),
    /// The configuration stays as it was.
    Unchanged {
        /// Why: the application refused, or the change does not fit the configuration.
        reason: String,
    },
}

/// A batch that has been handed out.
pub(super) struct Outstanding {
    ready: raft::Ready,
    hard_state: HardState,
    /// Where the log must end once the batch is persisted.
    last_index: Option<u64>,
    snapshot: Option<SnapshotManifest>,
    /// Messages that raft would send now but that speak for a term not yet durable.
    held: Vec<pb::Message>,
}

impl Outstanding {
    pub fn number(&self) -> u64 {
        self.ready.number()
    }
}

impl<L: LogView> RaftCore<L> {
    /// The next batch, if there is anything to do. Until it is confirmed, inputs from the network
    /// queue up and proposals are refused.
    ///
    /// # Errors
    /// [`CycleError`] if the last batch has not been confirmed or a membership change not been
    /// decided on.
    pub fn ready(&mut self) -> Result<Option<Ready>, CycleError> {
        self.check()?;
        if let Some(number) = self.busy() {
            return Err(CycleError::ReadyOutstanding { number });
        }
        if let Some((index, _)) = self.undecided.front() {
            return Err(CycleError::MembershipUndecided { index: *index });
        }
        self.start_reads()?;
        if !self.node.has_ready() {
            return Ok(None);
        }
        let mut ready = self.node.ready();
        self.settle()?;
        let hard_state = HardState::from_raft(&self.node.raft.hard_state());
        let promises = |hard: HardState| (hard.term, hard.vote);
        let new_promise = promises(hard_state) != promises(self.persisted_hard);
        let batch = self.batch(&ready, hard_state, new_promise)?;
        for read in ready.take_read_states() {
            self.reads.confirm(&read.request_ctx, read.index);
        }
        // A single voter becomes leader in the very step that raises its term. Its first messages
        // must not reach a learner before the term is durable: after a crash it would lead the
        // same term again, with other entries.
        let (now, held) = match (ready.take_messages(), new_promise) {
            (messages, false) => (messages, Vec::new()),
            (messages, true) => (Vec::new(), messages),
        };
        let snapshot_end = batch.snapshot.as_ref().map(|manifest| manifest.index);
        let out = Ready { number: ready.number(), messages: self.outgoing(now)?, batch };
        self.outstanding = Some(Outstanding {
            hard_state,
            last_index: out.batch.entries.last().map(|entry| entry.index).or(snapshot_end),
            snapshot: out.batch.snapshot.clone(),
            held,
            ready,
        });
        Ok(Some(out))
    }

    fn batch(
        &mut self,
        ready: &raft::Ready,
        hard_state: HardState,
        new_promise: bool,
    ) -> Result<Batch, CoreFailure> {
        let entries: Result<Vec<_>, _> = ready.entries().iter().map(LogEntry::from_raft).collect();
        let entries = entries.map_err(|source| self.fail(source))?;
        let snapshot = match ready.snapshot() {
            none if none.is_empty() => None,
            some => Some(SnapshotManifest::from_raft(some).map_err(|source| self.fail(source))?),
        };
        Ok(Batch {
            must_sync: new_promise || !entries.is_empty() || snapshot.is_some(),
            hard_state: (hard_state != self.persisted_hard).then_some(hard_state),
            entries,
            snapshot,
        })
    }

    /// Confirms that the batch is durable (or, without `must_sync`, written) and readable through
    /// the [`LogView`]. If writing it failed, do not call this: stop the node. A failed sync is
    /// final, since the disk may have dropped what it still shows.
    ///
    /// # Errors
    /// [`CycleError`] if it is not the batch handed out, or the log does not show it.
    pub fn persisted(&mut self, number: u64) -> Result<AfterPersist, CycleError> {
        self.check()?;
        let expected = self.busy();
        let Some(batch) = self.outstanding.take_if(|batch| batch.number() == number) else {
            return Err(CycleError::WrongBatch { expected, given: number });
        };
        let found = self.log().last_index();
        if let Some(expected) = batch.last_index.filter(|expected| *expected != found) {
            self.outstanding = Some(batch);
            return Err(CycleError::NotPersisted { number, expected, found });
        }
        let Outstanding { mut ready, hard_state, snapshot, held: mut messages, .. } = batch;
        let mut committed = ready.take_committed_entries();
        messages.extend(ready.take_persisted_messages());
        let mut light = self.node.advance_append(ready);
        self.persisted_hard = hard_state;
        if let Some(manifest) = &snapshot {
            self.node.advance_apply_to(manifest.index);
            self.conf = manifest.conf.clone();
            self.handed_out = manifest.index;
            self.applied = manifest.index;
            let own = SnapshotManifest { source: self.config.id, ..manifest.clone() };
            self.node.mut_store().set_checkpoint(own);
        }
        self.settle()?;
        messages.extend(light.take_messages());
        committed.extend(light.take_committed_entries());
        let mut after = AfterPersist {
            messages: self.outgoing(messages)?,
            restored: snapshot,
            committed: self.hand_out(committed)?,
            reads: self.reads.grant(self.applied),
            ..AfterPersist::default()
        };
        self.run_deferred(&mut after)?;
        Ok(after)
    }

    /// Takes in what came while the batch was out. Messages go before the tick: one of them may be
    /// the heartbeat that makes an election needless.
    fn run_deferred(&mut self, after: &mut AfterPersist) -> Result<(), CoreFailure> {
        for member in std::mem::take(&mut self.deferred.unreachable) {
            self.report_unreachable(member)?;
        }
        for (member, report) in std::mem::take(&mut self.deferred.reports) {
            self.report_snapshot(member, report)?;
        }
        self.deferred.len_bytes = 0;
        for (from, bytes) in std::mem::take(&mut self.deferred.messages) {
            match self.receive(from, bytes) {
                Ok(Received::Offer(offer)) => after.offers.push(offer),
                Ok(_) => {}
                Err(MessageError::Failed(failure)) => return Err(failure),
                Err(refused) => after.rejected.push(refused),
            }
        }
        if self.deferred.tick && !self.holds_election() {
            self.run_tick()?;
        }
        Ok(())
    }

    fn hand_out(&mut self, entries: Vec<pb::Entry>) -> Result<Vec<Committed>, CoreFailure> {
        let mut committed = Vec::with_capacity(entries.len());
        for entry in &entries {
            let entry = LogEntry::from_raft(entry).map_err(|source| self.fail(source))?;
            let LogEntry { index, term, kind, data } = entry;
            self.handed_out = index;
            committed.push(match kind {
                EntryKind::Normal if data.is_empty() => Committed::Empty { index, term },
                EntryKind::Normal => Committed::Entry { index, term, data },
                EntryKind::Membership => {
                    let decoded = MembershipEntry::decode(data).map_err(|e| self.fail(e))?;
                    self.undecided.push_back((index, decoded.clone()));
                    let MembershipEntry { change, request, context } = decoded;
                    Committed::Membership { index, term, change, request, context }
                }
            });
        }
        Ok(committed)
    }

    /// Lets a committed membership change take effect, or not. To be called in log order, before
    /// [`RaftCore::applied`] reaches the change and before the next [`RaftCore::ready`].
    ///
    /// # Errors
    /// [`CycleError`] if it is not this change's turn.
    pub fn apply_membership(
        &mut self,
        index: u64,
        verdict: Verdict,
    ) -> Result<MembershipOutcome, CycleError> {
        self.check()?;
        let expected = self.undecided.front().map(|(index, _)| *index);
        let next = self.undecided.pop_front_if(|(next, _)| *next == index);
        let Some((_, entry)) = next else {
            return Err(CycleError::WrongMembership { expected, given: index });
        };
        if verdict == Verdict::Reject {
            let reason = "the application refused it".to_owned();
            return Ok(MembershipOutcome::Unchanged { reason });
        }
        let outcome = match self.node.apply_conf_change(&entry.to_raft()) {
            Ok(conf) => {
                self.conf = ConfState::from_raft(&conf);
                MembershipOutcome::Changed(self.conf.clone())
            }
            Err(error) => MembershipOutcome::Unchanged { reason: error.to_string() },
        };
        self.settle()?;
        self.step_down_without_vote()?;
        Ok(outcome)
    }

    /// A leader that has lost its vote would panic inside raft on the next acknowledgement. The
    /// others have already been told that the change is committed, so it can step down.
    fn step_down_without_vote(&mut self) -> Result<(), CoreFailure> {
        if self.leading.is_none() || self.conf.is_voter(self.config.id) {
            return Ok(());
        }
        let raft = &mut self.node.raft;
        let term = raft.term;
        raft.become_follower(term, 0);
        self.settle()
    }

    /// Notes that everything up to `index` has been applied, and returns the reads that may be
    /// answered from the new state.
    ///
    /// # Errors
    /// [`CycleError`] if the index runs backwards, beyond what was handed out, or past a
    /// membership change that has not been decided on.
    pub fn applied(&mut self, index: u64) -> Result<Vec<ReadGrant>, CycleError> {
        self.check()?;
        if let Some((undecided, _)) = self.undecided.front().filter(|(at, _)| *at <= index) {
            return Err(CycleError::MembershipUndecided { index: *undecided });
        }
        if index < self.applied || index > self.handed_out {
            let (applied, handed_out) = (self.applied, self.handed_out);
            return Err(CycleError::AppliedOutOfRange { given: index, applied, handed_out });
        }
        self.applied = index;
        self.node.advance_apply_to(index);
        self.settle()?;
        Ok(self.reads.grant(index))
    }

    /// Encodes what raft wants sent, ordered by receiver: raft walks a hash map.
    fn outgoing(&mut self, mut messages: Vec<pb::Message>) -> Result<Vec<Outgoing>, CoreFailure> {
        messages.sort_by_key(|message| message.to);
        let mut outgoing = Vec::with_capacity(messages.len());
        for message in messages {
            let (kind, bytes) = wire::encode(&message).map_err(|source| self.fail(source))?;
            let Some(to) = RaftId::new(message.to) else { continue };
            outgoing.push(if kind == MessageKind::Snapshot {
                let manifest = SnapshotManifest::from_raft(message.get_snapshot())
                    .map_err(|source| self.fail(source))?;
                self.transfers.offered(to, manifest.index, self.now_tick);
                Outgoing::Snapshot { to, bytes, manifest }
            } else {
                Outgoing::Message { to, kind, bytes }
            });
        }
        Ok(outgoing)
    }
}

#[cfg(test)]
mod tests;
