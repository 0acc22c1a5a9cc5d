//! Tests of proposals, and of all that is refused.

use super::*;
use crate::conf::MemberRole;
use crate::membership::ChangeRefusal;
use crate::raft_core::Committed;
use crate::testnet::id;
use crate::testnet::solo::{Solo, data};

fn add_learner(n: u64) -> MembershipChange {
    MembershipChange::Simple { member: id(n), role: MemberRole::Learner }
}

#[test]
fn a_proposal_knows_where_it_stands() {
    let mut solo = Solo::leading_alone(&[]);
    let proposed = solo.core.propose(vec![data("a"), data("b")]).unwrap();
    assert_eq!(proposed, Proposed { term: 2, first_index: 3, last_index: 4 });
    let ready = solo.ready();
    let committed = solo.persist(&ready).committed;
    assert_eq!(committed[0], Committed::Entry { index: 3, term: 2, data: data("a") });
    assert_eq!(committed[1], Committed::Entry { index: 4, term: 2, data: data("b") });
}

#[test]
fn pitfall_19_a_follower_forwards_nothing_and_names_the_leader() {
    let mut solo = Solo::following(&[(2, "a")]);
    let refused = solo.core.propose(vec![data("x")]);
    assert!(matches!(refused, Err(ProposeError::NotLeader { leader }) if leader == Some(id(2))));
    assert!(solo.rest().is_empty());
    let refused = solo.core.propose_membership(add_learner(4), RequestId(1), Bytes::new());
    assert!(matches!(refused, Err(ProposeError::NotLeader { .. })));
}

#[test]
fn pitfall_18_too_much_uncommitted_is_an_overload_until_it_commits() {
    let mut solo = Solo::leading(&[1, 2, 3]);
    let megabyte = Bytes::from(vec![7; 1024 * 1024]);
    solo.core.config.uncommitted_max_bytes = 3 * 1024 * 1024;
    for _ in 0..3 {
        solo.core.propose(vec![megabyte.clone()]).unwrap();
    }
    let refused = solo.core.propose(vec![data("x")]);
    assert!(matches!(
        refused,
        Err(ProposeError::Overloaded { waiting_bytes: 3_145_728, waiting_entries: 3 })
    ));
    solo.rest();
    solo.acknowledge(2);
    assert_eq!(solo.core.status().uncommitted_bytes, 0);
    solo.core.propose(vec![megabyte]).unwrap();
}

#[test]
fn pitfall_18_many_small_entries_are_an_overload_too() {
    let mut solo = Solo::leading(&[1, 2, 3]);
    solo.core.config.uncommitted_max_entries = 10;
    solo.core.propose(vec![data("x"); 10]).unwrap();
    let refused = solo.core.propose(vec![data("x")]);
    assert!(matches!(refused, Err(ProposeError::Overloaded { waiting_entries: 10, .. })));
}

#[test]
fn empty_and_oversize_proposals_are_refused() {
    let mut solo = Solo::leading_alone(&[]);
    assert!(matches!(solo.core.propose(vec![]), Err(ProposeError::Empty)));
    assert!(matches!(solo.core.propose(vec![data("")]), Err(ProposeError::Empty)));
    solo.core.config.entry_max_bytes = 4;
    let refused = solo.core.propose(vec![data("12345")]);
    assert!(matches!(refused, Err(ProposeError::TooLarge { len_bytes: 5, max_bytes: 4 })));
    solo.core.propose(vec![data("1234")]).unwrap();
    let context = Bytes::from(vec![0; CONTEXT_MAX_BYTES + 1]);
    let refused = solo.core.propose_membership(add_learner(2), RequestId(1), context);
    assert!(matches!(refused, Err(ProposeError::TooLarge { .. })));
}

#[test]
fn nothing_is_proposed_while_a_batch_is_out() {
    let mut solo = Solo::leading_alone(&[]);
    solo.core.propose(vec![data("a")]).unwrap();
    let ready = solo.ready();
    assert!(matches!(solo.core.propose(vec![data("b")]), Err(ProposeError::Busy { .. })));
    let transfer = solo.core.transfer_leader(id(2));
    assert!(matches!(transfer, Err(TransferError::Busy { .. })));
    solo.persist(&ready);
    solo.core.propose(vec![data("b")]).unwrap();
}

#[test]
fn pitfall_9_a_second_change_is_refused_and_not_silently_replaced() {
    let mut solo = Solo::leading_alone(&[]);
    solo.core.propose_membership(add_learner(2), RequestId(1), Bytes::new()).unwrap();
    let last = solo.core.status().last;
    let refused = solo.core.propose_membership(add_learner(3), RequestId(2), Bytes::new());
    assert!(matches!(refused, Err(ProposeError::MembershipPending)));
    assert_eq!(solo.core.status().last, last);
    solo.rest();
    solo.core.propose_membership(add_learner(3), RequestId(2), Bytes::new()).unwrap();
}

#[test]
fn pitfall_11_an_unsafe_change_is_refused_whoever_proposes_it() {
    let mut solo = Solo::leading(&[1, 2, 3]);
    let demote_leader = add_learner(1);
    let refused = solo.core.propose_membership(demote_leader, RequestId(1), Bytes::new());
    assert!(matches!(refused, Err(ProposeError::Unsafe { source: ChangeRefusal::Leader { .. } })));
    // Member 3 has never been heard: without 2 there would be no majority.
    let refused = solo.core.propose_membership(add_learner(2), RequestId(1), Bytes::new());
    assert!(matches!(
        refused,
        Err(ProposeError::Unsafe { source: ChangeRefusal::SilentQuorum { .. } })
    ));
}
