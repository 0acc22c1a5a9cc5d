//! What the shells tell each other about the cluster; each names who may want to hear it.

use std::sync::Arc;

use actix::Message;
use ipfs_kit_core::delta::{Beacon, Change, SetHash};
use ipfs_kit_core::id::NodeId;

/// One log entry was applied on this master.
#[derive(Clone, Debug)]
pub struct AppliedEntry {
    /// Its index.
    pub index: u64,
    /// The set's hash after it.
    pub hash: SetHash,
    /// Committed time after it, in milliseconds.
    pub clock_ms: u64,
    /// The items that changed, in order.
    pub changes: Vec<Change>,
}

/// Entries were applied on this master; consecutive, in order.
#[derive(Debug)]
pub struct Applied {
    /// The history epoch.
    pub epoch: u64,
    /// The entries; none: the whole state was replaced by a snapshot.
    pub entries: Vec<AppliedEntry>,
}

/// Who leads, as this master knows it.
#[derive(Message, Clone, Copy, Debug, PartialEq, Eq)]
#[rtype(result = "()")]
pub struct LeadershipChanged {
    /// The term.
    pub term: u64,
    /// The leader, if one is known.
    pub leader: Option<NodeId>,
    /// Whether it is this node, and it has applied everything of the terms before.
    pub leading: bool,
}

/// This node's view moved; on a master the whole state did.
#[derive(Message, Clone, Debug)]
#[rtype(result = "()")]
pub struct ViewMoved {
    /// Where it is now.
    pub index: u64,
    /// What changed on the way; `None`: everything may have.
    pub changes: Option<Arc<Vec<Change>>>,
}

/// The leader's beacon was heard, by gossip or in answer to a heartbeat.
#[derive(Message, Clone, Debug)]
#[rtype(result = "()")]
pub struct BeaconHeard(pub Beacon);

/// A member's connection came or went.
#[derive(Message, Clone, Debug)]
#[rtype(result = "()")]
pub struct ConnectionChanged {
    /// Who.
    pub node: NodeId,
    /// Whether it is there now.
    pub connected: bool,
}
