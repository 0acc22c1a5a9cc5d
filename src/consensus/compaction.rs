//! How much of the log may go. A tail stays behind every compaction, so that a member that was
//! away for a short while catches up from the log and needs no snapshot.

use crate::status::Status;

/// When and how far to compact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompactionPolicy {
    /// Entries that stay behind the checkpoint in any case.
    pub tail_entries: u64,
    /// Entries that stay at most for the sake of a live member that is behind.
    pub retain_max_entries: u64,
    /// The fewest entries that are worth a compaction.
    pub step_entries: u64,
    /// How many entries may be applied after a checkpoint before the next one is due.
    pub checkpoint_entries: u64,
    /// After how many ticks without a word nobody waits for a member.
    pub silent_ticks: u64,
}

impl Default for CompactionPolicy {
    fn default() -> Self {
        Self {
            tail_entries: 10_240,
            retain_max_entries: 102_400,
            step_entries: 1024,
            checkpoint_entries: 8192,
            silent_ticks: 20,
        }
    }
}

impl CompactionPolicy {
    /// True if the applied state has moved far enough for another checkpoint.
    pub fn checkpoint_due(&self, status: &Status, checkpoint_index: u64) -> bool {
        status.applied.saturating_sub(checkpoint_index) >= self.checkpoint_entries
    }

    /// The last entry that may go, if compacting is worth it. Never beyond what both a durable
    /// checkpoint and the applied state hold. A leader spares what live members and snapshot
    /// transfers under way still need, up to a limit.
    pub fn compact_to(&self, status: &Status, checkpoint_index: u64) -> Option<u64> {
        let durable = status.applied.min(checkpoint_index);
        let live = status.peers.values().filter(|peer| peer.silent_ticks < self.silent_ticks);
        let needed = live.map(|peer| peer.matched).filter(|matched| *matched > 0);
        let needed = needed.chain(status.snapshots.values().copied()).min();
        let tail = durable.saturating_sub(self.tail_entries);
        let floor = durable.saturating_sub(self.retain_max_entries);
        let target = needed.map_or(tail, |needed| tail.min(needed).max(floor));
        (target + 1 >= status.first + self.step_entries).then_some(target)
    }
}

#[cfg(test)]
mod tests;
