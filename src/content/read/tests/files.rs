//! Ranges of files: right bytes, few blocks, no trust.

use bytes::Bytes;
use proptest::prelude::*;

use super::{flaw, node};
use crate::cid::{Cid, Codec, IDENTITY};
use crate::import::tests::MemoryStore;
use crate::import::{EntryKind, FileImporter, Hashing};
use crate::limits::MAX_FILE_DEPTH;
use crate::profile::{ImportParams, Layout, LeafFormat};
use crate::read::{Cursor, FileCursor, Flaw, ReadError, Step, file};
use crate::unixfs::{Data, DataType};

fn read(store: &MemoryStore, root: Cid) -> Result<Vec<u8>, ReadError> {
    let pieces: Result<Vec<Bytes>, _> = file(store, root, 0..u64::MAX).collect();
    pieces.map(|pieces| pieces.concat())
}

fn import(params: ImportParams, content: &[u8]) -> (MemoryStore, Cid) {
    let store = MemoryStore::default();
    let file = FileImporter::new(params, Hashing::Inline).import(content, &store).unwrap();
    (store, file.cid)
}

fn tiny(layout: Layout, leaves: LeafFormat) -> ImportParams {
    ImportParams {
        chunk_len_bytes: 10,
        max_links_per_node: 3,
        layout,
        leaves,
        ..ImportParams::default()
    }
}

fn counted(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

/// A file node over `parts` that claims these sizes.
fn file_node(store: &MemoryStore, parts: &[Cid], sizes: &[u64], filesize: u64) -> Cid {
    let message =
        Data { filesize: Some(filesize), blocksizes: sizes.to_vec(), ..Data::new(DataType::File) };
    let links: Vec<_> = parts.iter().map(|cid| ("", *cid)).collect();
    node(store, &links, &message)
}

#[test]
fn a_range_touches_only_its_blocks() {
    let (store, root) = import(tiny(Layout::Balanced, LeafFormat::Raw), &counted(270));
    let mut reader = file(&store, root, 135..145);
    let piece: Vec<_> = reader.by_ref().map(Result::unwrap).collect();
    assert_eq!(piece.concat(), counted(270)[135..145]);
    assert_eq!(reader.cursor().size_bytes(), Some(270));
    // 27 leaves under 9 nodes under 3 under the root: one path, and the neighbour leaf.
    assert_eq!(store.reads.borrow().len(), 5);
}

#[test]
fn a_missing_block_is_named_and_the_reader_goes_on_once_it_is_here() {
    let (store, root) = import(tiny(Layout::Balanced, LeafFormat::Raw), &counted(30));
    let leaf = crate::cid::cid_v1_raw(&counted(30)[10..20]);
    let taken = store.blocks.borrow_mut().remove(&leaf).unwrap();
    let mut reader = file(&store, root, 0..u64::MAX);
    assert_eq!(reader.next().unwrap().unwrap(), counted(30)[..10]);
    for _ in 0..2 {
        let error = reader.next().unwrap().unwrap_err();
        assert!(matches!(error, ReadError::Missing { cid } if cid == leaf));
    }
    store.blocks.borrow_mut().insert(leaf, taken);
    assert_eq!(reader.next().unwrap().unwrap(), counted(30)[10..20]);
    assert_eq!(reader.next().unwrap().unwrap(), counted(30)[20..]);
    assert!(reader.next().is_none());
}

#[test]
fn look_ahead_is_bounded_and_takes_blocks_in_any_order() {
    let params = ImportParams { chunk_len_bytes: 10, ..ImportParams::default() };
    let (store, root) = import(params, &counted(1_000));
    let mut cursor = FileCursor::with_look_ahead(root, 0..u64::MAX, 4);
    let mut content = Vec::new();
    loop {
        match cursor.step().unwrap() {
            Step::Done => break,
            Step::Data(piece) => content.extend_from_slice(&piece),
            Step::Need(cids) => {
                assert!((1..=4).contains(&cids.len()));
                for cid in cids.iter().rev() {
                    let block = store.blocks.borrow()[cid].clone();
                    cursor.provide(*cid, block).unwrap();
                }
            }
        }
    }
    assert_eq!(content, counted(1_000));
    assert_eq!(cursor.size_bytes(), Some(1_000));
}

#[test]
fn blocks_nobody_asked_for_are_refused() {
    let (_, root) = import(ImportParams::default(), b"content");
    let mut cursor = FileCursor::new(root, 0..7);
    let other = crate::cid::cid_v1_raw(b"other");
    let early = cursor.provide(root, Bytes::from_static(b"content"));
    assert!(matches!(early, Err(ReadError::NotRequested { .. })));
    assert_eq!(cursor.step().unwrap(), Step::Need(vec![root]));
    let error = cursor.provide(other, Bytes::from_static(b"other")).unwrap_err();
    assert!(matches!(error, ReadError::NotRequested { cid } if cid == other));
    cursor.provide(root, Bytes::from_static(b"content")).unwrap();
    assert_eq!(cursor.step().unwrap(), Step::Data(Bytes::from_static(b"content")));
}

#[test]
fn sparse_files_ask_for_their_block_once() {
    let params = ImportParams { chunk_len_bytes: 10, ..ImportParams::default() };
    let (store, root) = import(params, &[0; 500]);
    assert_eq!(read(&store, root).unwrap(), [0; 500]);
    assert_eq!(store.reads.borrow().len(), 2);
}

#[test]
fn content_before_links_and_in_identity_cids_is_read() {
    let store = MemoryStore::default();
    let hash = multihash::Multihash::wrap(IDENTITY, b"identity").unwrap();
    let identity = Cid::new_v1(Codec::Raw.code(), hash);
    let message = Data {
        data: Some(b"inline "),
        blocksizes: vec![8, 4],
        filesize: Some(19),
        ..Data::new(DataType::File)
    };
    let root = node(&store, &[("", identity), ("", store.put_raw(b" end"))], &message);
    assert_eq!(read(&store, root).unwrap(), b"inline identity end");
}

#[test]
fn lying_sizes_are_refused() {
    let store = MemoryStore::default();
    let leaf = store.put_raw(b"0123456789");
    let inner = file_node(&store, &[leaf], &[10], 10);
    let sizes = [
        file_node(&store, &[leaf], &[11], 11),
        file_node(&store, &[leaf], &[9], 9),
        file_node(&store, &[leaf], &[10], 12),
        file_node(&store, &[inner], &[7], 7),
    ];
    for root in sizes {
        let error = read(&store, root).unwrap_err();
        assert!(matches!(error, ReadError::SizeMismatch { .. }), "{error}");
    }
    let counts = file_node(&store, &[leaf, leaf], &[20], 20);
    assert_eq!(flaw(read(&store, counts)), Flaw::BlockSizes);
    let overflow = file_node(&store, &[leaf, leaf], &[u64::MAX, 2], 1);
    assert_eq!(flaw(read(&store, overflow)), Flaw::Overflow);
}

#[test]
fn parts_that_are_no_parts_are_refused() {
    let store = MemoryStore::default();
    let leaf = store.put_raw(b"12345");
    let one = Data { blocksizes: vec![5], filesize: Some(5), ..Data::new(DataType::File) };
    let named = node(&store, &[("name", leaf)], &one);
    assert_eq!(flaw(read(&store, named)), Flaw::NamedPart);

    let directory = node(&store, &[], &Data::new(DataType::Directory));
    let over_directory = node(&store, &[("", directory)], &one);
    assert_eq!(flaw(read(&store, over_directory)), Flaw::WrongType);
    let error = read(&store, directory).unwrap_err();
    assert!(matches!(error, ReadError::NotAFile { kind: EntryKind::Directory, .. }));

    let no_data = store.put_node(crate::dag_pb::encode(&[], None));
    assert_eq!(flaw(read(&store, no_data)), Flaw::NoData);
    let not_unixfs = store.put_node(vec![0x0a, 0x01, 0xff]);
    assert!(matches!(read(&store, not_unixfs), Err(ReadError::Unixfs { .. })));
    let truncated = store.put_node(vec![0x12, 0x24, 0x0a]);
    assert!(matches!(read(&store, truncated), Err(ReadError::DagPb { .. })));
    let cbor = Cid::new_v1(Codec::DagCbor.code(), *leaf.hash());
    store.blocks.borrow_mut().insert(cbor, Bytes::new());
    assert!(matches!(read(&store, cbor), Err(ReadError::Codec { codec: 0x71, .. })));
}

#[test]
fn depth_and_width_are_bounded() {
    let store = MemoryStore::default();
    let mut deep = store.put_raw(b"x");
    for _ in 0..=MAX_FILE_DEPTH {
        deep = file_node(&store, &[deep], &[1], 1);
    }
    assert_eq!(flaw(read(&store, deep)), Flaw::TooDeep);

    // Each level puts 40,000 siblings aside before the next is read.
    let leaf = store.put_raw(b"x");
    let (mut wide, mut size) = (leaf, 1);
    for _ in 0..8 {
        let mut parts = vec![leaf; 40_000];
        parts[0] = wide;
        let mut sizes = vec![1; 40_000];
        sizes[0] = size;
        size += 39_999;
        wide = file_node(&store, &parts, &sizes, size);
    }
    assert_eq!(flaw(read(&store, wide)), Flaw::TooWide);
}

#[test]
fn a_failed_reader_stays_ended() {
    let store = MemoryStore::default();
    let leaf = store.put_raw(b"0123456789");
    let root = file_node(&store, &[leaf], &[11], 11);
    let mut reader = file(&store, root, 0..u64::MAX);
    assert!(reader.next().unwrap().is_err());
    assert!(reader.next().is_none());
}

proptest! {
    #[test]
    fn any_range_of_any_shape_is_right(
        len in 0_usize..600,
        start in 0_u64..700,
        span in 0_u64..700,
        trickle: bool,
        wrapped: bool,
    ) {
        let layout = if trickle { Layout::Trickle } else { Layout::Balanced };
        let leaves = if wrapped { LeafFormat::DagPb } else { LeafFormat::Raw };
        let content = counted(len);
        let (store, root) = import(tiny(layout, leaves), &content);
        let pieces: Result<Vec<Bytes>, _> = file(&store, root, start..start + span).collect();
        let from = (start as usize).min(len);
        let to = ((start + span) as usize).min(len);
        prop_assert_eq!(pieces.unwrap().concat(), &content[from..to]);
    }

    #[test]
    fn a_flipped_byte_in_a_node_never_panics_or_grows(at: prop::sample::Index, flip in 1_u8..=255) {
        let (store, root) = import(tiny(Layout::Balanced, LeafFormat::Raw), &counted(95));
        let mut block = store.blocks.borrow()[&root].to_vec();
        let at = at.index(block.len());
        block[at] ^= flip;
        let root = store.put_node(block);
        if let Ok(content) = read(&store, root) {
            prop_assert_eq!(content, counted(95));
        }
    }
}

#[test]
fn what_is_needed_soon_is_named_once_and_may_come_while_pieces_are_taken() {
    let params = ImportParams { chunk_len_bytes: 10, ..ImportParams::default() };
    let (store, root) = import(params, &counted(1_000));
    let mut cursor = FileCursor::with_look_ahead(root, 0..u64::MAX, 4);
    let mut under_way = Vec::new();
    let mut content = Vec::new();
    loop {
        let ahead = cursor.look_ahead();
        assert!(ahead.iter().all(|cid| !under_way.contains(cid)), "asked for twice");
        under_way.extend(ahead);
        assert!(under_way.len() <= 4, "{} blocks are asked for", under_way.len());
        match cursor.step().unwrap() {
            Step::Done => break,
            Step::Data(piece) => content.extend_from_slice(&piece),
            Step::Need(cids) => {
                let fresh = cids.into_iter().filter(|cid| !under_way.contains(cid));
                let fresh: Vec<_> = fresh.collect();
                under_way.extend(fresh);
                // The last that was asked for comes first.
                let cid = under_way.pop().unwrap();
                let block = store.blocks.borrow()[&cid].clone();
                cursor.provide(cid, block).unwrap();
            }
        }
    }
    assert_eq!(content, counted(1_000));
    assert!(under_way.is_empty());
}

#[test]
fn inner_nodes_far_ahead_do_not_take_the_places_of_leaves() {
    let store = MemoryStore::default();
    let leaves: Vec<Cid> = (0..8).map(|at| crate::cid::cid_v1_raw(&[at; 1 << 20])).collect();
    // Eight nodes of 40 MiB each, far more than four blocks may have.
    let inner = file_node(&store, &leaves.repeat(5), &[1 << 20; 40], 40 << 20);
    let root = file_node(&store, &[inner; 8], &[40 << 20; 8], 320 << 20);
    let mut cursor = FileCursor::with_look_ahead(root, 0..u64::MAX, 4);
    for cid in [root, inner] {
        assert_eq!(cursor.step().unwrap(), Step::Need(vec![cid]));
        let block = store.blocks.borrow()[&cid].clone();
        cursor.provide(cid, block).unwrap();
    }
    assert_eq!(cursor.step().unwrap(), Step::Need(leaves[..4].to_vec()));
}
