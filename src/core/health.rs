//! Whether a node is worth sending work to, and if not, why not: one verdict behind `/healthz`,
//! `/readyz`, `health` and the metric `ipfs_kit_ready`.
//!
//! The reasons name parts of the node and steps to take. They hold no address, no path, no name and no
//! figure of the cluster's content, since `/readyz` shows them to whoever reaches the API.

use serde::{Deserialize, Serialize};

use crate::limits::{READY_LAG_MAX, STALL_MS_MAX};

#[cfg(test)]
mod tests;

/// What is known of a node at one moment.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Whether the supervision tree stands.
    pub live: bool,
    /// Essential parts that are down, each with its state.
    pub down: Vec<(String, String)>,
    /// The actor that holds the thread of all actors, and for how many milliseconds.
    pub busy: Option<(String, u64)>,
    /// Whether the disk takes no blocks now.
    pub disk_trouble: bool,
    /// Its place in a cluster; `None` without one.
    pub cluster: Option<ClusterFacts>,
}

/// What is known of a member at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClusterFacts {
    /// Milliseconds since the leader last answered this node's heartbeat.
    pub session_ms_ago: Option<u64>,
    /// How long a session lives.
    pub lease_ms: u64,
    /// Entries between what the leader last named and what this node has.
    pub behind: u64,
    /// Raft, where the node's role asks for it.
    pub raft: Option<RaftFacts>,
}

/// What is known of a master's Raft.
#[derive(Clone, Copy, Debug, Default)]
pub struct RaftFacts {
    /// Whether it runs.
    pub running: bool,
    /// Whether a leader is known.
    pub has_leader: bool,
    /// Committed index.
    pub commit: u64,
    /// Applied index.
    pub applied: u64,
    /// Milliseconds since the write of its log began that is under way.
    pub writing_ms: u64,
    /// That write waits for room on the disk.
    pub disk_full: bool,
}

impl RaftFacts {
    /// Whether a write of the log has taken so long that nothing is to be expected of it.
    fn hangs(&self) -> bool {
        self.writing_ms > STALL_MS_MAX
    }
}

/// The verdict.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeHealth {
    /// The process does its work or is about to; otherwise it should be restarted.
    pub live: bool,
    /// Work may be sent here.
    pub ready: bool,
    /// Why not; empty when ready.
    pub reasons: Vec<Reason>,
}

/// One thing that keeps a node from being ready.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reason {
    /// A stable word.
    pub code: ReasonCode,
    /// What it is, for people.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

/// Why a node is not ready; never renamed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReasonCode {
    /// The tree has given up or is stopping.
    Stopping,
    /// One actor has kept all others waiting for too long.
    Stalled,
    /// An essential part is down.
    PartDown,
    /// The disk takes no blocks.
    DiskTrouble,
    /// A master's Raft does not run.
    RaftDown,
    /// A master's Raft waits for its log to be written.
    RaftStalled,
    /// Raft knows no leader.
    NoLeader,
    /// No leader has answered for longer than a session lives.
    NoSession,
    /// What was committed lately has not arrived yet.
    CatchingUp,
}

/// Judges a node. Every reason that holds is named, in a fixed order.
pub fn judge(facts: &Facts) -> NodeHealth {
    let mut reasons = Vec::new();
    let mut because = |code, message: String, hint: &str| {
        reasons.push(Reason { code, message, hint: hint.to_owned() });
    };
    if !facts.live {
        let message = "the node is stopping, or has given up".to_owned();
        because(ReasonCode::Stopping, message, "its log says why");
    }
    let stalled = facts.busy.as_ref().filter(|(_, held_ms)| *held_ms > STALL_MS_MAX);
    if let Some((part, held_ms)) = stalled {
        let message = format!("{part} has held up every actor for {} s", held_ms / 1000);
        because(ReasonCode::Stalled, message, "restart the node and report what its log says");
    }
    for (part, state) in &facts.down {
        let message = format!("{part} is not running: {state}");
        because(ReasonCode::PartDown, message, "ipfs-kit actors shows its last error");
    }
    if facts.disk_trouble {
        let message = "the disk takes no blocks".to_owned();
        because(
            ReasonCode::DiskTrouble,
            message,
            "ipfs-kit status says why; ipfs-kit doctor looks",
        );
    }
    if let Some(cluster) = &facts.cluster {
        judge_member(cluster, &mut because);
    }
    let raft = facts.cluster.as_ref().and_then(|cluster| cluster.raft.as_ref());
    // A restart makes no room on a disk.
    let hangs = raft.is_some_and(|raft| raft.hangs() && !raft.disk_full);
    let live = facts.live && stalled.is_none() && !hangs;
    NodeHealth { live, ready: reasons.is_empty(), reasons }
}

fn judge_member(cluster: &ClusterFacts, because: &mut impl FnMut(ReasonCode, String, &str)) {
    let mut behind = cluster.behind;
    if let Some(raft) = &cluster.raft {
        if !raft.running {
            let message = "this master's raft does not run".to_owned();
            because(ReasonCode::RaftDown, message, "ipfs-kit actors shows its last error");
        } else if raft.disk_full {
            let message = "this master's raft log can't be written: its disk is full".to_owned();
            because(ReasonCode::RaftStalled, message, "free space on it; raft goes on by itself");
        } else if raft.hangs() {
            let seconds = raft.writing_ms / 1000;
            let message = format!("a write of this master's raft log has taken {seconds} s");
            because(ReasonCode::RaftStalled, message, "look at the disk of the node's folder");
        } else if !raft.has_leader {
            let message = "no leader is known".to_owned();
            because(ReasonCode::NoLeader, message, "more than half of the masters must be up");
        }
        behind = behind.max(raft.commit.saturating_sub(raft.applied));
    }
    let in_session = cluster.session_ms_ago.is_some_and(|ms| ms <= cluster.lease_ms);
    if !in_session {
        let message = match cluster.session_ms_ago {
            Some(ms) => format!("no leader has answered for {} s", ms / 1000),
            None => "no leader has answered since the start".to_owned(),
        };
        because(ReasonCode::NoSession, message, "ipfs-kit doctor checks the way to each member");
    }
    if behind > READY_LAG_MAX {
        let message = format!("{behind} committed entries have not arrived yet");
        because(ReasonCode::CatchingUp, message, "it catches up by itself");
    }
}
