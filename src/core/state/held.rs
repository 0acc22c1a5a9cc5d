//! Who holds what, in the order of the assignments: what is new is put at the end, where the memory is
//! warm, however many pins there are.

use std::cmp::Ordering;

use super::ClusterState;
use crate::id::NodeId;
use crate::pin::{Pin, Replica, SharedPin};

/// A pin that a member is asked to hold. Equal and ordered by assignment and root; the rest of the pin
/// may differ.
#[derive(Clone, Debug)]
pub struct Held {
    granted: u64,
    pin: SharedPin,
}

impl Held {
    pub(crate) fn of(replica: &Replica, pin: &SharedPin) -> Self {
        Self { granted: replica.granted, pin: pin.clone() }
    }

    /// The pin as it was when this was looked up.
    pub fn pin(&self) -> &SharedPin {
        &self.pin
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Held {}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Held {
    fn cmp(&self, other: &Self) -> Ordering {
        let roots = || self.pin.spec.cid.cmp(&other.pin.spec.cid);
        self.granted.cmp(&other.granted).then_with(roots)
    }
}

impl ClusterState {
    /// Notes in the indexes what stands in the state now.
    pub(super) fn index_pin(&mut self, pin: &SharedPin) {
        for (node, replica) in pin.replicas.iter() {
            self.holdings.entry(*node).or_default().replace(Held::of(replica, pin));
        }
        if let Some(at_ms) = pin.spec.expires_ms {
            self.expiries.insert((at_ms, pin.spec.cid.clone()));
        }
    }

    /// Takes out of the indexes what they say of a pin and not of what stands in its place.
    pub(super) fn unindex(&mut self, pin: &SharedPin, new: Option<&Pin>) {
        let granted = |node: &NodeId| Some(new?.replicas.get(node)?.granted);
        for (node, replica) in pin.replicas.iter() {
            if granted(node) == Some(replica.granted) {
                continue;
            }
            if let Some(holdings) = self.holdings.get_mut(node) {
                holdings.remove(&Held::of(replica, pin));
                if holdings.is_empty() {
                    self.holdings.remove(node);
                }
            }
        }
        let end_ms = |pin: &Pin| pin.spec.expires_ms;
        if let Some(at_ms) = end_ms(pin).filter(|at_ms| new.and_then(end_ms) != Some(*at_ms)) {
            self.expiries.remove(&(at_ms, pin.spec.cid.clone()));
        }
    }
}
