//! What several shells read and one writes: the replicated state on a master, the view on every node.
//!
//! Reads are short and never held across an await, so that the locks are hardly ever contended: all shells
//! share one thread, beside which consensus and the local API have theirs.

use std::sync::{Arc, PoisonError, RwLock};

use ipfs_kit_core::follow::{Scope, View};
use ipfs_kit_core::id::NodeId;
use ipfs_kit_core::member::Role;
use ipfs_kit_core::state::ClusterState;

/// A value with one writer.
#[derive(Debug)]
pub struct Shared<T>(Arc<RwLock<T>>);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Shared<T> {
    /// Takes the value.
    pub fn new(value: T) -> Self {
        Self(Arc::new(RwLock::new(value)))
    }

    /// Looks at the value. A reader that panicked changed nothing, so a poisoned lock is still good.
    pub fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the value; only its owner calls this. After a panic inside `change` the owner restarts and
    /// replaces the value whole, so a poisoned lock is still good.
    pub fn write<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The replicated state of a master; written by the consensus task only.
pub type SharedState = Shared<ClusterState>;

/// The node's view; written by state-sync only.
pub type SharedView = Shared<View>;

/// What a node keeps of the pins: holders keep their own.
pub fn scope_of(node: NodeId, role: Role) -> Scope {
    match role {
        Role::Leecher => Scope::MembersOnly,
        Role::Worker | Role::Master => Scope::Holder(node),
    }
}
