//! Request ids of one run of one node: each is given out once, whoever asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ipfs_kit_core::command::RequestId;
use ipfs_kit_core::id::{Incarnation, NodeId};

/// Gives out request ids; clones share the count.
#[derive(Clone, Debug)]
pub struct RequestIds {
    node: NodeId,
    incarnation: Incarnation,
    last: Arc<AtomicU64>,
}

impl RequestIds {
    /// Of a run that has given out none.
    pub fn new(node: NodeId, incarnation: Incarnation) -> Self {
        Self { node, incarnation, last: Arc::default() }
    }

    /// The next id; they count up from 1.
    pub fn next(&self) -> RequestId {
        let seq = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        RequestId { node: self.node, incarnation: self.incarnation, seq }
    }
}
