//! Tables over all roles.

use super::*;

const ROLES: [Role; 3] = [Role::Master, Role::Worker, Role::Leecher];

#[test]
fn masters_and_whoever_has_a_place_in_raft_send_its_messages() {
    for role in ROLES {
        assert_eq!(may_send_raft(role, RaftStanding::None), role == Role::Master);
        assert!(may_send_raft(role, RaftStanding::Learner));
        assert!(may_send_raft(role, RaftStanding::Voter));
    }
}
