//! The snapshots that this leader has offered. Raft sends a member nothing more after an offer
//! until it hears how the transfer went; a report that never comes would leave the member behind
//! for ever, so every offer carries a deadline here.

use std::collections::BTreeMap;

use crate::id::RaftId;

/// How a snapshot transfer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotReport {
    /// Some of the state has arrived; the deadline starts anew.
    Progress,
    /// The receiver has stepped the offer.
    Finished,
    /// The transfer was given up.
    Failed,
}

impl SnapshotReport {
    pub(crate) fn ends_transfer(self) -> bool {
        self != Self::Progress
    }
}

#[derive(Debug)]
struct Offer {
    index: u64,
    progress_tick: u64,
}

/// The offers under way.
#[derive(Debug)]
pub(crate) struct Transfers {
    stall_ticks: u64,
    offers: BTreeMap<RaftId, Offer>,
}

impl Transfers {
    pub fn new(stall_ticks: u32) -> Self {
        Self { stall_ticks: stall_ticks.into(), offers: BTreeMap::new() }
    }

    pub fn offered(&mut self, to: RaftId, index: u64, now_tick: u64) {
        self.offers.insert(to, Offer { index, progress_tick: now_tick });
    }

    /// Takes a report in; true if there is such an offer.
    pub fn report(&mut self, to: RaftId, report: SnapshotReport, now_tick: u64) -> bool {
        match (self.offers.get_mut(&to), report) {
            (None, _) => false,
            (Some(offer), SnapshotReport::Progress) => {
                offer.progress_tick = now_tick;
                true
            }
            (Some(_), SnapshotReport::Finished | SnapshotReport::Failed) => {
                self.offers.remove(&to);
                true
            }
        }
    }

    /// Removes and returns the receivers whose transfer has stalled.
    pub fn stalled(&mut self, now_tick: u64) -> Vec<RaftId> {
        let stall_ticks = self.stall_ticks;
        let late = |offer: &Offer| now_tick >= offer.progress_tick + stall_ticks;
        self.offers.extract_if(.., |_, offer| late(offer)).map(|(to, _)| to).collect()
    }

    /// Forgets the offers that `keep` refuses: those of a lost leadership or to a removed member.
    pub fn retain(&mut self, keep: impl Fn(RaftId) -> bool) {
        self.offers.retain(|to, _| keep(*to));
    }

    /// The receivers and the last index of what they are being sent.
    pub fn iter(&self) -> impl Iterator<Item = (RaftId, u64)> {
        self.offers.iter().map(|(to, offer)| (*to, offer.index))
    }
}

#[cfg(test)]
mod tests;
