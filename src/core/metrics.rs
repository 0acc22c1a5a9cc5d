//! A node in figures: what `/metrics` renders. Plain counts of what happened and what is; nothing here is
//! an estimate, and nothing names content, addresses or people.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::member::{Liveness, Member, Role};
use crate::ops::PinStatusKind;
use crate::pin::ReplicaState;

#[cfg(test)]
mod tests;

/// One node in figures.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct NodeMetrics {
    /// The program's version.
    pub version: String,
    /// Its role.
    pub role: Role,
    /// Milliseconds since it started.
    pub uptime_ms: u64,
    /// Whether it is live, as `health` says.
    pub live: bool,
    /// Whether it is ready, as `health` says.
    pub ready: bool,
    /// Its block store.
    pub store: StoreMetrics,
    /// Its place in a cluster; `None` without one.
    pub cluster: Option<ClusterMetrics>,
    /// Its supervision tree, each part before those below it.
    pub parts: Vec<PartMetrics>,
    /// Messages that were accepted and never handled, over all parts that ever were.
    pub dead_letters: u64,
}

/// A block store in figures.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct StoreMetrics {
    /// Blocks held.
    pub blocks: u64,
    /// Bytes of the blocks.
    pub block_bytes: u64,
    /// Bytes used on disk.
    pub used_bytes: u64,
    /// Bytes it may use; `None`: as many as there are.
    pub max_bytes: Option<u64>,
    /// Bytes that it may still take, after its bound and the reserve.
    pub free_bytes: u64,
    /// Bytes that are free on the file system, the reserve included.
    pub disk_free_bytes: u64,
    /// Segment files.
    pub segments: u64,
    /// Blocks known to be damaged.
    pub damaged: u64,
    /// Whether the disk takes no blocks now.
    pub in_trouble: bool,
}

/// A member in figures.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ClusterMetrics {
    /// The last log index that this node has.
    pub index: u64,
    /// Milliseconds since the leader last answered this node.
    pub session_ms_ago: Option<u64>,
    /// Members by role and liveness.
    pub members: Vec<MemberCount>,
    /// Raft, where it runs.
    pub raft: Option<RaftMetrics>,
    /// All pins by status, on a node that runs Raft.
    pub pins: Option<PinTally>,
    /// This node's own copies by how far they are.
    pub copies: CopyTally,
    /// The repair planner, where this node leads.
    pub repair: Option<RepairMetrics>,
    /// Deltas that gossip brought first.
    pub deltas_by_gossip: u64,
    /// Deltas that had to be fetched.
    pub deltas_by_feed: u64,
    /// Holders' outcomes that gossip brought first; counted where this node led.
    pub outcomes_by_gossip: u64,
    /// Holders' outcomes that came with a heartbeat.
    pub outcomes_by_heartbeat: u64,
}

/// How many members there are of one kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MemberCount {
    /// Their role.
    pub role: Role,
    /// Whether they are there.
    pub liveness: Liveness,
    /// How many.
    pub count: u64,
}

/// Raft in figures.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RaftMetrics {
    /// The current term.
    pub term: u64,
    /// Committed index.
    pub commit: u64,
    /// Applied index.
    pub applied: u64,
    /// Whether this node leads.
    pub leading: bool,
    /// Whether a leader is known.
    pub has_leader: bool,
    /// Members that vote.
    pub voters: u64,
    /// Members that only receive the log.
    pub learners: u64,
}

/// The repair planner in figures.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RepairMetrics {
    /// Pins that wait for a repair to begin.
    pub queued: u64,
    /// Pins that are being copied.
    pub under_way: u64,
    /// Whether repair stands still because many holders vanished at once.
    pub paused: bool,
}

/// A part of the supervision tree in figures.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PartMetrics {
    /// Its path.
    pub path: String,
    /// Whether it is running.
    pub running: bool,
    /// Times it was started again.
    pub restarts: u64,
    /// Times it held the thread longer than its budget.
    pub stalls: u64,
    /// Its mailbox, for actors.
    pub mailbox: Option<MailboxMetrics>,
}

/// A mailbox in figures.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct MailboxMetrics {
    /// Messages that wait.
    pub depth: u64,
    /// Most that may wait.
    pub capacity: u64,
    /// Most that ever waited at once.
    pub high_water: u64,
    /// Messages handled.
    pub handled: u64,
    /// Messages refused because it was full.
    pub rejected: u64,
    /// Questions skipped because nobody waited for the answer any more.
    pub expired: u64,
    /// Messages accepted and never handled to their end.
    pub dead: u64,
}

/// Pins by status.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PinTally {
    /// As many copies as aimed at.
    pub pinned: u64,
    /// At least the minimum.
    pub partial: u64,
    /// Fewer than the minimum, being copied.
    pub pinning: u64,
    /// More than aimed at.
    pub surplus: u64,
    /// Fewer than the minimum, and every holder has given up.
    pub failed: u64,
}

impl PinTally {
    /// Counts one pin.
    pub fn add(&mut self, status: PinStatusKind) {
        let slot = match status {
            PinStatusKind::Pinned => &mut self.pinned,
            PinStatusKind::Partial => &mut self.partial,
            PinStatusKind::Pinning => &mut self.pinning,
            PinStatusKind::Surplus => &mut self.surplus,
            PinStatusKind::Failed => &mut self.failed,
        };
        *slot += 1;
    }
}

/// A holder's copies by how far they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct CopyTally {
    /// Asked for, not whole yet.
    pub assigned: u64,
    /// Whole and durable.
    pub pinned: u64,
    /// Given up.
    pub failed: u64,
}

impl CopyTally {
    /// Counts one copy.
    pub fn add(&mut self, state: &ReplicaState) {
        let slot = match state {
            ReplicaState::Assigned => &mut self.assigned,
            ReplicaState::Pinned => &mut self.pinned,
            ReplicaState::Failed { .. } => &mut self.failed,
        };
        *slot += 1;
    }
}

/// Members by role and liveness; every combination has its row, so that a count falls to zero rather
/// than vanish from a graph.
pub fn count_members<'a>(members: impl IntoIterator<Item = &'a Member>) -> Vec<MemberCount> {
    let mut counts = BTreeMap::new();
    for role in [Role::Master, Role::Worker, Role::Leecher] {
        for (rank, liveness) in LIVENESS.into_iter().enumerate() {
            counts.insert((role, rank), MemberCount { role, liveness, count: 0 });
        }
    }
    for member in members {
        let rank = LIVENESS.iter().position(|of| *of == member.liveness);
        if let Some(row) = rank.and_then(|rank| counts.get_mut(&(member.spec.role, rank))) {
            row.count += 1;
        }
    }
    counts.into_values().collect()
}

const LIVENESS: [Liveness; 3] = [Liveness::Alive, Liveness::Lost, Liveness::Draining];
