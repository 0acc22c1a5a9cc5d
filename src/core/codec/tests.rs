//! Decoding is exact: wrong kinds, newer versions, cut, long and oversized input are all refused.

use super::*;

#[test]
fn a_sealed_value_opens_only_as_what_it_is() {
    let bytes = seal(Kind::Record, &(7u64, "seven".to_owned()));
    let back: (u64, String) = open(Kind::Record, &bytes, 100).unwrap();
    assert_eq!(back, (7, "seven".to_owned()));
    assert!(matches!(
        open::<(u64, String)>(Kind::Entry, &bytes, 100),
        Err(Error::WrongKind { .. })
    ));
    assert!(matches!(open::<(u64, String)>(Kind::Record, &bytes, 3), Err(Error::TooLarge { .. })));
    assert!(open::<(u64, String)>(Kind::Record, &bytes[..bytes.len() - 1], 100).is_err());
    let mut long = bytes.clone();
    long.push(0);
    assert!(open::<(u64, String)>(Kind::Record, &long, 100).is_err());
}

#[test]
fn a_newer_version_is_named_as_such_and_one_too_old_likewise() {
    let mut bytes = seal(Kind::Record, &1u8);
    bytes[1] = VERSION + 1;
    assert!(matches!(open::<u8>(Kind::Record, &bytes, 100), Err(Error::NewerVersion { .. })));
    bytes[1] = OLDEST - 1;
    assert!(matches!(open::<u8>(Kind::Record, &bytes, 100), Err(Error::OlderVersion { .. })));
}

#[test]
fn the_encoding_of_version_two_never_changes() {
    assert_eq!(hex::encode(seal(Kind::Record, &(300u64, "ab", Some(1u8)))), "0802fb2c010261620101");
}

#[test]
fn a_lying_length_does_not_allocate() {
    // A vector that claims 2^60 elements.
    let mut bytes = vec![Kind::Record as u8, VERSION, 253];
    bytes.extend_from_slice(&(1u64 << 60).to_le_bytes());
    assert!(open::<Vec<u64>>(Kind::Record, &bytes, 100).is_err());
}

#[test]
fn the_length_is_known_without_encoding() {
    let value = (300u64, "ab".repeat(200), Some(vec![1u8; 70_000]));
    assert_eq!(sealed_len(&value), seal(Kind::Record, &value).len());
}
