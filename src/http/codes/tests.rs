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
    assert_eq!(exits.into_iter().collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7, 8, 9, 62, 130]);
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

/// Codes in a line of source, in quotes.
fn codes_in(text: &str) -> impl Iterator<Item = &str> {
    text.split('"').filter(|part| {
        part.strip_prefix("E_").is_some_and(|rest| {
            !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
        })
    })
}

fn check_sources(folder: &std::path::Path, unknown: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            check_sources(&path, unknown);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && path.file_name().is_some_and(|name| name != "tests.rs")
        {
            let text = std::fs::read_to_string(&path).unwrap();
            unknown.extend(codes_in(&text).filter(|code| find(code).is_none()).map(str::to_owned));
        }
    }
}

#[test]
fn every_code_that_the_sources_use_stands_in_the_table() {
    let root = std::path::PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap());
    let mut unknown = BTreeSet::new();
    for folder in ["src/core", "src/cli", "actors"] {
        check_sources(&root.join(folder), &mut unknown);
    }
    assert!(unknown.is_empty(), "unknown codes: {unknown:?}");
}
