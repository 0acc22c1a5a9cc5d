//! Formats of content: what a file, a CAR or another node may hold.

use bytes::Bytes;
use cid::Cid;
use ipfs_kit_content::car::{self, CarReader};
use ipfs_kit_content::cid::{Codec, Version, cid_v1_raw, identity_data, sha2_256_cid, verify};
use ipfs_kit_content::dag_pb::{self as pb, PbLink};
use ipfs_kit_content::ipld::{self, Ipld};
use ipfs_kit_content::read::{self, BlockSource, SourceError};
use ipfs_kit_content::unixfs::{Data, DataType};
use ipfs_kit_content::walk::{DagWalk, LeafMemory};

/// Most items that are taken of an endless stream.
const ITEMS_MAX: usize = 2_000;

fn leaf() -> Cid {
    cid_v1_raw(b"leaf")
}

pub fn car(bytes: &[u8]) {
    let Ok(mut reader) = CarReader::open(bytes) else { return };
    let roots = reader.roots().to_vec();
    let mut blocks = Vec::new();
    while let Ok(Some(block)) = reader.next_block() {
        verify(&block.cid, &block.data).expect("a block that is handed out is what its CID says");
        blocks.push(block);
    }
    let Ok(mut written) = car::header(&roots) else { return };
    for block in &blocks {
        written.extend(car::section_head(&block.cid, block.data.len()));
        written.extend_from_slice(&block.data);
    }
    let mut again = CarReader::open(&written[..]).expect("what was written is read");
    assert_eq!(again.roots(), roots);
    for block in &blocks {
        let read = again.next_block().expect("it is whole").expect("it is there");
        assert_eq!((read.cid, &read.data), (block.cid, &block.data));
    }
    assert!(again.next_block().expect("it ends").is_none());
}

pub fn car_seeds() -> Vec<Vec<u8>> {
    let mut one = car::header(&[leaf()]).expect("one root fits");
    one.extend(car::section_head(&leaf(), 4));
    one.extend_from_slice(b"leaf");
    // CARv2: pragma, characteristics, offsets, the inner CAR, no index.
    let mut two = vec![0x0a, 0xa1, 0x67];
    two.extend_from_slice(b"version\x02");
    two.extend_from_slice(&[0; 16]);
    for number in [51, one.len() as u64, 0] {
        two.extend_from_slice(&number.to_le_bytes());
    }
    two.extend_from_slice(&one);
    vec![one, two, car::header(&[]).unwrap_or_default()]
}

pub fn cid(bytes: &[u8]) {
    use ipfs_kit_core::id;
    if let Ok(cid) = id::Cid::from_bytes(bytes) {
        let text = cid.to_string();
        let again: id::Cid = text.parse().expect("what is shown is read");
        assert_eq!(again, cid, "{text}");
        let cid = cid.to_cid();
        let _ = (identity_data(&cid), verify(&cid, bytes), Codec::of(&cid));
    }
    if let Ok(text) = str::from_utf8(bytes) {
        if let Ok(cid) = text.parse::<id::Cid>() {
            assert_eq!(id::Cid::from_bytes(cid.as_bytes()).as_ref(), Ok(&cid));
        }
        // A path below something.
        let _ = read::resolve(&Echo(Bytes::new()), leaf(), text);
    }
}

pub fn cid_seeds() -> Vec<Vec<u8>> {
    let pb = sha2_256_cid(Version::V0, Codec::DagPb, b"x");
    let cids = [leaf(), pb, sha2_256_cid(Version::V1, Codec::DagCbor, b"x")];
    let texts = cids.iter().map(|cid| cid.to_string().into_bytes());
    let paths = [b"a/b/../c".to_vec(), b"//a//".to_vec()];
    cids.iter().map(Cid::to_bytes).chain(texts).chain(paths).collect()
}

pub fn dag_pb(bytes: &[u8]) {
    let Ok(node) = pb::decode(bytes) else { return };
    let encoded = pb::encode(&node.links, node.data);
    let again = pb::decode(&encoded).expect("what was encoded is decoded");
    assert_eq!(again.data, node.data);
    assert_eq!(again.links.len(), node.links.len());
    let _ = pb::links(&sha2_256_cid(Version::V1, Codec::DagPb, bytes), bytes);
}

fn pb_node(names: &[&'static str], data: Option<&[u8]>) -> Vec<u8> {
    let link =
        |name: &&'static str| PbLink { cid: leaf(), name: Some(name.as_bytes()), tsize: Some(4) };
    pb::encode(&names.iter().map(link).collect::<Vec<_>>(), data)
}

pub fn dag_pb_seeds() -> Vec<Vec<u8>> {
    vec![
        pb_node(&[], None),
        pb_node(&["a", "b"], Some(&[8, 1])),
        pb_node(&["", "", ""], Some(b"data")),
    ]
}

pub fn unixfs(bytes: &[u8]) {
    let Ok(message) = Data::decode(bytes) else { return };
    let encoded = message.encode();
    assert_eq!(encoded.len(), message.encoded_len());
    let again = Data::decode(&encoded).expect("what was encoded is decoded");
    assert_eq!(again, message);
}

fn messages() -> Vec<Data<'static>> {
    let shard = Data {
        data: Some(&[0xff]),
        hash_type: Some(0x22),
        fanout: Some(256),
        ..Data::new(DataType::HamtShard)
    };
    vec![
        Data::new(DataType::Directory),
        Data::leaf(DataType::File, b"content"),
        Data { data: Some(b"../target"), ..Data::new(DataType::Symlink) },
        Data { filesize: Some(8), blocksizes: vec![4, 4], ..Data::new(DataType::File) },
        shard,
    ]
}

pub fn unixfs_seeds() -> Vec<Vec<u8>> {
    messages().iter().map(Data::encode).collect()
}

/// A source that answers every question with the same bytes: a DAG without end, if they have links.
struct Echo(Bytes);

impl BlockSource for Echo {
    fn get(&self, _: &Cid) -> Result<Option<Bytes>, SourceError> {
        Ok(Some(self.0.clone()))
    }
}

/// Reads a node as file, directory, path and DAG, whatever it is.
pub fn tree(bytes: &[u8]) {
    let source = Echo(Bytes::copy_from_slice(bytes));
    let root = sha2_256_cid(Version::V1, Codec::DagPb, bytes);
    for piece in read::file(&source, root, 0..u64::MAX).take(ITEMS_MAX) {
        if piece.is_err() {
            break;
        }
    }
    let _ = read::file(&source, root, 3..5).take(ITEMS_MAX).count();
    for entry in read::directory(&source, root).take(ITEMS_MAX) {
        if entry.is_err() {
            break;
        }
    }
    let _ = (read::stat(&source, root), read::resolve(&source, root, "a/b/c"));
    let Ok(mut walk) = DagWalk::new([root], LeafMemory::First(16)) else { return };
    for _ in 0..ITEMS_MAX {
        let Some(cid) = walk.next(1).first().copied() else { break };
        if walk.visited(&cid, Some(bytes)).is_err() {
            break;
        }
    }
}

pub fn tree_seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![pb_node(&["a", "b", "c"], Some(&Data::new(DataType::Directory).encode()))];
    for message in messages() {
        seeds.push(pb_node(&["", ""], Some(&message.encode())));
        seeds.push(pb_node(&["00a", "01b", "FF"], Some(&message.encode())));
        seeds.push(pb_node(&[], Some(&message.encode())));
    }
    seeds
}

fn ipld_target(codec: Codec, bytes: &[u8]) {
    let Ok(value) = ipld::decode(codec, bytes) else { return };
    let Ok(encoded) = ipld::encode(codec, &value) else { return };
    if codec == Codec::DagCbor {
        assert_eq!(encoded, bytes, "a value has two encodings");
    }
    let again = ipld::decode(codec, &encoded).expect("what was encoded is decoded");
    // Not the values: no number is equal to itself if it is none.
    assert_eq!(ipld::encode(codec, &again).expect("as before"), encoded);
}

pub fn dag_cbor(bytes: &[u8]) {
    ipld_target(Codec::DagCbor, bytes);
}

pub fn dag_json(bytes: &[u8]) {
    ipld_target(Codec::DagJson, bytes);
}

fn values() -> Vec<Ipld> {
    let map = [
        ("a".to_owned(), Ipld::Integer(-5)),
        ("bytes".to_owned(), Ipld::Bytes(vec![1, 2, 3])),
        ("link".to_owned(), Ipld::Link(leaf())),
        ("list".to_owned(), Ipld::List(vec![Ipld::Null, Ipld::Bool(true), Ipld::Float(1.5)])),
    ];
    vec![Ipld::Map(map.into()), Ipld::String("text".into()), Ipld::List(Vec::new()), Ipld::Null]
}

fn ipld_seeds(codec: Codec) -> Vec<Vec<u8>> {
    values().iter().filter_map(|value| ipld::encode(codec, value).ok()).collect()
}

pub fn dag_cbor_seeds() -> Vec<Vec<u8>> {
    ipld_seeds(Codec::DagCbor)
}

pub fn dag_json_seeds() -> Vec<Vec<u8>> {
    let mut seeds = ipld_seeds(Codec::DagJson);
    seeds.push(br#"{"/":{"bytes":"AQID"}}"#.to_vec());
    seeds.push(b"[1e5, -0, 18446744073709551615, \"\\u0041\"]".to_vec());
    seeds
}
