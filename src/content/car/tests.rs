//! CARs: the published fixtures, round trips, and everything that a file can lie about.

use std::collections::BTreeSet;
use std::io::{self, Read};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::cid::{Block, Codec, Version, cid_v1_raw, sha2_256_cid};
use crate::ipld;
use crate::limits::{MAX_BLOCK_LEN_BYTES, MAX_CAR_HEADER_LEN_BYTES};

/// `fixtures.car` of <https://github.com/ipld/codec-fixtures> (MIT or Apache-2.0): every fixture in every
/// codec that has a form for it.
const FIXTURES: &[u8] = include_bytes!("tests/codec-fixtures.car");

type Contents = (Vec<Cid>, Vec<Block>);

fn read(car: &[u8]) -> Result<Contents, CarError> {
    let mut reader = CarReader::open(car)?;
    let mut blocks = Vec::new();
    while let Some(block) = reader.next_block()? {
        blocks.push(block);
    }
    assert!(matches!(reader.next_block(), Ok(None)), "the end stays the end");
    Ok((reader.roots().to_vec(), blocks))
}

fn write(roots: &[Cid], blocks: &[Block]) -> Vec<u8> {
    let mut out = header(roots).unwrap();
    for block in blocks {
        out.extend(section_head(&block.cid, block.data.len()));
        out.extend_from_slice(&block.data);
    }
    out
}

/// A CARv2 around a CARv1, with padding before it and an index behind it.
fn wrap(car: &[u8], padding: usize, index: &[u8]) -> Vec<u8> {
    let mut out = b"\x0a\xa1\x67version\x02".to_vec();
    out.extend([0; 16]);
    let data_offset = 51 + padding as u64;
    out.extend(data_offset.to_le_bytes());
    out.extend((car.len() as u64).to_le_bytes());
    out.extend((data_offset + car.len() as u64).to_le_bytes());
    out.extend(vec![0; padding]);
    out.extend_from_slice(car);
    out.extend_from_slice(index);
    out
}

fn sample() -> (Vec<Cid>, Vec<Block>, Vec<u8>) {
    let blocks: Vec<Block> =
        (0..5_u8).map(|n| Block::raw(Bytes::from(vec![n; 100 * usize::from(n)]))).collect();
    let roots = vec![blocks[0].cid, blocks[4].cid];
    let car = write(&roots, &blocks);
    (roots, blocks, car)
}

#[test]
fn the_published_codec_fixtures_come_out_as_they_are() {
    let (roots, blocks) = read(FIXTURES).unwrap();
    assert_eq!((roots.len(), blocks.len()), (0, 273));
    let all: BTreeSet<Cid> = blocks.iter().map(|block| block.cid).collect();
    let mut seen = [0; 4];
    for block in &blocks {
        let codec = Codec::of(&block.cid).unwrap();
        seen[Codec::ALL.iter().position(|known| *known == codec).unwrap()] += 1;
        let value = match ipld::decode(codec, &block.data) {
            // As in the Go implementation, an integer below all of 64 bits is refused in JSON.
            Err(error) => {
                assert_eq!(block.data, "-11959030306112471732", "{error}");
                continue;
            }
            Ok(value) => value,
        };
        assert_eq!(ipld::encode(codec, &value).unwrap(), &block.data[..], "{}", block.cid);
        // Every fixture has a form in these two, whatever it was read from.
        for other in [Codec::DagCbor, Codec::DagJson] {
            let other_form = ipld::encode(other, &value).unwrap();
            let cid = sha2_256_cid(Version::V1, other, &other_form);
            assert!(all.contains(&cid), "{} as {}", block.cid, other.name());
        }
    }
    assert_eq!(seen, [0, 17, 128, 128]);
    // Reading back what we write of it gives the same bytes.
    assert_eq!(write(&roots, &blocks), FIXTURES);
}

#[test]
fn both_versions_give_roots_and_blocks() {
    let (roots, blocks, car) = sample();
    assert_eq!(read(&car).unwrap(), (roots.clone(), blocks.clone()));
    for (padding, index) in [(0, &b""[..]), (0, b"an index"), (1413, b"an index")] {
        let v2 = wrap(&car, padding, index);
        assert_eq!(read(&v2).unwrap(), (roots.clone(), blocks.clone()));
        assert_eq!(CarReader::open(&v2[..]).unwrap().version(), CarVersion::Two);
    }
}

#[test]
fn a_car_that_is_cut_off_anywhere_but_between_blocks_is_refused() {
    let (_, blocks, car) = sample();
    let mut ends = vec![header(&read(&car).unwrap().0).unwrap().len()];
    for block in &blocks {
        let head = section_head(&block.cid, block.data.len()).len();
        ends.push(ends[ends.len() - 1] + head + block.data.len());
    }
    for cut in 0..car.len() {
        let result = read(&car[..cut]);
        assert_eq!(result.is_ok(), ends.contains(&cut), "cut at {cut}: {result:?}");
    }
    // A CARv2 says where its blocks end, so it has no such gaps.
    let v2 = wrap(&car, 7, b"");
    for cut in 0..v2.len() {
        assert!(read(&v2[..cut]).is_err(), "cut at {cut}");
    }
}

#[test]
fn a_wrong_block_is_named_with_its_place() {
    let (_, blocks, mut car) = sample();
    *car.last_mut().unwrap() ^= 1;
    let mut reader = CarReader::open(&car[..]).unwrap();
    for block in &blocks[..4] {
        assert_eq!(reader.next_block().unwrap().as_ref(), Some(block));
    }
    let error = reader.next_block().unwrap_err();
    let at = (car.len() - 400 - 38) as u64;
    assert!(matches!(error, CarError::Block { offset, .. } if offset == at), "{error:?}");
    assert!(matches!(reader.next_block(), Ok(None)), "nothing comes after an error");
}

#[test]
fn lying_lengths_are_refused_before_they_are_believed() {
    let start = header(&[]).unwrap();
    let with = |tail: &[u8]| [&start[..], tail].concat();
    let too_long = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x40];
    assert!(matches!(read(&with(&too_long)), Err(CarError::TooLong { what: "a block", .. })));
    let endless = [0xff; 20];
    assert!(matches!(read(&with(&endless)), Err(CarError::Length { .. })));
    assert!(matches!(read(&with(&[0x81, 0x00])), Err(CarError::Length { .. })), "not shortest");
    assert!(matches!(read(&with(&[0x00])), Err(CarError::Length { .. })), "not even a cid");
    assert!(matches!(read(&with(&[0x03, 1, 0x55, 0x12])), Err(CarError::Cid { .. })));
    let large = Block::raw(vec![0; MAX_BLOCK_LEN_BYTES + 1].into());
    assert!(matches!(read(&write(&[], &[large])), Err(CarError::Block { .. })));
    let largest = Block::raw(vec![0; MAX_BLOCK_LEN_BYTES].into());
    assert!(read(&write(&[], &[largest])).is_ok());

    let header_len = (MAX_CAR_HEADER_LEN_BYTES as u64 + 1).to_le_bytes();
    let mut long_header = Vec::new();
    crate::protobuf::put_varint(&mut long_header, u64::from_le_bytes(header_len));
    assert!(matches!(read(&long_header), Err(CarError::NotACar { .. })));
    assert!(header(&vec![cid_v1_raw(b"x"); 30_000]).is_err());
}

#[test]
fn a_carv2_that_contradicts_itself_is_refused() {
    let (_, _, car) = sample();
    let damage = |at: usize, value: u64| {
        let mut v2 = wrap(&car, 0, b"");
        v2[at..at + 8].copy_from_slice(&value.to_le_bytes());
        read(&v2).unwrap_err()
    };
    assert!(matches!(damage(27, 50), CarError::V2Header { .. }), "blocks before the header's end");
    assert!(matches!(damage(27, u64::MAX), CarError::V2Header { .. }), "beyond all bounds");
    assert!(matches!(damage(27, 1 << 60), CarError::Truncated { .. }), "far away");
    assert!(matches!(damage(35, 0), CarError::V2Header { .. }), "not finished");
    assert!(matches!(damage(35, 70), CarError::TooLong { .. }), "too short for the header");
    let one_short = damage(35, car.len() as u64 - 1);
    assert!(matches!(one_short, CarError::TooLong { what: "a block", .. }), "{one_short:?}");
    let nested = wrap(&wrap(&car, 0, b""), 0, b"");
    assert!(matches!(read(&nested), Err(CarError::NotACar { .. })));
}

#[test]
fn what_is_no_car_is_said_to_be_none() {
    let value = |json: &str| {
        let value = ipld::decode(Codec::DagJson, json.as_bytes()).unwrap();
        let body = ipld::encode(Codec::DagCbor, &value).unwrap();
        [&[body.len() as u8][..], &body].concat()
    };
    for bytes in [
        &b""[..],
        b"PK\x03\x04 a zip file, which is no car at all and goes on for a while like this",
        b"\x7fELF\x02\x01\x01 and so on, with more bytes than the first one says in any case......\
          ...................................................................................",
        &value("[]"),
        &value("{}"),
        &value(r#"{"version":1}"#),
        &value(r#"{"version":1,"roots":[1]}"#),
        &value(r#"{"version":1,"roots":[],"more":1}"#),
    ] {
        let error = read(bytes).unwrap_err();
        assert!(matches!(error, CarError::NotACar { .. }), "{error:?}");
    }
    let three = read(&value(r#"{"version":3,"roots":[]}"#)).unwrap_err();
    assert!(matches!(three, CarError::Version { version: 3 }));
    let odd_two = read(&value(r#"{"version":2,"roots":[]}"#)).unwrap_err();
    assert!(matches!(odd_two, CarError::V2Header { .. }));
}

/// Gives one byte at a time, then fails.
struct Failing<'a>(&'a [u8]);

impl Read for Failing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() {
            return Err(io::Error::other("the cable was pulled"));
        }
        (&mut self.0).take(1).read(buffer)
    }
}

#[test]
fn a_stream_that_fails_is_no_end() {
    let (_, _, car) = sample();
    for car in [car.clone(), wrap(&car, 3, b"an index")] {
        let mut reader = CarReader::open(Failing(&car)).unwrap();
        for _ in 0..5 {
            reader.next_block().unwrap().unwrap();
        }
        assert!(matches!(reader.next_block(), Err(CarError::Read { .. })));
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(sizes in prop::collection::vec(0_usize..3000, 0..20)) {
        let blocks: Vec<Block> = sizes
            .iter()
            .enumerate()
            .map(|(n, size)| Block::raw(vec![n as u8; *size].into()))
            .collect();
        let roots: Vec<Cid> = blocks.iter().take(3).map(|block| block.cid).collect();
        let car = write(&roots, &blocks);
        prop_assert_eq!(read(&wrap(&car, sizes.len(), b"i")).unwrap(), (roots.clone(), blocks.clone()));
        prop_assert_eq!(read(&car).unwrap(), (roots, blocks));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0_usize..500) {
        let _ = read(&bytes);
        let (_, _, mut car) = sample();
        let at = at % car.len();
        let len = bytes.len().min(car.len() - at);
        car[at..at + len].copy_from_slice(&bytes[..len]);
        let _ = read(&car);
        let _ = read(&wrap(&car, 0, &bytes));
    }
}
