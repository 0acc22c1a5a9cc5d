//! Tests of the cycle: what may leave when, and calls out of turn.

use super::*;
use crate::testnet::solo::{Solo, append, data, kinds, manifest, message, offer, terms};
use crate::testnet::{id, ids};
use crate::wire::MessageKind as Kind;
use crate::{MemberRole, Role};
use raft::eraftpb::MessageType;

#[test]
fn pitfall_1_a_follower_acknowledges_only_what_is_durable() {
    let mut solo = Solo::new(&[1, 2, 3], &[]);
    solo.receive(2, append(2, 1, 1, 1, &[(2, "a")])).unwrap();
    let ready = solo.ready();
    assert!(ready.messages.is_empty());
    assert!(ready.batch.must_sync);
    assert_eq!(kinds(&solo.persist(&ready).messages), [(id(2), Kind::AppendResponse)]);
}

#[test]
fn pitfall_1_a_vote_leaves_only_when_it_is_durable() {
    let mut solo = Solo::new(&[1, 2, 3], &[]);
    let mut ask = message(MessageType::MsgRequestVote, 7);
    (ask.index, ask.log_term) = (1, 1);
    solo.receive(3, ask).unwrap();
    let ready = solo.ready();
    assert!(ready.messages.is_empty());
    assert_eq!(ready.batch.hard_state, Some(HardState { term: 7, vote: 3, commit: 1 }));
    assert!(ready.batch.must_sync);
    assert_eq!(kinds(&solo.persist(&ready).messages), [(id(3), Kind::RequestVoteResponse)]);
}

#[test]
fn a_leader_replicates_while_it_persists() {
    let mut solo = Solo::leading(&[1, 2, 3]);
    solo.core.propose(vec![data("a"), data("b")]).unwrap();
    let ready = solo.ready();
    assert_eq!(kinds(&ready.messages), [(id(2), Kind::Append)]);
    assert_eq!(ready.batch.entries.len(), 2);
    assert!(solo.persist(&ready).committed.is_empty());
}

#[test]
fn a_single_voter_does_not_speak_for_a_term_that_is_not_durable() {
    let mut solo = Solo::new(&[1], &[2]);
    solo.core.campaign().unwrap();
    assert!(solo.core.status().is_leader(), "elected within one step");
    let ready = solo.ready();
    assert!(ready.messages.is_empty());
    assert_eq!(kinds(&solo.persist(&ready).messages), [(id(2), Kind::Append)]);
}

#[test]
fn pitfalls_2_and_6_batches_are_confirmed_one_after_another() {
    let mut solo = Solo::new(&[1, 2, 3], &[]);
    assert!(matches!(
        solo.core.persisted(1),
        Err(CycleError::WrongBatch { expected: None, given: 1 })
    ));
    solo.receive(2, append(2, 1, 1, 1, &[(2, "a")])).unwrap();
    let ready = solo.ready();
    let number = ready.number;
    assert!(
        matches!(solo.core.ready(), Err(CycleError::ReadyOutstanding { number: n }) if n == number)
    );
    assert!(matches!(solo.core.persisted(number + 1), Err(CycleError::WrongBatch { .. })));
    let unwritten = solo.core.persisted(number);
    assert!(matches!(unwritten, Err(CycleError::NotPersisted { expected: 2, found: 1, .. })));
    solo.persist(&ready);
}

#[test]
fn pitfall_6_messages_wait_while_a_batch_is_out() {
    let mut solo = Solo::new(&[1, 2, 3], &[]);
    solo.receive(2, append(2, 1, 1, 1, &[(2, "a")])).unwrap();
    let ready = solo.ready();
    let queued = solo.receive(2, append(2, 2, 2, 2, &[(2, "b")])).unwrap();
    assert_eq!(queued, Received::Queued);
    let mut stranger = message(MessageType::MsgHeartbeatResponse, 2);
    stranger.commit = 1;
    assert_eq!(solo.receive(9, stranger).unwrap(), Received::Queued);
    assert_eq!(solo.core.status().last, 2);
    let after = solo.persist(&ready);
    assert!(matches!(after.rejected[..], [MessageError::NotMember { .. }]));
    assert_eq!(solo.core.status().last, 3);
    assert_eq!(solo.ready().batch.entries[0].data, data("b"));
}

#[test]
fn what_waits_is_bounded() {
    let mut solo = Solo::new(&[1, 2, 3], &[]);
    solo.core.config.inbox_max = 2;
    solo.receive(2, append(2, 1, 1, 1, &[(2, "a")])).unwrap();
    let ready = solo.ready();
    for _ in 0..2 {
        solo.receive(2, message(MessageType::MsgHeartbeat, 2)).unwrap();
    }
    let refused = solo.receive(2, message(MessageType::MsgHeartbeat, 2));
    assert!(matches!(refused, Err(MessageError::Overloaded { messages: 2, .. })));
    solo.persist(&ready);
    solo.receive(2, message(MessageType::MsgHeartbeat, 2)).unwrap();
}

#[test]
fn pitfall_3_entries_and_promises_come_in_one_batch_and_void_what_they_replace() {
    let mut solo = Solo::following(&[(2, "a"), (2, "b"), (2, "c")]);
    assert_eq!(terms(solo.core.log()), [(2, 2), (3, 2), (4, 2)]);
    solo.receive(3, append(5, 2, 2, 2, &[(5, "x")])).unwrap();
    let ready = solo.ready();
    assert_eq!(ready.batch.entries.len(), 1);
    assert_eq!(ready.batch.hard_state, Some(HardState { term: 5, vote: 0, commit: 2 }));
    solo.persist(&ready);
    assert_eq!(terms(solo.core.log()), [(2, 2), (3, 5)]);
}

#[test]
fn pitfall_5_what_was_committed_but_not_applied_is_handed_out_again() {
    let mut solo = Solo::following(&[(2, "a"), (2, "b"), (2, "c")]);
    solo.receive(2, append(2, 4, 2, 4, &[])).unwrap();
    let ready = solo.ready();
    let handed_out: Vec<u64> =
        solo.persist(&ready).committed.iter().map(Committed::index).collect();
    assert_eq!(handed_out, [2, 3, 4]);
    let hard_state = HardState { term: 2, vote: 0, commit: 4 };
    let mut solo = solo.restart(hard_state, 2);
    let ready = solo.ready();
    let again: Vec<u64> = solo.persist(&ready).committed.iter().map(Committed::index).collect();
    assert_eq!(again, [3, 4]);
}

#[test]
fn a_commit_alone_needs_no_sync_and_is_written_with_the_next_batch() {
    let mut solo = Solo::leading(&[1, 2, 3]);
    solo.core.propose(vec![data("a")]).unwrap();
    solo.rest();
    let mut ack = message(MessageType::MsgAppendResponse, 2);
    ack.index = 3;
    solo.receive(2, ack).unwrap();
    let ready = solo.ready();
    assert_eq!(ready.batch.hard_state, Some(HardState { term: 2, vote: 1, commit: 3 }));
    assert!(!ready.batch.must_sync);
    assert_eq!(solo.persist(&ready).committed.len(), 1);
}

fn with_undecided_change() -> (Solo, u64) {
    let mut solo = Solo::leading_alone(&[]);
    let change = MembershipChange::Simple { member: id(2), role: MemberRole::Learner };
    solo.core.propose_membership(change, RequestId(77), data("edit")).unwrap();
    let ready = solo.ready();
    let after = solo.persist(&ready);
    let [Committed::Membership { index, request, context, .. }] = &after.committed[..] else {
        panic!("{:?}", after.committed);
    };
    assert_eq!((*request, context), (RequestId(77), &data("edit")));
    (solo, *index)
}

#[test]
fn pitfall_8_a_change_takes_effect_in_its_turn() {
    let (mut solo, index) = with_undecided_change();
    assert!(matches!(solo.core.ready(), Err(CycleError::MembershipUndecided { .. })));
    assert!(matches!(solo.core.applied(index), Err(CycleError::MembershipUndecided { .. })));
    let early = solo.core.apply_membership(index + 1, Verdict::Accept);
    assert!(matches!(early, Err(CycleError::WrongMembership { .. })));
    assert!(solo.core.status().conf.learners.is_empty());
    let outcome = solo.core.apply_membership(index, Verdict::Accept).unwrap();
    let MembershipOutcome::Changed(conf) = outcome else { panic!("{outcome:?}") };
    assert_eq!((conf.voters.clone(), conf.learners.clone()), (ids(&[1]), ids(&[2])));
    assert_eq!(solo.core.status().conf, conf);
    solo.core.applied(index).unwrap();
    let twice = solo.core.apply_membership(index, Verdict::Accept);
    assert!(matches!(twice, Err(CycleError::WrongMembership { expected: None, .. })));
}

#[test]
fn pitfall_8_a_change_that_the_application_refuses_changes_nothing() {
    let (mut solo, index) = with_undecided_change();
    let outcome = solo.core.apply_membership(index, Verdict::Reject).unwrap();
    assert!(matches!(outcome, MembershipOutcome::Unchanged { .. }));
    solo.core.applied(index).unwrap();
    assert_eq!(solo.core.status().conf, ConfState::single(id(1)));
    assert!(!solo.core.status().membership_pending);
}

#[test]
fn the_applied_index_moves_forward_within_what_was_handed_out() {
    let mut solo = Solo::leading_alone(&[]);
    let out_of_range = |result| matches!(result, Err(CycleError::AppliedOutOfRange { .. }));
    assert!(out_of_range(solo.core.applied(3)));
    assert!(out_of_range(solo.core.applied(1)));
    solo.core.applied(2).unwrap();
}

#[test]
fn a_snapshot_is_installed_as_part_of_a_batch() {
    let mut solo = Solo::new(&[1, 2, 3], &[]);
    let manifest = manifest(20, 3, &[1, 2, 3, 4], 2);
    let received = solo.receive(2, offer(5, &manifest)).unwrap();
    let Received::Offer(offer) = received else { panic!("{received:?}") };
    solo.receive(2, message(MessageType::MsgHeartbeat, 5)).unwrap();
    solo.rest();
    assert_eq!(solo.core.snapshot_received(&offer).unwrap(), Received::Stepped);
    let ready = solo.ready();
    assert_eq!(ready.batch.snapshot.as_ref(), Some(&manifest));
    let after = solo.persist(&ready);
    assert_eq!(after.restored, Some(manifest.clone()));
    assert_eq!(kinds(&after.messages), [(id(2), Kind::AppendResponse)]);
    let status = solo.core.status();
    assert_eq!((status.applied, status.commit, status.last), (20, 20, 20));
    assert_eq!(status.conf, manifest.conf);
    solo.receive(2, append(5, 20, 3, 21, &[(5, "a")])).unwrap();
    solo.rest();
    assert_eq!(solo.core.status().applied, 21);
    assert_eq!(solo.core.status().role, Role::Follower);
}
