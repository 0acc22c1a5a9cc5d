//! The ring and the merging of entries into deltas.

use std::time::Duration;

use ipfs_kit_core::delta::{Delta, SetHash};
use tokio::time::Instant;

use super::feed::{Ring, delta_of, merge};
use crate::events::AppliedEntry;

fn entry(index: u64) -> AppliedEntry {
    AppliedEntry { index, hash: SetHash::default(), clock_ms: index * 10, changes: Vec::new() }
}

fn ranges(deltas: impl IntoIterator<Item = Delta>) -> Vec<(u64, u64)> {
    deltas.into_iter().map(|delta| (delta.from, delta.to)).collect()
}

#[test]
fn consecutive_entries_become_one_range() {
    let entries: Vec<AppliedEntry> = (5..9).map(entry).collect();
    let deltas = merge(&entries, 1);
    assert_eq!(deltas.len(), 1);
    assert_eq!((deltas[0].from, deltas[0].to, deltas[0].clock_ms), (5, 8, 80));
}

#[test]
fn the_ring_serves_exactly_what_a_follower_lacks() {
    let mut ring = Ring::default();
    for index in 3..20 {
        ring.push(delta_of(&entry(index), 1));
    }
    assert!(ring.covers(2, 19), "a follower at 2 needs what begins at 3");
    assert!(!ring.covers(1, 19), "what a follower at 1 needs is gone");
    let deltas = ring.since(9, usize::MAX, Instant::now());
    assert_eq!(deltas.first().map(|delta| delta.from), Some(10));
    assert_eq!(deltas.last().map(|delta| delta.to), Some(19));
    assert!(ring.covers(19, 19), "a follower that is there needs nothing");
}

#[test]
fn a_ring_with_a_gap_behind_it_serves_only_what_follows_the_gap() {
    let mut ring = Ring::default();
    for index in [3, 4, 7, 8] {
        ring.push(delta_of(&entry(index), 1));
    }
    assert!(!ring.covers(3, 8), "5 and 6 were never here: a follower at 3 needs a snapshot");
    assert!(ring.covers(6, 8));
    assert_eq!(ring.since(6, usize::MAX, Instant::now()).first().map(|delta| delta.from), Some(7));
}

#[tokio::test(start_paused = true)]
async fn what_gossip_had_no_time_for_is_left_out() {
    let mut ring = Ring::default();
    ring.push(delta_of(&entry(3), 1));
    ring.push(delta_of(&entry(4), 1));
    let begun = Instant::now();
    tokio::time::advance(Duration::from_millis(50)).await;
    ring.push(delta_of(&entry(5), 1));
    assert_eq!(ranges(ring.since(2, usize::MAX, begun)), [(3, 4)]);
    assert_eq!(ranges(ring.since(4, usize::MAX, begun)), []);
    assert_eq!(ring.has_next_since(3), Some(begun));
    assert_eq!(ring.has_next_since(4), Some(Instant::now()));
    assert_eq!(ring.has_next_since(5), None);
}
