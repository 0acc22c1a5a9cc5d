//! Copies by holder are a map in every respect but memory, and what is shared is copied on change only.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::codec::{self, Kind};
use crate::fixture::pin_spec;

fn replica(granted: u64) -> Replica {
    let state = match granted % 3 {
        0 => ReplicaState::Assigned,
        1 => ReplicaState::Pinned,
        _ => ReplicaState::failed("no"),
    };
    Replica { granted, state }
}

proptest! {
    #[test]
    fn copies_behave_and_are_written_like_a_map(
        steps in proptest::collection::vec((0u64..6, 0u64..9, any::<bool>()), 0..40),
    ) {
        let mut map = BTreeMap::new();
        let mut replicas = Replicas::default();
        for (node, granted, insert) in steps {
            let node = NodeId(node);
            if insert {
                prop_assert_eq!(replicas.insert(node, replica(granted)), map.insert(node, replica(granted)));
            } else {
                prop_assert_eq!(replicas.remove(&node), map.remove(&node));
            }
            prop_assert_eq!(replicas.get(&node), map.get(&node));
            prop_assert_eq!(replicas.contains_key(&node), map.contains_key(&node));
        }
        prop_assert!(replicas.iter().eq(map.iter()));
        prop_assert_eq!(replicas.len(), map.len());
        let bytes = codec::seal(Kind::Item, &map);
        prop_assert_eq!(&codec::seal(Kind::Item, &replicas), &bytes);
        prop_assert_eq!(codec::open::<Replicas>(Kind::Item, &bytes, 1 << 16).unwrap(), replicas.clone());
        prop_assert_eq!(
            serde_json::to_value(&replicas).unwrap(),
            serde_json::to_value(&map).unwrap()
        );
    }
}

#[test]
fn who_changes_a_shared_pin_changes_it_for_himself() {
    let pin =
        Pin { spec: pin_spec(1, 1, 2), created_ms: 0, revision: 1, replicas: Replicas::default() };
    let shared = SharedPin::from(pin);
    let mut mine = shared.clone();
    mine.edit().revision = 2;
    assert_eq!((shared.revision, mine.revision), (1, 2));
    let bytes = codec::seal(Kind::Item, &*mine);
    assert_eq!(codec::open::<SharedPin>(Kind::Item, &bytes, 1 << 16).unwrap(), mine);
}
