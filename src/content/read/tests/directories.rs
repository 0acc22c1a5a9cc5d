//! Listings, and the HAMTs that no importer makes.

use std::collections::BTreeSet;

use super::{flaw, node};
use crate::cid::Cid;
use crate::hamt::{Bitmap, Width, murmur3_x64_64};
use crate::import::tests::MemoryStore;
use crate::import::{EntryKind, Hashing, TreeBuilder};
use crate::profile::ImportParams;
use crate::read::{DirectoryEntry, Flaw, ReadError, directory, resolve};
use crate::unixfs::{Data, DataType, HAMT_HASH_MURMUR3};

fn list(store: &MemoryStore, root: Cid) -> Result<Vec<DirectoryEntry>, ReadError> {
    directory(store, root).collect()
}

fn names(entries: &[DirectoryEntry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.name.as_str()).collect()
}

fn width() -> Width {
    Width::from_fanout(256).unwrap()
}

/// A shard whose links are given by whole name, and whose bitmap marks `buckets`.
fn shard(store: &MemoryStore, links: &[(&str, Cid)], buckets: &[usize]) -> Cid {
    let mut bitmap = Bitmap::empty(width());
    buckets.iter().for_each(|bucket| bitmap.set(*bucket));
    let message = Data {
        data: Some(bitmap.encoded()),
        hash_type: Some(HAMT_HASH_MURMUR3),
        fanout: Some(256),
        ..Data::new(DataType::HamtShard)
    };
    node(store, links, &message)
}

fn sharded(count: usize) -> (MemoryStore, Cid) {
    let store = MemoryStore::default();
    let params = ImportParams { directory_limit_bytes: 0, ..ImportParams::default() };
    let mut tree = TreeBuilder::new(params, Hashing::Inline, &store).unwrap();
    for index in 0..count {
        let name = format!("name-{index:05}");
        tree.add_file(name.as_bytes(), name.as_bytes()).unwrap();
    }
    let root = tree.finish().unwrap().cid;
    (store, root)
}

#[test]
fn plain_entries_come_in_order_with_what_their_cids_tell() {
    let store = MemoryStore::default();
    let mut tree = TreeBuilder::new(ImportParams::default(), Hashing::Inline, &store).unwrap();
    tree.add_file(b"b", b"12345".as_slice()).unwrap();
    tree.add_directory(b"d").unwrap();
    tree.add_symlink(b"a", b"b").unwrap();
    let root = tree.finish().unwrap().cid;
    let entries = list(&store, root).unwrap();
    assert_eq!(names(&entries), ["a", "b", "d"]);
    assert_eq!(entries[1].kind, Some(EntryKind::File));
    assert_eq!(entries[1].tsize, Some(5));
    assert_eq!(entries[2].kind, None);
    assert_eq!(store.reads.borrow().len(), 1);
}

#[test]
fn a_hamt_lists_every_entry_once_and_resumes_after_a_missing_shard() {
    let (store, root) = sharded(3_000);
    let entries = list(&store, root).unwrap();
    let distinct: BTreeSet<_> = names(&entries).into_iter().collect();
    assert_eq!((entries.len(), distinct.len()), (3_000, 3_000));

    let shard = *store.reads.borrow().last().unwrap();
    let taken = store.blocks.borrow_mut().remove(&shard).unwrap();
    let mut listing = directory(&store, root);
    let before = listing.by_ref().take_while(Result::is_ok).count();
    assert!(before < 3_000);
    store.blocks.borrow_mut().insert(shard, taken);
    assert_eq!(before + listing.map(Result::unwrap).count(), 3_000);
}

#[test]
fn a_lookup_in_a_hamt_reads_only_the_shards_on_its_way() {
    let (store, root) = sharded(3_000);
    let found = resolve(&store, root, "name-01234").unwrap();
    assert_eq!(found.size_bytes, 10);
    assert!(store.reads.borrow().len() <= 4, "{:?}", store.reads);
    let error = resolve(&store, root, "name-99999").unwrap_err();
    assert!(matches!(error, ReadError::NotFound { path } if path == "name-99999"));
}

#[test]
fn of_equal_names_the_first_counts() {
    let store = MemoryStore::default();
    let (first, second) = (store.put_raw(b"1"), store.put_raw(b"22"));
    let root = node(&store, &[("a", first), ("a", second)], &Data::new(DataType::Directory));
    let entries = list(&store, root).unwrap();
    assert_eq!((entries.len(), entries[0].cid), (1, first));
    assert_eq!(resolve(&store, root, "a").unwrap().cid, first);
}

#[test]
fn impossible_names_are_refused() {
    let store = MemoryStore::default();
    let leaf = store.put_raw(b"x");
    for name in ["", ".", "..", "a/b", "/", "a\0"] {
        let root = node(&store, &[(name, leaf)], &Data::new(DataType::Directory));
        assert_eq!(flaw(list(&store, root)), Flaw::Name, "{name:?}");
    }
    let link = crate::dag_pb::PbLink { cid: leaf, name: Some(b"\xff"), tsize: None };
    let data = Data::new(DataType::Directory).encode();
    let root = store.put_node(crate::dag_pb::encode(&[link], Some(&data)));
    assert_eq!(flaw(list(&store, root)), Flaw::NameNotUtf8);
}

#[test]
fn what_is_no_directory_is_named() {
    let store = MemoryStore::default();
    let leaf = store.put_raw(b"x");
    let error = list(&store, leaf).unwrap_err();
    assert!(matches!(error, ReadError::NotADirectory { kind: EntryKind::File, .. }));
}

#[test]
fn shards_with_foreign_parameters_are_refused() {
    let store = MemoryStore::default();
    let good = Data {
        data: None,
        hash_type: Some(HAMT_HASH_MURMUR3),
        fanout: Some(256),
        ..Data::new(DataType::HamtShard)
    };
    assert_eq!(list(&store, node(&store, &[], &good)).unwrap(), []);
    let bad = [
        Data { fanout: Some(1 << 40), ..good.clone() },
        Data { fanout: Some(100), ..good.clone() },
        Data { fanout: None, ..good.clone() },
        Data { hash_type: Some(0x12), ..good.clone() },
        Data { hash_type: None, ..good.clone() },
    ];
    for message in bad {
        let root = node(&store, &[], &message);
        assert_eq!(flaw(list(&store, root)), Flaw::ShardParams);
    }
    let narrow = node(&store, &[], &Data { fanout: Some(16), ..good });
    let root = shard(&store, &[("07", narrow)], &[7]);
    assert_eq!(flaw(list(&store, root)), Flaw::ShardParams);
}

#[test]
fn shards_that_contradict_themselves_are_refused() {
    let store = MemoryStore::default();
    let leaf = store.put_raw(b"x");
    let bucket = width().bucket(murmur3_x64_64(b"a"), 0);
    let name = width().link_name(bucket, "a");
    let good = shard(&store, &[(&name, leaf)], &[bucket]);
    assert_eq!(names(&list(&store, good).unwrap()), ["a"]);

    let unmarked = shard(&store, &[(&name, leaf)], &[]);
    let marked = shard(&store, &[(&name, leaf)], &[bucket, bucket ^ 1]);
    let twice = shard(&store, &[(&name, leaf), (&name, leaf)], &[bucket]);
    let no_prefix = shard(&store, &[("zz", leaf)], &[bucket]);
    for root in [unmarked, marked, twice, no_prefix] {
        assert_eq!(flaw(list(&store, root)), Flaw::ShardLinks);
    }
    let wrong = bucket ^ 1;
    let misplaced = width().link_name(wrong, "a");
    let root = shard(&store, &[(&misplaced, leaf)], &[wrong]);
    assert_eq!(flaw(list(&store, root)), Flaw::ShardPlace);
    let dots = width().link_name(bucket, "..");
    assert_eq!(flaw(list(&store, shard(&store, &[(&dots, leaf)], &[bucket]))), Flaw::Name);
}

#[test]
fn small_hostile_hamts_cannot_unfold() {
    let store = MemoryStore::default();
    let empty = shard(&store, &[], &[]);
    let root = shard(&store, &[("00", empty)], &[0]);
    assert_eq!(flaw(list(&store, root)), Flaw::ShardEmpty);

    // Eight blocks that would be 256^7 shards: the first entry found in a second place ends it.
    let leaf = store.put_raw(b"x");
    let all: Vec<usize> = (0..256).collect();
    let prefixes: Vec<String> = all.iter().map(|bucket| format!("{bucket:02X}")).collect();
    let bucket = width().bucket(murmur3_x64_64(b"a"), 7);
    let mut level = shard(&store, &[(&width().link_name(bucket, "a"), leaf)], &[bucket]);
    for _ in 0..7 {
        let links: Vec<_> = prefixes.iter().map(|prefix| (prefix.as_str(), level)).collect();
        level = shard(&store, &links, &all);
    }
    assert_eq!(flaw(list(&store, level)), Flaw::ShardPlace);
    let deeper = shard(&store, &[("00", level)], &[0]);
    assert_eq!(flaw(list(&store, deeper)), Flaw::ShardTooDeep);
}
