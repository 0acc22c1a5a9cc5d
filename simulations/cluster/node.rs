//! A node as the harness sees it: what it offers to users, and what checkers may look into.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use ipfs_kit_actors::api::{self, Failure};
use ipfs_kit_actors::causes::with_causes;
use ipfs_kit_actors::consensus::RaftGlance;
use ipfs_kit_actors::node::{self, Cluster, Ended, RunningNode};
use ipfs_kit_actors::settings::NodeSettings;
use ipfs_kit_actors::supervision::Tree;
use ipfs_kit_core::follow::View;
use ipfs_kit_core::id::{Cid, NodeId};
use ipfs_kit_core::ops::Operation;
use ipfs_kit_core::state::ClusterState;
use ipfs_kit_store::blocks::BlockStore;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::process::Process;

/// What became of a run of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Its tree is being launched.
    Starting,
    /// Every child is ready.
    Running,
    /// It ended by itself, or never became ready.
    Ended {
        /// Why.
        reason: String,
    },
}

/// One run of a node.
#[derive(Debug)]
pub struct Run {
    process: Process,
    phase: Rc<RefCell<Phase>>,
    handle: Rc<RefCell<Option<Handle>>>,
    stop: RefCell<Option<oneshot::Sender<()>>>,
}

/// What is known of a run whose tree was launched.
#[derive(Clone)]
pub struct Handle {
    api: Arc<dyn api::Node>,
    cluster: Option<Cluster>,
    blocks: BlockStore,
    held: Rc<dyn Fn() -> Vec<Cid>>,
    tree: Tree,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

impl Run {
    /// Launches a node in a process of its own.
    #[must_use]
    pub fn launch(settings: NodeSettings, world: node::World) -> Self {
        let process = Process::start();
        let phase = Rc::new(RefCell::new(Phase::Starting));
        let handle = Rc::new(RefCell::new(None));
        let (stop, stopped) = oneshot::channel();
        let (at, shown) = (Rc::clone(&phase), Rc::clone(&handle));
        let life = async move {
            let reason = match node::start(settings, world).await {
                Err(error) => format!("it did not start: {}", with_causes(&error)),
                Ok(running) => {
                    *shown.borrow_mut() = Some(Handle::of(&running));
                    *at.borrow_mut() = Phase::Running;
                    live(running, stopped).await
                }
            };
            *at.borrow_mut() = Phase::Ended { reason };
        };
        // A process that was just started takes tasks.
        process.spawn(life);
        Self { process, phase, handle, stop: RefCell::new(Some(stop)) }
    }

    /// How far it is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase.borrow().clone()
    }

    /// Its handle, while it runs.
    #[must_use]
    pub fn handle(&self) -> Option<Handle> {
        if *self.phase.borrow() == Phase::Running { self.handle.borrow().clone() } else { None }
    }

    /// Its tree, also of a run that has ended: what was left running after a stop.
    #[must_use]
    pub fn tree(&self) -> Option<Tree> {
        self.handle.borrow().as_ref().map(|handle| handle.tree.clone())
    }

    /// Asks it to stop in order; its phase says when it has.
    pub fn stop(&self) {
        if let Some(stop) = self.stop.borrow_mut().take() {
            // A run that has ended needs no telling.
            let _ = stop.send(());
        }
    }

    /// Ends every task of it where it is.
    pub fn kill(&self) {
        self.process.kill();
        *self.phase.borrow_mut() = Phase::Ended { reason: "killed".to_owned() };
        *self.handle.borrow_mut() = None;
    }

    /// Runs a user's request inside the process, with which it dies; `None` if that is gone already.
    pub fn spawn<T: 'static>(
        &self,
        request: impl Future<Output = T> + 'static,
    ) -> Option<JoinHandle<T>> {
        self.process.spawn(request)
    }
}

async fn live(mut running: RunningNode, stopped: oneshot::Receiver<()>) -> String {
    tokio::select! {
        biased;
        Ok(()) = stopped => format!("stopped in order: {:?}", running.stop().await),
        ended = running.wait() => match ended {
            Ended::Exit(exit) => format!("its tree ended: {exit:?}"),
            Ended::Expelled(expelled) => format!("expelled: {expelled}"),
            Ended::DiskFailed { cause } => format!("its disk failed: {cause}"),
        },
    }
}

impl Handle {
    fn of(running: &RunningNode) -> Self {
        let parts = running.parts();
        let holdings = parts.holdings.clone();
        Self {
            api: running.api(),
            cluster: parts.cluster.clone(),
            blocks: parts.blocks.clone(),
            held: Rc::new(move || holdings.roots()),
            tree: running.tree().clone(),
        }
    }

    /// What it offers to users.
    #[must_use]
    pub fn api(&self) -> Arc<dyn api::Node> {
        Arc::clone(&self.api)
    }

    /// Runs a unary operation of the registry.
    pub async fn operate<O: Operation>(&self, request: O::Request) -> Result<O::Response, Failure> {
        api::run::<O>(&*self.api, request).await
    }

    /// Its number in the cluster.
    #[must_use]
    pub fn node(&self) -> Option<NodeId> {
        self.cluster.as_ref().map(|cluster| cluster.node)
    }

    /// Looks at its view.
    pub fn view<R>(&self, look: impl FnOnce(&View) -> R) -> Option<R> {
        self.cluster.as_ref().map(|cluster| cluster.view.read(look))
    }

    /// Looks at the replicated state, where consensus runs on it.
    pub fn state<R>(&self, look: impl FnOnce(&ClusterState) -> R) -> Option<R> {
        let cluster = self.cluster.as_ref()?;
        let is_running = cluster.consensus.glance.read(|glance| glance.running);
        (is_running && cluster.consensus.state.read(|state| state.cluster().is_some()))
            .then(|| cluster.consensus.state.read(look))
    }

    /// Raft at a glance, where it runs on it.
    #[must_use]
    pub fn raft(&self) -> Option<RaftGlance> {
        let glance = self.cluster.as_ref()?.consensus.glance.read(Clone::clone);
        glance.running.then_some(glance)
    }

    /// Hands consensus a Raft message, as if the network had let it through; `false` where none runs.
    pub fn hear_raft(&self, from: NodeId, frame: Bytes) -> bool {
        self.cluster.as_ref().is_some_and(|cluster| cluster.consensus.raft(from, frame).is_ok())
    }

    /// Deltas by the way in which they came first: by gossip, by the feed.
    #[must_use]
    pub fn arrivals(&self) -> (u64, u64) {
        self.cluster.as_ref().map_or((0, 0), |cluster| {
            cluster.arrivals.read(|arrivals| (arrivals.deltas_by_gossip, arrivals.deltas_by_feed))
        })
    }

    /// Its block store.
    #[must_use]
    pub fn blocks(&self) -> &BlockStore {
        &self.blocks
    }

    /// The roots that its journal says are complete.
    #[must_use]
    pub fn held(&self) -> Vec<Cid> {
        (self.held)()
    }

    /// Its live tree.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.tree
    }
}
