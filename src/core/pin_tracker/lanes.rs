//! Who waits for a place, and who has one.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::Cid;

/// Which places a fetch competes for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lane {
    Fast,
    Slow,
}

/// Where a root stands in a queue: by the time it may start, then in the order of arrival.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    lane: Lane,
    pub(super) ready_ms: u64,
    seq: u64,
}

#[derive(Default)]
struct Side {
    queue: BTreeSet<(u64, u64, Cid)>,
    /// Since when each fetch has had its place.
    fetching: BTreeMap<Cid, u64>,
}

/// Both lanes.
#[derive(Default)]
pub(super) struct Lanes {
    fast: Side,
    slow: Side,
    last_seq: u64,
}

impl Lanes {
    fn side(&self, lane: Lane) -> &Side {
        match lane {
            Lane::Fast => &self.fast,
            Lane::Slow => &self.slow,
        }
    }

    fn side_mut(&mut self, lane: Lane) -> &mut Side {
        match lane {
            Lane::Fast => &mut self.fast,
            Lane::Slow => &mut self.slow,
        }
    }

    pub(super) fn enqueue(&mut self, cid: &Cid, lane: Lane, ready_ms: u64) -> Place {
        self.last_seq += 1;
        let seq = self.last_seq;
        self.side_mut(lane).queue.insert((ready_ms, seq, cid.clone()));
        Place { lane, ready_ms, seq }
    }

    pub(super) fn dequeue(&mut self, cid: &Cid, place: &Place) {
        self.side_mut(place.lane).queue.remove(&(place.ready_ms, place.seq, cid.clone()));
    }

    /// Lets a root that waits for a later time start now.
    pub(super) fn hurry(&mut self, cid: &Cid, place: &mut Place, now_ms: u64) {
        if place.ready_ms > now_ms {
            self.dequeue(cid, place);
            *place = self.enqueue(cid, place.lane, now_ms);
        }
    }

    pub(super) fn pop_ready(&mut self, lane: Lane, now_ms: u64) -> Option<Cid> {
        let queue = &mut self.side_mut(lane).queue;
        if queue.first()?.0 > now_ms {
            return None;
        }
        queue.pop_first().map(|(_, _, cid)| cid)
    }

    pub(super) fn enter(&mut self, cid: &Cid, lane: Lane, now_ms: u64) {
        self.side_mut(lane).fetching.insert(cid.clone(), now_ms);
    }

    pub(super) fn leave(&mut self, cid: &Cid, lane: Lane) {
        self.side_mut(lane).fetching.remove(cid);
    }

    pub(super) fn fetching(&self, lane: Lane) -> usize {
        self.side(lane).fetching.len()
    }

    pub(super) fn queued(&self) -> usize {
        self.fast.queue.len() + self.slow.queue.len()
    }

    /// How many could start now if there were places; counts no further than `limit`.
    pub(super) fn ready(&self, lane: Lane, now_ms: u64, limit: usize) -> usize {
        let queue = self.side(lane).queue.iter();
        queue.take(limit).take_while(|(ready_ms, _, _)| *ready_ms <= now_ms).count()
    }

    /// Fetches that have had their turn, the longest first, at most `limit`.
    pub(super) fn overdue(&self, lane: Lane, now_ms: u64, turn_ms: u64, limit: usize) -> Vec<Cid> {
        let fetching = self.side(lane).fetching.iter();
        let over = fetching.filter(|(_, since_ms)| since_ms.saturating_add(turn_ms) <= now_ms);
        let by_age: BTreeSet<(u64, &Cid)> = over.map(|(cid, since_ms)| (*since_ms, cid)).collect();
        by_age.into_iter().take(limit).map(|(_, cid)| cid.clone()).collect()
    }

    /// When something happens by itself: a root becomes ready, or a turn ends while others wait.
    pub(super) fn next_ms(&self, lane: Lane, places: usize, turn_ms: u64) -> Option<u64> {
        let side = self.side(lane);
        let ready_ms = side.queue.first()?.0;
        if side.fetching.len() < places {
            return Some(ready_ms);
        }
        let turn_ends_ms = side.fetching.values().min()?.saturating_add(turn_ms);
        Some(turn_ends_ms.max(ready_ms))
    }
}
