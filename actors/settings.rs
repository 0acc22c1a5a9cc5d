//! What a node is told before it starts: plain values, no components.

use ipfs_kit_core::id::{ClusterId, Incarnation, NodeId};
use ipfs_kit_core::member::{Member, MemberSpec};
use serde::{Deserialize, Serialize};

/// Everything a node is told.
#[derive(Clone, Debug)]
pub struct NodeSettings {
    /// What it says of itself; the role is the one it starts with.
    pub spec: MemberSpec,
    /// Its place in a cluster; `None`: it works alone.
    pub membership: Option<Membership>,
    /// This run.
    pub incarnation: Incarnation,
    /// Seeds jitter and election timeouts.
    pub seed: u64,
    /// Liveness and dissemination.
    pub timing: Timing,
    /// Raft.
    pub raft: RaftSettings,
    /// The leader's planner.
    pub replication: ipfs_kit_core::replication::Config,
    /// Fewest copies of a pin that does not say.
    pub replicas_min: u16,
    /// Copies aimed at by a pin that does not say.
    pub replicas_max: u16,
    /// Bytes of the memory cache of blocks.
    pub cache_bytes_max: u64,
    /// Bytes of the block store.
    pub storage_bytes_max: u64,
    /// Bytes of the file system that new blocks leave free.
    pub storage_reserve_bytes: u64,
    /// Bytes a second that are fetched in order to hold pins; 0: no limit.
    pub transfer_bytes_s: u64,
    /// The same of pins that another holder has already: repair, and more copies; 0: no limit.
    pub repair_bytes_s: u64,
    /// Import profile by name.
    pub profile: String,
    /// Threads that hash an import; 0: no threads, and none that writes blocks, as the simulations need.
    pub hash_threads: usize,
}

/// A node's place in a cluster, as its folder remembers it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Membership {
    /// The cluster.
    pub cluster: ClusterId,
    /// The history epoch at admission.
    pub epoch: u64,
    /// Its number.
    pub node: NodeId,
    /// Whether it founded the cluster: then it starts Raft alone and writes the first entry.
    pub founder: bool,
    /// The members at admission: whom to ask first.
    pub members: Vec<Member>,
}

/// Liveness and dissemination, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Between two heartbeats of a member.
    pub heartbeat_ms: u64,
    /// How long a member without heartbeats keeps its session.
    pub lease_ms: u64,
    /// How long after that its copies still count.
    pub repair_grace_ms: u64,
    /// Between two beacons of the leader.
    pub beacon_ms: u64,
    /// How long a user's request may take before it is answered with a timeout.
    pub request_ms: u64,
    /// Between two looks at what may be collected.
    pub gc_ms: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat_ms: 1_000,
            lease_ms: 10_000,
            repair_grace_ms: 15_000,
            beacon_ms: 500,
            request_ms: 30_000,
            gc_ms: 60_000,
        }
    }
}

/// Raft's clockwork and housekeeping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaftSettings {
    /// One tick, in milliseconds.
    pub tick_ms: u64,
    /// Ticks without a leader before an election.
    pub election_ticks: usize,
    /// Ticks between a leader's heartbeats.
    pub heartbeat_ticks: usize,
    /// Applied entries after which a checkpoint is written.
    pub checkpoint_entries: u64,
    /// Entries kept behind a checkpoint, so that a short absence needs no snapshot.
    pub tail_entries: u64,
}

impl Default for RaftSettings {
    fn default() -> Self {
        Self {
            tick_ms: 50,
            election_ticks: 20,
            heartbeat_ticks: 4,
            checkpoint_entries: 10_000,
            tail_entries: 10_000,
        }
    }
}
