//! The consensus task: drains its inbox, runs one cycle of Raft, applies what is committed.
//!
//! It is the only writer of the replicated state. It is one task and not an actor, because Raft is
//! driven in batches: everything that waits goes into one entry and one sync, not one message each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ipfs_kit_consensus as raft;
use ipfs_kit_core::id::{Incarnation, NodeId};
use ipfs_kit_core::member::Member;
use ipfs_kit_core::rights::may_send_raft;
use ipfs_kit_store::checkpoint::{CheckpointError, Checkpoints};
use ipfs_kit_store::raft_log::{self, RaftLog, RaftLogError};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use crate::events::{Applied, LeadershipChanged};
use crate::ports::{Clock, Executor, Lane, SendError, WorkDropped, WorkLane, work};
use crate::request_ids::RequestIds;
use crate::rpc::Rpc;
use crate::settings::RaftSettings;
use crate::shared::SharedView;

mod alarm;
mod apply;
mod handle;
mod housekeeping;
mod log_view;
mod recovery;
mod requests;
mod snapshots;

pub use handle::{ConsensusHandle, Input, ProposeError, RaftGlance, StatePart, Writing};
pub use recovery::{RecoveryError, found};

use alarm::Alarm;
use log_view::{StoredLog, to_stored};
use requests::Requests;

/// Inputs that may wait; beyond it proposals are refused and Raft messages dropped.
const INBOX_MAX: usize = 8192;
/// Inputs taken in before a cycle.
const DRAIN_MAX: usize = 2048;
/// How long the others may wait for the word that an entry is committed, in case the next entry, which
/// carries it for nothing, comes before that.
const TELL_COMMIT_AFTER: Duration = Duration::from_millis(5);

/// Between two attempts to write to a full disk.
const FULL_DISK_PAUSE: Duration = Duration::from_secs(1);

/// What the task is made of; everything in it survives its restarts.
#[derive(Clone)]
pub struct Deps {
    /// This node, and its Raft id.
    pub node: NodeId,
    /// This run.
    pub incarnation: Incarnation,
    /// Seeds the election timeouts.
    pub seed: u64,
    /// Raft's clockwork.
    pub settings: RaftSettings,
    /// The log.
    pub log: Arc<RaftLog>,
    /// The checkpoints.
    pub checkpoints: Arc<Checkpoints>,
    /// The handle through which everybody reaches the task.
    pub handle: ConsensusHandle,
    /// Messages to other masters.
    pub rpc: Rpc,
    /// Who is a master, where the log has not come as far.
    pub view: SharedView,
    /// Stamps entries.
    pub clock: Arc<dyn Clock>,
    /// Writes the log off this thread.
    pub executor: Arc<dyn Executor>,
    /// Request ids of this run.
    pub requests: RequestIds,
    /// Hears what was applied.
    pub on_applied: Arc<dyn Fn(Applied) + Send + Sync>,
    /// Hears who leads; false if not everybody has, so that it is said again.
    pub on_leadership: Arc<dyn Fn(LeadershipChanged) -> bool + Send + Sync>,
}

/// Why the task ended. What is durable is intact; a restart goes on from it, except where the disk has
/// failed for good.
#[derive(Debug, thiserror::Error)]
pub enum ConsensusError {
    /// It could not start.
    #[error("consensus can't start")]
    Recovery(#[from] RecoveryError),
    /// The log can't be written. The node must stop: it can't keep its promises.
    #[error("the raft log can't be written")]
    Log(#[from] RaftLogError),
    /// A checkpoint can't be read back.
    #[error("the received state can't be read")]
    Checkpoint(#[from] CheckpointError),
    /// A committed entry can't be understood. A restart would meet it again.
    #[error("entry {index} can't be applied: {reason}")]
    Apply {
        /// The entry.
        index: u64,
        /// Why.
        reason: String,
    },
    /// Raft found itself in a state that must not be.
    #[error("raft failed")]
    Core(#[from] raft::CoreFailure),
    /// The task called Raft out of turn.
    #[error("raft was driven out of order")]
    Cycle(#[from] raft::CycleError),
    /// This node's log lacks entries that it has acknowledged.
    #[error("this node has lost entries that it acknowledged: {reason}")]
    Lost {
        /// What the leader says.
        reason: String,
    },
    /// The node is stopping.
    #[error(transparent)]
    Stopping(#[from] WorkDropped),
}

pub(crate) struct Task {
    deps: Deps,
    core: raft::RaftCore<StoredLog>,
    conf: raft::ConfState,
    requests: Requests,
    reads: BTreeMap<u64, tokio::sync::oneshot::Sender<Result<u64, ProposeError>>>,
    next_read: u64,
    /// The term in which an entry of this node's own leadership has been applied.
    applied_own_term: u64,
    /// Term of the last applied entry.
    applied_term: u64,
    checkpoint_index: u64,
    checkpointing: bool,
    receiving: bool,
    pending_offer: Option<raft::SnapshotOffer>,
    jobs: mpsc::Sender<Job>,
    job_results: Option<mpsc::Receiver<Job>>,
    told: Told,
    glance: housekeeping::Leadership,
    /// The log's end was cut; since then, or since the leader was last heard.
    suspect_since: Option<Instant>,
    membership_asked: u128,
    ticks: u64,
    /// A hard state whose commit index alone has moved, not written yet.
    unwritten: Option<raft_log::HardState>,
    /// Rings when what is committed is to be told, if no entry does it before.
    telling: Alarm,
}

/// What the shells were told of the leadership.
#[derive(Default)]
struct Told {
    last: Option<LeadershipChanged>,
    /// One of them was not to be reached, and is told again.
    unheard: bool,
}

/// A background job's result.
enum Job {
    CheckpointWritten(Result<raft::SnapshotManifest, CheckpointError>),
    SnapshotReceived(raft::SnapshotOffer),
    SnapshotFailed(String),
}

/// One run of the task; it ends with an error or when it is dropped.
pub async fn run(deps: Deps) -> Result<(), ConsensusError> {
    let (inbox, inputs) = mpsc::channel(INBOX_MAX);
    let mut task = recovery::recover(deps)?;
    task.deps.handle.connect(inbox);
    let _connected = Connected(task.deps.handle.clone());
    task.run(inputs).await
}

/// Tells callers that nothing runs, however the task ends.
struct Connected(ConsensusHandle);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.disconnect();
    }
}

impl Task {
    async fn run(&mut self, mut inputs: mpsc::Receiver<Input>) -> Result<(), ConsensusError> {
        let tick = Duration::from_millis(self.deps.settings.tick_ms);
        let mut ticks = tokio::time::interval(tick);
        // Late ticks are gone: replaying them would start elections for time in which nothing was heard.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut jobs = self.job_results.take().expect("taken once, by the only run");
        // What a checkpoint brought back is applied by no entry: the shells take it whole.
        let (epoch, founded) =
            self.deps.handle.state.read(|state| (state.epoch(), state.cluster().is_some()));
        self.tell_leadership();
        if founded {
            (self.deps.on_applied)(Applied { epoch, entries: Vec::new() });
        }
        if self.conf == raft::ConfState::single(self.id()) {
            self.core.campaign()?;
        }
        loop {
            self.cycle().await?;
            self.plan_telling_commit();
            tokio::select! {
                biased;
                _ = ticks.tick() => self.tick()?,
                () = self.telling.rings() => self.core.tell_commit()?,
                Some(job) = jobs.recv() => self.finish(job)?,
                input = inputs.recv() => match input {
                    Some(input) => self.drain(input, &mut inputs)?,
                    None => return Ok(()),
                },
            }
        }
    }

    fn plan_telling_commit(&mut self) {
        if !self.core.has_untold_commit() {
            self.telling.clear();
        } else if !self.telling.is_set() {
            self.telling.set(Instant::now() + TELL_COMMIT_AFTER);
        }
    }

    fn id(&self) -> raft::RaftId {
        raft_id(self.deps.node)
    }

    fn drain(
        &mut self,
        first: Input,
        inputs: &mut mpsc::Receiver<Input>,
    ) -> Result<(), ConsensusError> {
        self.take(first)?;
        for _ in 0..DRAIN_MAX {
            match inputs.try_recv() {
                Ok(input) => self.take(input)?,
                Err(_) => break,
            }
        }
        Ok(())
    }

    fn take(&mut self, input: Input) -> Result<(), ConsensusError> {
        match input {
            Input::Raft { from, frame, room: _ } => return self.message(from, frame),
            Input::Propose { commands, reply } => {
                self.requests.queue(commands, reply, self.glance.leads, self.glance.leader);
            }
            Input::ReadIndex { reply } => self.read_index(reply),
            Input::ServeState { from, root, part, reply } => {
                let answer = self.serve_state(from, &root, part)?;
                // Whoever asked may have given up.
                let _ = reply.send(answer);
            }
            Input::Disconnected { node } => self.core.disconnected(raft_id(node)),
            Input::Reconnected { node } => self.core.report_unreachable(raft_id(node))?,
            Input::Transfer { to } => {
                if let Err(reason) = self.core.transfer_leader(raft_id(to)) {
                    tracing::warn!(%to, %reason, "the leadership is not handed over");
                }
            }
        }
        Ok(())
    }

    fn message(&mut self, from: NodeId, frame: bytes::Bytes) -> Result<(), ConsensusError> {
        // Raft itself steps messages of members that it does not know, and gives way to higher terms.
        if !self.is_master(from) {
            tracing::debug!(%from, "raft message refused, its sender is no master");
            return Ok(());
        }
        match self.core.message(raft_id(from), frame) {
            Ok(raft::Received::Offer(offer)) => self.fetch_snapshot(offer),
            Ok(_) => {}
            Err(error) => self.refused(error)?,
        }
        if self.glance.leader == Some(from) && self.suspect_since.is_some() {
            self.suspect_since = Some(Instant::now());
        }
        Ok(())
    }

    /// By the state applied here, or by the view: a master that joins or was left behind has no state that
    /// knows today's masters, but was told of them at its admission or follows the feed.
    fn is_master(&self, node: NodeId) -> bool {
        let is_master = |members: &BTreeMap<NodeId, Member>| {
            let known = members.get(&node);
            known.is_some_and(|member| may_send_raft(member.spec.role, member.raft))
        };
        self.deps.handle.state.read(|state| is_master(state.members()))
            || self.deps.view.read(|view| is_master(view.members()))
    }

    fn refused(&mut self, error: raft::MessageError) -> Result<(), ConsensusError> {
        match error {
            raft::MessageError::Failed(failure) => Err(failure.into()),
            raft::MessageError::AcknowledgedEntriesLost { .. } => {
                Err(ConsensusError::Lost { reason: error.to_string() })
            }
            other => {
                tracing::debug!(reason = %other, "raft message dropped");
                Ok(())
            }
        }
    }

    /// Linearizable only at the leader: its index is the cluster's.
    fn read_index(&mut self, reply: tokio::sync::oneshot::Sender<Result<u64, ProposeError>>) {
        if !self.glance.leads {
            // Whoever asked may have given up.
            let _ = reply.send(Err(ProposeError::NotLeader { leader: self.glance.leader }));
            return;
        }
        self.next_read += 1;
        let token = raft::ReadToken(self.next_read);
        match self.core.read_index(token) {
            Ok(()) => {
                self.reads.insert(token.0, reply);
            }
            Err(_) => {
                let _ = reply.send(Err(ProposeError::Overloaded));
            }
        }
    }

    /// Everything that can be done now: propose what waits, persist, send, apply.
    async fn cycle(&mut self) -> Result<(), ConsensusError> {
        self.propose_waiting()?;
        while let Some(ready) = self.core.ready()? {
            let raft::Ready { number, batch, messages } = ready;
            self.send(messages);
            self.persist(&batch).await?;
            let after = self.core.persisted(number)?;
            if !after.messages.is_empty() {
                self.send(after.messages);
                // Somebody waits for an acknowledgement; to apply and to show what is committed can wait.
                self.deps.executor.give_way();
            }
            if let Some(manifest) = after.restored {
                self.restore(&manifest)?;
            }
            self.grant(after.reads);
            self.apply(after.committed)?;
            for offer in after.offers {
                self.fetch_snapshot(offer);
            }
            for refused in after.rejected {
                self.refused(refused)?;
            }
        }
        self.tell_leadership();
        Ok(())
    }

    /// Makes a batch durable. A mere move of the commit index waits for the next batch: the state is
    /// recovered from checkpoint and log, so an older commit index only means that Raft says it again.
    async fn persist(&mut self, batch: &raft::Batch) -> Result<(), ConsensusError> {
        let mut stored = to_stored(batch);
        if stored.hard_state.is_some() && !batch.must_sync {
            self.unwritten = stored.hard_state;
            return Ok(());
        }
        stored.hard_state = stored.hard_state.or(self.unwritten);
        if !stored.is_empty() {
            self.append(Arc::new(stored)).await?;
        }
        self.unwritten = None;
        Ok(())
    }

    /// Appends to the log. A full disk is waited out: until there is room this node hears, votes and leads
    /// nothing, and the others go on without it.
    async fn append(&mut self, stored: Arc<raft_log::Batch>) -> Result<(), ConsensusError> {
        let mut now = Writing { since: Instant::now(), disk_full: false };
        loop {
            self.deps.handle.writing.write(|writing| *writing = Some(now));
            let (log, batch) = (Arc::clone(&self.deps.log), Arc::clone(&stored));
            let append = move || log.append(&batch);
            match work(&*self.deps.executor, WorkLane::Log, append).await? {
                Ok(()) => break,
                Err(error) if error.is_full() => {
                    if !std::mem::replace(&mut now.disk_full, true) {
                        tracing::error!(%error, "raft stands still until the disk has room");
                        self.deps.handle.writing.write(|writing| *writing = Some(now));
                        self.step_aside();
                    }
                    tokio::time::sleep(FULL_DISK_PAUSE).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
        if now.disk_full {
            tracing::info!("the disk has room again, raft goes on");
        }
        self.deps.handle.writing.write(|writing| *writing = None);
        Ok(())
    }

    fn send(&mut self, messages: Vec<raft::Outgoing>) {
        for message in messages {
            let (to, bytes) = match message {
                raft::Outgoing::Message { to, bytes, .. } => (to, bytes),
                raft::Outgoing::Snapshot { to, bytes, manifest } => {
                    tracing::info!(to = to.get(), index = manifest.index, "snapshot offered");
                    (to, bytes)
                }
            };
            let sent = self.deps.rpc.peers().send(NodeId(to.get()), Lane::Raft, bytes);
            if let Err(reason @ (SendError::Full | SendError::NotConnected)) = sent {
                tracing::trace!(to = to.get(), %reason, "raft message not sent");
                if let Err(failure) = self.core.report_unreachable(to) {
                    tracing::error!(%failure, "raft failed");
                }
            }
        }
    }

    fn grant(&mut self, grants: Vec<raft::ReadGrant>) {
        for grant in grants {
            if let Some(reply) = self.reads.remove(&grant.token.0) {
                // Whoever asked may have given up.
                let _ = reply.send(Ok(grant.index));
            }
        }
    }
}

/// A node's Raft id is its number.
fn raft_id(node: NodeId) -> raft::RaftId {
    raft::RaftId::new(node.0).expect("node numbers start at 1")
}
