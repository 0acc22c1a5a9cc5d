//! What consensus does beside replication: who leads, who votes, how long the log gets.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ipfs_kit_consensus as raft;
use ipfs_kit_core::codec::{self, Kind};
use ipfs_kit_core::command::{Command, Entry, Op};
use ipfs_kit_core::id::NodeId;
use ipfs_kit_core::member::{Liveness, Member, RaftStanding, Role};
use ipfs_kit_core::proto::Request;
use ipfs_kit_store::checkpoint::CheckpointMeta;
use ipfs_kit_store::raft_log;

use super::{ConsensusError, Job, RaftGlance, Task, Told};
use crate::events::LeadershipChanged;
use crate::ports::{WorkLane, work};

/// Ticks between two looks at who should vote and how long the log is.
const LOOK_TICKS: u64 = 4;
/// Election timeouts without a word of a leader after which a node trusts its log again although its end was
/// cut: with an honest disk only what was never acknowledged can be cut, and a cluster all of whose
/// masters lost power at once must come back.
const SUSPICION_ELECTIONS: u32 = 20;

/// Who leads, as Raft says it now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// Whether it is this node.
    pub leads: bool,
    /// Who.
    pub leader: Option<NodeId>,
    /// The term.
    pub term: u64,
}

impl Task {
    pub(super) fn tick(&mut self) -> Result<(), ConsensusError> {
        self.core.tick()?;
        self.ticks += 1;
        self.repeat_leadership();
        if self.ticks.is_multiple_of(LOOK_TICKS) {
            self.reconcile_members();
            self.checkpoint_if_due();
            self.end_suspicion();
            self.retry_offer();
        }
        Ok(())
    }

    /// The masters' time, for an entry.
    fn stamp_ms(&self) -> u64 {
        let masters = self.conf.voters.iter().map(|voter| NodeId(voter.get()));
        self.deps.handle.stamp(self.deps.node, self.deps.clock.wall_ms(), masters)
    }

    pub(super) fn propose_waiting(&mut self) -> Result<(), ConsensusError> {
        if !self.requests.has_queued() {
            return Ok(());
        }
        let stamped_ms = self.stamp_ms();
        let entries = self.requests.take_entries(stamped_ms);
        if entries.is_empty() {
            return Ok(());
        }
        match self.core.propose(entries) {
            Ok(_) => {}
            Err(raft::ProposeError::Failed(failure)) => return Err(failure.into()),
            Err(reason) => {
                tracing::debug!(%reason, "proposals refused");
                self.requests.lose(self.glance.leader);
            }
        }
        Ok(())
    }

    /// Publishes the glance and tells the shells, once for each change.
    pub(super) fn tell_leadership(&mut self) {
        let term = self.core.term();
        let leader = self.core.leader().map(|id| NodeId(id.get()));
        let leads = self.core.is_leader();
        let was = std::mem::replace(&mut self.glance, Leadership { leads, leader, term });
        if was.leads && (!leads || was.term != term) {
            self.requests.lose(leader.filter(|leader| *leader != self.deps.node));
            for (_, reply) in std::mem::take(&mut self.reads) {
                // Whoever asked may have given up.
                let _ = reply.send(Err(super::ProposeError::Lost { leader }));
            }
        }
        let leading = leads && self.applied_own_term == term;
        let (commit, applied) = (self.core.commit_index(), self.core.applied_index());
        let conf = self.core.conf();
        self.deps.handle.glance.write(|shown| {
            // The lists stay in place: this is done once for every commit.
            let RaftGlance { voters, learners, .. } = std::mem::take(shown);
            let (voters, learners) = (ids(voters, &conf.voters), ids(learners, &conf.learners));
            let running = true;
            *shown =
                RaftGlance { running, term, leader, leading, commit, applied, voters, learners };
        });
        let now = LeadershipChanged { term, leader, leading };
        if self.told.last != Some(now) {
            self.told.last = Some(now);
            tracing::info!(term = now.term, leader = ?now.leader, leading, "leadership");
            self.told.unheard = !(self.deps.on_leadership)(now);
        }
    }

    /// Raft stands still here: nobody is to count on this node as a leader. What it is really comes with the
    /// next glance.
    pub(super) fn step_aside(&mut self) {
        self.glance.leads = false;
        self.glance.leader = None;
        self.requests.lose(None);
        for (_, reply) in std::mem::take(&mut self.reads) {
            // Whoever asked may have given up.
            let _ = reply.send(Err(super::ProposeError::Lost { leader: None }));
        }
        self.deps.handle.glance.write(|shown| (shown.leader, shown.leading) = (None, false));
        let now = LeadershipChanged { term: self.glance.term, leader: None, leading: false };
        self.told = Told { last: Some(now), unheard: !(self.deps.on_leadership)(now) };
    }

    /// Tells the shells once more, if one of them was not to be reached.
    pub(super) fn repeat_leadership(&mut self) {
        if let Some(last) = self.told.last.filter(|_| self.told.unheard) {
            self.told.unheard = !(self.deps.on_leadership)(last);
        }
    }

    /// Brings Raft's members to what the registry says, one safe change at a time.
    fn reconcile_members(&mut self) {
        if !self.deps.handle.glance.read(|glance| glance.leading) {
            return;
        }
        let status = self.core.status();
        let desired = self.deps.handle.state.read(|state| {
            let handle = &self.deps.handle;
            let stays = |member: &Member| {
                member.liveness != Liveness::Draining && !handle.is_stepping_down(member.id)
            };
            let masters = state
                .members()
                .values()
                .filter(|m| m.spec.role == Role::Master && stays(m))
                .filter_map(|m| raft::RaftId::new(m.id.0));
            raft::DesiredMembers { voters: masters.collect(), ..Default::default() }
        });
        let ticks = self.deps.settings.election_ticks as u32;
        let policy = raft::MembershipPolicy::for_election_ticks(ticks);
        match raft::next_step(&status, &desired, &policy) {
            raft::MembershipStep::Propose(change) => self.propose_change(change),
            raft::MembershipStep::TransferLeadership { to } => {
                if let Err(reason) = self.core.transfer_leader(to) {
                    tracing::debug!(%reason, "the leadership is not handed over");
                }
            }
            raft::MembershipStep::Refused(reason) => {
                tracing::warn!(%reason, "raft's members are not as desired");
            }
            raft::MembershipStep::Settled | raft::MembershipStep::Wait(_) => {}
        }
    }

    fn propose_change(&mut self, change: raft::MembershipChange) {
        let commands = change
            .members()
            .into_iter()
            .map(|(member, role)| Command {
                request: self.deps.requests.next(),
                op: Op::SetRaft {
                    node: NodeId(member.get()),
                    standing: match role {
                        raft::MemberRole::Voter => RaftStanding::Voter,
                        raft::MemberRole::Learner => RaftStanding::Learner,
                        raft::MemberRole::Removed => RaftStanding::None,
                    },
                },
            })
            .collect();
        let entry = Entry { stamped_ms: self.stamp_ms(), commands };
        self.membership_asked += 1;
        let run = u128::from(self.deps.incarnation.0) << 64;
        let request = raft::RequestId(run | self.membership_asked);
        let context = Bytes::from(codec::seal(Kind::Entry, &entry));
        if let Err(reason) = self.core.propose_membership(change, request, context) {
            tracing::debug!(%reason, "a membership change was not proposed");
        }
    }

    fn compaction(&self) -> raft::CompactionPolicy {
        let settings = self.deps.settings;
        raft::CompactionPolicy {
            tail_entries: settings.tail_entries,
            checkpoint_entries: settings.checkpoint_entries,
            step_entries: (settings.tail_entries / 10).max(1),
            retain_max_entries: settings.tail_entries.saturating_mul(10),
            silent_ticks: 2 * settings.election_ticks as u64,
        }
    }

    fn checkpoint_if_due(&mut self) {
        let status = self.core.status();
        let wanted = self.core.checkpoint_wanted().is_some_and(|at| at > self.checkpoint_index);
        let due = self.compaction().checkpoint_due(&status, self.checkpoint_index);
        if self.checkpointing || !(wanted || due) || status.applied == self.checkpoint_index {
            return;
        }
        self.checkpointing = true;
        let (index, bytes) = self.deps.handle.state.read(|state| (state.index(), state.to_bytes()));
        let meta = CheckpointMeta {
            applied_index: index,
            term: self.applied_term,
            conf_state: self.conf.encode(),
        };
        let (conf, source) = (self.conf.clone(), self.id());
        let checkpoints = Arc::clone(&self.deps.checkpoints);
        let (executor, jobs) = (Arc::clone(&self.deps.executor), self.jobs.clone());
        tokio::task::spawn_local(async move {
            let save = move || checkpoints.save(meta, &bytes);
            let Ok(saved) = work(&*executor, WorkLane::Files, save).await else { return };
            let result = saved.map(|manifest| super::snapshots::to_raft(&manifest, conf, source));
            // The task has ended meanwhile; the checkpoint is found at the next start.
            let _ = jobs.send(Job::CheckpointWritten(result)).await;
        });
    }

    pub(super) fn finish(&mut self, job: Job) -> Result<(), ConsensusError> {
        match job {
            Job::CheckpointWritten(Ok(manifest)) => {
                self.checkpointing = false;
                self.checkpoint_index = manifest.index;
                self.core.checkpoint_written(manifest)?;
                // An older checkpoint is of use only with the log behind it.
                let oldest = self.deps.checkpoints.list().first().map_or(0, |c| c.applied_index);
                if let Some(to) = self.compaction().compact_to(&self.core.status(), oldest) {
                    // The log lets go only of what it knows to be committed.
                    let batch =
                        raft_log::Batch { hard_state: self.unwritten, ..Default::default() };
                    let log = &self.deps.log;
                    match log.append(&batch).and_then(|()| log.compact(to)) {
                        Ok(()) => self.unwritten = None,
                        Err(error) if error.is_full() => {
                            tracing::warn!(%error, "the log is made shorter another time");
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
            }
            Job::CheckpointWritten(Err(reason)) => {
                self.checkpointing = false;
                tracing::error!(%reason, "the checkpoint was not written");
            }
            Job::SnapshotReceived(offer) => {
                self.receiving = false;
                self.pending_offer = Some(offer);
                self.retry_offer();
            }
            Job::SnapshotFailed(reason) => {
                self.receiving = false;
                tracing::warn!(%reason, "the snapshot was not received");
            }
        }
        Ok(())
    }

    /// A node whose log was cut at its end asks for an entry of its own, and waits no longer than a
    /// cluster without a leader can be helped by it.
    fn end_suspicion(&mut self) {
        let Some(since) = self.suspect_since else { return };
        let settings = self.deps.settings;
        let alone = self.conf == raft::ConfState::single(self.id());
        let election = Duration::from_millis(settings.tick_ms * settings.election_ticks as u64);
        // A suspect follower runs no election clock, so the leader that it knows may be long gone.
        if alone || since.elapsed() > election * SUSPICION_ELECTIONS {
            self.trust_tail("no leader was heard");
            return;
        }
        let Some(leader) = self.glance.leader.filter(|leader| *leader != self.deps.node) else {
            return;
        };
        let command = Command { request: self.deps.requests.next(), op: Op::Expire };
        let rpc = self.deps.rpc.clone();
        tokio::task::spawn_local(async move {
            let request = Request::Propose { commands: vec![command] };
            if let Err(reason) = rpc.call(leader, &request, Duration::from_secs(1)).await {
                tracing::debug!(%reason, "the leader did not take this node's entry");
            }
        });
    }

    pub(super) fn trust_tail(&mut self, why: &str) {
        self.suspect_since = None;
        self.core.tail_verified();
        tracing::info!(why, "the log's end is trusted again");
        if let Err(reason) = self.deps.log.clear_suspect() {
            tracing::warn!(%reason, "the log stays marked");
        }
    }
}

/// The nodes of `members`, in the list that held them before.
fn ids(mut list: Vec<NodeId>, members: &BTreeSet<raft::RaftId>) -> Vec<NodeId> {
    list.clear();
    list.extend(members.iter().map(|id| NodeId(id.get())));
    list
}
