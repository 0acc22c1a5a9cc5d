//! What the shells need from the world, named for the need.
//!
//! The program implements these over libp2p, files and the operating system; the simulations over
//! virtual time and a seeded network. One contract suite runs against both.

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cid::Cid;
use futures_util::future::{BoxFuture, LocalBoxFuture};
use ipfs_kit_core::id::{NodeId, PeerKey};
use ipfs_kit_core::member::{RaftStanding, Role};
use ipfs_kit_core::proto::Topic;
use tokio::sync::{mpsc, oneshot};

use crate::supervision::as_caller;

/// The other members.
///
/// Addresses are known from the registry, so the shells speak of node ids only. Every queue behind this
/// port is bounded: a full one is an error for the sender, never a wait without end.
pub trait Peers: Send + Sync {
    /// Asks a member and waits for its answer, at most `deadline`. Dropping the future gives up.
    fn call(
        &self,
        to: NodeId,
        request: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, CallError>>;

    /// As [`Peers::call`], for a large answer: it may take a way on which it delays nothing else.
    fn call_bulk(
        &self,
        to: NodeId,
        request: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        self.call(to, request, deadline)
    }

    /// Where frames go that come in. A network with threads of its own hands them over there, in order for
    /// each member, instead of [`Inbound::Frame`]; one without may leave this out.
    fn hand_frames_to(&self, sink: FrameSink) {
        drop(sink);
    }

    /// Hands a frame to the ordered lane to a member. It may be lost if the connection breaks.
    fn send(&self, to: NodeId, lane: Lane, frame: Bytes) -> Result<(), SendError>;

    /// Publishes a message to everybody on a topic, as far as gossip gets.
    fn publish(&self, topic: Topic, message: Bytes) -> Result<(), PublishError>;

    /// Says who belongs to the cluster: whom to admit, where to reach them, whom to stay connected to.
    fn set_registry(&self, registry: Registry);

    /// Tries to reach a peer at one address; the error says what failed.
    fn probe(&self, key: PeerKey, addr: String) -> BoxFuture<'static, Result<(), String>>;

    /// Asks, as a peer that is no member yet, a master at `addr` to be admitted. The master must prove to
    /// be `expected`.
    fn join(
        &self,
        addr: String,
        expected: PeerKey,
        request: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, JoinError>>;

    /// Where this node listens now, as others on the same network would write it.
    fn listening(&self) -> Vec<String>;

    /// Members with a connection now, in order.
    fn connected(&self) -> Vec<NodeId>;
}

/// Takes a frame of a lane, on any thread, without waiting.
pub type FrameSink = Arc<dyn Fn(NodeId, Lane, Bytes) + Send + Sync>;

/// Starts the network: the driver runs until it fails or is dropped, the receiver gets what comes in.
/// Called again after a crash; [`Peers`] handed out before work with the new driver.
pub trait Network: Send + Sync {
    /// One run of the network.
    fn start(&self) -> BoxFuture<'static, Result<NetworkRun, NetworkError>>;
}

/// One run of the network.
pub struct NetworkRun {
    /// Must be polled all the time.
    pub driver: BoxFuture<'static, Result<(), NetworkError>>,
    /// What comes in; when it is full, peers are made to wait.
    pub inbound: mpsc::Receiver<Inbound>,
}

/// The network could not start or went down. The state on disk is intact; a restart may help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the network is down: {reason}")]
pub struct NetworkError {
    /// What happened.
    pub reason: String,
}

/// Everybody whom this node may talk to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registry {
    /// This node's own number.
    pub me: Option<NodeId>,
    /// The members, in order.
    pub peers: Vec<PeerEntry>,
    /// Identities that were removed for good, as far as this node knows; only masters do. Who of them dials
    /// is told so, unless it is among the members.
    pub removed: BTreeSet<PeerKey>,
}

/// One member as the network needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerEntry {
    /// Its number.
    pub node: NodeId,
    /// Its identity.
    pub key: PeerKey,
    /// Its role: what it may publish.
    pub role: Role,
    /// Its place in Raft.
    pub raft: RaftStanding,
    /// Where to reach it.
    pub addrs: Vec<String>,
    /// Whether a connection is kept all the time or made when needed.
    pub keep: Keep,
}

/// How eager a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Always there, redialled with back-off.
    Connected,
    /// Made when something is sent.
    OnDemand,
}

/// Ordered lanes between two members; one never blocks another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Raft messages between masters.
    Raft,
}

/// What comes in.
#[derive(Debug)]
pub enum Inbound {
    /// A member asks. Dropping the reply tells it that the node is busy.
    Call {
        /// Who.
        from: NodeId,
        /// A sealed request.
        request: Bytes,
        /// Where the answer goes.
        reply: oneshot::Sender<Bytes>,
    },
    /// A frame of an ordered lane.
    Frame {
        /// Who.
        from: NodeId,
        /// On which lane.
        lane: Lane,
        /// What.
        frame: Bytes,
    },
    /// A gossip message whose author is a member and whose signature is right.
    Gossip {
        /// Who signed it.
        author: NodeId,
        /// On which topic.
        topic: Topic,
        /// What.
        message: Bytes,
        /// Whether to pass it on.
        verdict: oneshot::Sender<Verdict>,
    },
    /// A peer that is no member asks to become one.
    Join {
        /// Its proven identity.
        from: PeerKey,
        /// A sealed join request.
        request: Bytes,
        /// Where the answer goes.
        reply: oneshot::Sender<Bytes>,
    },
    /// A member is connected.
    Connected {
        /// Who.
        node: NodeId,
    },
    /// A member's last connection is gone.
    Disconnected {
        /// Who.
        node: NodeId,
        /// Why, for people.
        reason: String,
    },
    /// A member refuses this run because another one has its identity there.
    IdentityTaken {
        /// Which member.
        by: String,
        /// Its words.
        reason: String,
    },
    /// A member refuses this node because the cluster has removed it. Whether it is to be believed is not
    /// judged yet.
    Removed {
        /// Which member says so; its identity is proven.
        by: NodeId,
    },
    /// A peer was refused, or refused us: another cluster, version or identity. For operators.
    Mismatch {
        /// Whom.
        peer: String,
        /// Why.
        reason: String,
    },
}

/// What becomes of a gossip message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Pass it on.
    Accept,
    /// It breaks the rules: hold it against the sender.
    Reject,
    /// Of no use here; nobody's fault.
    Ignore,
}

/// Why a call got no answer. Whether the member acted on it is unknown, except where stated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// It can't be reached now; it did not act.
    #[error("node {node} can't be reached: {reason}")]
    Unreachable {
        /// Whom.
        node: NodeId,
        /// Why.
        reason: String,
    },
    /// No answer in time.
    #[error("node {node} did not answer within {deadline_ms} ms")]
    Timeout {
        /// Whom.
        node: NodeId,
        /// The deadline.
        deadline_ms: u64,
    },
    /// It has no room for another call; it did not act.
    #[error("node {node} is busy")]
    Busy {
        /// Whom.
        node: NodeId,
    },
    /// The connection broke while waiting, or the answer broke the rules.
    #[error("the call to node {node} broke: {reason}")]
    Broken {
        /// Whom.
        node: NodeId,
        /// How.
        reason: String,
    },
}

/// Why a join request got no answer. Nothing is known of whether it was acted on; asking again with the
/// same token is harmless.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// Nobody there, or somebody else.
    #[error("{addr} can't be reached: {reason}")]
    Unreachable {
        /// The address.
        addr: String,
        /// Why.
        reason: String,
    },
    /// Another cluster, another version, or not this program.
    #[error("{addr} refused: {reason}")]
    Mismatch {
        /// The address.
        addr: String,
        /// Why.
        reason: String,
    },
}

/// Why a frame was not queued; it was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The lane's queue is full.
    #[error("the lane is full")]
    Full,
    /// There is no connection.
    #[error("not connected")]
    NotConnected,
}

/// Why nothing was published; the repair path has to carry it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Gossip is switched off.
    #[error("gossip is switched off")]
    Off,
    /// Nobody to publish to.
    #[error("no peers on the topic")]
    NoPeers,
    /// It is too large, too much, or a duplicate.
    #[error("not published: {reason}")]
    Refused {
        /// Why.
        reason: String,
    },
}

/// A server outside the cluster that gives blocks to anybody (the trustless gateway specification of IPFS).
/// Nothing that it sends is checked here, but everything is bounded in bytes and time.
pub trait Gateway: Send + Sync {
    /// Its name for people.
    fn name(&self) -> &str;

    /// One block, or `None` if it has none.
    fn block(&self, cid: Cid) -> BoxFuture<'static, Result<Option<Bytes>, GatewayError>>;

    /// A DAG as the bytes of a CAR, or `None` if it has none. Reading them blocks, fails when nothing comes
    /// for too long, and may be given up at any point.
    fn car(
        &self,
        root: Cid,
    ) -> BoxFuture<'static, Result<Option<Box<dyn Read + Send>>, GatewayError>>;
}

/// Why a gateway gave no answer; another one, or the same one later, may.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct GatewayError {
    /// What happened.
    pub reason: String,
}

/// The wall clock: only leaders' stamps and people see it.
pub trait Clock: Send + Sync {
    /// Milliseconds since 1970.
    fn wall_ms(&self) -> u64;
}

/// Randomness that nobody can guess: secrets of tokens.
pub trait Entropy: Send + Sync {
    /// Fills the buffer.
    fn fill(&self, buffer: &mut [u8]);
}

/// Blocking work off the actors' thread, in the simulation on it.
pub trait Executor: Send + Sync {
    /// Runs a job. Jobs of one lane run one after the other, except on [`WorkLane::Bulk`].
    fn run(&self, lane: WorkLane, job: Box<dyn FnOnce() + Send>);

    /// Runs a task to its end, on a thread of its own where there is one. The next one begins when it has
    /// ended. Dropping the future stops the task; the task's panic is the future's.
    fn apart(&self, task: ApartTask) -> LocalBoxFuture<'static, ()> {
        task()
    }

    /// Lets whoever was woken and waits for this thread's processor have it first.
    fn give_way(&self) {}
}

/// A task that may run on another thread than the actors; it is made there.
pub type ApartTask = Box<dyn FnOnce() -> LocalBoxFuture<'static, ()> + Send>;

/// Kinds of blocking work that must not wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WorkLane {
    /// The Raft log: one batch after the other.
    Log,
    /// Small files: views, journals, checkpoints.
    Files,
    /// Blocks: imports, transfers, GC; several at a time.
    Bulk,
}

/// The job was dropped before it ran: the node is stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the work was dropped, the node is stopping")]
pub struct WorkDropped;

/// Runs a job and waits for its result.
pub async fn work<T: Send + 'static>(
    executor: &dyn Executor,
    lane: WorkLane,
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<T, WorkDropped> {
    let (done, result) = oneshot::channel();
    executor.run(
        lane,
        Box::new(move || {
            // The waiter may have given up; then nobody wants the result.
            let _ = done.send(job());
        }),
    );
    result.await.map_err(|_| WorkDropped)
}

/// Runs a task apart from the actors and waits for its result.
pub async fn apart<T: Send + 'static, F: Future<Output = T> + 'static>(
    executor: &dyn Executor,
    task: impl FnOnce() -> F + Send + 'static,
) -> Result<T, WorkDropped> {
    let (done, result) = oneshot::channel();
    let run = async move || {
        // The waiter may have given up; then nobody wants the result.
        let _ = done.send(task().await);
    };
    executor.apart(Box::new(as_caller(run))).await;
    result.await.map_err(|_| WorkDropped)
}
