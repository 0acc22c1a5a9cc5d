//! Walks over imported DAGs: everything once, in order, with little memory.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::cid::{IDENTITY, Version, cid_v1_raw, sha2_256_cid};
use crate::dag_pb::{PbLink, encode};
use crate::import::tests::MemoryStore;
use crate::import::{Hashing, TreeBuilder};
use crate::profile::ImportParams;

fn sample() -> (MemoryStore, Cid) {
    let store = MemoryStore::default();
    let params =
        ImportParams { chunk_len_bytes: 8, max_links_per_node: 3, ..ImportParams::default() };
    let mut tree = TreeBuilder::new(params, Hashing::Inline, &store).unwrap();
    for index in 0..50_u8 {
        let content: Vec<u8> = (0..index).collect();
        tree.add_file(format!("d{}/{index:02}", index / 10).as_bytes(), content.as_slice())
            .unwrap();
    }
    let root = tree.finish().unwrap().cid;
    (store, root)
}

/// Walks to the end, answering `batch` blocks at a time; gives the order.
fn walk_all(store: &MemoryStore, walk: &mut DagWalk, batch: usize) -> Vec<Cid> {
    let mut order = Vec::new();
    while !walk.is_done() {
        let named = walk.next(batch);
        assert!(!named.is_empty() || walk.is_done(), "a walk that is not done names something");
        for cid in named {
            order.push(cid);
            match store.blocks.borrow().get(&cid) {
                Some(block) => walk.visited(&cid, Some(block)).unwrap(),
                None => walk.missing(&cid).unwrap(),
            }
        }
    }
    order
}

#[test]
fn every_block_is_named_once_and_parents_come_first() {
    let (store, root) = sample();
    for batch in [1, 7, usize::MAX] {
        let mut walk = DagWalk::new([root], LeafMemory::All).unwrap();
        let order = walk_all(&store, &mut walk, batch);
        let distinct: BTreeSet<_> = order.iter().copied().collect();
        assert_eq!(distinct.len(), order.len());
        assert_eq!(distinct.into_iter().collect::<Vec<_>>(), store.cids());
        assert_eq!(order[0], root);
        assert!(walk.is_complete());
        let totals = walk.totals();
        assert_eq!(totals.nodes + totals.leaves, order.len() as u64);
        let bytes: usize = store.blocks.borrow().values().map(bytes::Bytes::len).sum();
        assert_eq!(totals.bytes, bytes as u64);
    }
}

#[test]
fn links_of_every_codec_are_followed() {
    use crate::ipld::{Ipld, encode as encode_value};
    let (store, tree) = sample();
    let below = store.cids().len();
    let put = |codec, value: &Ipld| {
        let block = encode_value(codec, value).unwrap();
        let cid = sha2_256_cid(Version::V1, codec, &block);
        store.blocks.borrow_mut().insert(cid, block.into());
        cid
    };
    let json = put(Codec::DagJson, &Ipld::List(vec![Ipld::Link(tree), Ipld::Null]));
    let value = Ipld::Map([("a".to_owned(), Ipld::List(vec![Ipld::Link(json)]))].into());
    let cbor = put(Codec::DagCbor, &value);
    let mut walk = DagWalk::new([cbor], LeafMemory::All).unwrap();
    let order = walk_all(&store, &mut walk, 7);
    assert_eq!(order[..3], [cbor, json, tree]);
    assert_eq!(order.len(), below + 2);
    assert!(walk.is_complete());
}

#[test]
fn what_comes_next_can_be_seen_before_it_is_named() {
    let (store, root) = sample();
    let mut walk = DagWalk::new([root], LeafMemory::All).unwrap();
    assert_eq!(walk.peek(5), [root]);
    walk.next(1);
    let block = store.blocks.borrow()[&root].clone();
    walk.visited(&root, Some(&block)).unwrap();
    let ahead = walk.peek(3);
    assert_eq!(ahead, links(&root, &block).unwrap()[..3]);
    assert_eq!((walk.peek(3), walk.next(3)), (ahead.clone(), ahead));
}

#[test]
fn one_at_a_time_is_depth_first_in_link_order() {
    let (store, root) = sample();
    let mut walk = DagWalk::new([root], LeafMemory::All).unwrap();
    let order = walk_all(&store, &mut walk, 1);
    let mut expected = Vec::new();
    let mut stack = vec![root];
    while let Some(cid) = stack.pop() {
        if !expected.contains(&cid) {
            expected.push(cid);
            let children = links(&cid, &store.blocks.borrow()[&cid]).unwrap();
            stack.extend(children.into_iter().rev());
        }
    }
    assert_eq!(order, expected);
}

#[test]
fn missing_blocks_are_counted_and_the_rest_is_walked() {
    let (store, root) = sample();
    let victim = store.cids().into_iter().find(|cid| Codec::of(cid) == Some(Codec::Raw)).unwrap();
    let all = store.cids().len();
    store.blocks.borrow_mut().remove(&victim);
    let mut walk = DagWalk::new([root], LeafMemory::All).unwrap();
    assert_eq!(walk_all(&store, &mut walk, 5).len(), all);
    assert!(walk.is_done() && !walk.is_complete());
    assert_eq!((walk.missing_cids(), walk.totals().missing), ([victim].as_slice(), 1));
}

#[test]
fn skipped_parts_are_not_entered() {
    let (_, root) = sample();
    let mut walk = DagWalk::new([root, root], LeafMemory::All).unwrap();
    assert_eq!(walk.next(10), [root]);
    walk.skip(&root).unwrap();
    assert!(walk.next(10).is_empty() && walk.is_complete());
    assert_eq!(walk.totals().skipped, 1);
}

#[test]
fn roots_added_later_share_what_was_seen() {
    let (store, root) = sample();
    let mut walk = DagWalk::new([root], LeafMemory::All).unwrap();
    walk_all(&store, &mut walk, 3);
    let other = store.put_node(encode(&[PbLink { cid: root, name: None, tsize: None }], None));
    walk.add_root(other).unwrap();
    walk.add_root(root).unwrap();
    assert!(!walk.is_done());
    assert_eq!(walk_all(&store, &mut walk, 3), [other]);
    assert!(walk.is_complete());
}

#[test]
fn wrong_answers_leave_the_walk_unharmed() {
    let (store, root) = sample();
    let mut walk = DagWalk::new([root], LeafMemory::All).unwrap();
    assert!(matches!(walk.visited(&root, None), Err(WalkError::NotRequested { .. })));
    walk.next(1);
    assert!(matches!(walk.visited(&root, None), Err(WalkError::BytesNeeded { .. })));
    assert!(matches!(walk.visited(&root, Some(b"\xff")), Err(WalkError::Links { .. })));
    assert_eq!(walk.outstanding().collect::<Vec<_>>(), [&root]);
    let block = store.blocks.borrow()[&root].clone();
    walk.visited(&root, Some(&block)).unwrap();
    assert!(matches!(walk.missing(&root), Err(WalkError::NotRequested { .. })));
}

#[test]
fn raw_leaves_need_no_bytes() {
    let leaf = cid_v1_raw(b"x");
    let mut walk = DagWalk::new([leaf], LeafMemory::All).unwrap();
    assert_eq!(walk.next(1), [leaf]);
    walk.visited(&leaf, None).unwrap();
    assert!(walk.is_complete());
    assert_eq!((walk.totals().leaves, walk.totals().bytes), (1, 0));
}

#[test]
fn past_its_memory_a_walk_may_repeat_leaves_but_never_nodes() {
    let leaf = |n: u8| PbLink { cid: cid_v1_raw(&[n]), name: None, tsize: None };
    let store = MemoryStore::default();
    let (a, b) = (leaf(1), leaf(2));
    let root = store.put_node(encode(&[a, b, a, b], None));
    for n in [1, 2] {
        store.put_raw(&[n]);
    }
    let count = |memory| {
        let mut walk = DagWalk::new([root, root], memory).unwrap();
        walk_all(&store, &mut walk, 1).len()
    };
    assert_eq!(count(LeafMemory::All), 3);
    assert_eq!(count(LeafMemory::First(1)), 4);
    assert_eq!(count(LeafMemory::First(0)), 5);
}

#[test]
fn the_same_digest_under_another_codec_is_another_block() {
    let child = cid_v1_raw(b"child");
    let block = encode(&[PbLink { cid: child, name: None, tsize: None }], None);
    let node = sha2_256_cid(Version::V1, Codec::DagPb, &block);
    let as_raw = Cid::new_v1(Codec::Raw.code(), *node.hash());
    let as_cbor = Cid::new_v1(Codec::DagCbor.code(), *node.hash());
    let mut walk = DagWalk::new([as_raw, as_cbor, node], LeafMemory::All).unwrap();
    assert_eq!(walk.next(10), [as_raw, as_cbor, node]);
    walk.visited(&as_raw, None).unwrap();
    assert!(matches!(walk.visited(&as_cbor, Some(&block)), Err(WalkError::Links { .. })));
    walk.skip(&as_cbor).unwrap();
    walk.visited(&node, Some(&block)).unwrap();
    assert_eq!(walk.next(10), [child]);
}

#[test]
fn blocks_inside_their_cids_are_looked_through() {
    let child = Cid::new_v1(Codec::Raw.code(), *cid_v1_raw(b"child").hash());
    let inner = encode(&[PbLink { cid: child, name: None, tsize: None }], None);
    let hash = multihash::Multihash::wrap(IDENTITY, &inner).unwrap();
    let identity = Cid::new_v1(Codec::DagPb.code(), hash);
    let mut walk = DagWalk::new([identity], LeafMemory::All).unwrap();
    assert_eq!(walk.next(10), [child]);
}

#[test]
fn the_frontier_is_bounded() {
    let leaf = PbLink { cid: cid_v1_raw(b"x"), name: None, tsize: None };
    let mut links = vec![leaf; 40_000];
    let mut walk = None::<DagWalk>;
    for level in 0..40_u8 {
        links[0].cid = sha2_256_cid(Version::V1, Codec::DagPb, &[level]);
        let root = sha2_256_cid(Version::V1, Codec::DagPb, &[level.wrapping_sub(1)]);
        let walk = walk.get_or_insert_with(|| DagWalk::new([root], LeafMemory::All).unwrap());
        assert_eq!(walk.next(1), [root]);
        match walk.visited(&root, Some(&encode(&links, None))) {
            Ok(()) => assert!(level < 26, "the limit was passed"),
            Err(error) => {
                assert!(matches!(error, WalkError::TooWide { .. }));
                assert!(level >= 26);
                return;
            }
        }
    }
    panic!("the frontier has no limit");
}

proptest! {
    #[test]
    fn hostile_nodes_never_panic(block in prop::collection::vec(any::<u8>(), 0..200)) {
        let root = sha2_256_cid(Version::V1, Codec::DagPb, &block);
        let mut walk = DagWalk::new([root], LeafMemory::First(3)).unwrap();
        prop_assert_eq!(walk.next(1), [root]);
        if walk.visited(&root, Some(&block)).is_ok() {
            for cid in walk.next(100) {
                walk.missing(&cid).unwrap();
            }
            prop_assert!(walk.is_done());
        }
    }
}
