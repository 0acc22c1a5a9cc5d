//! The ledger sees what it is there to see.

use ipfs_kit_core::command::{Command, Entry, Op, RequestId};
use ipfs_kit_core::id::{ClusterId, Incarnation, NodeId, PeerKey};
use ipfs_kit_core::member::{HoldPolicy, MemberSpec, Role};
use ipfs_kit_core::pin::PinSpec;
use ipfs_kit_core::state::Standing;

use super::*;

fn cid(text: &str) -> Cid {
    text.parse().unwrap()
}

fn root() -> Cid {
    cid("bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e")
}

/// A founded cluster with one pin, at index 2.
fn pinned() -> ClusterState {
    let first = MemberSpec {
        key: PeerKey([1; 32]),
        name: "m1".into(),
        role: Role::Master,
        addrs: vec!["10.0.0.1:4001".into()],
        zone: String::new(),
        weight: 1,
        hold: HoldPolicy::Auto,
    };
    let spec = PinSpec {
        cid: root(),
        name: String::new(),
        metadata: BTreeMap::new(),
        replicas_min: 1,
        replicas_max: 1,
        expires_ms: None,
        size_bytes: None,
        kind: Default::default(),
        origin: None,
    };
    let ops = [
        Op::Found { cluster: ClusterId([7; 16]), first },
        Op::Pin { spec, holders: vec![NodeId(1)] },
    ];
    let mut state = ClusterState::default();
    for (number, op) in ops.into_iter().enumerate() {
        let seq = number as u64 + 1;
        let request = RequestId { node: NodeId(1), incarnation: Incarnation(1), seq };
        let entry = Entry { stamped_ms: 1, commands: vec![Command { request, op }] };
        state.apply(seq, &entry, Standing::Normal);
    }
    assert!(state.pins().contains_key(&root()));
    state
}

fn asked() -> Ledger {
    let mut ledger = Ledger::default();
    ledger.ask(&root(), Content::of(1, 1), Ends::Never);
    ledger
}

fn ids(found: &[Violation]) -> Vec<&str> {
    found.iter().map(|violation| violation.id).collect()
}

#[test]
fn an_acknowledged_pin_that_is_missing_is_noticed_from_its_index_on() {
    let mut ledger = asked();
    ledger.acknowledge(&root(), 0);
    assert_eq!(ids(&ledger.check("m1", &ClusterState::default())), ["PIN-3"]);
    ledger.acknowledge(&root(), 5);
    assert_eq!(ids(&ledger.check("m1", &ClusterState::default())), [""; 0]);
}

#[test]
fn an_ended_pin_that_is_there_is_noticed_from_its_index_on() {
    let mut ledger = asked();
    ledger.end(&root(), 2);
    assert_eq!(ids(&ledger.check("m1", &pinned())), ["PIN-3"]);
    ledger.end(&root(), 3);
    assert_eq!(ids(&ledger.check("m1", &pinned())), [""; 0]);
}

#[test]
fn an_unknown_outcome_is_neither_present_nor_absent() {
    let mut ledger = asked();
    ledger.acknowledge(&root(), 2);
    ledger.begin(&root());
    assert_eq!(ids(&ledger.check("m1", &pinned())), [""; 0]);
    assert_eq!(ids(&ledger.check("m1", &ClusterState::default())), [""; 0]);
}

#[test]
fn a_pin_that_nobody_asked_for_is_noticed() {
    assert_eq!(ids(&Ledger::default().check("m1", &pinned())), ["PIN-6"]);
}

#[test]
fn a_pin_that_ends_by_time_is_never_counted_on() {
    let mut ledger = Ledger::default();
    ledger.ask(&root(), Content::of(1, 1), Ends::ByTime);
    ledger.acknowledge(&root(), 0);
    assert_eq!(ids(&ledger.check("m1", &ClusterState::default())), [""; 0]);
}

#[test]
fn what_users_saw_is_handed_out_once() {
    let mut ledger = asked();
    ledger.accuse("READ-1", "other bytes".into());
    assert_eq!(ids(&ledger.take_violations()), ["READ-1"]);
    assert_eq!(ids(&ledger.take_violations()), [""; 0]);
}
