//! A follower's view of the cluster: all members, its own part of the pins, and proof that it has
//! missed nothing.
//!
//! Every node keeps one, masters too. Deltas move it forward; a gap or a wrong hash is an error, after
//! which the view is unchanged and a master is asked for what is missing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::delta::{Beacon, Change, Delta, SetHash};
use crate::id::{Cid, NodeId, PeerKey};
use crate::member::Member;
use crate::pin::SharedPin;
use crate::state::ClusterState;

/// Which pins a follower keeps.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum Scope {
    /// Those it is asked to hold.
    Holder(NodeId),
    /// None: a leecher follows the members only.
    MembersOnly,
}

impl Scope {
    fn keeps(self, pin: &SharedPin) -> bool {
        match self {
            Self::Holder(node) => pin.is_asked_of(node),
            Self::MembersOnly => false,
        }
    }
}

/// A follower's view at one log index.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct View {
    scope: Scope,
    epoch: u64,
    index: u64,
    clock_ms: u64,
    hash: SetHash,
    members: BTreeMap<NodeId, Member>,
    pins: BTreeMap<Cid, SharedPin>,
}

/// Why a delta was not taken. The view is unchanged.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// It covers what the view has already; nothing to do.
    #[error("the delta ends at {to}, the view is at {index}")]
    Old {
        /// Where the view is.
        index: u64,
        /// Where the delta ends.
        to: u64,
    },
    /// Something in between is missing; ask a master from `index`.
    #[error("the delta starts at {from}, the view is at {index}")]
    Gap {
        /// Where the view is.
        index: u64,
        /// Where the delta starts.
        from: u64,
    },
    /// It begins with what the view has already; ask a master from `index` for the rest.
    #[error("the delta covers {from} to {to}, the view is at {index}")]
    Overlap {
        /// Where the view is.
        index: u64,
        /// Where the delta starts.
        from: u64,
        /// Where the delta ends.
        to: u64,
    },
    /// The result would not match the masters' hash; take a snapshot.
    #[error("the view's hash differs from the masters' at {index}")]
    Diverged {
        /// Where it was noticed.
        index: u64,
    },
    /// Another history; take a snapshot.
    #[error("the delta is of history epoch {theirs}, the view of {ours}")]
    Epoch {
        /// The view's.
        ours: u64,
        /// The delta's.
        theirs: u64,
    },
}

impl View {
    /// The view before anything is known: index 0.
    pub fn empty(scope: Scope) -> Self {
        Self {
            scope,
            epoch: 0,
            index: 0,
            clock_ms: 0,
            hash: SetHash::default(),
            members: BTreeMap::new(),
            pins: BTreeMap::new(),
        }
    }

    /// The view of a node that was told who the members are and nothing more; like an empty one it is
    /// replaced by the first snapshot.
    pub fn seed(scope: Scope, members: impl IntoIterator<Item = Member>) -> Self {
        let members = members.into_iter().map(|member| (member.id, member)).collect();
        Self { members, ..Self::empty(scope) }
    }

    /// Trusts itself no more: what it says stays until a master's snapshot replaces it.
    pub fn distrust(&mut self) {
        self.epoch = 0;
        self.index = 0;
        self.hash = SetHash::default();
    }

    /// What a master hands to a follower that starts or has fallen too far behind.
    pub fn of(state: &ClusterState, scope: Scope) -> Self {
        let pins = match scope {
            Scope::MembersOnly => BTreeMap::new(),
            Scope::Holder(node) => {
                state.holdings(node).map(|pin| (pin.cid(), pin.clone())).collect()
            }
        };
        Self {
            scope,
            epoch: state.epoch(),
            index: state.index(),
            clock_ms: state.clock_ms(),
            hash: state.hash(),
            members: state.members().clone(),
            pins,
        }
    }

    /// Moves forward. A delta that overlaps what is known already is refused: its hash holds for the whole
    /// range only, and the masters send ranges that begin where the follower is.
    pub fn apply(&mut self, delta: &Delta) -> Result<(), Refused> {
        self.check_range(delta)?;
        let hash = delta.changes.iter().fold(self.hash, |hash, change| change.fold(hash));
        if hash != delta.hash {
            return Err(Refused::Diverged { index: delta.to });
        }
        self.advance(delta);
        Ok(())
    }

    /// Moves forward by what a master's own state has just become, which has hashed every item already.
    ///
    /// # Errors
    /// [`Refused`] if it is not this delta's turn.
    pub fn apply_own(&mut self, delta: &Delta) -> Result<(), Refused> {
        self.check_range(delta)?;
        self.advance(delta);
        Ok(())
    }

    fn check_range(&self, delta: &Delta) -> Result<(), Refused> {
        if delta.epoch != self.epoch {
            return Err(Refused::Epoch { ours: self.epoch, theirs: delta.epoch });
        }
        if delta.to <= self.index {
            return Err(Refused::Old { index: self.index, to: delta.to });
        }
        if delta.from > self.index + 1 {
            return Err(Refused::Gap { index: self.index, from: delta.from });
        }
        if delta.from <= self.index {
            return Err(Refused::Overlap { index: self.index, from: delta.from, to: delta.to });
        }
        Ok(())
    }

    fn advance(&mut self, delta: &Delta) {
        for change in &delta.changes {
            self.take(change);
        }
        self.index = delta.to;
        self.clock_ms = self.clock_ms.max(delta.clock_ms);
        self.hash = delta.hash;
    }

    fn take(&mut self, change: &Change) {
        match change {
            Change::Member { node, new: Some(member), .. } => {
                self.members.insert(*node, Member::clone(member));
            }
            Change::Member { node, new: None, .. } => {
                self.members.remove(node);
            }
            Change::Pin { cid, new: Some(pin), .. } if self.scope.keeps(pin) => {
                self.pins.insert(cid.clone(), pin.clone());
            }
            Change::Pin { cid, .. } => {
                self.pins.remove(cid);
            }
        }
    }

    /// Whether a beacon shows that something is missing here.
    pub fn lags(&self, beacon: &Beacon) -> bool {
        beacon.epoch != self.epoch
            || beacon.index > self.index
            || (beacon.index == self.index && beacon.hash != self.hash)
    }

    /// Whether a beacon shows the same index with another hash: only a snapshot helps.
    pub fn diverged_from(&self, beacon: &Beacon) -> bool {
        beacon.epoch == self.epoch && beacon.index == self.index && beacon.hash != self.hash
    }

    /// Which pins it keeps.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// The history epoch.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The last log index it covers.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Committed time, in milliseconds.
    pub fn clock_ms(&self) -> u64 {
        self.clock_ms
    }

    /// The whole set's hash at `index`.
    pub fn hash(&self) -> SetHash {
        self.hash
    }

    /// All members.
    pub fn members(&self) -> &BTreeMap<NodeId, Member> {
        &self.members
    }

    /// The member with this key.
    pub fn member_by_key(&self, key: &PeerKey) -> Option<&Member> {
        self.members.values().find(|member| member.spec.key == *key)
    }

    /// The pins in scope.
    pub fn pins(&self) -> &BTreeMap<Cid, SharedPin> {
        &self.pins
    }
}

#[cfg(test)]
mod tests;
