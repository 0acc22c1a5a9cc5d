//! The index follows the pins and pages through them without losing or repeating any.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::fixture::{cid, pin_spec};
use crate::pin::SharedPin;

fn pin(n: u64, name: &str) -> Pin {
    let spec = crate::pin::PinSpec { name: name.into(), ..pin_spec(n, 1, 1) };
    Pin { spec, created_ms: n, revision: 1, replicas: Default::default() }
}

fn find(index: &Index, name: &str, limit: usize) -> Vec<String> {
    let mut names = Vec::new();
    let mut after = None;
    loop {
        let request = IndexFindRequest { name: name.into(), after, limit: Some(limit) };
        let page = index.find(&request).unwrap();
        assert!(page.items.len() <= limit.clamp(1, limits::PAGE_MAX));
        names.extend(page.items.into_iter().map(|item| item.name));
        after = page.next;
        if after.is_none() {
            return names;
        }
    }
}

#[test]
fn names_are_found_by_any_part_in_any_case() {
    let pins = [pin(1, "Annual Report"), pin(2, "report.pdf"), pin(3, "photo"), pin(4, "")];
    let index = Index::of(pins.clone());
    assert_eq!(find(&index, "REPORT", 10), ["Annual Report", "report.pdf"]);
    assert_eq!(find(&index, "", 1), ["", "Annual Report", "photo", "report.pdf"]);
    assert_eq!(find(&index, "nothing", 10), [""; 0]);
}

#[test]
fn it_follows_renames_and_removals() {
    let mut index = Index::of([pin(1, "old")]);
    let old = Default::default();
    index.apply(&Change::Pin { cid: cid(1), old, new: Some(SharedPin::from(&pin(1, "new"))) });
    assert_eq!(find(&index, "", 10), ["new"]);
    index.apply(&Change::Pin { cid: cid(1), old, new: None });
    assert!(index.is_empty() && index.names.is_empty());
}

#[test]
fn two_pins_of_one_name_are_two_entries() {
    let index = Index::of([pin(1, "same"), pin(2, "same")]);
    assert_eq!(find(&index, "same", 1).len(), 2);
}

#[test]
fn a_page_compares_a_bounded_number_of_names() {
    let total = SCAN_MAX as u64 + 10;
    let mut index = Index::of((0..total).map(|n| pin(n, &format!("{n:08}"))));
    index.put(&pin(total, "zebra"));
    let request = IndexFindRequest { name: "zebra".into(), after: None, limit: None };
    let page = index.find(&request).unwrap();
    assert!(page.items.is_empty() && page.next.is_some(), "short, but it goes on");
    assert_eq!(find(&index, "zebra", 5), ["zebra"]);
}

#[test]
fn a_mark_that_no_page_gave_is_refused() {
    for mark in ["", "x", "notacid name"] {
        let request =
            IndexFindRequest { name: String::new(), after: Some(mark.into()), limit: None };
        assert!(Index::default().find(&request).is_err(), "{mark:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn pages_are_complete_and_in_order(
        names in prop::collection::vec("[a-cA-C ]{0,6}", 0..40),
        part in "[a-cA-C]{0,2}",
        limit in 1usize..7,
    ) {
        let pins: Vec<_> =
            names.iter().enumerate().map(|(n, name)| pin(n as u64, name)).collect();
        let index = Index::of(pins.clone());
        let found = find(&index, &part, limit);
        let matches = |name: &&String| name.to_lowercase().contains(&part.to_lowercase());
        let mut expected: Vec<_> = names.iter().filter(matches).cloned().collect();
        expected.sort();
        prop_assert_eq!(&found, &expected);
        prop_assert_eq!(index.len(), pins.iter().map(|p| &p.spec.cid).collect::<BTreeSet<_>>().len());
    }
}

#[test]
fn a_master_finds_in_its_state_what_an_index_of_it_finds() {
    let mut world = crate::fixture::World::with_workers(1);
    for n in 0..7 {
        world.pin(n, (1, 1), &[2]);
    }
    let request =
        |after, limit| IndexFindRequest { name: String::new(), after, limit: Some(limit) };
    let index = Index::of(world.state.pins().values().map(SharedPin::read));
    let mut whole = index.find(&request(None, 100)).unwrap().items;
    whole.sort_by(|a, b| a.cid.cmp(&b.cid));
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = find_among(&world.state, &request(after, 3)).unwrap();
        assert!(page.items.len() <= 3);
        found.extend(page.items);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(found, whole);
    let nothing = IndexFindRequest { name: "no such".into(), after: None, limit: None };
    assert!(find_among(&world.state, &nothing).unwrap().items.is_empty());
}
