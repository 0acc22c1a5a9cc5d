//! Copies by holder are a map in every respect but memory, and a shared pin is a pin in every respect.

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

/// Bytes as somebody may send them in place of a pin.
struct Sealed<'a>(&'a [u8]);

impl Serialize for Sealed<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

fn pin() -> Pin {
    let replicas = [(NodeId(7), replica(1)), (NodeId(300), replica(2))].into_iter().collect();
    Pin { spec: pin_spec(1, 1, 2), created_ms: 1 << 40, revision: 77, replicas }
}

#[test]
fn a_shared_pin_is_the_pin_it_was_made_of_and_known_by_its_root() {
    let shared = SharedPin::from(&pin());
    assert_eq!((shared.read(), shared.cid()), (pin(), pin().spec.cid));
    let bytes = codec::seal(Kind::Item, &shared);
    assert_eq!(codec::open::<SharedPin>(Kind::Item, &bytes, 1 << 16).unwrap(), shared);
    assert_ne!(shared, SharedPin::from(&Pin { revision: 2, ..pin() }));
}

#[test]
fn who_is_asked_for_a_shared_pin_is_known_without_reading_it() {
    let none = Pin { replicas: Replicas::default(), ..pin() };
    for pin in [pin(), none] {
        let shared = SharedPin::from(&pin);
        for node in [0, 7, 8, 250, 251, 300, u64::MAX].map(NodeId) {
            assert_eq!(shared.is_asked_of(node), pin.replicas.contains_key(&node), "{node}");
        }
    }
}

#[test]
fn what_is_no_pin_from_end_to_end_is_not_taken_for_one() {
    let whole = codec::seal(Kind::Item, &pin());
    let open = |bytes: &[u8]| {
        let sent = codec::seal(Kind::Item, &Sealed(bytes));
        codec::open::<SharedPin>(Kind::Item, &sent, 1 << 20)
    };
    assert_eq!(open(&whole).unwrap().read(), pin());
    for len in 0..whole.len() {
        assert!(open(&whole[..len]).is_err(), "cut at {len}");
    }
    assert!(open(&[&whole[..], &[0]].concat()).is_err());
    let large = PinSpec { name: "x".repeat(limits::PIN_BYTES_MAX), ..pin_spec(1, 1, 2) };
    let large = codec::seal(Kind::Item, &Pin { spec: large, ..pin() });
    assert!(open(&large).unwrap_err().to_string().contains("over the limit"));
}

#[test]
fn one_pin_has_one_form_however_it_was_written() {
    let plain = codec::seal(Kind::Item, &pin());
    // The revision, and behind it how many copies there are.
    let at = plain.windows(2).position(|pair| pair == [77, 2]).unwrap();
    // Written as a larger number would be.
    let long = [&plain[..at], &[251, 77, 0], &plain[at + 1..]].concat();
    let open = |bytes: &[u8]| {
        let sent = codec::seal(Kind::Item, &Sealed(bytes));
        codec::open::<SharedPin>(Kind::Item, &sent, 1 << 16).unwrap()
    };
    assert_eq!(open(&long), open(&plain));
}
