//! What waits joins, is bounded, and is told of until that has arrived.

use ipfs_kit_core::delta::{Change, SetHash};
use ipfs_kit_core::id::NodeId;

use super::*;

fn applied(indexes: std::ops::Range<u64>) -> Applied {
    let hash = SetHash::default();
    let entry = |index| AppliedEntry { index, hash, clock_ms: index, changes: Vec::new() };
    Applied { epoch: 1, entries: indexes.map(entry).collect() }
}

fn indexes(inbox: &Inbox) -> Option<Vec<u64>> {
    let entries = inbox.take()?.entries;
    Some(entries.iter().map(|entry| entry.index).collect())
}

#[test]
fn what_comes_while_state_sync_is_held_up_waits_in_one_piece() {
    let inbox = Inbox::default();
    let mut words = 0;
    for range in [5..7, 7..8, 8..12] {
        inbox.put(applied(range), || {
            words += 1;
            true
        });
    }
    assert_eq!(words, 1, "one word is enough");
    assert_eq!(indexes(&inbox), Some((5..12).collect()));
    assert_eq!(indexes(&inbox), None, "it is taken once");
    inbox.put(applied(12..13), || {
        words += 1;
        true
    });
    assert_eq!(words, 2, "after that it is told again");
}

#[test]
fn a_word_that_did_not_arrive_is_repeated_with_what_comes_next() {
    let inbox = Inbox::default();
    inbox.put(applied(1..2), || false);
    let mut told = false;
    inbox.put(applied(2..3), || {
        told = true;
        true
    });
    assert!(told);
    assert_eq!(indexes(&inbox), Some(vec![1, 2]));
}

#[test]
fn many_changes_in_few_entries_end_as_the_whole_state_too() {
    let inbox = Inbox::default();
    let with = |index, changes| {
        let mut applied = applied(index..index + 1);
        let change = Change::Member { node: NodeId(1), old: SetHash::default(), new: None };
        applied.entries[0].changes = vec![change; changes];
        applied
    };
    let half = CHANGES_MAX / 2;
    inbox.put(with(1, half), || true);
    inbox.put(with(2, half), || true);
    assert_eq!(indexes(&inbox), Some(vec![1, 2]));
    inbox.put(with(3, half), || true);
    inbox.put(with(4, half + 1), || true);
    assert_eq!(indexes(&inbox), Some(vec![]), "and what was taken before is not counted");
}

#[test]
fn more_than_may_wait_and_another_state_end_as_the_whole_state() {
    let inbox = Inbox::default();
    let none: fn() -> bool = || true;
    inbox.put(applied(0..ENTRIES_MAX as u64), none);
    inbox.put(applied(ENTRIES_MAX as u64..ENTRIES_MAX as u64 + 1), none);
    assert_eq!(indexes(&inbox), Some(vec![]));
    inbox.put(applied(1..3), none);
    inbox.put(applied(0..0), none);
    inbox.put(applied(9..10), none);
    assert_eq!(indexes(&inbox), Some(vec![]), "entries behind a snapshot are in the state as well");
    inbox.put(applied(1..3), none);
    inbox.put(Applied { epoch: 2, ..applied(3..4) }, none);
    assert_eq!(indexes(&inbox), Some(vec![]));
}
