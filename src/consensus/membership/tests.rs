//! Tests of the reconciler.

use super::*;
use crate::status::{PeerStatus, Role};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn id(n: u64) -> RaftId {
    RaftId::new(n).unwrap()
}

fn ids(list: &[u64]) -> BTreeSet<RaftId> {
    list.iter().map(|n| id(*n)).collect()
}

const POLICY: MembershipPolicy = MembershipPolicy { promote_lag_entries: 10, silent_ticks: 10 };

/// Leader 1 with everyone caught up and just heard.
fn leader(voters: &[u64], learners: &[u64]) -> Status {
    let peer = PeerStatus {
        matched: 100,
        next: 101,
        state: PeerState::Replicate,
        recent_active: true,
        paused: false,
        silent_ticks: 0,
    };
    let others = voters.iter().chain(learners).filter(|n| **n != 1);
    Status {
        id: id(1),
        role: Role::Leader,
        term: 3,
        leader: Some(id(1)),
        transferring_to: None,
        commit: 100,
        applied: 100,
        first: 50,
        last: 100,
        conf: ConfState { voters: ids(voters), learners: ids(learners), ..ConfState::default() },
        membership_pending: false,
        uncommitted_bytes: 0,
        reads: 0,
        tail_suspect: false,
        peers: others.map(|n| (id(*n), peer)).collect(),
        snapshots: BTreeMap::new(),
    }
}

fn desired(voters: &[u64], learners: &[u64]) -> DesiredMembers {
    DesiredMembers { voters: ids(voters), learners: ids(learners), ..Default::default() }
}

fn propose(member: u64, role: MemberRole) -> MembershipStep {
    MembershipStep::Propose(MembershipChange::Simple { member: id(member), role })
}

fn step(status: &Status, desired: &DesiredMembers) -> MembershipStep {
    next_step(status, desired, &POLICY)
}

fn silence(status: &mut Status, member: u64) {
    status.peers.get_mut(&id(member)).unwrap().silent_ticks = 10;
}

#[test]
fn a_member_joins_as_a_learner_and_is_promoted_when_it_has_caught_up() {
    let wanted = desired(&[1, 2], &[]);
    assert_eq!(step(&leader(&[1], &[]), &wanted), propose(2, MemberRole::Learner));
    let mut status = leader(&[1], &[2]);
    assert_eq!(step(&status, &wanted), propose(2, MemberRole::Voter));
    status.peers.get_mut(&id(2)).unwrap().matched = 80;
    let behind = WaitReason::LearnerBehind { learner: id(2), lag_entries: 20 };
    assert_eq!(step(&status, &wanted), MembershipStep::Wait(behind));
    assert_eq!(step(&leader(&[1, 2], &[]), &wanted), MembershipStep::Settled);
}

#[test]
fn a_learner_that_a_snapshot_brought_up_is_promoted_in_a_group_at_rest() {
    let wanted = desired(&[1, 2], &[]);
    let mut status = leader(&[1], &[2]);
    status.peers.get_mut(&id(2)).unwrap().state = PeerState::Probe;
    assert_eq!(step(&status, &wanted), propose(2, MemberRole::Voter));
    status.peers.get_mut(&id(2)).unwrap().matched = 99;
    let behind = WaitReason::LearnerBehind { learner: id(2), lag_entries: 1 };
    assert_eq!(step(&status, &wanted), MembershipStep::Wait(behind));
}

#[test]
fn pitfall_11_a_voter_leaves_by_way_of_a_demotion_and_never_while_it_leads() {
    let wanted = desired(&[1, 2], &[]);
    assert_eq!(step(&leader(&[1, 2, 3], &[]), &wanted), propose(3, MemberRole::Learner));
    assert_eq!(step(&leader(&[1, 2], &[3]), &wanted), propose(3, MemberRole::Removed));
    let without_leader = desired(&[2, 3], &[]);
    let mut status = leader(&[1, 2, 3], &[]);
    status.peers.get_mut(&id(2)).unwrap().matched = 90;
    let to_three = MembershipStep::TransferLeadership { to: id(3) };
    assert_eq!(step(&status, &without_leader), to_three);
    silence(&mut status, 3);
    let to_two = MembershipStep::TransferLeadership { to: id(2) };
    assert_eq!(step(&status, &without_leader), to_two);
    silence(&mut status, 2);
    assert_eq!(step(&status, &without_leader), MembershipStep::Wait(WaitReason::NoSuccessor));
}

#[test]
fn pitfall_10_a_group_found_joint_is_led_out_of_it_first() {
    let mut status = leader(&[1, 2], &[]);
    status.conf.voters_outgoing = ids(&[1, 3]);
    let leave = MembershipStep::Propose(MembershipChange::LeaveJoint);
    assert_eq!(step(&status, &desired(&[1, 2, 4], &[])), leave);
    assert_eq!(check_change(&status, &MembershipChange::LeaveJoint, 10), Ok(()));
    let other = MembershipChange::Simple { member: id(4), role: MemberRole::Learner };
    assert!(matches!(check_change(&status, &other, 10), Err(ChangeRefusal::Unfit { .. })));
}

#[test]
fn a_dead_voter_is_demoted_before_others_are_promoted() {
    let mut status = leader(&[1, 2, 3], &[4]);
    silence(&mut status, 3);
    assert_eq!(step(&status, &desired(&[1, 2, 4], &[])), propose(3, MemberRole::Learner));
}

#[test]
fn a_live_voter_stays_until_its_successor_votes() {
    let mut status = leader(&[1, 2, 3], &[4]);
    let wanted = desired(&[1, 2, 4], &[]);
    assert_eq!(step(&status, &wanted), propose(4, MemberRole::Voter));
    status.peers.get_mut(&id(4)).unwrap().state = PeerState::Snapshot;
    assert!(matches!(step(&status, &wanted), MembershipStep::Wait(_)));
}

#[test]
fn changes_that_could_stop_the_group_are_refused() {
    let demote =
        |member| MembershipChange::Simple { member: id(member), role: MemberRole::Learner };
    let mut status = leader(&[1, 2, 3], &[]);
    silence(&mut status, 3);
    // Of the voters 1 and 3, only 1 would answer.
    let refusal = ChangeRefusal::SilentQuorum { heard: 1, voters: 2 };
    assert_eq!(check_change(&status, &demote(2), 10), Err(refusal.clone()));
    assert_eq!(step(&status, &desired(&[1, 3], &[])), MembershipStep::Refused(refusal));
    // The new majority would lack what the leader has compacted.
    let mut status = leader(&[1, 2], &[3]);
    status.peers.get_mut(&id(2)).unwrap().matched = 20;
    let promote = MembershipChange::Simple { member: id(3), role: MemberRole::Voter };
    assert_eq!(check_change(&status, &promote, 10), Ok(()));
    status.peers.get_mut(&id(3)).unwrap().matched = 20;
    let refusal = ChangeRefusal::BehindCompaction { matched: 20, first: 50 };
    assert_eq!(check_change(&status, &promote, 10), Err(refusal));
}

#[test]
fn senseless_changes_are_refused() {
    let status = leader(&[1, 2, 3], &[4]);
    let simple = |member, role| MembershipChange::Simple { member: id(member), role };
    let check = |change| check_change(&status, &change, 10).unwrap_err();
    assert!(matches!(check(simple(2, MemberRole::Removed)), ChangeRefusal::VoterRemoval { .. }));
    assert!(matches!(check(simple(1, MemberRole::Learner)), ChangeRefusal::Leader { .. }));
    assert!(matches!(check(MembershipChange::LeaveJoint), ChangeRefusal::Unfit { .. }));
    let twice = vec![(id(4), MemberRole::Voter), (id(4), MemberRole::Removed)];
    assert!(matches!(
        check(MembershipChange::EnterJoint { members: twice }),
        ChangeRefusal::Duplicate { .. }
    ));
    let all = [1, 2, 3].map(|n| (id(n), MemberRole::Learner)).to_vec();
    assert_eq!(check(MembershipChange::EnterJoint { members: all }), ChangeRefusal::NoVoters);
}

#[test]
fn pitfall_14_a_retired_id_never_comes_back() {
    let mut wanted = desired(&[1, 2], &[]);
    wanted.retired = ids(&[2]);
    let refused = MembershipStep::Refused(ChangeRefusal::Retired { member: id(2) });
    assert_eq!(step(&leader(&[1], &[]), &wanted), refused);
}

#[test]
fn nothing_is_done_at_the_wrong_moment() {
    let wanted = desired(&[1, 2], &[]);
    let mut status = leader(&[1], &[]);
    status.membership_pending = true;
    assert_eq!(step(&status, &wanted), MembershipStep::Wait(WaitReason::ChangePending));
    status.transferring_to = Some(id(2));
    status.membership_pending = false;
    assert_eq!(step(&status, &wanted), MembershipStep::Wait(WaitReason::Transferring));
    status.role = Role::Follower;
    assert_eq!(step(&status, &wanted), MembershipStep::Wait(WaitReason::NotLeader));
    let nobody = desired(&[], &[1]);
    let refused = MembershipStep::Refused(ChangeRefusal::NoVoters);
    assert_eq!(step(&leader(&[1], &[]), &nobody), refused);
}

/// Carries out a step as a group would, and hands over the leadership where asked.
fn carry_out(status: &Status, step: MembershipStep) -> Option<Status> {
    let (mut voters, mut learners) = (status.conf.voters.clone(), status.conf.learners.clone());
    let mut leads = status.id;
    match step {
        MembershipStep::Propose(change) => {
            for (member, role) in change.members() {
                voters.remove(&member);
                learners.remove(&member);
                match role {
                    MemberRole::Voter => voters.insert(member),
                    MemberRole::Learner => learners.insert(member),
                    MemberRole::Removed => true,
                };
            }
        }
        MembershipStep::TransferLeadership { to } => leads = to,
        _ => return None,
    }
    let list = |set: &BTreeSet<RaftId>| set.iter().map(|id| id.get()).collect::<Vec<_>>();
    let mut next = leader(&list(&voters), &list(&learners));
    let peer = next.peers.values().next().copied();
    if let (true, Some(peer)) = (leads != next.id, peer) {
        next.peers.insert(id(1), peer);
        next.peers.remove(&leads);
        next.id = leads;
        next.peers.retain(|id, _| voters.contains(id) || learners.contains(id));
    }
    Some(next)
}

proptest! {
    /// From any healthy group to any desired one: every step is safe, and there are few of them.
    #[test]
    fn any_group_reaches_any_other(
        from in proptest::collection::btree_set(2u64..9, 0..6),
        voters in proptest::collection::btree_set(1u64..9, 1..6),
        learners in proptest::collection::btree_set(1u64..9, 0..4),
    ) {
        let from: Vec<u64> = from.into_iter().chain([1]).collect();
        let learners: Vec<u64> = learners.difference(&voters).copied().collect();
        let wanted = desired(&voters.into_iter().collect::<Vec<_>>(), &learners);
        let mut status = leader(&from, &[]);
        for _ in 0..40 {
            let next = step(&status, &wanted);
            if let MembershipStep::Propose(change) = &next {
                prop_assert_eq!(check_change(&status, change, 10), Ok(()));
                prop_assert_eq!(change.members().len(), 1);
            }
            match carry_out(&status, next.clone()) {
                Some(after) => status = after,
                None => {
                    prop_assert_eq!(next, MembershipStep::Settled);
                    break;
                }
            }
        }
        prop_assert_eq!(&status.conf.voters, &wanted.voters);
        prop_assert_eq!(&status.conf.learners, &wanted.learners);
    }
}
