//! Pins: what the cluster has promised to keep, and who keeps it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::{Cid, NodeId};
use crate::limits;

mod replicas;
mod shared;

pub use replicas::Replicas;
pub use shared::SharedPin;

/// What a root is, as far as the adder knew.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
#[serde(rename_all = "lowercase")]
pub enum ContentKind {
    /// Pinned by CID without having been looked at.
    #[default]
    Unknown,
    /// A file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
}

/// What a user asks to be kept.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct PinSpec {
    /// The root; everything below it is kept with it.
    pub cid: Cid,
    /// A name for people; need not be unique.
    pub name: String,
    /// Free key-value pairs.
    pub metadata: BTreeMap<String, String>,
    /// Fewest copies; below it the pin is under-replicated and repaired first.
    pub replicas_min: u16,
    /// Copies aimed at; more are trimmed.
    pub replicas_max: u16,
    /// Committed time at which the pin ends, in milliseconds.
    pub expires_ms: Option<u64>,
    /// Bytes of the content, where the adder knew.
    pub size_bytes: Option<u64>,
    /// What the root is, where the adder knew.
    pub kind: ContentKind,
    /// A member that has the blocks although it was not asked to hold them: where holders fetch first.
    pub origin: Option<NodeId>,
}

impl PinSpec {
    /// Whoever asks anew for what is pinned need not know what the content is and where it came from.
    pub fn keep_what_is_known(&mut self, before: &Self) {
        self.origin = self.origin.or(before.origin);
        self.size_bytes = self.size_bytes.or(before.size_bytes);
        if self.kind == ContentKind::Unknown {
            self.kind = before.kind;
        }
    }
}

/// One holder's copy.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Replica {
    /// The log index of the assignment: a report for another assignment is stale and ignored.
    pub granted: u64,
    /// What the holder has said.
    pub state: ReplicaState,
}

/// How far a holder is.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "lowercase")]
pub enum ReplicaState {
    /// Asked to hold it, no word yet.
    Assigned,
    /// Every block is durable there.
    Pinned,
    /// It could not, and will not without a new assignment.
    Failed {
        /// Why, in a few words.
        reason: String,
    },
}

impl ReplicaState {
    /// A failure whose reason is cut to what is replicated.
    pub fn failed(reason: &str) -> Self {
        let end = reason.floor_char_boundary(limits::REASON_LEN_BYTES_MAX);
        Self::Failed { reason: reason[..end].to_owned() }
    }

    /// Whether two states say the same about the copy, whatever the words.
    pub fn is_same_kind(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// A pin as the cluster has committed it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Pin {
    /// What was asked.
    pub spec: PinSpec,
    /// Committed time of the first request, in milliseconds.
    pub created_ms: u64,
    /// Log index of the last change of `spec` or of who holds it.
    pub revision: u64,
    /// Who holds it or should, by member; a member that is gone for good may stand here until the
    /// planner has replaced it.
    pub replicas: Replicas,
}

impl Pin {
    /// Holders that have said that every block is durable.
    pub fn pinned_on(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.replicas
            .iter()
            .filter(|(_, replica)| replica.state == ReplicaState::Pinned)
            .map(|(node, _)| *node)
    }
}

/// What a holder reports of one assignment.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct ReplicaReport {
    /// The pin.
    pub cid: Cid,
    /// The assignment it is about.
    pub granted: u64,
    /// How far the holder is.
    pub state: ReplicaState,
}

#[cfg(test)]
mod tests;
