//! Names and ranges.

use super::*;

#[test]
fn names_are_those_of_the_specification() {
    assert_eq!(Profile::default().to_string(), "unixfs-v1-2025");
    for profile in Profile::ALL {
        assert_eq!(profile.name().parse(), Ok(profile));
        assert_eq!(profile.params().validate(), Ok(()));
    }
    let error = "unixfs-v2".parse::<Profile>().unwrap_err();
    assert!(error.to_string().contains("unixfs-v2"));
}

#[test]
fn parameters_out_of_range_are_named() {
    let ok = ImportParams::default();
    let cases = [
        ImportParams { chunk_len_bytes: MAX_BLOCK_LEN_BYTES, ..ok },
        ImportParams { max_links_per_node: 1, ..ok },
        ImportParams { directory_limit_bytes: MAX_BLOCK_LEN_BYTES, ..ok },
        ImportParams { hamt_fanout: 300, ..ok },
        ImportParams { hamt_fanout: 2048, ..ok },
    ];
    let names = cases.map(|params| params.validate().unwrap_err().name);
    let fanout = "hamt_fanout";
    let expected =
        ["chunk_len_bytes", "max_links_per_node", "directory_limit_bytes", fanout, fanout];
    assert_eq!(names, expected);
}

#[test]
fn a_chunker_is_a_size_that_a_block_can_hold() {
    assert_eq!("size-262144".parse(), Ok(Chunker { chunk_len_bytes: 262_144 }));
    assert_eq!("size-2096896".parse(), Ok(Chunker { chunk_len_bytes: 2_096_896 }));
    for wrong in ["", "size-", "size-0", "size-2096897", "size--1", "size-1k", "rabin", "262144"] {
        let error = wrong.parse::<Chunker>().unwrap_err();
        assert!(error.to_string().contains("size-BYTES, with 1 to 2096896 bytes"), "{error}");
    }
}
