//! The promises of the core's `invariant` module, looked at from outside while a cluster runs, and those
//! that only a whole cluster can break.
//!
//! [`Checkers::observe`] runs after every step; [`at_rest`] says what keeps a healed cluster from being at
//! rest; [`mod@last`] is the final scan, block by block.

pub mod last;
pub mod rest;

use std::collections::BTreeMap;

use ipfs_kit_actors::consensus::RaftGlance;
use ipfs_kit_actors::supervision::{ActorPath, Exit, NodeView};
use ipfs_kit_core::delta::SetHash;
use ipfs_kit_core::id::{Cid, NodeId};
use ipfs_kit_core::invariant::{self, History, Violation};
use ipfs_kit_core::member::Liveness;
use ipfs_kit_core::pin::SharedPin;
use ipfs_kit_core::state::ClusterState;

pub use self::last::last;
pub use self::rest::at_rest;
use crate::cluster::Cluster;
use crate::cluster::node::Handle;
use crate::ledger::Ledger;
use crate::trace::Trace;
use crate::world::HostId;

/// Virtual time between two looks at all supervision trees, in milliseconds.
const TREES_EVERY_MS: u64 = 500;

/// What has been seen so far, to compare with.
#[derive(Debug, Default)]
pub struct Checkers {
    /// LOG-1 over all time: the hash at each index, and who showed it first.
    hashes: BTreeMap<u64, (SetHash, String)>,
    /// RAFT-1: who led each term, and who said so first.
    leaders: BTreeMap<u64, (NodeId, String)>,
    /// RAFT-2: the last glance of each run, and how often its consensus task was started.
    rafts: BTreeMap<HostId, RaftSeen>,
    /// LOG-2 along the newest state that anybody shows.
    history: History,
    newest: u64,
    applied: BTreeMap<HostId, u64>,
    liveness: BTreeMap<NodeId, Liveness>,
    pins: BTreeMap<Cid, SharedPin>,
    trees_at_ms: u64,
    mailbox_high_water: usize,
    states_checked: u64,
}
/// What a child says that panicked because a fault told it to.
const INJECTED: &str = "injected panic";

/// A master's Raft as it was seen last.
#[derive(Debug, Default)]
struct RaftSeen {
    run: u64,
    incarnation: u64,
    /// Term, commit, applied.
    last: (u64, u64, u64),
}

/// How often a node's consensus task was started; 0 where there is none.
fn consensus_incarnation(handle: &Handle) -> u64 {
    let path = ActorPath::parse("/node/consensus/raft");
    path.ok().and_then(|path| handle.tree().view(&path)).map_or(0, |view| view.incarnation)
}

fn violation(id: &'static str, detail: String) -> Violation {
    Violation { id, detail }
}

impl Checkers {
    /// Looks at everything once.
    pub fn observe(&mut self, cluster: &Cluster, ledger: &Ledger) -> Vec<Violation> {
        let trace = cluster.world.trace.clone();
        let mut found = Vec::new();
        for machine in cluster.machines() {
            let Some(handle) = machine.handle() else { continue };
            let name = cluster.world.host(machine.host).name.as_str();
            if let Some(raft) = handle.raft() {
                self.observe_leader(name, &raft, &trace, &mut found);
                self.observe_raft(machine.host, machine.runs(), name, &handle, raft, &mut found);
            }
            self.observe_state(machine.host, name, &handle, ledger, &trace, &mut found);
            if let Some((index, hash)) = handle.view(|view| (view.index(), view.hash())) {
                // A view that was seeded with its members only has no index yet.
                self.observe_hash(index, hash, &format!("the view of {name}"), &mut found);
            }
        }
        let now_ms = trace.now_ms();
        if now_ms >= self.trees_at_ms {
            self.trees_at_ms = now_ms + TREES_EVERY_MS;
            self.observe_trees(cluster, &mut found);
        }
        if let Some(ms) = trace.busy_loop_ms() {
            found.push(violation("LIVE-2", format!("events without end at {ms} ms")));
        }
        found
    }

    fn observe_leader(
        &mut self,
        name: &str,
        raft: &RaftGlance,
        trace: &Trace,
        found: &mut Vec<Violation>,
    ) {
        let Some(leader) = raft.leader else { return };
        let entry = self.leaders.entry(raft.term);
        let (first, who) = entry.or_insert_with(|| {
            trace.event(format_args!("{name} sees {leader} lead term {}", raft.term));
            (leader, name.to_owned())
        });
        if *first != leader {
            let term = raft.term;
            let detail = format!("term {term} is led by {first} ({who}) and {leader} ({name})");
            found.push(violation("RAFT-1", detail));
        }
    }

    fn observe_raft(
        &mut self,
        host: HostId,
        run: u64,
        name: &str,
        handle: &Handle,
        raft: RaftGlance,
        found: &mut Vec<Violation>,
    ) {
        let now = (raft.term, raft.commit, raft.applied);
        let seen = self.rafts.entry(host).or_default();
        let was = seen.last;
        seen.last = now;
        if std::mem::replace(&mut seen.run, run) != run {
            seen.incarnation = consensus_incarnation(handle);
            return;
        }
        let goes_back = now.0 < was.0 || now.1 < was.1 || now.2 < was.2;
        if goes_back {
            // A task that was started again knows what its disk knows, and the term is always there.
            let incarnation = consensus_incarnation(handle);
            let is_new = std::mem::replace(&mut seen.incarnation, incarnation) < incarnation;
            if !is_new || now.0 < was.0 {
                let detail = format!("{name}: term, commit, applied went from {was:?} to {now:?}");
                found.push(violation("RAFT-2", detail));
            }
        }
        if raft.applied > raft.commit {
            let (applied, commit) = (raft.applied, raft.commit);
            let detail = format!("{name} has applied {applied}, and {commit} is committed");
            found.push(violation("RAFT-3", detail));
        }
    }

    fn observe_state(
        &mut self,
        host: HostId,
        name: &str,
        handle: &Handle,
        ledger: &Ledger,
        trace: &Trace,
        found: &mut Vec<Violation>,
    ) {
        let Some((index, hash)) = handle.state(|state| (state.index(), state.hash())) else {
            return;
        };
        self.observe_hash(index, hash, name, found);
        if self.applied.insert(host, index) == Some(index) {
            return;
        }
        trace.event(format_args!("{name} applied {index} {}", hash.short()));
        let mut seen = Vec::new();
        handle.state(|state| {
            seen.extend(invariant::check_state(state));
            seen.extend(ledger.check(name, state));
            if index > self.newest {
                self.newest = index;
                seen.extend(self.history.observe(state));
                self.tell_changes(state, trace);
            }
        });
        self.states_checked += 1;
        found.extend(seen);
    }

    /// What changed since the newest state before, for the trace.
    fn tell_changes(&mut self, state: &ClusterState, trace: &Trace) {
        for (node, member) in state.members() {
            if self.liveness.insert(*node, member.liveness) != Some(member.liveness) {
                trace.event(format_args!("{node} is {:?}", member.liveness));
            }
        }
        for (cid, pin) in state.pins().iter() {
            if self.pins.get(&cid) != Some(pin) {
                trace.event(format_args!("{}", rest::describe(&pin.read())));
                self.pins.insert(cid, pin.clone());
            }
        }
        self.pins.retain(|cid, pin| {
            let is_there = state.pins().contains_key(cid);
            if !is_there {
                trace.event(format_args!("{} is pinned no more", pin.read().spec.name));
            }
            is_there
        });
    }

    fn observe_hash(&mut self, index: u64, hash: SetHash, name: &str, found: &mut Vec<Violation>) {
        if index == 0 {
            return;
        }
        let entry = self.hashes.entry(index);
        let (first, who) = entry.or_insert_with(|| (hash, name.to_owned()));
        if *first != hash {
            let detail = format!("{who} and {name} differ at index {index}");
            found.push(violation("LOG-1", detail));
        }
    }

    fn observe_trees(&mut self, cluster: &Cluster, found: &mut Vec<Violation>) {
        for (host, handle) in cluster.running() {
            let name = &cluster.world.host(host).name;
            for node in handle.tree().snapshot().nodes() {
                self.observe_child(name, node, found);
            }
        }
        let panics: u64 = cluster.world.hosts().iter().map(|host| host.executor.panics()).sum();
        if panics > 0 {
            found.push(violation("ACTOR-1", format!("{panics} jobs panicked")));
        }
    }

    fn observe_child(&mut self, name: &str, node: &NodeView, found: &mut Vec<Violation>) {
        let path = &node.path;
        if let Some(exit) = &node.last_exit
            && let Exit::Panicked(cause) = &exit.exit
            && cause.text != INJECTED
        {
            found.push(violation("ACTOR-1", format!("{name}{path} panicked: {cause:?}")));
        }
        if let Some(mailbox) = node.mailbox {
            self.mailbox_high_water = self.mailbox_high_water.max(mailbox.high_water);
            if mailbox.depth > mailbox.capacity {
                let (depth, capacity) = (mailbox.depth, mailbox.capacity);
                let detail = format!("{name}{path} holds {depth} messages, at most {capacity}");
                found.push(violation("ACTOR-2", detail));
            }
        }
        if let (Some(count), Some(limit)) = (node.restarts_in_window, node.restarts_limit)
            && count > limit
        {
            let detail = format!("{name}{path} bore {count} restarts, at most {limit}");
            found.push(violation("ACTOR-3", detail));
        }
    }

    /// Most messages that ever waited in one mailbox.
    #[must_use]
    pub fn mailbox_high_water(&self) -> usize {
        self.mailbox_high_water
    }

    /// Leaders that were seen.
    #[must_use]
    pub fn terms(&self) -> usize {
        self.leaders.len()
    }

    /// The newest index that anybody has shown.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// States that were checked as a whole.
    #[must_use]
    pub fn states_checked(&self) -> u64 {
        self.states_checked
    }
}
