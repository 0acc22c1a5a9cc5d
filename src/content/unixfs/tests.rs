//! Encodings as other writers make them, round trips and refusals.

use proptest::prelude::*;

use super::*;

#[test]
fn messages_have_the_bytes_of_other_writers() {
    assert_eq!(Data::new(DataType::Directory).encode(), [0x08, 0x01]);
    assert_eq!(Data::leaf(DataType::File, b"").encode(), [0x08, 0x02, 0x18, 0x00]);
    let symlink = Data { data: Some(b"foo"), ..Data::new(DataType::Symlink) };
    assert_eq!(symlink.encode_node(), b"\x0a\x07\x08\x04\x12\x03foo");
}

#[test]
fn packed_block_sizes_are_read_too() {
    let packed = Data::decode(&[0x08, 0x02, 0x22, 0x03, 0x01, 0x80, 0x01]).unwrap();
    assert_eq!(packed.blocksizes, [1, 128]);
}

#[test]
fn unknown_fields_are_skipped() {
    let message = [0x08, 0x01, 0x50, 0x07, 0x5a, 0x01, 0x00];
    assert_eq!(Data::decode(&message).unwrap(), Data::new(DataType::Directory));
}

#[test]
fn malformed_messages_are_refused() {
    assert!(matches!(Data::decode(b""), Err(UnixfsError::NoType)));
    assert!(matches!(Data::decode(&[0x08, 6]), Err(UnixfsError::UnknownType { code: 6 })));
    let cases: [&[u8]; 6] = [
        &[0x0a, 0x00],                                                       // type as bytes
        &[0x08, 0x02, 0x12, 0x05, 0x00],                                     // content cut off
        &[0x08, 0x02, 0x22, 0x01, 0x80],                                     // packed list cut off
        &[0x08, 0x02, 0x38, 0x80, 0x80, 0x80, 0x80, 0x10],                   // mode beyond 32 bits
        &[0x08, 0x02, 0x42, 0x00],                                           // time without seconds
        &[0x08, 0x02, 0x42, 0x07, 0x08, 0x00, 0x15, 0x00, 0xca, 0x9a, 0x3b], // a whole second
    ];
    for message in cases {
        assert!(Data::decode(message).is_err(), "{message:02x?}");
    }
}

fn any_mtime() -> impl Strategy<Value = Mtime> {
    (any::<i64>(), prop::option::of(1_u32..1_000_000_000))
        .prop_map(|(seconds, nanoseconds)| Mtime { seconds, nanoseconds })
}

proptest! {
    #[test]
    fn messages_survive_a_round_trip(
        type_code in 0_u64..6,
        content in prop::option::of(prop::collection::vec(any::<u8>(), 0..100)),
        filesize in prop::option::of(any::<u64>()),
        blocksizes in prop::collection::vec(any::<u64>(), 0..20),
        hash_type in prop::option::of(any::<u64>()),
        fanout in prop::option::of(any::<u64>()),
        mode in prop::option::of(any::<u32>()),
        mtime in prop::option::of(any_mtime()),
    ) {
        let data = content.as_deref();
        let data_type = DataType::from_code(type_code).unwrap();
        let message = Data { data_type, data, filesize, blocksizes, hash_type, fanout, mode, mtime };
        let encoded = message.encode();
        prop_assert_eq!(encoded.len(), message.encoded_len());
        prop_assert_eq!(Data::decode(&encoded).unwrap(), message);
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(message in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(data) = Data::decode(&message) {
            let encoded = data.encode();
            prop_assert_eq!(Data::decode(&encoded).unwrap(), data);
        }
    }
}
