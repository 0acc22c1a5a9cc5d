//! The table is sorted, and its numbers are distinct and fixed.

use std::collections::BTreeSet;

use ipfs_kit_core::member::Role;
use ipfs_kit_core::ops::{Component, Refusal};

use super::*;

#[test]
fn codes_are_sorted_and_found() {
    assert!(CODES.is_sorted_by(|a, b| a.name < b.name));
    for code in CODES {
        assert_eq!(find(code.name).unwrap().name, code.name);
        assert!(code.name.starts_with("E_"));
    }
    assert_eq!(class_of("E_FROM_THE_FUTURE"), Class::Failure);
}

#[test]
fn exit_codes_are_distinct_and_none_means_success() {
    let exits: BTreeSet<u8> = Class::ALL.iter().map(|class| class.exit_code()).collect();
    assert_eq!(exits.into_iter().collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7, 8, 62, 130]);
}

#[test]
fn every_refusal_of_the_registry_has_a_code_here() {
    let refusals = [
        Refusal::Unknown { name: "x".into() },
        Refusal::NotPermitted { name: "x", role: Role::Leecher, roles: &[] },
        Refusal::NotRunning { name: "x", component: Component::Index },
    ];
    for refusal in refusals {
        assert!(find(refusal.code()).is_some(), "{refusal}");
    }
}
