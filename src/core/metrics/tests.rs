//! Counts add up, and a kind without members is zero rather than absent.

use super::*;
use crate::fixture::member;

#[test]
fn members_are_counted_by_role_and_liveness_and_none_is_a_zero() {
    let mut lost = member(3, Role::Worker);
    lost.liveness = Liveness::Lost;
    let members = [member(1, Role::Master), member(2, Role::Worker), lost, member(4, Role::Worker)];
    let counts = count_members(&members);
    assert_eq!(counts.len(), 9);
    let of = |role, liveness| {
        counts.iter().find(|row| (row.role, row.liveness) == (role, liveness)).unwrap().count
    };
    assert_eq!(of(Role::Master, Liveness::Alive), 1);
    assert_eq!(of(Role::Worker, Liveness::Alive), 2);
    assert_eq!(of(Role::Worker, Liveness::Lost), 1);
    assert_eq!(of(Role::Leecher, Liveness::Draining), 0);
    assert_eq!(counts.iter().map(|row| row.count).sum::<u64>(), 4);
}

#[test]
fn every_status_has_a_place_of_its_own() {
    let mut tally = PinTally::default();
    let all = [
        PinStatusKind::Pinned,
        PinStatusKind::Partial,
        PinStatusKind::Pinning,
        PinStatusKind::Surplus,
        PinStatusKind::Failed,
    ];
    all.into_iter().for_each(|status| tally.add(status));
    let one_each = PinTally { pinned: 1, partial: 1, pinning: 1, surplus: 1, failed: 1 };
    assert_eq!(tally, one_each);

    let mut copies = CopyTally::default();
    let all = [ReplicaState::Assigned, ReplicaState::Pinned, ReplicaState::failed("full")];
    all.iter().for_each(|state| copies.add(state));
    assert_eq!(copies, CopyTally { assigned: 1, pinned: 1, failed: 1 });
}
