//! The pins behave like a map by root, however alike the roots are.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::fixture::pin_spec;
use crate::pin::{Pin, Replicas};

/// A root of the identity hash: of few, short and alike ones, some of which are how others begin.
fn root() -> impl Strategy<Value = Cid> {
    let digest = prop_oneof![
        proptest::collection::vec(0u8..2, 0..3),
        proptest::collection::vec(0u8..2, 1..3).prop_map(|end| [&[0; 11][..], &end].concat()),
        proptest::collection::vec(0u8..2, 1..3).prop_map(|end| [&[7; 12][..], &end].concat()),
    ];
    digest.prop_map(|digest| {
        let head = [1, 0x55, 0, digest.len() as u8];
        Cid::from_bytes(&[&head[..], &digest].concat()).unwrap()
    })
}

fn pin(cid: &Cid, revision: u64) -> SharedPin {
    let spec = crate::pin::PinSpec { cid: cid.clone(), ..pin_spec(1, 1, 2) };
    SharedPin::from(&Pin { spec, created_ms: 0, revision, replicas: Replicas::default() })
}

proptest! {
    #[test]
    fn pins_behave_like_a_map_by_root(
        steps in proptest::collection::vec((root(), any::<bool>()), 0..60), mark in root(),
    ) {
        let (mut pins, mut map) = (Pins::default(), BTreeMap::new());
        let mut slots = BTreeMap::new();
        for (revision, (cid, insert)) in steps.into_iter().enumerate() {
            if insert {
                let pin = pin(&cid, revision as u64);
                let (slot, old) = pins.insert(pin.clone());
                prop_assert_eq!(old, map.insert(cid.clone(), pin));
                let known = slots.insert(cid.clone(), slot);
                prop_assert!(known.is_none_or(|known| known == slot), "a pin keeps its number");
            } else {
                let gone = pins.remove(&cid);
                prop_assert_eq!(gone.as_ref().map(|(_, pin)| pin), map.get(&cid));
                prop_assert_eq!(gone.map(|(slot, _)| slot), slots.remove(&cid));
                map.remove(&cid);
            }
            prop_assert_eq!(pins.get(&cid), map.get(&cid));
            prop_assert_eq!((pins.len(), pins.is_empty()), (map.len(), map.is_empty()));
        }
        prop_assert!(pins.values().eq(map.values()));
        prop_assert!(pins.keys().eq(map.keys().cloned()));
        let behind = map.range((Bound::Excluded(&mark), Bound::Unbounded));
        prop_assert!(pins.after(Some(&mark)).eq(behind.map(|(_, pin)| pin)));
        for (cid, pin) in &map {
            prop_assert_eq!(pins.get(cid), Some(pin));
            prop_assert_eq!(pins.at(slots[cid]), Some(pin));
        }
    }
}
