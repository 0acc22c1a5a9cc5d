//! Keys: round trips, agreement with libp2p, and refusal of what is no Ed25519 key.

use super::*;

#[test]
fn a_seed_gives_the_same_identity_again() {
    let first = Keypair::generate().unwrap();
    let second = Keypair::from_seed(first.to_seed());
    assert_eq!(first.peer_key(), second.peer_key());
    assert_eq!(first.sign(b"message"), second.sign(b"message"));
}

#[test]
fn the_public_key_matches_the_first_test_vector_of_rfc_8032() {
    let seed = [
        0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c,
        0xc4, 0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae,
        0x7f, 0x60,
    ];
    let key = Keypair::from_seed(seed).peer_key();
    assert_eq!(key.as_bytes()[..4], [0xd7, 0x5a, 0x98, 0x01]);
    assert_eq!(key.as_bytes()[28..], [0xf7, 0x07, 0x51, 0x1a]);
}

#[test]
fn peer_ids_agree_with_libp2p_in_both_directions() {
    let pair = Keypair::generate().unwrap();
    let expected = pair.to_libp2p().public().to_peer_id();
    assert_eq!(pair.peer_key().to_peer_id(), expected);
    assert_eq!(PeerKey::from_peer_id(&expected).unwrap(), pair.peer_key());
    let text = pair.peer_key().to_string();
    assert!(text.starts_with("12D3KooW"), "{text}");
    assert_eq!(text.parse::<PeerKey>().unwrap(), pair.peer_key());
}

#[test]
fn a_signature_holds_for_its_message_and_key_only() {
    let pair = Keypair::generate().unwrap();
    let signature = pair.sign(b"message");
    assert!(pair.peer_key().verify(b"message", &signature));
    assert!(!pair.peer_key().verify(b"massage", &signature));
    assert!(!pair.peer_key().verify(b"message", &signature[..63]));
    assert!(!Keypair::generate().unwrap().peer_key().verify(b"message", &signature));
}

#[test]
fn other_peer_ids_are_refused() {
    // A hashed (RSA) peer id.
    let hashed = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N";
    assert!(matches!(hashed.parse::<PeerKey>(), Err(KeyError::NotEd25519 { .. })));
    assert!(matches!("worker-1".parse::<PeerKey>(), Err(KeyError::NotAPeerId { .. })));
    let long = "x".repeat(10_000);
    let Err(KeyError::NotAPeerId { text }) = long.parse::<PeerKey>() else { panic!("accepted") };
    assert_eq!(text.len(), 80);
}

#[test]
fn debug_never_shows_the_secret() {
    let pair = Keypair::from_seed([7; 32]);
    assert_eq!(format!("{pair:?}"), format!("Keypair({})", pair.peer_key()));
}
