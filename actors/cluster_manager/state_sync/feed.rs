//! What a master keeps for followers that lag: a bounded ring of one delta an entry.

use std::collections::VecDeque;

use ipfs_kit_core::delta::{Change, Delta};
use ipfs_kit_core::limits;
use tokio::time::Instant;

use crate::events::AppliedEntry;

/// Room left in a gossip message for its envelope and signature fields.
const GOSSIP_BODY_BYTES_MAX: usize = limits::GOSSIP_BYTES_MAX - 512;

/// The ring; one delta for each log index, without gaps.
#[derive(Default)]
pub struct Ring {
    deltas: VecDeque<Kept>,
    size_bytes: usize,
}

struct Kept {
    delta: Delta,
    len_bytes: usize,
    since: Instant,
}

impl Ring {
    /// Appends the next entry's delta and lets the oldest go. One that does not follow the last begins
    /// anew: the view may have moved by a feed of its own meanwhile.
    pub fn push(&mut self, delta: Delta) {
        if self.deltas.back().is_some_and(|last| last.delta.to + 1 != delta.from) {
            *self = Self::default();
        }
        let len_bytes = size_of(&delta);
        self.size_bytes += len_bytes;
        self.deltas.push_back(Kept { delta, len_bytes, since: Instant::now() });
        while self.size_bytes > limits::FEED_RING_BYTES_MAX
            || self.deltas.len() > limits::FEED_RING_DELTAS_MAX
        {
            let Some(oldest) = self.deltas.pop_front() else { break };
            self.size_bytes -= oldest.len_bytes;
        }
    }

    /// Whether everything after `from` up to `index` is here.
    pub fn covers(&self, from: u64, index: u64) -> bool {
        from == index || self.deltas.front().is_some_and(|kept| kept.delta.from <= from + 1)
    }

    /// Since when the first entry after `from` is here.
    pub fn has_next_since(&self, from: u64) -> Option<Instant> {
        self.after(from).next().map(|kept| kept.since)
    }

    /// What happened after `from` and was here at `until`, merged into few deltas, at most about
    /// `bytes_max` bytes.
    pub fn since(&self, from: u64, bytes_max: usize, until: Instant) -> Vec<Delta> {
        let mut out: Vec<Delta> = Vec::new();
        let mut total = 0;
        for kept in self.after(from).take_while(|kept| kept.since <= until) {
            total += kept.len_bytes;
            if total > bytes_max && !out.is_empty() {
                break;
            }
            push_merged(&mut out, kept.delta.clone());
        }
        out
    }

    fn after(&self, from: u64) -> impl Iterator<Item = &Kept> {
        let first = self.deltas.front().map_or(0, |kept| kept.delta.from);
        self.deltas.iter().skip((from + 1).saturating_sub(first) as usize)
    }
}

/// One entry as a delta.
pub fn delta_of(entry: &AppliedEntry, epoch: u64) -> Delta {
    Delta {
        epoch,
        from: entry.index,
        to: entry.index,
        clock_ms: entry.clock_ms,
        changes: entry.changes.clone(),
        hash: entry.hash,
    }
}

/// Entries as few deltas that each fit a gossip message. An entry that fits none ends the run: what
/// comes after it could not be applied without it, so the followers have to ask.
pub fn merge(entries: &[AppliedEntry], epoch: u64) -> Vec<Delta> {
    let mut out: Vec<Delta> = Vec::new();
    let mut room = 0;
    for entry in entries {
        let delta = delta_of(entry, epoch);
        let len_bytes = size_of(&delta);
        if len_bytes > GOSSIP_BODY_BYTES_MAX {
            break;
        }
        if len_bytes <= room {
            append(out.last_mut().expect("room is left only behind a first delta"), delta);
        } else {
            out.push(delta);
            room = GOSSIP_BODY_BYTES_MAX;
        }
        room -= len_bytes;
    }
    out
}

fn push_merged(out: &mut Vec<Delta>, delta: Delta) {
    match out.last_mut() {
        Some(last) if last.changes.len() + delta.changes.len() <= 1024 => append(last, delta),
        _ => out.push(delta),
    }
}

fn append(to: &mut Delta, next: Delta) {
    to.to = next.to;
    to.clock_ms = next.clock_ms;
    to.hash = next.hash;
    to.changes.extend(next.changes);
}

/// No less than its encoded size.
fn size_of(delta: &Delta) -> usize {
    80 + delta.changes.iter().map(Change::size_bytes_max).sum::<usize>()
}
