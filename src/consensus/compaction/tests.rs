//! Tests of the compaction decision.

use super::*;
use crate::conf::ConfState;
use crate::id::RaftId;
use crate::status::{PeerState, PeerStatus, Role};
use std::collections::BTreeMap;

const POLICY: CompactionPolicy = CompactionPolicy {
    tail_entries: 100,
    retain_max_entries: 500,
    step_entries: 50,
    checkpoint_entries: 200,
    silent_ticks: 20,
};

fn id(n: u64) -> RaftId {
    RaftId::new(n).unwrap()
}

fn status(applied: u64) -> Status {
    Status {
        id: id(1),
        role: Role::Leader,
        term: 3,
        leader: Some(id(1)),
        transferring_to: None,
        commit: applied,
        applied,
        first: 1,
        last: applied,
        conf: ConfState::single(id(1)),
        membership_pending: false,
        uncommitted_bytes: 0,
        reads: 0,
        tail_suspect: false,
        peers: BTreeMap::new(),
        snapshots: BTreeMap::new(),
    }
}

fn peer(matched: u64, silent_ticks: u64) -> PeerStatus {
    let state = PeerState::Replicate;
    PeerStatus {
        matched,
        next: matched + 1,
        state,
        recent_active: true,
        paused: false,
        silent_ticks,
    }
}

#[test]
fn pitfall_17_a_tail_stays_behind_the_checkpoint() {
    assert_eq!(POLICY.compact_to(&status(1000), 900), Some(800));
    assert_eq!(POLICY.compact_to(&status(900), 1000), Some(800));
    assert_eq!(POLICY.compact_to(&status(1000), 90), None);
}

#[test]
fn small_compactions_are_not_worth_it() {
    let mut status = status(1000);
    status.first = 752;
    assert_eq!(POLICY.compact_to(&status, 900), None);
    status.first = 751;
    assert_eq!(POLICY.compact_to(&status, 900), Some(800));
}

#[test]
fn live_members_are_spared_up_to_a_limit_and_silent_ones_not() {
    let mut status = status(1000);
    status.peers.insert(id(2), peer(600, 0));
    assert_eq!(POLICY.compact_to(&status, 900), Some(600));
    status.peers.insert(id(2), peer(10, 0));
    assert_eq!(POLICY.compact_to(&status, 900), Some(400));
    status.peers.insert(id(2), peer(10, 20));
    assert_eq!(POLICY.compact_to(&status, 900), Some(800));
}

#[test]
fn what_a_snapshot_under_way_continues_with_is_spared() {
    let mut status = status(1000);
    status.snapshots.insert(id(2), 700);
    assert_eq!(POLICY.compact_to(&status, 900), Some(700));
}

#[test]
fn a_checkpoint_is_due_after_enough_entries() {
    assert!(!POLICY.checkpoint_due(&status(1000), 801));
    assert!(POLICY.checkpoint_due(&status(1000), 800));
}
