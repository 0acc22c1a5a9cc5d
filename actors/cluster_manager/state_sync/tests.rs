//! The ring and the merging of entries into deltas.

use ipfs_kit_core::delta::{Change, Delta, SetHash};
use ipfs_kit_core::id::{NodeId, PeerKey};
use ipfs_kit_core::member::{HoldPolicy, Liveness, Member, MemberSpec, RaftStanding, Role};

use super::feed::{Outbox, Ring, delta_of};
use crate::events::AppliedEntry;

fn entry(index: u64) -> AppliedEntry {
    AppliedEntry { index, hash: SetHash::default(), clock_ms: index * 10, changes: Vec::new() }
}

/// An entry that says so much of a member.
fn long(index: u64, len_bytes: usize) -> AppliedEntry {
    let spec = MemberSpec {
        key: PeerKey([7; 32]),
        name: "n".repeat(len_bytes),
        role: Role::Worker,
        addrs: Vec::new(),
        zone: String::new(),
        weight: 1,
        hold: HoldPolicy::Auto,
    };
    let member = Member {
        id: NodeId(7),
        spec,
        raft: RaftStanding::None,
        liveness: Liveness::Alive,
        joined_index: 1,
        since_ms: 0,
    };
    let change =
        Change::Member { node: member.id, old: SetHash::default(), new: Some(Box::new(member)) };
    AppliedEntry { changes: vec![change], ..entry(index) }
}

fn ranges(deltas: impl IntoIterator<Item = Delta>) -> Vec<(u64, u64)> {
    deltas.into_iter().map(|delta| (delta.from, delta.to)).collect()
}

#[test]
fn consecutive_entries_become_one_range() {
    let mut outbox = Outbox::default();
    assert_eq!(outbox.push(&[entry(5), entry(6)], 1), []);
    assert_eq!(outbox.push(&[entry(7), entry(8)], 1), []);
    let delta = outbox.take().unwrap();
    assert_eq!((delta.from, delta.to, delta.clock_ms), (5, 8, 80));
    assert_eq!(outbox.take(), None);
}

#[test]
fn a_gap_or_another_epoch_begins_another_range() {
    let mut outbox = Outbox::default();
    assert_eq!(ranges(outbox.push(&[entry(5), entry(7)], 1)), [(5, 5)]);
    assert_eq!(ranges(outbox.push(&[entry(8)], 2)), [(7, 7)]);
    assert_eq!(ranges(outbox.take()), [(8, 8)]);
}

#[test]
fn a_range_ends_where_a_message_is_full() {
    let mut outbox = Outbox::default();
    assert_eq!(ranges(outbox.push(&[long(5, 15_000), long(6, 15_000)], 1)), []);
    assert_eq!(ranges(outbox.push(&[long(7, 15_000)], 1)), [(5, 6)]);
    assert_eq!(ranges(outbox.take()), [(7, 7)]);
}

#[test]
fn an_entry_that_fits_no_message_ends_the_run() {
    let mut outbox = Outbox::default();
    assert_eq!(ranges(outbox.push(&[entry(5), long(6, 40_000), entry(7)], 1)), [(5, 5)]);
    assert_eq!(outbox.take(), None);
}

#[test]
fn the_ring_serves_exactly_what_a_follower_lacks() {
    let mut ring = Ring::default();
    for index in 3..20 {
        ring.push(delta_of(&entry(index), 1));
    }
    assert!(ring.covers(2, 19), "a follower at 2 needs what begins at 3");
    assert!(!ring.covers(1, 19), "what a follower at 1 needs is gone");
    let deltas = ring.since(9, usize::MAX);
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
    assert_eq!(ring.since(6, usize::MAX).first().map(|delta| delta.from), Some(7));
}
