//! Trees repeat, differ and share.

use std::collections::BTreeSet;

use super::*;

#[test]
fn trees_repeat_and_differ() {
    assert_eq!(Content::of(1, 5), Content::of(1, 5));
    assert_ne!(Content::of(1, 5), Content::of(1, 6));
    let bytes = |seed| Content::of(seed, 5).files().map(|(_, bytes)| bytes).collect::<Vec<_>>();
    assert_eq!(bytes(1), bytes(1));
    assert_ne!(bytes(1), bytes(2));
}

#[test]
fn trees_share_files_of_equal_bytes() {
    let mut seen: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut shared = BTreeSet::new();
    for number in 0..40 {
        for (name, bytes) in Content::of(3, number).files() {
            if let Some(before) = seen.insert(name.to_owned(), bytes.clone()) {
                assert_eq!(before, bytes, "{name}");
                shared.insert(name.to_owned());
            }
        }
    }
    assert!(shared.len() > 5, "{shared:?}");
}
