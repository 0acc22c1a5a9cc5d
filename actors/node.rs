//! A node: its stores opened, its shells wired, its tree launched.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use ipfs_kit_core::command::Refusal;
use ipfs_kit_core::follow::View;
use ipfs_kit_core::id::{ClusterId, NodeId};
use ipfs_kit_core::member::{MemberSpec, Role};
use ipfs_kit_core::proto::{Request, Usage};
use ipfs_kit_core::replication::Glance as PlannerGlance;
use ipfs_kit_core::state::ClusterState;
use ipfs_kit_store::blocks::{BlockStore, BlockStoreOptions, OpenError};
use ipfs_kit_store::checkpoint::{CheckpointError, Checkpoints};
use ipfs_kit_store::disk::Disk;
use ipfs_kit_store::files::FileError;
use ipfs_kit_store::raft_log::{RaftLog, RaftLogError, RaftLogOptions};
use ipfs_kit_store::wal::{WalError, WalOptions};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::api;
use crate::cluster_manager::coordination::Coordination;
use crate::cluster_manager::monitoring::{Expelled, HeardOf, Session};
use crate::cluster_manager::state_sync::Arrivals;
use crate::consensus::{self, ConsensusHandle, RecoveryError};
use crate::gateways::Gateways;
use crate::holdings::Holdings;
use crate::index::IndexActor;
use crate::ipfs::IpfsActor;
use crate::journal::{self, Journal};
use crate::membership;
use crate::operations::Operations;
use crate::outcomes::Outcomes;
use crate::ports::{Clock, Entropy, Executor, Network, Peers};
use crate::request_ids::RequestIds;
use crate::rpc::Rpc;
use crate::settings::{Membership, NodeSettings};
use crate::shared::{Shared, SharedState, SharedView, scope_of};
use crate::store::{Flights, LeaseVerdict, StoreActor};
use crate::supervision::{ActorRef, ChildSpec, Exit, Root, SpecError, Tree, launch};

mod handle;
mod wiring;

pub(crate) use wiring::RoleDeps;

/// How much of the log's newest entries stays in memory: what followers that are a second behind ask for even
/// while pins come in bulk. Older ones are read from the disk.
const LOG_CACHE_BYTES: u64 = 16 << 20;

/// The world that a node runs in.
pub struct World {
    /// The network; `None`: the node is alone.
    pub network: Option<(Arc<dyn Network>, Arc<dyn Peers>)>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Runs blocking work.
    pub executor: Arc<dyn Executor>,
    /// The node's folder.
    pub disk: Arc<dyn Disk>,
    /// Secrets.
    pub entropy: Arc<dyn Entropy>,
    /// Servers outside the cluster to ask for what no member has, best first.
    pub gateways: Gateways,
    /// Interfaces to start last, made from the node's handle.
    pub interfaces: Vec<Interface>,
}

/// An interface: a child of the tree that is started last and stopped first.
pub type Interface = Box<dyn Fn(Arc<dyn api::Node>) -> ChildSpec>;

/// Why a node did not start. What is stored is intact.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The block store can't be opened.
    #[error("the block store can't be opened")]
    Blocks(#[from] OpenError),
    /// The records of what is held can't be opened.
    #[error("the records of what is held can't be opened")]
    Holdings(#[from] WalError),
    /// The Raft log can't be opened.
    #[error("the raft log can't be opened")]
    Log(#[from] RaftLogError),
    /// The checkpoints can't be opened.
    #[error("the checkpoints can't be opened")]
    Checkpoints(#[from] CheckpointError),
    /// Raft had something here, and nothing is left of it: this node may have acknowledged what nobody else
    /// has, and has forgotten whom it voted for. Final; nothing was changed.
    #[error(
        "the folder raft is empty, although this member has used it: what it had acknowledged is not here"
    )]
    RaftLost,
    /// What is remembered of that can't be read or written.
    #[error("the small files of the folder can't be used")]
    SmallFile(#[from] FileError),
    /// The first state can't be written.
    #[error("the cluster's first state can't be written")]
    Found(#[from] RecoveryError),
    /// What the node says of itself is not acceptable.
    #[error("this node can't found a cluster: {0}")]
    Spec(Refusal),
    /// The tree's specs contradict each other.
    #[error("the supervision tree can't be built")]
    Tree(#[from] SpecError),
    /// A membership without a network.
    #[error("a member of a cluster needs a network")]
    NoNetwork,
    /// A child did not become ready.
    #[error("the node did not become ready: {reason}")]
    NotReady {
        /// What happened.
        reason: String,
    },
}

/// What operations reach of a node.
pub struct Parts {
    /// This node's place in its cluster.
    pub cluster: Option<Cluster>,
    /// The block store.
    pub blocks: BlockStore,
    /// Keeps it in order.
    pub store: ActorRef<StoreActor>,
    /// Records of what is held.
    pub holdings: Holdings,
    /// Imports under way.
    pub flights: Flights,
    /// The embedded IPFS node.
    pub ipfs: ActorRef<IpfsActor>,
    /// Who is asked for what no member has.
    pub gateways: Gateways,
    /// The index.
    pub index: ActorRef<IndexActor>,
    /// Runs blocking work.
    pub executor: Arc<dyn Executor>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Secrets.
    pub entropy: Arc<dyn Entropy>,
    /// What this node says of itself now.
    pub spec: Shared<MemberSpec>,
    /// What is used.
    pub usage: Shared<Usage>,
    /// The live tree.
    pub tree: Tree,
    /// When this run began.
    pub started: Instant,
    /// Fewest and most copies of a pin that does not say.
    pub replicas: (u16, u16),
    /// Import profile by name.
    pub profile: String,
    /// Threads that hash an import.
    pub hash_threads: usize,
}

/// A node's place in its cluster.
#[derive(Clone)]
pub struct Cluster {
    /// The cluster.
    pub id: ClusterId,
    /// This node.
    pub node: NodeId,
    /// This node's view.
    pub view: SharedView,
    /// Typed calls.
    pub rpc: Rpc,
    /// Consensus, where it runs here.
    pub consensus: ConsensusHandle,
    /// Commands go through it.
    pub coordination: ActorRef<Coordination>,
    /// Ids of commands.
    pub requests: RequestIds,
    /// Outcomes of holders.
    pub outcomes: Outcomes,
    /// Counts of deltas.
    pub arrivals: Shared<Arrivals>,
    /// What the leader has heard.
    pub heard: Shared<BTreeMap<NodeId, HeardOf>>,
    /// What the leader's planner is at.
    pub planner: Shared<Option<PlannerGlance>>,
    /// The leader as last heard of.
    pub leader_hint: Shared<Option<NodeId>>,
    /// An address of this node at which others can't reach it.
    pub unreachable: Shared<Option<(String, String)>>,
    /// The last answer of a leader to this node.
    pub session: Shared<Option<Session>>,
    /// How long a session lives without an answer.
    pub lease: std::time::Duration,
}

impl Parts {
    /// Consensus' handle; in a cluster only.
    pub fn consensus(&self) -> Option<&ConsensusHandle> {
        self.cluster.as_ref().map(|cluster| &cluster.consensus)
    }

    /// This node's view; in a cluster only.
    pub fn view(&self) -> Option<&SharedView> {
        self.cluster.as_ref().map(|cluster| &cluster.view)
    }

    /// A time that is not before committed time, in milliseconds.
    pub fn now_committed_ms(&self) -> u64 {
        let committed = self.consensus().map_or(0, |c| c.state.read(ClusterState::clock_ms));
        self.clock.wall_ms().max(committed)
    }
}

/// A node that runs.
pub struct RunningNode {
    root: Root,
    api: Arc<dyn api::Node>,
    parts: Arc<Operations>,
    tree: Tree,
    ended: oneshot::Receiver<Ended>,
    farewell: Option<(Rpc, NodeId, ipfs_kit_core::id::Incarnation, Shared<Option<NodeId>>)>,
}

/// How a node ended by itself.
#[derive(Debug)]
pub enum Ended {
    /// The tree gave up.
    Exit(Exit),
    /// The cluster does not want this run.
    Expelled(Expelled),
    /// A disk failed so that nobody knows what is durable. The next run opens what is really there.
    DiskFailed {
        /// What failed.
        cause: String,
    },
}

/// Ends the node; the first word counts.
pub(crate) type End = Arc<dyn Fn(Ended) + Send + Sync>;

fn end_once() -> (End, oneshot::Receiver<Ended>) {
    let (sender, receiver) = oneshot::channel();
    let slot = Mutex::new(Some(sender));
    let end = move |ended| {
        if let Some(sender) = slot.lock().unwrap_or_else(PoisonError::into_inner).take() {
            tracing::error!(?ended, "this node must stop");
            // It is stopping already.
            let _ = sender.send(ended);
        }
    };
    (Arc::new(end), receiver)
}

impl RunningNode {
    /// The handle for interfaces.
    pub fn api(&self) -> Arc<dyn api::Node> {
        Arc::clone(&self.api)
    }

    /// The live tree.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// What operations reach: state, view, stores.
    pub fn parts(&self) -> &Parts {
        self.parts.parts()
    }

    /// Waits until the node ends by itself. Cancel safe.
    pub async fn wait(&mut self) -> Ended {
        tokio::select! {
            biased;
            Ok(ended) = &mut self.ended => ended,
            exit = self.root.wait() => Ended::Exit(exit),
        }
    }

    /// Says goodbye and stops everything in reverse order, each child within its deadline.
    pub async fn stop(&mut self) -> Exit {
        if let Some((rpc, node, incarnation, leader)) = self.farewell.take()
            && let Some(leader) = leader.read(|leader| *leader).filter(|leader| *leader != node)
        {
            let goodbye = Request::Goodbye { node, incarnation };
            let within = std::time::Duration::from_millis(500);
            // Without an answer the lease ends by itself.
            if let Err(reason) = rpc.call(leader, &goodbye, within).await {
                tracing::debug!(%reason, "nobody heard the goodbye");
            }
        }
        let exit = self.root.stop().await;
        let blocks = self.parts.parts().blocks.clone();
        if let Err(reason) = blocks.close() {
            tracing::warn!(%reason, "the block store was not closed in order");
        }
        exit
    }
}

/// Opens the stores, wires the shells and launches the tree; must run within a `LocalSet`. Returns once
/// every child is ready.
pub async fn start(settings: NodeSettings, world: World) -> Result<RunningNode, StartError> {
    let stores = open_stores(&settings, &world)?;
    let tree = Tree::new();
    let (end, ended) = end_once();
    let wired = wiring::wire(&settings, world, stores, tree.clone(), end)?;
    let mut root = launch(wired.spec, &tree, settings.seed)?;
    if let Err(exit) = root.ready().await {
        return Err(StartError::NotReady { reason: format!("{exit:?}") });
    }
    let operations = Arc::downgrade(&wired.operations);
    wired.judge_lease.write(|judge| {
        *judge = Some(Arc::new(move |root| {
            let operations = operations.upgrade();
            Box::pin(async move {
                match operations {
                    Some(operations) => operations.judge_lease(root).await,
                    None => LeaseVerdict::Needed,
                }
            })
        }));
    });
    let api = handle::node(Arc::clone(&wired.operations));
    let farewell = wired.farewell;
    Ok(RunningNode { root, api, parts: wired.operations, tree, ended, farewell })
}

/// The stores of a node's folder.
struct Stores {
    blocks: BlockStore,
    holdings: Holdings,
    log: Option<(Arc<RaftLog>, Arc<Checkpoints>)>,
    journal: Journal,
    view: Option<View>,
}

fn open_stores(settings: &NodeSettings, world: &World) -> Result<Stores, StartError> {
    let disk = &world.disk;
    let mut identity = [0; 16];
    identity.copy_from_slice(&settings.spec.key.0[..16]);
    let max_bytes = Some(settings.storage_bytes_max).filter(|max| *max > 0);
    let reserve_bytes = settings.storage_reserve_bytes;
    let options = BlockStoreOptions {
        max_bytes,
        reserve_bytes,
        write_behind: settings.hash_threads > 0,
        ..BlockStoreOptions::new(identity)
    };
    let (blocks, report) = BlockStore::open(Arc::clone(disk), "blocks", options)?;
    for damaged in &report.damaged {
        tracing::error!(?damaged, "a block has decayed; another copy will be fetched");
    }
    for cut in &report.cut {
        tracing::warn!(
            ?cut,
            "a write that was not synced was interrupted here, or the last one decayed"
        );
    }
    if let Some(cut) = report.leases_cut {
        tracing::warn!(?cut, "the last change of a lease was interrupted, or it decayed");
    }
    let holdings = Holdings::open(Arc::clone(disk), Arc::clone(&world.executor), identity)?;
    let journal = Journal::new(Arc::clone(disk), Arc::clone(&world.executor));
    let Some(membership) = &settings.membership else {
        return Ok(Stores { blocks, holdings, log: None, journal, view: None });
    };
    let wal = WalOptions { identity, segment_bytes: 64 << 20, max_batch_bytes: 128 << 20 };
    let options = RaftLogOptions { wal, cache_bytes: LOG_CACHE_BYTES };
    let log = RaftLog::open(Arc::clone(disk), "raft/log", options)?;
    let (checkpoints, damaged) = Checkpoints::open(Arc::clone(disk), "raft/checkpoints")?;
    for damaged in damaged {
        tracing::error!(name = %damaged.name, reason = %damaged.error, "a checkpoint is unreadable");
    }
    let is_empty = checkpoints.list().is_empty() && log.last_index() == 0;
    let was_used = journal::is_raft_used(&**disk)?;
    if is_empty && was_used {
        return Err(StartError::RaftLost);
    }
    if is_empty && membership.founder {
        let founded = membership::found(
            membership.cluster,
            &settings.spec,
            settings.incarnation,
            world.clock.wall_ms(),
        );
        let (state, _) = founded.map_err(StartError::Spec)?;
        consensus::found(&log, &checkpoints, &state, membership.node)?;
    }
    if !was_used && (membership.founder || !is_empty) {
        journal::save_raft_used(&**disk).map_err(FileError::from)?;
    }
    let scope = scope_of(membership.node, settings.spec.role);
    let known = journal.load_view().filter(|view| view.scope() == scope);
    let view = match known {
        Some(view) if knows(&view, membership) => view,
        // What is remembered of the masters is newer than the view: a snapshot will replace it.
        Some(view) => {
            let members = view.members().values().chain(&membership.members).cloned();
            View::seed(scope, members)
        }
        None => View::seed(scope, membership.members.iter().cloned()),
    };
    let log = Some((Arc::new(log), Arc::new(checkpoints)));
    Ok(Stores { blocks, holdings, log, journal, view: Some(view) })
}

/// Whether a view has every remembered master where it was remembered.
fn knows(view: &View, membership: &Membership) -> bool {
    membership.members.iter().all(|member| {
        view.members().get(&member.id).is_some_and(|known| known.spec.addrs == member.spec.addrs)
    })
}

/// An empty state for a node without consensus.
fn no_state() -> SharedState {
    Shared::new(ClusterState::default())
}

/// The role that a node's tree starts with: the committed one where it is known.
fn first_role(settings: &NodeSettings, view: Option<&SharedView>) -> Role {
    let committed = settings.membership.as_ref().zip(view).and_then(|(membership, view)| {
        view.read(|view| view.members().get(&membership.node).map(|member| member.spec.role))
    });
    committed.unwrap_or(settings.spec.role)
}
