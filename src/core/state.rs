//! The replicated state: a pure function of the log, equal on every master at equal index.
//!
//! It changes only in [`ClusterState::apply`], which is total: whatever an entry says, the answer is an
//! outcome, never a panic and never a clock, a random number or a port.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::command::{Outcome, RequestId};
use crate::delta::{Change, SetHash};
use crate::id::{Cid, ClusterId, Incarnation, NodeId, PeerKey, TokenId};
use crate::member::{Member, Role};
use crate::pin::SharedPin;

mod apply;
mod held;
mod persist;
mod pins;
#[cfg(test)]
mod tests;
mod window;

pub use apply::{Standing, check_pin};
pub(crate) use held::Holdings;
pub use persist::{LoadError, Loader};
pub use pins::{Pins, Slot};

/// A join token as the masters know it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct TokenRecord {
    /// BLAKE3 of its secret half.
    pub secret_hash: [u8; 32],
    /// The highest role it admits.
    pub role_cap: Role,
    /// Committed time at which it ends, in milliseconds.
    pub expires_ms: u64,
    /// Whom it admitted.
    pub used_by: Option<NodeId>,
}

/// The requests of one node's run that are remembered.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub(crate) struct Window {
    pub(crate) incarnation: Incarnation,
    /// Every sequence number up to this one is forgotten and refused.
    floor: u64,
    pub(crate) outcomes: BTreeMap<u64, Outcome>,
    /// What the outcomes weigh together; counted anew when they are read back.
    #[serde(skip)]
    weight: u64,
}

/// The replicated state.
#[derive(Clone, Debug, Default)]
pub struct ClusterState {
    pub(crate) cluster: Option<ClusterId>,
    pub(crate) epoch: u64,
    pub(crate) index: u64,
    pub(crate) clock_ms: u64,
    pub(crate) next_node: u64,
    pub(crate) members: BTreeMap<NodeId, Member>,
    pub(crate) removed: BTreeMap<PeerKey, NodeId>,
    pub(crate) tokens: BTreeMap<TokenId, TokenRecord>,
    pub(crate) pins: Pins,
    pub(crate) windows: BTreeMap<NodeId, Window>,
    pub(crate) hash: SetHash,
    /// Derived: what each member is asked to hold.
    pub(crate) holdings: BTreeMap<NodeId, Holdings>,
    /// Derived: pins by their end.
    pub(crate) expiries: BTreeSet<(u64, Cid)>,
}

/// What applying one entry led to.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// Each command's outcome, in order.
    pub outcomes: Vec<(RequestId, Outcome)>,
    /// The items that changed, in order.
    pub changes: Vec<Change>,
}

impl ClusterState {
    /// The cluster's identity; `None` before it is founded.
    pub fn cluster(&self) -> Option<ClusterId> {
        self.cluster
    }

    /// The history epoch: bumped when an operator recovers a cluster by force.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The last applied log index.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Committed time in milliseconds: monotone, judged by leaders' stamps.
    pub fn clock_ms(&self) -> u64 {
        self.clock_ms
    }

    /// Hash over all members and pins.
    pub fn hash(&self) -> SetHash {
        self.hash
    }

    /// Identities that were removed, which is for good: at most so many, those with the highest numbers.
    pub fn removed_last(&self, max: usize) -> BTreeSet<PeerKey> {
        let mut removed: Vec<_> = self.removed.iter().map(|(key, node)| (*node, *key)).collect();
        removed.sort_unstable();
        removed.into_iter().rev().take(max).map(|(_, key)| key).collect()
    }

    /// All members by number.
    pub fn members(&self) -> &BTreeMap<NodeId, Member> {
        &self.members
    }

    /// The member with this key.
    pub fn member_by_key(&self, key: &PeerKey) -> Option<&Member> {
        self.members.values().find(|member| member.spec.key == *key)
    }

    /// Join tokens that still exist, used ones included.
    pub fn tokens(&self) -> &BTreeMap<TokenId, TokenRecord> {
        &self.tokens
    }

    /// All pins by root.
    pub fn pins(&self) -> &Pins {
        &self.pins
    }

    /// What a member is asked to hold.
    pub fn holdings(&self, node: NodeId) -> impl Iterator<Item = &SharedPin> {
        self.holdings_after(node, None).map(|(_, pin)| pin)
    }

    /// How many pins a member is asked to hold.
    pub fn holding_count(&self, node: NodeId) -> usize {
        self.holdings.get(&node).map_or(0, Holdings::len)
    }

    /// What a member is asked to hold behind some point, in an order that stays: for scans in bounded slices.
    /// What is asked of it meanwhile may come at any place.
    pub fn holdings_after(
        &self,
        node: NodeId,
        after: Option<Slot>,
    ) -> impl Iterator<Item = (Slot, &SharedPin)> {
        let held = self.holdings.get(&node);
        held.into_iter().flat_map(move |held| held.after(&self.pins, after))
    }

    /// All pins behind a root, in the order of the roots: for scans and pages.
    pub fn pins_after(&self, after: Option<&Cid>) -> impl Iterator<Item = &SharedPin> {
        self.pins.after(after)
    }

    /// Members with something assigned, including some that are gone for good.
    pub fn holders(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.holdings.keys().copied()
    }

    /// The earliest end of a pin, in committed milliseconds.
    pub fn next_expiry_ms(&self) -> Option<u64> {
        self.expiries.first().map(|(at_ms, _)| *at_ms)
    }
}
