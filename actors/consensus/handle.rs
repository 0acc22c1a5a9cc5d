//! The handle to the consensus task: it survives the task's restarts.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ipfs_kit_core::command::{Command, Outcome};
use ipfs_kit_core::id::NodeId;
use ipfs_kit_core::masters_clock::MastersClock;
use ipfs_kit_core::proto::Response;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use crate::shared::{Shared, SharedState};

/// Bytes of Raft messages that wait for the consensus task, eight of the largest.
const RAFT_BYTES_MAX: usize = 64 << 20;

/// What reaches the consensus task.
#[derive(Debug)]
pub enum Input {
    /// A Raft message from another master.
    Raft {
        /// Who sent it, as the connection has proven.
        from: NodeId,
        /// The message in consensus' own envelope.
        frame: Bytes,
        /// Its share of what may wait.
        room: OwnedSemaphorePermit,
    },
    /// Commit these.
    Propose {
        /// The commands, each with its request id.
        commands: Vec<Command>,
        /// Outcomes in the commands' order.
        reply: oneshot::Sender<Result<Vec<Outcome>, ProposeError>>,
    },
    /// Find an index that covers everything acknowledged before now.
    ReadIndex {
        /// The index, already applied here.
        reply: oneshot::Sender<Result<u64, ProposeError>>,
    },
    /// A part of a checkpoint, for a master that lags.
    ServeState {
        /// Who asks.
        from: NodeId,
        /// The checkpoint's root hash.
        root: [u8; 32],
        /// Which part.
        part: StatePart,
        /// The part.
        reply: oneshot::Sender<Response>,
    },
    /// The connection to a member broke: if it leads, others need not wait long for it.
    Disconnected {
        /// Who.
        node: NodeId,
    },
    /// A master is connected anew: replication to it starts from what it is known to hold.
    Reconnected {
        /// Who.
        node: NodeId,
    },
    /// Hand the leadership over.
    Transfer {
        /// To whom.
        to: NodeId,
    },
}

/// A part of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatePart {
    /// The hashes of all chunks.
    Hashes,
    /// One chunk.
    Chunk(u32),
}

/// Why nothing is known to be committed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// This node does not lead; nothing was proposed.
    #[error("this node does not lead")]
    NotLeader {
        /// Who does, as far as is known.
        leader: Option<NodeId>,
    },
    /// The leadership went away before the outcome was known; it may have been committed. Asking again
    /// with the same request id is safe.
    #[error("the leadership was lost before the outcome was known")]
    Lost {
        /// Who leads now, as far as is known.
        leader: Option<NodeId>,
    },
    /// Too much is waiting already; nothing was proposed. Ask again after a moment.
    #[error("too many proposals are waiting")]
    Overloaded,
    /// No consensus task runs on this node now; nothing was proposed.
    #[error("consensus is not running on this node")]
    NotRunning,
    /// The commands are too large for one entry; they never fit.
    #[error("{len_bytes} bytes of commands are more than an entry may hold")]
    TooLarge {
        /// Their size.
        len_bytes: usize,
    },
}

/// What others may know of Raft at any time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RaftGlance {
    /// Whether a consensus task runs here.
    pub running: bool,
    /// The current term.
    pub term: u64,
    /// The leader, if one is known.
    pub leader: Option<NodeId>,
    /// Whether this node leads and has applied an entry of its own term.
    pub leading: bool,
    /// Committed index.
    pub commit: u64,
    /// Applied index.
    pub applied: u64,
    /// Voters, in order.
    pub voters: Vec<NodeId>,
    /// Learners, in order.
    pub learners: Vec<NodeId>,
}

/// A write of the log that is under way. Until it is done, Raft stands still on this node.
#[derive(Clone, Copy, Debug)]
pub struct Writing {
    /// Since when.
    pub since: Instant,
    /// It is tried again and again, because the disk is full.
    pub disk_full: bool,
}

/// How long a write may take before its node counts as no leader any more. The others elect another in the
/// meantime; this one can't know of it.
const LEAD_THROUGH: Duration = Duration::from_secs(3);

/// The handle; cheap to clone.
#[derive(Clone)]
pub struct ConsensusHandle {
    inbox: Shared<Option<mpsc::Sender<Input>>>,
    /// Bytes of Raft messages that may still come.
    raft_bytes: Arc<Semaphore>,
    /// The replicated state as far as it is applied here.
    pub state: SharedState,
    /// Raft at a glance.
    pub glance: Shared<RaftGlance>,
    /// The write of the log that is under way.
    pub writing: Shared<Option<Writing>>,
    /// Masters that this node, while it leads, takes out of Raft although the state says nothing of it
    /// yet.
    stepping_down: Shared<BTreeSet<NodeId>>,
    masters_clock: Shared<MastersClock>,
    /// Where the monotone time of that clock begins.
    since: Instant,
}

/// While it lives, a leader on this node takes a master out of Raft and keeps it out.
#[must_use]
#[derive(Debug)]
pub struct SteppingDown {
    node: NodeId,
    among: Shared<BTreeSet<NodeId>>,
}

impl Drop for SteppingDown {
    fn drop(&mut self) {
        self.among.write(|nodes| nodes.remove(&self.node));
    }
}

impl ConsensusHandle {
    /// A handle to a task that does not run yet.
    pub fn new(state: SharedState) -> Self {
        let (inbox, glance) = (Shared::new(None), Shared::new(RaftGlance::default()));
        let masters_clock = Shared::new(MastersClock::default());
        let (stepping_down, since) = (Shared::new(BTreeSet::new()), Instant::now());
        let writing = Shared::new(None);
        let raft_bytes = Arc::new(Semaphore::new(RAFT_BYTES_MAX));
        Self { inbox, raft_bytes, state, glance, writing, stepping_down, masters_clock, since }
    }

    /// A heartbeat came, with what its sender's wall clock shows.
    pub(crate) fn hear_clock(&self, node: NodeId, wall_ms: u64) {
        let now_ms = self.monotone_ms();
        self.masters_clock.write(|clock| clock.hear(node, wall_ms, now_ms));
    }

    /// Another leads: what was heard of clocks was heard long ago when this node leads again.
    pub(crate) fn forget_clocks(&self) {
        self.masters_clock.write(MastersClock::forget);
    }

    /// The time to stamp into entries, where this node's own clock shows `wall_ms`.
    pub(crate) fn stamp(
        &self,
        own: NodeId,
        wall_ms: u64,
        masters: impl IntoIterator<Item = NodeId>,
    ) -> u64 {
        let now_ms = self.monotone_ms();
        self.masters_clock.read(|clock| clock.stamp(own, wall_ms, masters, now_ms))
    }

    fn monotone_ms(&self) -> u64 {
        self.since.elapsed().as_millis() as u64
    }

    /// Takes a master out of Raft for another role; it is back when this is dropped before the role is
    /// committed. Nothing of it is replicated: another leader leaves the master where it is.
    pub fn step_down(&self, node: NodeId) -> SteppingDown {
        self.stepping_down.write(|nodes| nodes.insert(node));
        SteppingDown { node, among: self.stepping_down.clone() }
    }

    /// Whether a master is being taken out of Raft.
    pub(crate) fn is_stepping_down(&self, node: NodeId) -> bool {
        self.stepping_down.read(|nodes| nodes.contains(&node))
    }

    /// Whether this node leads.
    pub fn leading(&self) -> bool {
        self.glance.read(|glance| glance.leading) && !self.stands_still()
    }

    /// Whether Raft waits for its log here, and has for so long that nothing should wait for it.
    pub fn stands_still(&self) -> bool {
        self.writing.read(|writing| {
            writing.is_some_and(|now| now.disk_full || now.since.elapsed() >= LEAD_THROUGH)
        })
    }

    /// Whether Raft runs here and gets on.
    pub fn is_moving(&self) -> bool {
        self.glance.read(|glance| glance.running) && !self.stands_still()
    }

    fn check_moving(&self) -> Result<(), ProposeError> {
        if self.stands_still() { Err(ProposeError::NotLeader { leader: None }) } else { Ok(()) }
    }

    /// The leader, if one is known.
    pub fn leader(&self) -> Option<NodeId> {
        self.glance.read(|glance| glance.leader)
    }

    /// Connects the handle to a new run of the task.
    pub(crate) fn connect(&self, inbox: mpsc::Sender<Input>) {
        self.inbox.write(|slot| *slot = Some(inbox));
        self.glance.write(|glance| glance.running = true);
    }

    /// Disconnects it; callers are told that nothing runs.
    pub(crate) fn disconnect(&self) {
        self.inbox.write(|slot| *slot = None);
        self.glance.write(|glance| *glance = RaftGlance::default());
        self.writing.write(|writing| *writing = None);
    }

    /// Queues a Raft message; an inbox that is full, or holds too many bytes, drops it, which Raft repairs.
    pub fn raft(&self, from: NodeId, frame: Bytes) -> Result<(), ProposeError> {
        let share = frame.len().min(RAFT_BYTES_MAX) as u32;
        let room = Arc::clone(&self.raft_bytes).try_acquire_many_owned(share);
        let room = room.map_err(|_| ProposeError::Overloaded)?;
        self.put(Input::Raft { from, frame, room })
    }

    /// Notes that the connection to a member broke.
    pub fn disconnected(&self, node: NodeId) -> Result<(), ProposeError> {
        self.put(Input::Disconnected { node })
    }

    /// Notes that a member is connected anew.
    pub fn reconnected(&self, node: NodeId) -> Result<(), ProposeError> {
        self.put(Input::Reconnected { node })
    }

    /// Asks for a leadership transfer; the result shows in the glance.
    pub fn transfer(&self, to: NodeId) -> Result<(), ProposeError> {
        self.put(Input::Transfer { to })
    }

    /// Commits commands and waits for their outcomes.
    pub async fn propose(&self, commands: Vec<Command>) -> Result<Vec<Outcome>, ProposeError> {
        self.check_moving()?;
        let (reply, outcome) = oneshot::channel();
        self.put(Input::Propose { commands, reply })?;
        outcome.await.map_err(|_| ProposeError::Lost { leader: None })?
    }

    /// Waits until everything acknowledged before the call is applied here; leaders only.
    pub async fn read_index(&self) -> Result<u64, ProposeError> {
        self.check_moving()?;
        let (reply, index) = oneshot::channel();
        self.put(Input::ReadIndex { reply })?;
        index.await.map_err(|_| ProposeError::Lost { leader: None })?
    }

    /// A part of a checkpoint, as an answer.
    pub async fn serve_state(&self, from: NodeId, root: [u8; 32], part: StatePart) -> Response {
        let (reply, answer) = oneshot::channel();
        let unavailable = |reason: String| Response::Unavailable { reason };
        if let Err(error) = self.put(Input::ServeState { from, root, part, reply }) {
            return unavailable(error.to_string());
        }
        answer.await.unwrap_or_else(|_| unavailable("consensus stopped".into()))
    }

    fn put(&self, input: Input) -> Result<(), ProposeError> {
        let inbox = self.inbox.read(Option::clone).ok_or(ProposeError::NotRunning)?;
        inbox.try_send(input).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ProposeError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => ProposeError::NotRunning,
        })
    }
}

#[cfg(test)]
mod tests;
