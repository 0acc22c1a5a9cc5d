//! Rights as a set, and the membership view.

use super::*;
use crate::identity::Keypair;

#[test]
fn rights_are_a_set() {
    let rights = Rights::AUTHOR_PINS | Rights::RAFT;
    assert!(rights.contains(Rights::RAFT));
    assert!(rights.contains(Rights::NONE));
    assert!(!rights.contains(Rights::AUTHOR_STATUS));
    assert!(!rights.contains(Rights::ALL));
    assert!(Rights::ALL.contains(rights));
    assert_eq!(format!("{rights:?}"), r#"{"author-pins", "raft"}"#);
}

#[test]
fn each_topic_has_its_own_right() {
    for topic in Topic::ALL {
        let right = Rights::to_author(topic);
        let others = Topic::ALL.into_iter().filter(|other| *other != topic);
        assert!(others.into_iter().all(|other| Rights::to_author(other) != right));
        assert!(Rights::ALL.contains(right));
        assert!(!Rights::RAFT.contains(right));
    }
}

#[test]
fn replacing_the_registry_forgets_who_left() {
    let [first, second] = [1, 2].map(|seed| Keypair::from_seed([seed; 32]).peer_key());
    let entry = PeerEntry { addrs: Vec::new(), rights: Rights::RAFT, link: Link::Keep };
    let membership = Membership::default();
    membership.replace(&BTreeMap::from([(first, entry.clone())]));
    assert_eq!(membership.rights(&first.to_peer_id()), Some(Rights::RAFT));
    membership.replace(&BTreeMap::from([(second, entry)]));
    assert!(!membership.contains(&first.to_peer_id()));
    assert_eq!(membership.link(&second.to_peer_id()), Some(Link::Keep));
}
