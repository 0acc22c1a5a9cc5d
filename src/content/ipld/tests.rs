//! Blocks and values: the negative vectors of `ipld/codec-fixtures`, bounds, paths. The positive vectors
//! come as a CAR and are read in its tests.

use proptest::prelude::*;

use super::*;
use crate::cid::{IDENTITY, Version, cid_v1_raw, sha2_256_cid};
use crate::dag_pb::links as block_links;
use crate::limits::MAX_LINKS_PER_NODE;

fn hex(text: &str) -> Vec<u8> {
    let digits = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digits).collect()
}

#[test]
fn a_key_that_stands_twice_is_refused() {
    let cbor = hex("a3636261720363666f6f0163666f6f02");
    let json = hex("7b22666f6f223a312c22666f6f223a322c22626172223a337d");
    for (codec, block) in [(Codec::DagCbor, &cbor), (Codec::DagJson, &json)] {
        assert!(matches!(decode(codec, block), Err(IpldError::Decode { .. })), "{codec:?}");
        assert!(matches!(links(codec, block), Err(IpldError::Decode { .. })), "{codec:?}");
    }
    let nested = br#"{"a":[{"b":{"c":1,"c":2}}]}"#;
    assert!(decode(Codec::DagJson, nested).unwrap_err().to_string().contains("\"c\""));
}

#[test]
fn an_integer_that_json_would_make_a_float_of_is_refused() {
    for json in
        ["18446744073709551616", "[-9223372036854775809]", r#"{"a\\\"":[1,99999999999999999999]}"#]
    {
        let error = decode(Codec::DagJson, json.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("more than 64 bits"), "{json}: {error}");
    }
    for json in [
        "18446744073709551615",
        "-9223372036854775808",
        "1e300",
        "0.5",
        r#""\"99999999999999999999""#,
    ] {
        assert!(decode(Codec::DagJson, json.as_bytes()).is_ok(), "{json}");
    }
}

#[test]
fn cbor_that_is_not_canonical_is_refused() {
    let cases = [
        ("a2616201616102", "keys out of order"),
        ("1800", "a number that is not shortest"),
        ("9f01ff", "a list without length"),
        ("c100", "another tag than 42"),
        ("f7", "undefined"),
        ("fa3f800000", "a short float"),
        ("fb7ff8000000000000", "not a number"),
        ("0000", "something behind the value"),
        ("8201", "a list that is cut off"),
        ("a10101", "a key that is no string"),
        ("", "nothing"),
        ("d82a4101", "a link without its zero byte"),
        ("d82a450001550000ff", "something behind a link"),
    ];
    for (block, what) in cases {
        let block = hex(block);
        assert!(links(Codec::DagCbor, &block).is_err(), "links: {what}");
        assert!(decode(Codec::DagCbor, &block).is_err(), "decode: {what}");
    }
}

#[test]
fn links_are_found_wherever_they_stand() {
    let (a, b) = (cid_v1_raw(b"a"), cid_v1_raw(b"b"));
    let inside =
        Cid::new_v1(Codec::Raw.code(), multihash::Multihash::wrap(IDENTITY, b"x").unwrap());
    let value = Ipld::List(vec![
        Ipld::Link(a),
        Ipld::Map([("k".to_owned(), Ipld::List(vec![Ipld::Link(b), Ipld::Link(a)]))].into()),
        Ipld::Bytes(b.to_bytes()),
        Ipld::Link(inside),
    ]);
    for codec in [Codec::DagCbor, Codec::DagJson] {
        let block = encode(codec, &value).unwrap();
        let cid = sha2_256_cid(Version::V1, codec, &block);
        assert_eq!(block_links(&cid, &block).unwrap(), [a, b, a, inside]);
        assert_eq!(decode(codec, &block).unwrap(), value);
    }
}

#[test]
fn depth_size_links_and_values_are_bounded() {
    let deep = |depth: usize| [vec![0x81; depth], vec![0x00]].concat();
    assert!(decode(Codec::DagCbor, &deep(100)).is_ok());
    assert!(links(Codec::DagCbor, &deep(1_000_000)).is_err());
    let json = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(links(Codec::DagJson, json.as_bytes()).is_err());

    let long = vec![0; MAX_BLOCK_LEN_BYTES + 1];
    for codec in Codec::ALL {
        assert!(decode(codec, &long).is_err(), "{codec:?}");
    }
    // A length that lies about what follows.
    assert!(links(Codec::DagCbor, &hex("9bffffffffffffffff")).is_err());
    assert!(decode(Codec::DagCbor, &hex("5bffffffffffffffff00")).is_err());

    let numbers = Ipld::List(vec![Ipld::Integer(0); MAX_IPLD_VALUES]);
    let block = encode(Codec::DagCbor, &numbers).unwrap();
    assert!(matches!(decode(Codec::DagCbor, &block), Err(IpldError::TooManyValues { .. })));
    assert_eq!(links(Codec::DagCbor, &block).unwrap(), []);

    let small = Cid::new_v1(Codec::Raw.code(), multihash::Multihash::wrap(IDENTITY, &[]).unwrap());
    let many = Ipld::List(vec![Ipld::Link(small); MAX_LINKS_PER_NODE + 1]);
    let block = encode(Codec::DagCbor, &many).unwrap();
    let error = links(Codec::DagCbor, &block).unwrap_err().to_string();
    assert!(error.contains("more than 65536 links"), "{error}");
}

#[test]
fn in_dag_json_a_slash_is_only_for_links_and_bytes() {
    let map = |key: &str| Ipld::Map([(key.to_owned(), Ipld::List(vec![]))].into());
    for text in [r#"{"/":[]}"#, r#"{"a":-2,"/":[]}"#, r#"[{"!":1,"/":"x"}]"#] {
        let refused = decode(Codec::DagJson, text.as_bytes());
        assert!(matches!(refused, Err(IpldError::Decode { .. })), "{text}: {refused:?}");
    }
    let refused = encode(Codec::DagJson, &Ipld::List(vec![map("/")]));
    assert!(refused.unwrap_err().to_string().contains("only for links and bytes"));
    assert!(encode(Codec::DagJson, &map("//")).is_ok());
    // dag-cbor marks them otherwise.
    let block = encode(Codec::DagCbor, &map("/")).unwrap();
    assert_eq!(decode(Codec::DagCbor, &block).unwrap(), map("/"));
}

#[test]
fn values_without_a_form_are_refused() {
    let map = |key: &str, value| Ipld::Map([(key.to_owned(), value)].into());
    for value in [
        Ipld::Null,
        map("Links", Ipld::Null),
        map("Other", Ipld::List(vec![])),
        map("Links", Ipld::List(vec![map("Name", Ipld::String("x".into()))])),
    ] {
        assert!(matches!(encode(Codec::DagPb, &value), Err(IpldError::Encode { .. })));
    }
    assert!(matches!(encode(Codec::Raw, &Ipld::Null), Err(IpldError::Encode { .. })));
    assert!(encode(Codec::DagCbor, &Ipld::Float(f64::NAN)).is_err());
    let large = Ipld::Bytes(vec![0; MAX_BLOCK_LEN_BYTES]);
    assert!(matches!(encode(Codec::DagCbor, &large), Err(IpldError::TooLarge { .. })));
}

#[test]
fn paths_lead_through_maps_and_lists_up_to_links() {
    let cid = cid_v1_raw(b"x");
    let value =
        decode(Codec::DagJson, format!(r#"{{"a":[1,{{"b":{{"/":"{cid}"}}}}]}}"#).as_bytes())
            .unwrap();
    let names = |path: &str| path.split('/').map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(follow(&value, &[]), Found::Value(&value));
    assert_eq!(follow(&value, &names("a/0")), Found::Value(&Ipld::Integer(1)));
    assert_eq!(follow(&value, &names("a/1/b")), Found::Value(&Ipld::Link(cid)));
    assert_eq!(follow(&value, &names("a/1/b/c/d")), Found::Link { cid, followed: 3 });
    assert_eq!(follow(&value, &names("a/2")), Found::Nothing { followed: 2 });
    assert_eq!(follow(&value, &names("a/0/x")), Found::Nothing { followed: 3 });
    assert_eq!(follow(&value, &names("z/y")), Found::Nothing { followed: 1 });
}

fn any_value() -> impl Strategy<Value = Ipld> {
    let leaf = prop_oneof![
        Just(Ipld::Null),
        any::<bool>().prop_map(Ipld::Bool),
        any::<i64>().prop_map(|n| Ipld::Integer(n.into())),
        any::<i32>().prop_map(|n| Ipld::Float(f64::from(n) + 0.5)),
        ".{0,12}".prop_map(Ipld::String),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Ipld::Bytes),
        any::<u8>().prop_map(|n| Ipld::Link(cid_v1_raw(&[n]))),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Ipld::List),
            // A lone "/" is how dag-json marks links and bytes; it has no form for such a map.
            prop::collection::btree_map("[^/]{0,8}", inner, 0..6).prop_map(Ipld::Map),
        ]
    })
}

proptest! {
    #[test]
    fn values_survive_a_round_trip(value in any_value()) {
        for codec in [Codec::DagCbor, Codec::DagJson] {
            let block = encode(codec, &value).unwrap();
            prop_assert_eq!(&decode(codec, &block).unwrap(), &value);
            let expected: Vec<Cid> = value.iter().filter_map(|v| match v {
                Ipld::Link(cid) => Some(*cid),
                _ => None,
            }).collect();
            let mut found = links(codec, &block).unwrap();
            found.sort();
            let mut expected = expected;
            expected.sort();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for codec in Codec::ALL {
            if let Ok(value) = decode(codec, &bytes) {
                prop_assert!(encode(codec, &value).is_ok());
            }
        }
    }
}
