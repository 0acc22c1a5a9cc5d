//! The node at a glance.

use ipfs_kit_core::member::Liveness;
use ipfs_kit_core::ops::{ClusterGlance, NodeStatus};

use super::{Operations, failure};
use crate::api::Failure;

impl Operations {
    pub(super) async fn status(&self) -> Result<NodeStatus, Failure> {
        let parts = &self.parts;
        let spec = parts.spec.read(Clone::clone);
        let cluster = parts.cluster.as_ref();
        Ok(NodeStatus {
            version: env!("CARGO_PKG_VERSION").into(),
            name: spec.name,
            peer: spec.key.to_string(),
            role: self.role.read(|role| *role),
            node: cluster.map(|cluster| cluster.node),
            cluster: cluster.map(|cluster| cluster.id),
            addrs: spec.addrs,
            uptime_ms: parts.started.elapsed().as_millis() as u64,
            usage: parts.usage.read(|usage| *usage),
            view: self.glance(),
            warnings: self.warnings(),
        })
    }

    fn glance(&self) -> Option<ClusterGlance> {
        let cluster = self.parts.cluster.as_ref()?;
        let raft = cluster.consensus.glance.read(Clone::clone);
        let hint = cluster.leader_hint.read(|hint| *hint);
        let arrivals = cluster.arrivals.read(|arrivals| *arrivals);
        let outcomes = cluster.outcomes.arrivals();
        let all_pins = cluster.consensus.state.read(|state| state.pins().len());
        Some(cluster.view.read(|view| {
            let lost = view.members().values().filter(|m| m.liveness == Liveness::Lost).count();
            ClusterGlance {
                leader: raft.leader.or(hint),
                term: raft.term,
                index: view.index(),
                hash: view.hash().short(),
                alive: view.members().len() - lost,
                lost,
                pins: if raft.running { all_pins } else { view.pins().len() },
                deltas_by_gossip: arrivals.deltas_by_gossip,
                deltas_by_feed: arrivals.deltas_by_feed,
                outcomes_by_gossip: outcomes.by_gossip,
                outcomes_by_heartbeat: outcomes.by_heartbeat,
            }
        }))
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(cause) = self.parts.blocks.trouble() {
            warnings.push(format!(
                "the disk takes no blocks, those that were put wait in memory: {cause}"
            ));
        }
        let Some(cluster) = self.parts.cluster.as_ref() else { return warnings };
        cluster.heard.read(|heard| {
            for (node, of) in heard {
                if let Some((addr, reason)) = &of.unreachable {
                    warnings.push(format!("{node} can't be reached at {addr}: {reason}"));
                }
            }
        });
        if let Some(unreachable) = cluster.unreachable.read(Clone::clone) {
            let (addr, reason) = unreachable;
            warnings.push(format!("others can't reach this node at {addr}: {reason}"));
        }
        let planner = cluster.planner.read(|glance| *glance);
        if let Some(loss) = planner.and_then(|glance| glance.paused) {
            warnings.push(format!(
                "repair stands still: {} of {} holders vanished at once",
                loss.lost, loss.holders
            ));
        }
        warnings
    }

    pub(super) async fn actors(&self) -> Result<serde_json::Value, Failure> {
        serde_json::to_value(self.parts.tree.snapshot())
            .map_err(|error| failure("E_PROTOCOL", error.to_string()))
    }
}
