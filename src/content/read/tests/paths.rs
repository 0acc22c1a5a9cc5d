//! Paths and what they name.

use super::{flaw, node};
use crate::import::tests::MemoryStore;
use crate::import::{EntryKind, Hashing, TreeBuilder};
use crate::profile::ImportParams;
use crate::read::{Flaw, ReadError, resolve, stat};
use crate::unixfs::{Data, DataType, Mtime};

fn tree() -> (MemoryStore, crate::cid::Cid) {
    let store = MemoryStore::default();
    let params = ImportParams { chunk_len_bytes: 4, ..ImportParams::default() };
    let mut tree = TreeBuilder::new(params, Hashing::Inline, &store).unwrap();
    tree.add_file(b"a/b/file", b"0123456789".as_slice()).unwrap();
    tree.add_symlink(b"a/link", b"b/file").unwrap();
    let root = tree.finish().unwrap();
    (store, root.cid)
}

#[test]
fn every_kind_is_told_with_its_size() {
    let (store, root) = tree();
    let file = resolve(&store, root, "a/b/file").unwrap();
    assert_eq!((file.kind, file.size_bytes), (EntryKind::File, 10));
    let link = resolve(&store, root, "/a//link/").unwrap();
    assert_eq!((link.kind, link.size_bytes), (EntryKind::Symlink, 6));
    assert_eq!(link.symlink_target.as_deref(), Some(b"b/file".as_slice()));
    let directory = resolve(&store, root, "a").unwrap();
    assert_eq!((directory.kind, directory.size_bytes), (EntryKind::Directory, 0));
    let whole = stat(&store, root).unwrap();
    assert_eq!(whole.cid, root);
    let all: usize = store.blocks.borrow().values().map(bytes::Bytes::len).sum();
    assert_eq!(whole.dag_size_bytes, all as u64);
}

#[test]
fn dead_ends_name_how_far_the_path_led() {
    let (store, root) = tree();
    let error = resolve(&store, root, "a/x/y").unwrap_err();
    assert!(matches!(error, ReadError::NotFound { path } if path == "a/x"));
    for (path, end, kind) in
        [("a/b/file/x", "a/b/file", EntryKind::File), ("a/link/file", "a/link", EntryKind::Symlink)]
    {
        let error = resolve(&store, root, path).unwrap_err();
        assert!(
            matches!(&error, ReadError::NotADirectory { path, kind: is } if path == end && *is == kind),
            "{error}"
        );
    }
    let deep = "a/".repeat(1_025);
    let error = resolve(&store, root, &deep).unwrap_err();
    assert!(matches!(error, ReadError::PathTooDeep { depth: 1_025 }));
}

#[test]
fn a_missing_block_on_the_way_is_named() {
    let (store, root) = tree();
    let middle = resolve(&store, root, "a/b").unwrap().cid;
    store.blocks.borrow_mut().remove(&middle);
    let error = resolve(&store, root, "a/b/file").unwrap_err();
    assert!(matches!(error, ReadError::Missing { cid } if cid == middle));
}

#[test]
fn mode_and_time_are_kept() {
    let store = MemoryStore::default();
    let mtime = Mtime { seconds: -5, nanoseconds: Some(7) };
    let message = Data {
        filesize: Some(0),
        mode: Some(0o644),
        mtime: Some(mtime),
        ..Data::new(DataType::File)
    };
    let found = stat(&store, node(&store, &[], &message)).unwrap();
    assert_eq!((found.mode, found.mtime), (Some(0o644), Some(mtime)));
}

#[test]
fn symlinks_with_links_and_reserved_types_are_refused() {
    let store = MemoryStore::default();
    let leaf = store.put_raw(b"x");
    let symlink = Data { data: Some(b"t"), ..Data::new(DataType::Symlink) };
    assert_eq!(flaw(stat(&store, node(&store, &[("", leaf)], &symlink))), Flaw::Links);
    let metadata = node(&store, &[], &Data::new(DataType::Metadata));
    assert_eq!(flaw(stat(&store, metadata)), Flaw::WrongType);
}
