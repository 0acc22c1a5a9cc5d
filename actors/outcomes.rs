//! Outcomes of holders on their way into the log: counted by the way they came, committed once.

use std::collections::BTreeMap;
use std::time::Duration;

use ipfs_kit_core::command::Op;
use ipfs_kit_core::id::{Cid, NodeId};
use ipfs_kit_core::limits;
use ipfs_kit_core::pin::{ReplicaReport, SharedPin};

use crate::cluster_manager::coordination::{Coordination, Submit};
use crate::consensus::ConsensusHandle;
use crate::shared::Shared;
use crate::supervision::ActorRef;

/// Reports that are being committed; beyond it the holders' repetition brings them again.
const UNDER_WAY_MAX: usize = 64 * 1024;
/// How long a commit may take before a repetition is let through.
const WITHIN: Duration = Duration::from_secs(5);

/// How outcomes came first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutcomeArrivals {
    /// By gossip.
    pub by_gossip: u64,
    /// With a heartbeat.
    pub by_heartbeat: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Gossip,
    Heartbeat,
}

/// The leader's intake of outcomes; on other nodes it drops them, since the leader hears them too.
#[derive(Clone)]
pub struct Outcomes {
    consensus: ConsensusHandle,
    coordination: ActorRef<Coordination>,
    arrivals: Shared<OutcomeArrivals>,
    under_way: Shared<BTreeMap<(NodeId, Cid), u64>>,
}

impl Outcomes {
    /// An empty intake.
    pub fn new(consensus: ConsensusHandle, coordination: ActorRef<Coordination>) -> Self {
        Self {
            consensus,
            coordination,
            arrivals: Shared::new(OutcomeArrivals::default()),
            under_way: Shared::new(BTreeMap::new()),
        }
    }

    /// Counts so far.
    pub fn arrivals(&self) -> OutcomeArrivals {
        self.arrivals.read(|arrivals| *arrivals)
    }

    /// A holder's gossip.
    pub fn heard_by_gossip(&self, node: NodeId, reports: Vec<ReplicaReport>) {
        self.take(node, reports, Way::Gossip);
    }

    /// What a heartbeat carried.
    pub fn heard_by_heartbeat(&self, node: NodeId, reports: Vec<ReplicaReport>) {
        self.take(node, reports, Way::Heartbeat);
    }

    fn take(&self, node: NodeId, reports: Vec<ReplicaReport>, way: Way) {
        if !self.consensus.leading() {
            return;
        }
        let items = self.fresh(node, reports);
        if items.is_empty() {
            return;
        }
        let count = items.len() as u64;
        self.arrivals.write(|arrivals| match way {
            Way::Gossip => arrivals.by_gossip += count,
            Way::Heartbeat => arrivals.by_heartbeat += count,
        });
        let this = self.clone();
        tokio::task::spawn_local(async move {
            let cids: Vec<Cid> = items.iter().map(|item| item.cid.clone()).collect();
            let op = Op::Report { node, items };
            match this.coordination.ask_within(Submit::new(op, WITHIN), WITHIN * 2).await {
                Ok(Ok(_)) => {}
                Ok(Err(reason)) => tracing::debug!(%reason, "outcomes not committed"),
                Err(reason) => tracing::debug!(%reason, "outcomes not taken"),
            }
            this.under_way.write(|under_way| {
                for cid in cids {
                    under_way.remove(&(node, cid));
                }
            });
        });
    }

    /// Only what the state does not know and nobody is committing.
    fn fresh(&self, node: NodeId, reports: Vec<ReplicaReport>) -> Vec<ReplicaReport> {
        let news = self.consensus.state.read(|state| {
            let news = reports.into_iter().take(limits::REPORTS_MAX).filter(|report| {
                let Some(pin) = state.pins().get(&report.cid).map(SharedPin::read) else {
                    return false;
                };
                let replica = pin.replicas.get(&node);
                replica.is_some_and(|r| r.granted == report.granted && r.state != report.state)
            });
            news.collect::<Vec<_>>()
        });
        self.under_way.write(|under_way| {
            let mut fresh = Vec::new();
            for report in news {
                let key = (node, report.cid.clone());
                if under_way.get(&key) == Some(&report.granted) || under_way.len() >= UNDER_WAY_MAX
                {
                    continue;
                }
                under_way.insert(key, report.granted);
                fresh.push(report);
            }
            fresh
        })
    }
}
