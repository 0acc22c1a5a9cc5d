//! One member of the group: raft's `RawNode` behind calls that can only be made in a safe order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use raft::eraftpb as pb;
use raft::{RawNode, SnapshotStatus, StateRole};

use crate::conf::{ConfState, MembershipEntry};
use crate::config::{Config, LogTail, RecoverError, Recovered};
use crate::error::{CoreFailure, CycleError, TooManyReads};
use crate::id::RaftId;
use crate::log::{HardState, LogView};
use crate::reads::{ReadToken, Reads};
use crate::snapshot::SnapshotManifest;
use crate::status::{PeerState, PeerStatus, Role, Status};
use crate::storage::DurableStore;
use crate::timeout::ElectionTimeouts;
use crate::transfers::{SnapshotReport, Transfers};

mod commit_notice;
mod cycle;
mod leader_loss;
mod messages;
mod propose;

pub use cycle::{AfterPersist, Batch, Committed, MembershipOutcome, Outgoing, Ready, Verdict};
pub use messages::{Received, SnapshotOffer};
pub use propose::Proposed;

/// One member of the group. See the [crate] for the order of calls.
///
/// `L` holds the persisted entries. The caller appends to it, either through
/// [`RaftCore::log_mut`] or because `L` is a handle that it shares.
pub struct RaftCore<L: LogView> {
    config: Config,
    node: RawNode<DurableStore<L>>,
    timeouts: ElectionTimeouts,
    /// Campaigns started so far; moves the election timeout on.
    campaigns: u64,
    now_tick: u64,
    /// The term in which this member leads, if it does.
    leading: Option<u64>,
    /// What this leader has told the others to be committed.
    told_commit: u64,
    /// When members were last heard, in ticks; kept by a leader.
    heard: BTreeMap<RaftId, u64>,
    /// The leader, while its connection is gone.
    lost_leader: Option<leader_loss::LostLeader>,
    reads: Reads,
    transfers: Transfers,
    /// The batch that has been handed out and not been confirmed.
    outstanding: Option<cycle::Outstanding>,
    deferred: Deferred,
    /// What the disk holds.
    persisted_hard: HardState,
    conf: ConfState,
    /// The last committed index that the caller has been given.
    handed_out: u64,
    applied: u64,
    /// Membership changes that the caller has been given and not decided on.
    undecided: VecDeque<(u64, MembershipEntry)>,
    tail: LogTail,
    stopped: bool,
}

/// Inputs that came while a batch was out. Late ticks coalesce into one: replaying them would
/// start an election for time in which nothing could be heard.
#[derive(Debug, Default)]
struct Deferred {
    tick: bool,
    messages: VecDeque<(RaftId, Bytes)>,
    len_bytes: usize,
    unreachable: BTreeSet<RaftId>,
    reports: BTreeMap<RaftId, SnapshotReport>,
}

impl<L: LogView> RaftCore<L> {
    /// Starts a member from what its disk holds.
    ///
    /// # Errors
    /// [`RecoverError`] if settings, log and recovered state contradict each other.
    pub fn new(config: Config, recovered: Recovered, log: L) -> Result<Self, RecoverError> {
        let recovered = recovered.check(&config, &log)?;
        let Recovered { hard_state, conf, applied, checkpoint, tail } = recovered;
        let mut store = DurableStore::new(log, hard_state, conf.clone());
        if let Some(manifest) = checkpoint {
            store.set_checkpoint(manifest);
        }
        let node = RawNode::new(&config.to_raft(applied), store, &crate::logging::logger())?;
        let mut core = Self {
            timeouts: ElectionTimeouts::new(config.seed, config.id, config.election_ticks),
            campaigns: 0,
            now_tick: 0,
            leading: None,
            told_commit: 0,
            heard: BTreeMap::new(),
            lost_leader: None,
            reads: Reads::new(
                config.id,
                config.incarnation,
                config.read_retry_ticks,
                config.reads_max,
            ),
            transfers: Transfers::new(config.snapshot_stall_ticks),
            outstanding: None,
            deferred: Deferred::default(),
            persisted_hard: hard_state,
            conf,
            handed_out: applied,
            applied,
            undecided: VecDeque::new(),
            tail,
            stopped: false,
            config,
            node,
        };
        core.settle().map_err(|failure| match failure {
            CoreFailure::Log { source } => RecoverError::Log { source },
            other => RecoverError::Raft {
                source: raft::Error::Store(raft::StorageError::Other(other.into())),
            },
        })?;
        Ok(core)
    }

    /// Lets one tick pass. Call it at most once per wake-up, however late: ticks missed are gone.
    ///
    /// # Errors
    /// [`CoreFailure`] if the core has failed.
    pub fn tick(&mut self) -> Result<(), CoreFailure> {
        self.check()?;
        if self.outstanding.is_some() || self.holds_election() {
            self.deferred.tick = true;
            return Ok(());
        }
        self.run_tick()
    }

    /// Starts an election now, unless this member leads, may not, or is still persisting. For the
    /// first member of a group, which need not wait for anyone, and for tests.
    ///
    /// # Errors
    /// [`CoreFailure`] if the core has failed.
    pub fn campaign(&mut self) -> Result<(), CoreFailure> {
        self.check()?;
        let may = self.node.raft.promotable() && self.tail == LogTail::Whole;
        if !may || self.outstanding.is_some() || self.holds_election() {
            return Ok(());
        }
        self.campaigns += 1;
        if let Err(error) = self.node.campaign() {
            tracing::warn!(%error, "raft refused to campaign");
        }
        self.settle()
    }

    /// Asks for a linearizable read. The answer is a [`crate::ReadGrant`] from
    /// [`RaftCore::persisted`] or [`RaftCore::applied`]; without a leader none comes, so put a
    /// deadline on it and [`RaftCore::cancel_read`] it.
    ///
    /// # Errors
    /// [`TooManyReads`]; the read was not taken in.
    pub fn read_index(&mut self, token: ReadToken) -> Result<(), TooManyReads> {
        if self.reads.add(token) { Ok(()) } else { Err(TooManyReads { waiting: self.reads.len() }) }
    }

    /// Forgets a read.
    pub fn cancel_read(&mut self, token: ReadToken) {
        self.reads.cancel(token);
    }

    /// Notes that messages to a member were lost or its connection was made anew, so that
    /// replication to it starts from what it is known to hold.
    ///
    /// # Errors
    /// [`CoreFailure`] if the core has failed.
    pub fn report_unreachable(&mut self, member: RaftId) -> Result<(), CoreFailure> {
        self.check()?;
        self.heard_from(member);
        if !self.conf.contains(member) {
            return Ok(());
        }
        if self.outstanding.is_some() {
            self.deferred.unreachable.insert(member);
            return Ok(());
        }
        self.node.report_unreachable(member.get());
        self.settle()
    }

    /// Notes how the snapshot transfer to a member goes. A transfer that reports nothing for
    /// [`Config::snapshot_stall_ticks`] counts as failed.
    ///
    /// # Errors
    /// [`CoreFailure`] if the core has failed.
    pub fn report_snapshot(
        &mut self,
        member: RaftId,
        report: SnapshotReport,
    ) -> Result<(), CoreFailure> {
        self.check()?;
        if self.outstanding.is_some() {
            // The end of a transfer must not be forgotten over an older word of its progress.
            let ended = self.deferred.reports.get(&member).is_some_and(|r| r.ends_transfer());
            if self.conf.contains(member) && (report.ends_transfer() || !ended) {
                self.deferred.reports.insert(member, report);
            }
            return Ok(());
        }
        if self.transfers.report(member, report, self.now_tick) {
            match report {
                SnapshotReport::Progress => {}
                SnapshotReport::Finished => self.finish_transfer(member, SnapshotStatus::Finish),
                SnapshotReport::Failed => self.finish_transfer(member, SnapshotStatus::Failure),
            }
        }
        self.settle()
    }

    /// Announces a durable checkpoint of this member, from which others can be served.
    ///
    /// # Errors
    /// [`CycleError::BadCheckpoint`] if it is not this member's or is ahead of what was applied.
    pub fn checkpoint_written(&mut self, manifest: SnapshotManifest) -> Result<(), CycleError> {
        self.check()?;
        if manifest.source != self.config.id || manifest.index > self.applied {
            return Err(CycleError::BadCheckpoint {
                index: manifest.index,
                held_by: manifest.source,
                applied: self.applied,
            });
        }
        self.node.mut_store().set_checkpoint(manifest);
        Ok(())
    }

    /// The index that a new checkpoint must reach, if a member needs one that none serves yet:
    /// write one and call [`RaftCore::checkpoint_written`].
    pub fn checkpoint_wanted(&self) -> Option<u64> {
        let wanted = self.node.store().checkpoint_wanted();
        wanted.filter(|_| self.leading.is_some())
    }

    /// Ends the doubt about the log's end, see [`LogTail::Suspect`]. Call it once an entry has
    /// been applied that was proposed after this start: whatever this member may have acknowledged
    /// before stands before that entry in the leader's log, and is now here.
    pub fn tail_verified(&mut self) {
        self.tail = LogTail::Whole;
    }

    /// The persisted entries.
    pub fn log(&self) -> &L {
        &self.node.store().log
    }

    /// The persisted entries, for writing what [`RaftCore::ready`] hands out.
    pub fn log_mut(&mut self) -> &mut L {
        &mut self.node.mut_store().log
    }

    /// The current term.
    pub fn term(&self) -> u64 {
        self.node.raft.term
    }

    /// The leader, if one is known.
    pub fn leader(&self) -> Option<RaftId> {
        RaftId::new(self.node.raft.leader_id)
    }

    /// True if this member leads.
    pub fn is_leader(&self) -> bool {
        self.node.raft.state == StateRole::Leader
    }

    /// How far this member knows the log to be committed.
    pub fn commit_index(&self) -> u64 {
        self.node.raft.raft_log.committed
    }

    /// How far the log is applied.
    pub fn applied_index(&self) -> u64 {
        self.applied
    }

    /// The configuration as applied.
    pub fn conf(&self) -> &ConfState {
        &self.conf
    }

    /// What this member knows about the group, gathered anew.
    pub fn status(&self) -> Status {
        let raft = &self.node.raft;
        let peers = match self.leading {
            Some(_) => raft.prs().iter().filter_map(|(id, peer)| self.peer(*id, peer)).collect(),
            None => BTreeMap::new(),
        };
        Status {
            id: self.config.id,
            role: match raft.state {
                StateRole::Follower => Role::Follower,
                StateRole::PreCandidate => Role::PreCandidate,
                StateRole::Candidate => Role::Candidate,
                StateRole::Leader => Role::Leader,
            },
            term: raft.term,
            leader: RaftId::new(raft.leader_id),
            transferring_to: raft.lead_transferee.and_then(RaftId::new),
            commit: raft.raft_log.committed,
            applied: self.applied,
            first: raft.raft_log.first_index(),
            last: raft.raft_log.last_index(),
            conf: self.conf.clone(),
            membership_pending: self.leading.is_some() && raft.has_pending_conf(),
            uncommitted_bytes: self.leading.map_or(0, |_| raft.uncommitted_size() as u64),
            reads: self.reads.len(),
            tail_suspect: self.tail == LogTail::Suspect,
            peers,
            snapshots: self.transfers.iter().collect(),
        }
    }

    fn peer(&self, id: u64, peer: &raft::Progress) -> Option<(RaftId, PeerStatus)> {
        let id = RaftId::new(id).filter(|id| *id != self.config.id)?;
        let silent_ticks = self.heard.get(&id).map_or(u64::MAX, |tick| self.now_tick - tick);
        let status = PeerStatus {
            matched: peer.matched,
            next: peer.next_idx,
            state: match peer.state {
                raft::ProgressState::Probe => PeerState::Probe,
                raft::ProgressState::Replicate => PeerState::Replicate,
                raft::ProgressState::Snapshot => PeerState::Snapshot,
            },
            recent_active: peer.recent_active,
            paused: peer.is_paused(),
            silent_ticks,
        };
        Some((id, status))
    }

    fn check(&self) -> Result<(), CoreFailure> {
        if self.stopped { Err(CoreFailure::Stopped) } else { Ok(()) }
    }

    fn fail(&mut self, failure: impl Into<CoreFailure>) -> CoreFailure {
        self.stopped = true;
        failure.into()
    }

    /// After every call into raft: pins the election timeout, notices a change of leadership, and
    /// stops the core if the log failed meanwhile.
    fn settle(&mut self) -> Result<(), CoreFailure> {
        let raft = &mut self.node.raft;
        let ticks = self.timeouts.draw(raft.term, self.campaigns) as usize;
        if raft.randomized_election_timeout() != ticks {
            raft.set_randomized_election_timeout(ticks);
        }
        let leading = (raft.state == StateRole::Leader).then_some(raft.term);
        if leading != self.leading {
            self.leading = leading;
            self.told_commit = 0;
            self.heard.clear();
            self.transfers.retain(|_| false);
        }
        match self.node.store().take_fault() {
            Some(source) => Err(self.fail(CoreFailure::Log { source })),
            None => Ok(()),
        }
    }

    /// True while an election has to wait: raft requires that a new leader's log is persisted
    /// whole, which a single voter would violate by winning at once.
    fn holds_election(&self) -> bool {
        let unstable = &self.node.raft.raft_log.unstable;
        self.leading.is_none() && (!unstable.entries.is_empty() || unstable.snapshot.is_some())
    }

    fn run_tick(&mut self) -> Result<(), CoreFailure> {
        self.deferred.tick = false;
        self.now_tick += 1;
        self.forget_lost_leader();
        match (self.leading, self.tail) {
            (Some(_), _) => {
                self.node.tick();
                self.tell_commit()?;
            }
            // Raft reports that something was done: for a follower that is a campaign.
            (None, LogTail::Whole) => self.campaigns += u64::from(self.node.tick()),
            (None, LogTail::Suspect) => {}
        }
        self.settle()?;
        for member in self.transfers.stalled(self.now_tick) {
            tracing::warn!(%member, "snapshot transfer stalled");
            self.finish_transfer(member, SnapshotStatus::Failure);
        }
        let members = self.node.raft.prs();
        self.transfers.retain(|to| {
            let peer = members.get(to.get());
            peer.is_some_and(|peer| peer.state == raft::ProgressState::Snapshot)
        });
        self.settle()
    }

    fn finish_transfer(&mut self, member: RaftId, status: SnapshotStatus) {
        self.node.report_snapshot(member.get(), status);
    }

    /// Starts a read round if one is due and could be answered: raft drops requests silently when
    /// there is no leader, or one that has not committed in its own term.
    fn start_reads(&mut self) -> Result<(), CoreFailure> {
        let raft = &self.node.raft;
        let silent = self.leading.is_some() && !raft.commit_to_current_term();
        if raft.leader_id == 0 || silent {
            return Ok(());
        }
        let (term, leader) = (raft.term, raft.leader_id);
        if let Some(context) = self.reads.next_round(self.now_tick, term, leader) {
            self.node.read_index(context);
        }
        self.settle()
    }

    fn busy(&self) -> Option<u64> {
        self.outstanding.as_ref().map(cycle::Outstanding::number)
    }

    fn step(&mut self, message: pb::Message) -> Result<raft::Result<()>, CoreFailure> {
        let stepped = self.node.step(message);
        self.settle()?;
        Ok(stepped)
    }
}

#[cfg(test)]
mod tests;
