//! Blocks against their identifiers.

use super::*;

#[test]
fn every_supported_hash_is_checked() {
    let data = b"content";
    let hashes = [
        wrap(SHA2_256, &Sha256::digest(data)),
        wrap(SHA2_512, &Sha512::digest(data)),
        wrap(BLAKE3, blake3::hash(data).as_bytes()),
        wrap(IDENTITY, data),
    ];
    for hash in hashes {
        let cid = Cid::new_v1(Codec::Raw.code(), hash);
        assert_eq!(verify(&cid, data), Ok(()));
        assert!(matches!(verify(&cid, b"other"), Err(VerifyError::Mismatch { .. })));
    }
    assert_eq!(Block::raw(Bytes::from_static(data)).cid, cid_v1_raw(data));
}

#[test]
fn a_mismatch_names_what_the_bytes_are() {
    let expected = sha2_256_cid(Version::V0, Codec::DagPb, b"a");
    let actual = sha2_256_cid(Version::V0, Codec::DagPb, b"b");
    let error = Block::verified(expected, Bytes::from_static(b"b")).unwrap_err();
    assert_eq!(error.to_string(), format!("bytes of block {expected} hash to {actual}"));
}

#[test]
fn weak_and_unknown_hashes_are_refused() {
    let truncated = wrap(SHA2_256, &Sha256::digest(b"x")[..4]);
    let sha1 = wrap(0x11, &[0; 20]);
    for hash in [truncated, sha1] {
        let cid = Cid::new_v1(Codec::Raw.code(), hash);
        assert!(matches!(verify(&cid, b"x"), Err(VerifyError::UnsupportedHash { .. })));
    }
}

#[test]
fn oversized_blocks_are_refused_before_they_are_hashed() {
    let data = vec![0; MAX_BLOCK_LEN_BYTES + 1];
    let error = verify(&cid_v1_raw(b""), &data).unwrap_err();
    assert!(matches!(error, VerifyError::TooLarge { len_bytes, .. } if len_bytes == data.len()));
}

#[test]
fn identity_cids_carry_their_data() {
    let empty: Cid = "bafkqaaa".parse().unwrap();
    assert_eq!(identity_data(&empty), Some(Bytes::new()));
    assert_eq!(identity_data(&cid_v1_raw(b"")), None);
    assert!(verify(&empty, &[0; 200]).is_err());
}

#[test]
fn binary_cids_fill_their_field() {
    let mut bytes = cid_v1_raw(b"x").to_bytes();
    assert_eq!(cid_from_exact(&bytes).unwrap(), cid_v1_raw(b"x"));
    bytes.push(0);
    assert!(cid_from_exact(&bytes).is_err());
}

#[test]
fn codecs_keep_their_numbers_and_names() {
    for codec in Codec::ALL {
        assert_eq!(Codec::from_name(codec.name()), Some(codec));
        assert_eq!(Codec::from_code(codec.code()), Some(codec));
    }
    assert_eq!(Codec::from_code(0x78), None);
    assert_eq!(Codec::DagPb.name(), "dag-pb");
}
