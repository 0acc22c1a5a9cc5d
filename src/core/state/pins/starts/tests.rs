//! It is an ordered map, however its keys are spread.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Spread evenly, as hashes are; close together; and as far apart as can be.
fn start() -> impl Strategy<Value = Start> {
    let even = any::<u128>();
    let close = 0_u128..2_000;
    let last = (u128::MAX - 40)..=u128::MAX;
    let hash = any::<u64>().prop_map(|digest| (0x0155_1220 << 96) | (u128::from(digest) << 32));
    prop_oneof![even, close, last, hash].prop_map(Start)
}

fn put(starts: &mut Starts, model: &mut BTreeMap<Start, Slot>, start: Start, slot: Slot) {
    let (found, place) = starts.find(start);
    assert_eq!(found, model.get(&start).copied());
    if found.is_none() {
        starts.insert(place, start, slot);
        model.insert(start, slot);
    }
}

fn assert_same(starts: &Starts, model: &BTreeMap<Start, Slot>, from: &[Start]) {
    assert_eq!(starts.len(), model.len());
    assert!(starts.from(None).eq(model.values().copied()));
    for start in from {
        assert_eq!(starts.get(*start), model.get(start).copied());
        assert!(starts.from(Some(*start)).eq(model.range(start..).map(|(_, slot)| *slot)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn it_holds_what_a_map_holds(
        put_first in prop::collection::vec(start(), 0..3_000),
        removed in prop::collection::vec(any::<prop::sample::Index>(), 0..3_000),
        put_last in prop::collection::vec(start(), 0..300),
    ) {
        let (mut starts, mut model) = (Starts::default(), BTreeMap::new());
        for (number, start) in (0..).zip(&put_first) {
            put(&mut starts, &mut model, *start, Slot(number));
        }
        let looked_for: Vec<Start> = put_last.iter().chain(&put_first).take(40).copied().collect();
        assert_same(&starts, &model, &looked_for);
        for index in removed.iter().filter(|_| !put_first.is_empty()) {
            let start = put_first[index.index(put_first.len())];
            starts.remove(start);
            model.remove(&start);
        }
        assert_same(&starts, &model, &looked_for);
        for (number, start) in (10_000..).zip(&put_last) {
            put(&mut starts, &mut model, *start, Slot(number));
        }
        assert_same(&starts, &model, &looked_for);
    }
}

#[test]
fn what_is_taken_out_takes_no_room() {
    let mut starts = Starts::default();
    let spread = |number: u32| Start(u128::from(number) << 100);
    for number in 0..100_000 {
        starts.insert(starts.find(spread(number)).1, spread(number), Slot(number));
    }
    let full = starts.leaves.len();
    for number in (0..100_000).filter(|number| number % 100 != 0) {
        starts.remove(spread(number));
    }
    assert_eq!(starts.len(), 1_000);
    assert!(starts.leaves.len() * 20 < full, "{} of {full} leaves are left", starts.leaves.len());
    for number in (0..100_000).step_by(100) {
        assert_eq!(starts.get(spread(number)), Some(Slot(number)));
        starts.remove(spread(number));
    }
    assert_eq!((starts.len(), starts.leaves.len(), starts.bounds.len()), (0, 0, 0));
}
