//! Published encodings, round trips and refusals.

use proptest::prelude::*;

use super::*;
use crate::cid::cid_v1_raw;

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// The dag-pb cases of ipld/codec-fixtures that the UnixFS specification quotes.
const FIXTURES: [&str; 12] = [
    "",
    "0a00",
    "0a050001020304",
    "12240a2212207521fe19c374a97759226dc5c0c8e674e73950e81b211f7dd3b6b30883a08a51",
    "12340a2212208ab7a6c5e74737878ac73863cb76739d15d4666de44e5756bf55a2f9e9ab5f431209736f6d65206c69\
     6e6b1880c2d72f12370a2212208ab7a6c5e74737878ac73863cb76739d15d4666de44e5756bf55a2f9e9ab5f44120f\
     736f6d65206f74686572206c696e6b18080a09736f6d652064617461",
    "120b0a09015500050001020304",
    "12160a090155000500010203041209736f6d65206e616d65",
    "120d0a090155000500010203041200",
    "12140a0901550005000102030418ffffffffffffff0f",
    "120d0a090155000500010203041800",
    "120b0a09015500050001020304120e0a09015500050001020304120161120e0a09015500050001020304120161",
    "120e0a09015500050001020304120161120e0a09015500050001020304120161",
];

#[test]
fn published_nodes_survive_a_round_trip() {
    for hex in FIXTURES {
        let block = bytes(&hex.replace(' ', ""));
        let node = decode(&block).unwrap();
        assert_eq!(encode(&node.links, node.data), block, "{hex}");
    }
}

#[test]
fn links_are_sorted_by_name_and_equal_names_keep_their_order() {
    let link = |name: &'static str, content: &[u8]| PbLink {
        cid: cid_v1_raw(content),
        name: Some(name.as_bytes()),
        tsize: Some(1),
    };
    let block = encode(&[link("b", b"1"), link("a", b"2"), link("b", b"0")], None);
    let node = decode(&block).unwrap();
    assert_eq!(node.links, [link("a", b"2"), link("b", b"1"), link("b", b"0")]);
}

#[test]
fn data_may_come_first_but_links_stay_together() {
    let link = "120b0a09015500050001020304";
    let data_first = bytes(&format!("0a0101{link}{link}"));
    assert_eq!(decode(&data_first).unwrap().links.len(), 2);
    for interleaved in [format!("{link}0a0101{link}"), format!("{link}0a01010a0101")] {
        let error = decode(&bytes(&interleaved)).unwrap_err();
        assert!(matches!(error, DagPbError::UnexpectedField { message: "node", .. }), "{error}");
    }
}

#[test]
fn malformed_nodes_are_refused() {
    let cases = [
        ("1a00", "unknown field"),
        ("0801", "wrong type of data"),
        ("0a05", "cut off"),
        ("0a8000", "number not in shortest form"),
        ("0affffffffffffffffff7f", "length beyond any memory"),
        ("1200", "link without cid"),
        ("12050a03015500", "cid cut off"),
        ("120d0a0b015500050001020304ffff", "bytes after the cid"),
        ("120d12000a09015500050001020304", "name before cid"),
        ("120f0a0901550005000102030418001800", "repeated size"),
        ("120d0a090155000500010203042000", "unknown field in link"),
        ("0b", "group"),
    ];
    for (hex, why) in cases {
        assert!(decode(&bytes(hex)).is_err(), "{why}");
    }
}

#[test]
fn oversized_nodes_are_refused_before_they_are_parsed() {
    let block = vec![0xff; MAX_BLOCK_LEN_BYTES + 1];
    assert!(matches!(decode(&block), Err(DagPbError::TooLarge { .. })));
    let link = bytes("12060a0401550000");
    let wide = link.repeat(MAX_LINKS_PER_NODE + 1);
    assert!(matches!(decode(&wide), Err(DagPbError::TooManyLinks)));
}

#[test]
fn links_depend_on_the_codec() {
    let node = encode(&[PbLink { cid: cid_v1_raw(b"x"), name: None, tsize: None }], None);
    let dag_pb = crate::cid::sha2_256_cid(crate::cid::Version::V1, Codec::DagPb, &node);
    assert_eq!(links(&dag_pb, &node).unwrap(), [cid_v1_raw(b"x")]);
    assert_eq!(links(&cid_v1_raw(&node), &node).unwrap(), []);
    let cbor = Cid::new_v1(Codec::DagCbor.code(), *dag_pb.hash());
    assert!(matches!(links(&cbor, &node), Err(LinksError::Ipld { .. })));
    let git = Cid::new_v1(0x78, *dag_pb.hash());
    assert!(matches!(links(&git, &node), Err(LinksError::UnsupportedCodec { codec: 0x78, .. })));
}

proptest! {
    #[test]
    fn nodes_survive_a_round_trip(
        names in prop::collection::vec((prop::option::of(".{0,20}"), prop::option::of(any::<u64>())), 0..20),
        data in prop::option::of(prop::collection::vec(any::<u8>(), 0..200)),
    ) {
        let mut links: Vec<_> = names
            .iter()
            .map(|(name, tsize)| PbLink {
                cid: cid_v1_raw(name.as_deref().unwrap_or_default().as_bytes()),
                name: name.as_deref().map(str::as_bytes),
                tsize: *tsize,
            })
            .collect();
        links.sort_by_key(|link| link.name.unwrap_or_default());
        let block = encode(&links, data.as_deref());
        let node = decode(&block).unwrap();
        prop_assert_eq!(node.links, links);
        prop_assert_eq!(node.data, data.as_deref());
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(block in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(node) = decode(&block) {
            let again = encode(&node.links, node.data);
            prop_assert!(decode(&again).is_ok());
        }
    }

    #[test]
    fn cut_off_nodes_are_refused_or_shorter(cut in 0_usize..200) {
        let links: Vec<_> = (0..5_u8)
            .map(|n| PbLink { cid: cid_v1_raw(&[n]), name: Some(b"name"), tsize: Some(7) })
            .collect();
        let block = encode(&links, Some(b"data"));
        if let Ok(node) = decode(&block[..cut.min(block.len() - 1)]) {
            prop_assert!(node.links.len() < 5 || node.data.is_none());
        }
    }
}
