//! Which large blocks were read lately.
//!
//! Most are read once: sent to another member, or as part of a file that nobody asks for again. Those go
//! past the disk's cache, which they would fill, and whose filling costs more than the reading. What is
//! read a second time goes through it. The idea is 2Q's: Johnson and Shasha, VLDB 1994.

use std::collections::{BTreeSet, VecDeque};

use super::Place;

/// Reads that are remembered: 16 GiB of blocks of 1 MiB.
const MAX_PLACES: usize = 16_384;

#[derive(Debug, Default)]
pub(super) struct Recent {
    places: BTreeSet<Place>,
    order: VecDeque<Place>,
}

impl Recent {
    /// Whether the block at this place was not read lately; it was from now on.
    pub(super) fn is_first(&mut self, place: Place) -> bool {
        if !self.places.insert(place) {
            return false;
        }
        self.order.push_back(place);
        if self.order.len() > MAX_PLACES
            && let Some(oldest) = self.order.pop_front()
        {
            self.places.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests;
