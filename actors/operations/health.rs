//! Whether this node is worth sending work to: the facts; core judges them.

use ipfs_kit_core::health::{ClusterFacts, Facts, NodeHealth, RaftFacts, judge};
use ipfs_kit_core::member::Role;
use ipfs_kit_core::restart::Importance;

use super::Operations;
use crate::api::Failure;
use crate::supervision::{NodeView, Snapshot, State};

impl Operations {
    pub(super) async fn health(&self) -> Result<NodeHealth, Failure> {
        Ok(self.judge_health(&self.parts.tree.snapshot()))
    }

    pub(super) fn judge_health(&self, tree: &Snapshot) -> NodeHealth {
        judge(&Facts {
            live: tree.health().live,
            down: down(tree),
            busy: busy(tree),
            disk_trouble: self.parts.blocks.trouble().is_some(),
            cluster: self.cluster_facts(),
        })
    }

    fn cluster_facts(&self) -> Option<ClusterFacts> {
        let cluster = self.parts.cluster.as_ref()?;
        let session = cluster.session.read(|session| *session);
        let index = cluster.view.read(|view| view.index());
        let is_master = self.role.read(|role| *role) == Role::Master;
        let raft = is_master.then(|| {
            let writing = cluster.consensus.writing.read(|writing| *writing);
            cluster.consensus.glance.read(|glance| RaftFacts {
                running: glance.running,
                has_leader: glance.leader.is_some(),
                commit: glance.commit,
                applied: glance.applied,
                writing_ms: writing.map_or(0, |now| now.since.elapsed().as_millis() as u64),
                disk_full: writing.is_some_and(|writing| writing.disk_full),
            })
        });
        Some(ClusterFacts {
            session_ms_ago: session.map(|session| session.at.elapsed().as_millis() as u64),
            lease_ms: cluster.lease.as_millis() as u64,
            behind: session.map_or(0, |session| session.index.saturating_sub(index)),
            raft,
        })
    }
}

/// Essential parts that should run and don't.
fn down(tree: &Snapshot) -> Vec<(String, String)> {
    let is_down = |node: &&&NodeView| {
        node.importance == Importance::Essential
            && !matches!(node.state, State::Running | State::Stopped)
    };
    let nodes = tree.nodes();
    let down = nodes.iter().filter(is_down);
    down.map(|node| (node.path.to_string(), node.state.as_str().to_owned())).collect()
}

/// The actor whose handler has held the thread longest.
fn busy(tree: &Snapshot) -> Option<(String, u64)> {
    let nodes = tree.nodes();
    let holding = nodes.iter().filter_map(|node| {
        let current = node.current.as_ref().filter(|current| !current.awaiting)?;
        Some((node.path.to_string(), current.age_us / 1000))
    });
    holding.max_by_key(|(_, held_ms)| *held_ms)
}
