//! What is said of a change's size holds for whatever is in it.

use proptest::prelude::*;

use super::*;
use crate::fixture::{cid, pin_spec, spec};
use crate::member::{Liveness, RaftStanding, Role};
use crate::pin::{ContentKind, Pin, PinSpec, Replica, ReplicaState};

proptest! {
    #[test]
    fn no_change_is_larger_than_it_says(
        name in ".{0,60}",
        metadata in proptest::collection::btree_map(".{0,20}", ".{0,20}", 0..5),
        numbers in proptest::collection::vec(any::<u64>(), 8),
        reasons in proptest::collection::vec(proptest::option::of(".{0,80}"), 0..5),
    ) {
        let old = SetHash([numbers[0]; 4]);
        let replica = |(at, reason): (usize, &Option<String>)| {
            let state = reason.as_ref().map_or(ReplicaState::Pinned, |why| ReplicaState::failed(why));
            (NodeId(u64::MAX - at as u64), Replica { granted: numbers[1], state })
        };
        let spec = PinSpec {
            name,
            metadata,
            replicas_max: numbers[2] as u16,
            expires_ms: Some(numbers[3]),
            size_bytes: Some(numbers[4]),
            kind: ContentKind::Symlink,
            origin: Some(NodeId(numbers[5])),
            ..pin_spec(1, 1, 1)
        };
        let replicas = reasons.iter().enumerate().map(replica).collect();
        let pin = Pin { spec, created_ms: numbers[6], revision: numbers[7], replicas };
        for new in [None, Some(SharedPin::from(&pin))] {
            let change = Change::Pin { cid: cid(1), old, new };
            prop_assert!(codec::seal(Kind::Item, &change).len() <= change.size_bytes_max());
        }
    }
}

#[test]
fn nor_is_one_of_a_member() {
    let member = Member {
        id: NodeId(u64::MAX),
        spec: spec(1, Role::Worker),
        raft: RaftStanding::None,
        liveness: Liveness::Alive,
        joined_index: u64::MAX,
        since_ms: u64::MAX,
    };
    let old = SetHash([u64::MAX; 4]);
    for new in [None, Some(Box::new(member))] {
        let change = Change::Member { node: NodeId(u64::MAX), old, new };
        assert!(codec::seal(Kind::Item, &change).len() <= change.size_bytes_max());
    }
}
