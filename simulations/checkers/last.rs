//! The final scan of a cluster at rest: byte by byte, block by block.

use std::collections::{BTreeMap, BTreeSet};

use ipfs_kit_content::walk::{DagWalk, LeafMemory};
use ipfs_kit_core::id::{Cid, NodeId};
use ipfs_kit_core::invariant::{self, Violation};
use ipfs_kit_core::pin::{ReplicaState, SharedPin};
use ipfs_kit_core::state::ClusterState;
use ipfs_kit_store::blocks::{BlockStore, Key};

use super::violation;
use crate::cluster::Cluster;
use crate::cluster::node::Handle;
use crate::ledger::Ledger;

/// Blocks asked for at once while walking.
const WALK_STEP: usize = 64;

/// Everything that can be said of a cluster at rest. The masters are at one index.
#[must_use]
pub fn last(cluster: &Cluster, ledger: &Ledger) -> Vec<Violation> {
    let running = cluster.running();
    let named: Vec<(String, Handle)> = running
        .into_iter()
        .map(|(host, handle)| (cluster.world.host(host).name.clone(), handle))
        .collect();
    let states: Vec<(String, ClusterState)> = named
        .iter()
        .filter_map(|(name, handle)| Some((name.clone(), handle.state(Clone::clone)?)))
        .collect();
    let borrowed: Vec<(String, &ClusterState)> =
        states.iter().map(|(name, state)| (name.clone(), state)).collect();
    let mut found = invariant::check_masters_bytewise(&borrowed);
    let Some((name, state)) = states.first() else {
        found.push(violation("LOG-1", "no master shows a state".to_owned()));
        return found;
    };
    found.extend(invariant::check_state(state));
    found.extend(invariant::check_rest(state));
    found.extend(ledger.check(name, state));
    found.extend(admissions(cluster, state));
    for (name, handle) in &named {
        handle.view(|view| found.extend(invariant::check_view(name, view, state)));
        let Some(node) = handle.node() else { continue };
        let complete: BTreeSet<Cid> = handle.held().into_iter().collect();
        found.extend(invariant::check_holder(state, node, &complete));
        found.extend(copies(name, node, handle.blocks(), state));
    }
    found
}

/// MEMBER-4: as many members were admitted as nodes have joined: no request took effect twice.
fn admissions(cluster: &Cluster, state: &ClusterState) -> Vec<Violation> {
    let joined: BTreeMap<NodeId, _> = cluster
        .machines()
        .iter()
        .filter_map(|machine| Some((machine.node()?, cluster.world.host(machine.host).key)))
        .collect();
    let members: BTreeMap<NodeId, _> =
        state.members().iter().map(|(node, member)| (*node, member.spec.key)).collect();
    if joined == members {
        Vec::new()
    } else {
        vec![violation("MEMBER-4", format!("{joined:?} have joined, {members:?} are members"))]
    }
}

/// PIN-5 on the disk itself: every block of a copy that is committed as durable can be read there.
fn copies(name: &str, node: NodeId, blocks: &BlockStore, state: &ClusterState) -> Vec<Violation> {
    let mut found = Vec::new();
    for pin in state.holdings(node).map(SharedPin::read) {
        let (cid, replica) = (&pin.spec.cid, pin.replicas.get(&node));
        if replica.is_none_or(|replica| replica.state != ReplicaState::Pinned) {
            continue;
        }
        if let Err(missing) = keys_below(blocks, cid) {
            found.push(violation("PIN-5", format!("{name} holds {cid} without {missing}")));
        }
    }
    found
}

/// Every block at and below a root; an error names what is missing or damaged.
fn keys_below(blocks: &BlockStore, root: &Cid) -> Result<BTreeSet<Key>, String> {
    let mut keys = BTreeSet::new();
    let mut walk = DagWalk::new([root.to_cid()], LeafMemory::All).map_err(|e| e.to_string())?;
    loop {
        let wanted = walk.next(WALK_STEP);
        if wanted.is_empty() {
            return Ok(keys);
        }
        for cid in wanted {
            let block = blocks.get(cid).map_err(|error| error.to_string())?;
            let block = block.ok_or_else(|| cid.to_string())?;
            keys.insert(Key::from(cid));
            walk.visited(&cid, Some(&block)).map_err(|error| error.to_string())?;
        }
    }
}

/// GC-1: after enough rest a node keeps nothing but what it holds. `Ok` when that is so.
pub fn collected(handle: &Handle) -> Result<(), String> {
    let blocks = handle.blocks();
    let mut kept = BTreeSet::new();
    for root in handle.held() {
        kept.extend(keys_below(blocks, &root)?);
    }
    let mut after = None;
    let mut surplus = 0;
    loop {
        let page = blocks.page(after, 1_000);
        let Some((last, _)) = page.last() else { break };
        after = Some(*last);
        surplus += page.iter().filter(|(key, _)| !kept.contains(key)).count();
    }
    if surplus == 0 {
        return Ok(());
    }
    let leases: Vec<String> = blocks.leases().into_iter().map(|lease| lease.reason).collect();
    Err(format!("{surplus} blocks that nobody needs are kept, leases: {leases:?}"))
}
