//! Tests of the reader and writer.

use super::*;
use proptest::prelude::*;

fn reader(bytes: &[u8]) -> Reader {
    Reader::new(Bytes::copy_from_slice(bytes))
}

proptest! {
    #[test]
    fn every_number_survives_a_round_trip(value: u64) {
        let mut writer = Writer::default();
        writer.varint(value);
        let mut read = Reader::new(writer.finish());
        prop_assert_eq!(read.varint("n", u64::MAX), Ok(value));
        prop_assert_eq!(read.finish(), Ok(()));
    }

    #[test]
    fn a_number_has_one_encoding(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
        let mut read = reader(&bytes);
        if let Ok(value) = read.varint("n", u64::MAX) {
            let used = bytes.len() - read.remaining();
            let mut writer = Writer::default();
            writer.varint(value);
            prop_assert_eq!(&writer.finish()[..], &bytes[..used]);
        }
    }
}

#[test]
fn padded_and_overflowing_numbers_are_refused() {
    assert!(matches!(reader(&[0x80, 0x00]).varint("n", 9), Err(DecodeError::Invalid { .. })));
    assert!(matches!(reader(&[0xff; 11]).varint("n", 9), Err(DecodeError::Invalid { .. })));
    assert_eq!(reader(&[0x80]).varint("n", 9), Err(DecodeError::Truncated { field: "n" }));
}

#[test]
fn limits_are_checked_before_bytes_are_taken() {
    assert_eq!(
        reader(&[5, 1, 2, 3, 4, 5]).bytes("data", 4),
        Err(DecodeError::TooLarge { field: "data", value: 5, max: 4 })
    );
    assert_eq!(reader(&[5, 1]).bytes("data", 9), Err(DecodeError::Truncated { field: "data" }));
    assert_eq!(reader(&[2]).flag("flag"), Err(DecodeError::Unknown { field: "flag", value: 2 }));
    assert_eq!(reader(&[0]).finish(), Err(DecodeError::Trailing { len_bytes: 1 }));
}
