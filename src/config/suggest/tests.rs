//! Close words are found, far ones are not offered.

use super::*;
use crate::config::keys::KEYS;

fn near(word: &str) -> Option<&'static str> {
    nearest(word, KEYS.iter().map(|key| key.path))
}

#[test]
fn finds_what_was_meant() {
    assert_eq!(near("rol"), Some("role"));
    assert_eq!(near("cluster.laese"), Some("cluster.lease"));
    assert_eq!(near("raft.election_tick"), Some("raft.election_ticks"));
    assert_eq!(near("storage.maxx"), Some("storage.max"));
    assert_eq!(near("api-listen"), Some("api.listen"));
    assert_eq!(near("Raft.Tick"), Some("raft.tick"));
    assert_eq!(near("repair_grace"), Some("cluster.repair_grace"));
    assert_eq!(near("advertize"), Some("advertise"));
}

#[test]
fn does_not_guess_wildly() {
    assert_eq!(near("compression"), None);
    assert_eq!(near("x"), None);
    assert_eq!(near(&"role".repeat(100)), None);
}

#[test]
fn swapped_letters_are_one_mistake() {
    assert_eq!(distance("lease", "laese"), 1);
    assert_eq!(distance("", "abc"), 3);
    assert_eq!(distance("kitten", "sitting"), 3);
}
