//! This node in figures. Everything is read where it is kept anyway; only pins have to be counted, a
//! slice at a time, and not more often than once in a while.

use std::ops::Bound;
use std::time::Duration;

use ipfs_kit_core::id::Cid;
use ipfs_kit_core::metrics::{
    ClusterMetrics, CopyTally, MailboxMetrics, NodeMetrics, PartMetrics, PinTally, RaftMetrics,
    RepairMetrics, StoreMetrics, count_members,
};
use ipfs_kit_core::pin::{Pin, SharedPin};
use ipfs_kit_core::query;
use tokio::time::Instant;

use super::{Operations, failure};
use crate::api::Failure;
use crate::node::Cluster;
use crate::ports::{WorkLane, work};
use crate::supervision::{NodeView, Snapshot, State};

/// Pins counted between two looks at what else waits; about a millisecond of work.
const SLICE: usize = 4096;
/// How long a count of pins is good.
const COUNT_LASTS: Duration = Duration::from_secs(5);

/// Pins as they were counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tallies {
    pins: Option<PinTally>,
    copies: CopyTally,
}

impl Operations {
    pub(super) async fn metrics(&self) -> Result<NodeMetrics, Failure> {
        let parts = &self.parts;
        let tree = parts.tree.snapshot();
        let health = self.judge_health(&tree);
        let blocks = parts.blocks.clone();
        let stat = work(&*parts.executor, WorkLane::Bulk, move || blocks.stat()).await;
        let stat = stat.map_err(|error| failure("E_UNAVAILABLE", error.to_string()))?;
        let stat = stat.map_err(|error| failure("E_STORE", error.to_string()))?;
        let cluster = match &parts.cluster {
            Some(cluster) => Some(figures(cluster, self.tallies(cluster).await)),
            None => None,
        };
        Ok(NodeMetrics {
            version: env!("CARGO_PKG_VERSION").into(),
            role: self.role.read(|role| *role),
            uptime_ms: parts.started.elapsed().as_millis() as u64,
            live: health.live,
            ready: health.ready,
            store: StoreMetrics {
                blocks: stat.blocks,
                block_bytes: stat.block_bytes,
                used_bytes: stat.used_bytes,
                max_bytes: stat.max_bytes,
                free_bytes: stat.free_bytes,
                disk_free_bytes: stat.disk_free_bytes,
                segments: stat.segments as u64,
                damaged: stat.damaged as u64,
                in_trouble: parts.blocks.trouble().is_some(),
            },
            cluster,
            parts: parts_of(&tree),
            dead_letters: tree.dead_letters,
        })
    }

    /// Counts the pins, unless that was done a moment ago.
    async fn tallies(&self, cluster: &Cluster) -> Tallies {
        let known = self.tallies.read(|known| *known);
        if let Some((_, tallies)) = known.filter(|(at, _)| at.elapsed() < COUNT_LASTS) {
            return tallies;
        }
        let has_all = cluster.consensus.glance.read(|glance| glance.running);
        let pins = if has_all { Some(count_pins(cluster).await) } else { None };
        let tallies = Tallies { pins, copies: count_copies(cluster).await };
        self.tallies.write(|known| *known = Some((Instant::now(), tallies)));
        tallies
    }
}

/// Counts a set in slices: `slice` counts the next ones behind a root and names the last, or ends it.
async fn in_slices(mut slice: impl FnMut(Option<&Cid>) -> Option<Cid>) {
    let mut after = None;
    while let Some(last) = slice(after.as_ref()) {
        after = Some(last);
        tokio::task::yield_now().await;
    }
}

async fn count_pins(cluster: &Cluster) -> PinTally {
    let mut tally = PinTally::default();
    in_slices(|after| {
        cluster.consensus.state.read(|state| {
            let pins = state.pins_after(after).take(SLICE);
            count(pins, |pin| tally.add(query::pin_status(pin, state.members()).0))
        })
    })
    .await;
    tally
}

async fn count_copies(cluster: &Cluster) -> CopyTally {
    let mut tally = CopyTally::default();
    in_slices(|after| {
        cluster.view.read(|view| {
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            let pins = view.pins().range::<Cid, _>((from, Bound::Unbounded)).take(SLICE);
            count(pins.map(|(_, pin)| pin), |pin| {
                if let Some(own) = pin.replicas.get(&cluster.node) {
                    tally.add(&own.state);
                }
            })
        })
    })
    .await;
    tally
}

/// Counts each; the last root if the slice was full, so that there may be more.
fn count<'a>(pins: impl Iterator<Item = &'a SharedPin>, mut each: impl FnMut(&Pin)) -> Option<Cid> {
    let mut counted = 0;
    let mut last = None;
    for pin in pins {
        each(&pin.read());
        counted += 1;
        last = Some(pin);
    }
    last.filter(|_| counted == SLICE).map(SharedPin::cid)
}

fn figures(cluster: &Cluster, tallies: Tallies) -> ClusterMetrics {
    let arrivals = cluster.arrivals.read(|arrivals| *arrivals);
    let outcomes = cluster.outcomes.arrivals();
    let session = cluster.session.read(|session| *session);
    let raft = cluster.consensus.glance.read(|glance| {
        glance.running.then(|| RaftMetrics {
            term: glance.term,
            commit: glance.commit,
            applied: glance.applied,
            leading: glance.leading,
            has_leader: glance.leader.is_some(),
            voters: glance.voters.len() as u64,
            learners: glance.learners.len() as u64,
        })
    });
    let repair = cluster.planner.read(|glance| *glance).map(|glance| RepairMetrics {
        queued: glance.queued as u64,
        under_way: glance.repairing as u64,
        paused: glance.paused.is_some(),
    });
    let (index, members) =
        cluster.view.read(|view| (view.index(), count_members(view.members().values())));
    ClusterMetrics {
        index,
        session_ms_ago: session.map(|session| session.at.elapsed().as_millis() as u64),
        members,
        raft,
        pins: tallies.pins,
        copies: tallies.copies,
        repair,
        deltas_by_gossip: arrivals.deltas_by_gossip,
        deltas_by_feed: arrivals.deltas_by_feed,
        outcomes_by_gossip: outcomes.by_gossip,
        outcomes_by_heartbeat: outcomes.by_heartbeat,
    }
}

fn parts_of(tree: &Snapshot) -> Vec<PartMetrics> {
    let part = |node: &NodeView| PartMetrics {
        path: node.path.to_string(),
        running: node.state == State::Running,
        restarts: node.restarts,
        stalls: node.stalls,
        mailbox: node.mailbox.map(|mailbox| MailboxMetrics {
            depth: mailbox.depth as u64,
            capacity: mailbox.capacity as u64,
            high_water: mailbox.high_water as u64,
            handled: mailbox.handled,
            rejected: mailbox.rejected,
            expired: mailbox.expired,
            dead: mailbox.dead,
        }),
    };
    tree.nodes().into_iter().map(part).collect()
}
