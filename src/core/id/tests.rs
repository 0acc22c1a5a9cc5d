//! Identifiers survive their text and binary forms, and refuse what they are not.

use super::*;

#[test]
fn a_peer_key_reads_back_from_its_peer_id() {
    let key = PeerKey([7; 32]);
    assert!(key.to_string().starts_with("12D3KooW"));
    assert_eq!(key.to_string().parse::<PeerKey>().unwrap(), key);
    assert!("12D3KooW".parse::<PeerKey>().is_err());
}

#[test]
fn a_cid_reads_back_and_a_tail_is_refused() {
    let text = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e";
    let cid: Cid = text.parse().unwrap();
    assert_eq!(cid.to_string(), text);
    let mut long = cid.as_bytes().to_vec();
    long.push(0);
    assert!(Cid::from_bytes(&long).is_err());
    assert!("hello".parse::<Cid>().is_err());
}
