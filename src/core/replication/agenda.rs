//! What the planner has to do, in bounded sets: by rank, by time, and by scanning.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{Cid, NodeId};
use crate::limits;
use crate::pin::SharedPin;
use crate::state::{ClusterState, Slot};

/// Most pins in one of the sets; what does not fit is found again by a scan.
pub(super) const QUEUED_MAX: usize = 65_536;

/// Pins by rank, the lowest first. When it is full, the highest rank goes.
pub(super) struct Ranked<R> {
    by_rank: BTreeSet<(R, Cid)>,
    ranks: BTreeMap<Cid, R>,
    overflowed: bool,
}

impl<R> Default for Ranked<R> {
    fn default() -> Self {
        Self { by_rank: BTreeSet::new(), ranks: BTreeMap::new(), overflowed: false }
    }
}

impl<R: Ord + Copy> Ranked<R> {
    pub(super) fn insert(&mut self, cid: &Cid, rank: R) {
        self.remove(cid);
        self.by_rank.insert((rank, cid.clone()));
        self.ranks.insert(cid.clone(), rank);
        if self.by_rank.len() > QUEUED_MAX
            && let Some((_, worst)) = self.by_rank.pop_last()
        {
            self.ranks.remove(&worst);
            self.overflowed = true;
        }
    }

    pub(super) fn remove(&mut self, cid: &Cid) {
        if let Some(rank) = self.ranks.remove(cid) {
            self.by_rank.remove(&(rank, cid.clone()));
        }
    }

    pub(super) fn first(&self) -> Option<R> {
        self.by_rank.first().map(|(rank, _)| *rank)
    }

    pub(super) fn pop(&mut self) -> Option<Cid> {
        let (_, cid) = self.by_rank.pop_first()?;
        self.ranks.remove(&cid);
        Some(cid)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_rank.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.by_rank.len()
    }

    /// Whether something was turned away since the last question.
    pub(super) fn take_overflow(&mut self) -> bool {
        std::mem::take(&mut self.overflowed)
    }
}

/// Pins to look at again at a time, the earliest first. When it is full, the latest goes.
#[derive(Default)]
pub(super) struct Agenda {
    by_time: BTreeSet<(u64, Cid)>,
    times: BTreeMap<Cid, u64>,
}

impl Agenda {
    /// Looks at a pin at `at_ms`, or earlier if that was asked before.
    pub(super) fn put(&mut self, cid: &Cid, at_ms: u64) {
        let at_ms = self.times.get(cid).map_or(at_ms, |old| at_ms.min(*old));
        self.remove(cid);
        self.by_time.insert((at_ms, cid.clone()));
        self.times.insert(cid.clone(), at_ms);
        if self.by_time.len() > QUEUED_MAX
            && let Some((_, latest)) = self.by_time.pop_last()
        {
            self.times.remove(&latest);
        }
    }

    pub(super) fn remove(&mut self, cid: &Cid) {
        if let Some(at_ms) = self.times.remove(cid) {
            self.by_time.remove(&(at_ms, cid.clone()));
        }
    }

    pub(super) fn first_ms(&self) -> Option<u64> {
        self.by_time.first().map(|(at_ms, _)| *at_ms)
    }

    pub(super) fn take_due(&mut self, now_ms: u64, limit: usize) -> Vec<Cid> {
        let mut due = Vec::new();
        while due.len() < limit && self.first_ms().is_some_and(|at_ms| at_ms <= now_ms) {
            let Some((_, cid)) = self.by_time.pop_first() else { break };
            self.times.remove(&cid);
            due.push(cid);
        }
        due
    }
}

/// Scans over all pins or one member's, a slice at a time. A member's come first: they are few, and
/// something has happened to them.
#[derive(Default)]
pub(super) struct Scans {
    members: BTreeMap<NodeId, Option<Slot>>,
    all: Option<Option<Cid>>,
    all_again: bool,
}

impl Scans {
    /// Scans everything. A scan under way is finished first, so that frequent requests can't keep it from
    /// ever reaching the end.
    pub(super) fn request_all(&mut self) {
        match self.all {
            Some(Some(_)) => self.all_again = true,
            _ => self.all = Some(None),
        }
    }

    pub(super) fn request_member(&mut self, node: NodeId) {
        self.members.insert(node, None);
        if self.members.len() > limits::MEMBERS_MAX {
            self.members.clear();
            self.request_all();
        }
    }

    pub(super) fn is_running(&self) -> bool {
        !self.members.is_empty() || self.all.is_some()
    }

    /// Whether pins that matter more may still turn up. A scan that was asked for again in its middle no
    /// longer says so, or members that come and go could hold everything up.
    pub(super) fn is_counting(&self) -> bool {
        self.is_running() && !self.all_again
    }

    /// Adds the next pins to `slice` until it has `limit`.
    pub(super) fn fill(&mut self, state: &ClusterState, limit: usize, slice: &mut Vec<Cid>) {
        while slice.len() < limit {
            let Some((node, after)) = self.members.pop_first() else { break };
            let room = limit - slice.len();
            let mut last = None;
            for (slot, pin) in state.holdings_after(node, after).take(room) {
                slice.push(pin.cid());
                last = Some(slot);
            }
            if slice.len() == limit {
                self.members.insert(node, last);
            }
        }
        let room = limit.saturating_sub(slice.len());
        if room == 0 {
            return;
        }
        let Some(after) = self.all.take() else { return };
        let old_len = slice.len();
        slice.extend(state.pins_after(after.as_ref()).take(room).map(SharedPin::cid));
        if slice.len() - old_len == room {
            self.all = Some(slice.last().cloned());
        } else if std::mem::take(&mut self.all_again) {
            self.all = Some(None);
        }
    }
}
