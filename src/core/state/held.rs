//! Who holds what, by the pins' numbers: a bit for each.

use roaring::RoaringBitmap;

use super::pins::Slot;
use super::{ClusterState, Pins};
use crate::pin::{Pin, SharedPin};

/// What one member is asked to hold.
#[derive(Clone, Default, Debug)]
pub(crate) struct Holdings(RoaringBitmap);

impl Holdings {
    pub(super) fn len(&self) -> usize {
        // There are no more than numbers, which have 32 bits.
        self.0.len() as usize
    }

    /// The pins behind a number, in the order of the numbers.
    pub(super) fn after<'a>(
        &'a self,
        pins: &'a Pins,
        after: Option<Slot>,
    ) -> impl Iterator<Item = (Slot, &'a SharedPin)> {
        let mut slots = self.0.iter();
        if let Some(Slot(slot)) = after {
            slots.advance_to(slot.saturating_add(1));
        }
        slots.filter_map(|slot| Some((Slot(slot), pins.at(Slot(slot))?)))
    }
}

impl ClusterState {
    /// Notes in the indexes what stands in the state now.
    pub(super) fn index_pin(&mut self, slot: Slot, pin: &Pin) {
        for node in pin.replicas.keys() {
            self.holdings.entry(*node).or_default().0.insert(slot.0);
        }
        if let Some(at_ms) = pin.spec.expires_ms {
            self.expiries.insert((at_ms, pin.spec.cid.clone()));
        }
    }

    /// Takes out of the indexes what they say of a pin and not of what stands in its place.
    pub(super) fn unindex(&mut self, slot: Slot, pin: &Pin, new: Option<&Pin>) {
        for node in pin.replicas.keys() {
            if new.is_some_and(|new| new.replicas.contains_key(node)) {
                continue;
            }
            if let Some(holdings) = self.holdings.get_mut(node) {
                holdings.0.remove(slot.0);
                if holdings.0.is_empty() {
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
