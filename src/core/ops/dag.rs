//! What blocks, DAGs and the store answer with.

use serde::{Deserialize, Serialize};

use crate::id::Cid;

/// One block.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BlockInfo {
    /// The block.
    pub cid: Cid,
    /// Its bytes.
    pub size_bytes: u64,
}

/// A block that was deleted here.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BlockRemoved {
    /// The block.
    pub cid: Cid,
}

/// A whole DAG in figures.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DagFigures {
    /// Its root.
    pub cid: Cid,
    /// Distinct blocks, those inside their own CIDs left out.
    pub blocks: u64,
    /// Their bytes.
    pub size_bytes: u64,
}

/// The block store in figures.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StoreFigures {
    /// Blocks.
    pub blocks: u64,
    /// Their bytes.
    pub block_bytes: u64,
    /// What they take on disk, with framing and garbage.
    pub used_bytes: u64,
    /// What can still be put.
    pub free_bytes: u64,
    /// The bound, where there is one.
    pub max_bytes: Option<u64>,
    /// Segment files.
    pub segments: u64,
    /// Blocks that are known to be damaged and count as absent.
    pub damaged: u64,
    /// Roots that are held here.
    pub roots: u64,
    /// Leases of imports whose pins have no copy yet.
    pub leases: u64,
}

/// What a collection did.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct CollectReport {
    /// Blocks that were deleted.
    pub removed_blocks: u64,
    /// Their bytes.
    pub removed_bytes: u64,
    /// Room that came back on disk, with framing.
    pub freed_bytes: u64,
    /// Segment files that were deleted.
    pub removed_segments: u64,
    /// Living blocks that were copied for it.
    pub moved_blocks: u64,
    /// Living blocks that turned out to be damaged.
    pub damaged_blocks: u64,
    /// Segments that should have been rewritten, but the disk has no room for the copies.
    pub postponed_segments: u64,
    /// Held roots below which something is missing.
    pub incomplete_roots: Vec<Cid>,
}
