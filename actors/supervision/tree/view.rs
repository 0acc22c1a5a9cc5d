//! The tree as plain data: what HTTP, the command line and the dashboard render.

use std::collections::{BTreeMap, BTreeSet};

use ipfs_kit_core::restart::{Exit, Importance, Strategy};
use serde::{Deserialize, Serialize};

use crate::supervision::path::ActorPath;

/// What a node of the tree is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An actor.
    Actor,
    /// A future.
    Task,
    /// A group of the three.
    Supervisor,
}

/// What a node is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It will be started when its predecessors are ready.
    Waiting,
    /// Started, not ready yet.
    Starting,
    /// Ready.
    Running,
    /// It crashed and will be started at a known time.
    BackOff,
    /// Asked to stop, not down yet.
    Draining,
    /// Down, and meant to be.
    Stopped,
    /// Down after an abnormal exit, and never coming back by itself.
    Failed,
}

impl State {
    /// The word used in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::BackOff => "backoff",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }
}

/// A change in the life of a node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "change")]
pub enum Change {
    /// A new incarnation begins.
    Starting,
    /// It is ready.
    Ready,
    /// It was asked to stop.
    Draining,
    /// The incarnation ended.
    Exited {
        /// How.
        exit: Exit,
    },
    /// It will be started again at a known time.
    BackOff {
        /// When, since the tree began.
        until_ms: u64,
    },
    /// It stays down, as it should.
    Stopped,
    /// It stays down after an abnormal exit.
    GaveUp,
    /// It is no longer part of the tree.
    Removed,
}

/// An event in the life of a node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Lifecycle {
    /// Whose life.
    pub path: ActorPath,
    /// Which of its lives; a late report about an earlier one can be told from news.
    pub incarnation: u64,
    /// What happened.
    #[serde(flatten)]
    pub change: Change,
    /// When, since the tree began.
    pub at_ms: u64,
}

/// A mailbox in figures.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MailboxView {
    /// Messages that wait.
    pub depth: usize,
    /// Most that may wait.
    pub capacity: usize,
    /// Most that ever waited at once.
    pub high_water: usize,
    /// Messages handled, those that the actor sent to itself included.
    pub handled: u64,
    /// Messages refused because the mailbox was full.
    pub rejected: u64,
    /// Questions skipped because nobody waited for the answer any more.
    pub expired: u64,
    /// Messages accepted and never handled to their end.
    pub dead: u64,
}

/// The message that an actor is busy with.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CurrentMessage {
    /// Its type.
    pub message: String,
    /// How long it has taken so far.
    pub age_us: u64,
    /// Whether the handler has returned a future that holds up the mailbox; otherwise it holds the
    /// thread.
    pub awaiting: bool,
}

/// A latency in figures. Percentiles are of the recent past, the maximum of all time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LatencyView {
    /// Half are at most this.
    pub p50_us: u64,
    /// 99 of 100 are at most this.
    pub p99_us: u64,
    /// None was longer.
    pub max_us: u64,
}

/// How the last incarnation ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LastExit {
    /// How and why.
    #[serde(flatten)]
    pub exit: Exit,
    /// When, since the tree began.
    pub at_ms: u64,
    /// The message whose handler was running.
    pub message: Option<String>,
}

/// One node of the tree and everything below it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeView {
    /// Where.
    pub path: ActorPath,
    /// What.
    pub kind: Kind,
    /// The actor's type; for the others the word for their kind.
    pub type_name: String,
    /// What its absence means.
    pub importance: Importance,
    /// What it is doing.
    pub state: State,
    /// Times it was started; 0 before the first.
    pub incarnation: u64,
    /// When it came into its state, since the tree began.
    pub since_ms: u64,
    /// Who restarts with whom, for supervisors.
    pub strategy: Option<Strategy>,
    /// Times it was started again.
    pub restarts: u64,
    /// Restarts of its children that count now, for supervisors.
    pub restarts_in_window: Option<u32>,
    /// How many it bears, for supervisors.
    pub restarts_limit: Option<u32>,
    /// When it will be started, during back-off.
    pub next_start_ms: Option<u64>,
    /// Its mailbox, for actors.
    pub mailbox: Option<MailboxView>,
    /// What it is busy with.
    pub current: Option<CurrentMessage>,
    /// Handlers that held the thread longer than their budget.
    pub stalls: u64,
    /// From the sender's hand to the handler.
    pub queue_wait: LatencyView,
    /// In the handler, without what it awaits.
    pub handler: LatencyView,
    /// How its last incarnation ended.
    pub last_exit: Option<LastExit>,
    /// Those below it, in the order of starting.
    pub children: Vec<NodeView>,
}

impl NodeView {
    /// The node at a path, here or below.
    pub fn find(&self, path: &ActorPath) -> Option<&Self> {
        if self.path == *path {
            return Some(self);
        }
        self.children.iter().find_map(|child| child.find(path))
    }
}

/// Whether the tree does its work.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Health {
    /// Every root is running or about to be: no use in restarting the process.
    pub live: bool,
    /// Every essential node is running: work may be sent here.
    pub ready: bool,
    /// Nodes that are down and shouldn't be, essential or not.
    pub degraded: Vec<ActorPath>,
}

/// The whole tree at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Snapshot {
    /// When it was taken, since the tree began.
    pub taken_at_ms: u64,
    /// Dead letters in all.
    pub dead_letters: u64,
    /// Nodes without a supervisor, in path order.
    pub roots: Vec<NodeView>,
}

impl Snapshot {
    /// Builds the tree from nodes with their order among siblings.
    pub(crate) fn assemble(
        taken_at_ms: u64,
        dead_letters: u64,
        mut flat: Vec<(u32, NodeView)>,
    ) -> Self {
        // Deepest first, so that a node has all its children when it moves to its own parent.
        flat.sort_by_key(|(order, view)| {
            (std::cmp::Reverse(view.path.as_str().matches('/').count()), *order)
        });
        let present: BTreeSet<ActorPath> = flat.iter().map(|(_, view)| view.path.clone()).collect();
        let mut orphans: BTreeMap<ActorPath, Vec<NodeView>> = BTreeMap::new();
        let mut roots = Vec::new();
        for (_, mut view) in flat {
            view.children = orphans.remove(&view.path).unwrap_or_default();
            match view.path.parent().filter(|parent| present.contains(parent)) {
                Some(parent) => orphans.entry(parent).or_default().push(view),
                None => roots.push(view),
            }
        }
        Self { taken_at_ms, dead_letters, roots }
    }

    /// The node at a path.
    pub fn find(&self, path: &ActorPath) -> Option<&NodeView> {
        self.roots.iter().find_map(|root| root.find(path))
    }

    /// Every node, each before those below it.
    pub fn nodes(&self) -> Vec<&NodeView> {
        let mut all = Vec::new();
        let mut next: Vec<&NodeView> = self.roots.iter().rev().collect();
        while let Some(node) = next.pop() {
            all.push(node);
            next.extend(node.children.iter().rev());
        }
        all
    }

    /// Whether the tree does its work.
    pub fn health(&self) -> Health {
        let live = !self.roots.is_empty()
            && self.roots.iter().all(|r| !matches!(r.state, State::Stopped | State::Failed));
        let nodes = self.nodes();
        let down = |node: &&&NodeView| !matches!(node.state, State::Running | State::Stopped);
        let degraded = nodes.iter().filter(down).map(|node| node.path.clone()).collect();
        let ready =
            live && nodes.iter().filter(down).all(|node| node.importance == Importance::Optional);
        Health { live, ready, degraded }
    }
}
