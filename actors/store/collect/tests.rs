//! What a collection marks.

use std::sync::Arc;

use ipfs_kit_content::cid::{Version, sha2_256_cid};
use ipfs_kit_content::ipld::{Ipld, encode};
use ipfs_kit_store::blocks::{BlockStoreOptions, VerifiedBlock};
use ipfs_kit_store::disk::SimDisk;

use super::*;

fn store() -> BlockStore {
    let disk = Arc::new(SimDisk::new(1));
    BlockStore::open(disk, "blocks", BlockStoreOptions::new([7; 16])).unwrap().0
}

fn put(blocks: &BlockStore, codec: Codec, bytes: &[u8]) -> Cid {
    let cid = sha2_256_cid(Version::V1, codec, bytes);
    let block = VerifiedBlock::verify(Key::from(&cid), bytes.to_vec().into()).unwrap();
    blocks.put_verified(&[block]).unwrap();
    cid
}

fn sweep(blocks: &BlockStore, roots: &[Cid]) -> Vec<bool> {
    let mut session = blocks.begin_gc().unwrap();
    let whole = roots.iter().map(|root| mark(blocks, &session, *root).unwrap()).collect();
    session.sweep(&mut |_| SweepControl::Continue).unwrap();
    whole
}

#[test]
fn what_a_dag_cbor_root_links_to_is_kept() {
    let blocks = store();
    let leaf = put(&blocks, Codec::Raw, b"leaf");
    let loose = put(&blocks, Codec::Raw, b"nobody links to it");
    let json = encode(Codec::DagJson, &Ipld::List(vec![Ipld::Link(leaf)])).unwrap();
    let json = put(&blocks, Codec::DagJson, &json);
    let value = Ipld::Map([("below".to_owned(), Ipld::Link(json))].into());
    let root = put(&blocks, Codec::DagCbor, &encode(Codec::DagCbor, &value).unwrap());
    assert_eq!(sweep(&blocks, &[root]), [true]);
    assert_eq!([root, json, leaf, loose].map(|cid| blocks.has(cid)), [true, true, true, false]);
}

#[test]
fn a_root_whose_links_cannot_be_read_does_not_stop_a_collection() {
    let blocks = store();
    let broken = put(&blocks, Codec::DagCbor, b"\xff no cbor");
    let foreign = put(&blocks, Codec::Raw, b"a git tree, say");
    let foreign = Cid::new_v1(0x78, *foreign.hash());
    let loose = put(&blocks, Codec::Raw, b"garbage");
    assert_eq!(sweep(&blocks, &[broken, foreign]), [true, true]);
    assert_eq!([broken, foreign, loose].map(|cid| blocks.has(cid)), [true, true, false]);
}
