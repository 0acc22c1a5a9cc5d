//! Tests of configurations and membership changes.

use super::*;
use proptest::prelude::*;

pub fn id(n: u64) -> RaftId {
    RaftId::new(n).unwrap()
}

fn ids(list: &[u64]) -> BTreeSet<RaftId> {
    list.iter().map(|n| id(*n)).collect()
}

#[test]
fn a_configuration_has_golden_bytes() {
    let conf = ConfState { voters: ids(&[1, 2, 300]), learners: ids(&[4]), ..Default::default() };
    assert_eq!(&conf.encode()[..], [3, 1, 2, 0xac, 2, 1, 4, 0, 0]);
    assert_eq!(ConfState::decode(conf.encode()), Ok(conf));
}

#[test]
fn configurations_that_raft_would_panic_on_are_refused() {
    for bytes in [
        &[0, 1, 4, 0, 0][..],   // a learner without voters
        &[1, 4, 1, 4, 0, 0],    // voter and learner at once
        &[2, 2, 1, 0, 0, 0],    // not ascending
        &[1, 1, 0, 0, 1, 2],    // a next learner that is no outgoing voter
        &[1, 1, 0, 1, 1, 1, 1], // a next learner that stays a voter
        &[1, 0, 0, 0, 0],       // member zero
        &[1, 1, 0, 0, 0, 0],    // trailing bytes
        &[65],                  // too many members
    ] {
        assert!(ConfState::decode(Bytes::copy_from_slice(bytes)).is_err(), "{bytes:?}");
    }
}

#[test]
fn a_joint_configuration_needs_both_majorities() {
    let conf = ConfState {
        voters: ids(&[1, 2, 3]),
        voters_outgoing: ids(&[3, 4, 5]),
        ..Default::default()
    };
    assert!(!conf.has_quorum(&ids(&[1, 2, 3])));
    assert!(conf.has_quorum(&ids(&[1, 3, 4])));
    assert!(!ConfState::default().has_quorum(&ids(&[1])));
}

#[test]
fn a_change_has_golden_bytes() {
    let entry = MembershipEntry {
        change: MembershipChange::Simple { member: id(7), role: MemberRole::Learner },
        request: RequestId(0x0102),
        context: Bytes::from_static(b"ok"),
    };
    let mut golden = vec![0, 1, 7, 1];
    golden.extend([0; 14]);
    golden.extend([1, 2, 2, b'o', b'k']);
    assert_eq!(&entry.encode()[..], golden);
}

#[test]
fn a_change_whose_members_do_not_fit_its_kind_is_refused() {
    let with = |kind: u8, members: &[u8], count: u8| {
        let mut bytes = vec![kind, count];
        bytes.extend(members);
        bytes.extend([0; 17]);
        MembershipEntry::decode(bytes.into())
    };
    assert!(with(0, &[1, 0], 1).is_ok());
    assert!(with(0, &[], 0).is_err());
    assert!(with(0, &[1, 0, 2, 0], 2).is_err());
    assert!(with(1, &[], 0).is_err());
    assert!(with(2, &[1, 0], 1).is_err());
    assert!(with(3, &[], 0).is_err());
    assert!(with(0, &[1, 3], 1).is_err());
}

fn change() -> impl Strategy<Value = MembershipChange> {
    let member = (1u64.., 0u8..3).prop_map(|(n, role)| {
        let role = [MemberRole::Voter, MemberRole::Learner, MemberRole::Removed][role as usize];
        (id(n), role)
    });
    prop_oneof![
        member.clone().prop_map(|(member, role)| MembershipChange::Simple { member, role }),
        proptest::collection::vec(member, 1..9)
            .prop_map(|members| MembershipChange::EnterJoint { members }),
        Just(MembershipChange::LeaveJoint),
    ]
}

proptest! {
    #[test]
    fn changes_survive_the_log_and_raft(
        change in change(),
        request: u128,
        context in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let entry = MembershipEntry { change, request: RequestId(request), context: context.into() };
        prop_assert_eq!(MembershipEntry::decode(entry.encode()), Ok(entry.clone()));
        prop_assert_eq!(MembershipEntry::from_raft_bytes(&entry.to_raft_bytes()), Ok(entry));
    }

    #[test]
    fn no_bytes_panic_the_decoders(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let bytes = Bytes::from(bytes);
        if let Ok(conf) = ConfState::decode(bytes.clone()) {
            prop_assert_eq!(conf.encode(), bytes.clone());
        }
        if let Ok(entry) = MembershipEntry::decode(bytes.clone()) {
            prop_assert_eq!(entry.encode(), bytes);
        }
    }
}
