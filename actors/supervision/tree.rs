//! The live tree: who is there, how they are, what happens to them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;
use tokio::time::{Duration, Instant};

use super::actor_ref::ActorRef;
use super::body::SupervisedActor;
use super::dead_letters::{DeadLetter, DeadLetters};
use super::node::{Node, NodeSpec, lock, micros, millis};
use super::path::ActorPath;

mod render;
mod view;
pub use view::{
    Change, CurrentMessage, Health, Kind, LastExit, LatencyView, Lifecycle, MailboxView, NodeView,
    Snapshot, State,
};

/// Events that a watch holds for a reader that is slow; further ones are counted and reported.
const WATCH_EVENTS_MAX: usize = 256;

/// A handle to the live tree. Cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct Tree {
    hub: Arc<Hub>,
}

/// What all nodes of a tree share.
pub(crate) struct Hub {
    epoch: Instant,
    figures_clock: quanta::Clock,
    nodes: Mutex<BTreeMap<ActorPath, Arc<Node>>>,
    watchers: Mutex<Vec<Watcher>>,
    dead_letters: DeadLetters,
}

struct Watcher {
    below: ActorPath,
    events: mpsc::Sender<Lifecycle>,
    missed: Arc<AtomicU64>,
}

impl Hub {
    pub(crate) fn epoch(&self) -> Instant {
        self.epoch
    }

    pub(crate) fn figures_clock(&self) -> &quanta::Clock {
        &self.figures_clock
    }

    pub(crate) fn now_ms(&self) -> u64 {
        millis(self.epoch.elapsed())
    }

    pub(crate) fn dead_letters(&self) -> &DeadLetters {
        &self.dead_letters
    }

    /// Puts a node into the tree. A node that was there before under the same path is history that
    /// the new one goes on with.
    pub(crate) fn register(self: &Arc<Self>, spec: NodeSpec) -> Arc<Node> {
        let path = spec.path.clone();
        let node = Arc::new(Node::new(spec, self));
        if let Some(earlier) = lock(&self.nodes).insert(path, node.clone()) {
            node.inherit(&earlier);
        }
        node
    }

    /// Takes a node and everything below it out of the tree.
    pub(crate) fn remove(&self, path: &ActorPath) {
        self.remove_where(|found| found.is_within(path));
    }

    /// Takes everything below a node out of the tree, except for children of these names.
    pub(crate) fn retain_children(&self, path: &ActorPath, names: &[&str]) {
        let kept: Vec<ActorPath> = names.iter().filter_map(|name| path.child(name).ok()).collect();
        self.remove_where(|found| {
            found != path && found.is_within(path) && !kept.iter().any(|kept| found.is_within(kept))
        });
    }

    fn remove_where(&self, gone: impl Fn(&ActorPath) -> bool) {
        let mut removed = Vec::new();
        lock(&self.nodes).retain(|path, node| {
            let goes = gone(path);
            if goes {
                removed.push(node.clone());
            }
            !goes
        });
        for node in removed {
            node.change(Change::Removed);
        }
    }

    pub(crate) fn node(&self, path: &ActorPath) -> Option<Arc<Node>> {
        lock(&self.nodes).get(path).cloned()
    }

    fn nodes(&self) -> Vec<Arc<Node>> {
        lock(&self.nodes).values().cloned().collect()
    }

    pub(crate) fn publish(&self, event: &Lifecycle) {
        let span = tracing::debug_span!("lifecycle", actor = %event.path);
        span.in_scope(|| tracing::debug!(incarnation = event.incarnation, "{:?}", event.change));
        lock(&self.watchers).retain(|watcher| {
            if !event.path.is_within(&watcher.below) {
                return !watcher.events.is_closed();
            }
            match watcher.events.try_send(event.clone()) {
                Ok(()) => true,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    watcher.missed.fetch_add(1, Ordering::SeqCst);
                    true
                }
                Err(mpsc::error::TrySendError::Closed(_)) => false,
            }
        });
    }
}

impl Default for Tree {
    fn default() -> Self {
        Self::new()
    }
}

impl Tree {
    /// A tree without nodes; its time begins now.
    pub fn new() -> Self {
        let hub = Hub {
            epoch: Instant::now(),
            figures_clock: quanta::Clock::new(),
            nodes: Mutex::default(),
            watchers: Mutex::default(),
            dead_letters: DeadLetters::default(),
        };
        Self { hub: Arc::new(hub) }
    }

    pub(crate) fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Milliseconds since the tree began; the scale of every `_ms` in its views.
    pub fn now_ms(&self) -> u64 {
        self.hub.now_ms()
    }

    /// The whole tree as plain data.
    pub fn snapshot(&self) -> Snapshot {
        let nodes = self.hub.nodes();
        let (_, dead_letters) = self.hub.dead_letters.read();
        let flat = nodes.iter().map(|node| (node.spec.order, node.view())).collect();
        Snapshot::assemble(self.now_ms(), dead_letters, flat)
    }

    /// One node with its children, if it is there.
    pub fn view(&self, path: &ActorPath) -> Option<NodeView> {
        self.snapshot().find(path).cloned()
    }

    /// Follows a node and everything below it. What happens from now on is reported in order; where a
    /// slow reader missed events, it learns how many.
    pub fn watch(&self, path: &ActorPath) -> Watch {
        let (events, receiver) = mpsc::channel(WATCH_EVENTS_MAX);
        let missed = Arc::new(AtomicU64::new(0));
        let watcher = Watcher { below: path.clone(), events, missed: missed.clone() };
        lock(&self.hub.watchers).push(watcher);
        Watch { receiver, missed }
    }

    /// The actor at a path, if one of this type lives there.
    pub fn actor<A: SupervisedActor>(&self, path: &ActorPath) -> Option<ActorRef<A>> {
        let handle = self.hub.node(path)?.handle()?;
        handle.downcast_ref::<ActorRef<A>>().cloned()
    }

    /// The last dead letters, oldest first, and how many there were in all.
    pub fn dead_letters(&self) -> (Vec<DeadLetter>, u64) {
        self.hub.dead_letters.read()
    }

    /// Paths of all children that have something running, in path order.
    pub fn alive(&self) -> Vec<ActorPath> {
        let nodes = self.hub.nodes();
        nodes.iter().filter(|node| node.is_alive()).map(|node| node.path().clone()).collect()
    }

    /// Warns, every `interval`, of messages that have been in a handler for longer than the handler's
    /// budget, or that have held up their mailbox by awaiting for longer than `await_budget`.
    ///
    /// Never ends. A handler that holds the actors' thread can only be seen from another one: run it
    /// there in the product; each message is warned about once.
    pub async fn warn_of_stalls(&self, interval: Duration, await_budget: Duration) {
        let mut warned: BTreeMap<ActorPath, u64> = BTreeMap::new();
        loop {
            tokio::time::sleep(interval).await;
            let mut still = BTreeMap::new();
            for stall in self.stalls(await_budget) {
                let began_ms = self.now_ms().saturating_sub(stall.1.age_us / 1_000);
                // The beginning is computed from rounded ages; a millisecond either way is the same.
                let known = warned.get(&stall.0).is_some_and(|at_ms| at_ms.abs_diff(began_ms) <= 2);
                if !known {
                    let (message, age_ms) = (&stall.1.message, stall.1.age_us / 1_000);
                    tracing::warn!(actor = %stall.0, message, age_ms, "actor is stalled");
                }
                still.insert(stall.0, began_ms);
            }
            warned = still;
        }
    }

    /// Who is over budget now, and with what.
    pub fn stalls(&self, await_budget: Duration) -> Vec<(ActorPath, CurrentMessage)> {
        let nodes = self.hub.nodes();
        let over = nodes.iter().filter_map(|node| {
            let current = node.current()?;
            let budget = if current.awaiting { await_budget } else { node.spec.handler_budget };
            (current.age_us > micros(budget)).then(|| (node.path().clone(), current))
        });
        over.collect()
    }
}

/// What a watch reports.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WatchEvent {
    /// Something happened to a node.
    Lifecycle(Lifecycle),
    /// The reader was too slow: this many events before the next one are lost.
    Missed(u64),
}

/// Lifecycle events of a part of the tree, see [`Tree::watch`].
pub struct Watch {
    receiver: mpsc::Receiver<Lifecycle>,
    missed: Arc<AtomicU64>,
}

impl Watch {
    /// The next event; `None` when the tree is gone. Cancel safe.
    pub async fn next(&mut self) -> Option<WatchEvent> {
        // What was queued before the loss comes first.
        if let Ok(event) = self.receiver.try_recv() {
            return Some(WatchEvent::Lifecycle(event));
        }
        let missed = self.missed.swap(0, Ordering::SeqCst);
        if missed > 0 {
            return Some(WatchEvent::Missed(missed));
        }
        self.receiver.recv().await.map(WatchEvent::Lifecycle)
    }
}
