//! Rest: every fault is healed and nothing is left to do.

use ipfs_kit_core::id::NodeId;
use ipfs_kit_core::invariant;
use ipfs_kit_core::member::{Liveness, RaftStanding, Role};
use ipfs_kit_core::pin::{Pin, ReplicaState};

use crate::cluster::Cluster;

/// What keeps a cluster from being at rest; `Ok` with the common index if nothing does.
pub fn at_rest(cluster: &Cluster) -> Result<u64, String> {
    let running = cluster.running();
    if running.len() < cluster.machines().len() {
        let down = cluster.machines().iter().filter(|machine| machine.handle().is_none());
        let down: Vec<String> =
            down.map(|machine| cluster.world.host(machine.host).name.clone()).collect();
        return Err(format!("{} do not run", down.join(", ")));
    }
    let (leader, handle) = cluster.leader().ok_or("nobody leads")?;
    let leader_node = cluster.machine(leader).node();
    let index = handle.state(|state| state.index()).ok_or("the leader shows no state")?;
    let raft = handle.raft().ok_or("the leader runs no raft")?;
    if raft.commit != index {
        return Err(format!("the leader has applied {index} of {}", raft.commit));
    }
    let masters: Vec<NodeId> = cluster
        .machines()
        .iter()
        .filter(|machine| machine.role == Role::Master)
        .filter_map(|machine| machine.node())
        .collect();
    let mut voters = masters.clone();
    voters.sort_unstable();
    if raft.voters != voters {
        return Err(format!("the voters are {:?}, the masters {voters:?}", raft.voters));
    }
    for (host, handle) in &running {
        let name = &cluster.world.host(*host).name;
        if let Some(raft) = handle.raft()
            && raft.leader != leader_node
        {
            return Err(format!("{name} follows {:?}, not {leader_node:?}", raft.leader));
        }
        let state_index = handle.state(|state| state.index());
        if state_index.is_some_and(|at| at != index) {
            return Err(format!("{name} has applied {state_index:?}, the leader {index}"));
        }
        let view_index = handle.view(|view| view.index());
        if view_index != Some(index) {
            return Err(format!("the view of {name} is at {view_index:?}, the log at {index}"));
        }
    }
    settled(&handle).map(|()| index)
}

/// What the leader's state says is still to be done.
fn settled(leader: &crate::cluster::node::Handle) -> Result<(), String> {
    let missing = leader.state(|state| {
        for (node, member) in state.members() {
            if member.liveness != Liveness::Alive {
                return Some(format!("{node} is {:?}", member.liveness));
            }
            if member.spec.role == Role::Master && member.raft != RaftStanding::Voter {
                return Some(format!("{node} is no voter yet"));
            }
        }
        if state.next_expiry_ms().is_some_and(|at_ms| at_ms <= state.clock_ms()) {
            return Some("a pin is past its end".to_owned());
        }
        let violation = invariant::check_rest(state).into_iter().next()?;
        let pins =
            state.pins().iter().filter(|(cid, _)| violation.detail.contains(&cid.to_string()));
        let pins: Vec<String> = pins.map(|(_, pin)| describe(&pin.read())).collect();
        Some(format!("{violation} ({})", pins.join("; ")))
    });
    missing.flatten().map_or(Ok(()), Err)
}

/// A pin's copies in a few words.
pub(super) fn describe(pin: &Pin) -> String {
    let copies = pin.replicas.iter().map(|(node, replica)| match &replica.state {
        ReplicaState::Assigned => format!("{node} assigned at {}", replica.granted),
        ReplicaState::Pinned => format!("{node} pinned"),
        ReplicaState::Failed { reason } => format!("{node} failed: {reason}"),
    });
    let copies: Vec<String> = copies.collect();
    let origin = pin.spec.origin.map_or_else(|| "nowhere".to_owned(), |node| node.to_string());
    format!("{} from {origin}: {}", pin.spec.name, copies.join(", "))
}
