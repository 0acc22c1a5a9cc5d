//! Trees: order, refusals, totals, sizes, and the same result whoever hashes.

use std::io::{self, Read};
use std::num::NonZero;

use proptest::prelude::*;

use super::{Keystream, MemoryStore};
use crate::cid::Block;
use crate::import::{
    BlockSink, EntryKind, FileImporter, Hashing, ImportError, ImportedTree, PathRefusal, SinkError,
    TreeBuilder,
};
use crate::profile::{ImportParams, Inclusion, Layout, LeafFormat, Profile};

const THREADS: Hashing = Hashing::Threads(NonZero::new(3).unwrap());

fn builder(sink: &dyn BlockSink) -> TreeBuilder<'_> {
    TreeBuilder::new(ImportParams::default(), Hashing::Inline, sink).unwrap()
}

/// Runs `fill` on a fresh builder.
fn build(
    fill: impl FnOnce(&mut TreeBuilder<'_>) -> Result<(), ImportError>,
) -> Result<ImportedTree, ImportError> {
    let sink = MemoryStore::default();
    let mut tree = builder(&sink);
    fill(&mut tree)?;
    tree.finish()
}

#[test]
fn entries_are_told_after_their_children_with_totals() {
    let sink = MemoryStore::default();
    let mut seen = Vec::new();
    let mut tree = builder(&sink)
        .with_observer(|entry| seen.push((entry.path.to_owned(), entry.kind, entry.size_bytes)));
    tree.add_directory(b"a/").unwrap();
    tree.add_file(b"a/x", b"12345".as_slice()).unwrap();
    tree.add_directory(b"a/empty").unwrap();
    tree.add_file(b"b/deep/y", b"67".as_slice()).unwrap();
    tree.add_symlink(b"c", b"../\xff").unwrap();
    let tree = tree.finish().unwrap();

    let expected = [
        ("a/x", EntryKind::File, 5),
        ("a/empty", EntryKind::Directory, 0),
        ("a", EntryKind::Directory, 0),
        ("b/deep/y", EntryKind::File, 2),
        ("b/deep", EntryKind::Directory, 0),
        ("b", EntryKind::Directory, 0),
        ("c", EntryKind::Symlink, 4),
        ("", EntryKind::Directory, 0),
    ];
    let expected = expected.map(|(path, kind, size)| (path.to_owned(), kind, size));
    assert_eq!(seen, expected);
    let totals = tree.totals;
    assert_eq!((totals.files, totals.directories, totals.symlinks), (2, 5, 1));
    assert_eq!((totals.file_bytes, totals.blocks), (7, 8));
    assert_eq!(totals.block_bytes, tree.dag_size_bytes);
    assert_eq!(sink.cids().len(), 8);
}

#[test]
fn implied_and_declared_directories_are_the_same() {
    let implied = build(|tree| tree.add_file(b"a/b/c", b"x".as_slice())).unwrap();
    let declared = build(|tree| {
        tree.add_directory(b"a")?;
        tree.add_directory(b"a/b")?;
        tree.add_file(b"a/b/c", b"x".as_slice())
    });
    assert_eq!(declared.unwrap().cid, implied.cid);
    let late = build(|tree| {
        tree.add_file(b"a/b/c", b"x".as_slice())?;
        tree.add_directory(b"a")
    });
    assert_eq!(late.unwrap().cid, implied.cid);
}

#[test]
fn hostile_paths_are_refused_with_their_reason() {
    let long = vec![b'n'; 1025];
    let deep = b"d/".repeat(1024);
    let cases: [(&[u8], PathRefusal); 10] = [
        (b"", PathRefusal::EmptyComponent),
        (b"a//b", PathRefusal::EmptyComponent),
        (b"a/", PathRefusal::EmptyComponent),
        (b"/etc/passwd", PathRefusal::Absolute),
        (b"../up", PathRefusal::Dots),
        (b"a/./b", PathRefusal::Dots),
        (b"a\0b", PathRefusal::Nul),
        (b"caf\xe9", PathRefusal::NotUtf8),
        (&long, PathRefusal::NameTooLong),
        (&deep, PathRefusal::TooDeep),
    ];
    for (path, expected) in cases {
        let error = build(|tree| tree.add_file(path, b"x".as_slice())).unwrap_err();
        let ImportError::Path { reason, path: named } = error else { panic!("{error}") };
        assert_eq!(reason, expected);
        assert_eq!(named, String::from_utf8_lossy(path));
    }
}

#[test]
fn repeated_names_are_refused() {
    let twice = |first: &'static str, second: &'static str| {
        build(move |tree| {
            tree.add_file(first.as_bytes(), b"1".as_slice())?;
            tree.add_file(second.as_bytes(), b"2".as_slice())
        })
        .unwrap_err()
    };
    assert!(matches!(twice("a", "a"), ImportError::Duplicate { path } if path == "a"));
    assert!(matches!(twice("d/a", "d/a"), ImportError::Duplicate { path } if path == "d/a"));
    assert!(matches!(twice("a", "a/b"), ImportError::NotADirectory { path } if path == "a"));
    assert!(matches!(twice("a/b", "a"), ImportError::Duplicate { path } if path == "a"));

    let reopened = build(|tree| {
        tree.add_file(b"a/x", b"1".as_slice())?;
        tree.add_file(b"b", b"2".as_slice())?;
        tree.add_file(b"a/y", b"3".as_slice())
    });
    assert!(matches!(reopened, Err(ImportError::Duplicate { path }) if path == "a"));
    let declared_twice = build(|tree| {
        tree.add_directory(b"a")?;
        tree.add_directory(b"a")
    });
    assert!(matches!(declared_twice, Err(ImportError::Duplicate { path }) if path == "a"));
}

#[test]
fn symlink_targets_are_bounded() {
    for target in [b"".as_slice(), b"a\0b", &[b'a'; 4097]] {
        let error = build(|tree| tree.add_symlink(b"l", target)).unwrap_err();
        assert!(matches!(error, ImportError::SymlinkTarget { path } if path == "l"));
    }
}

#[test]
fn empty_directories_can_be_left_out() {
    let sink = MemoryStore::default();
    let params = ImportParams { empty_directories: Inclusion::Excluded, ..ImportParams::default() };
    let mut tree = TreeBuilder::new(params, Hashing::Inline, &sink).unwrap();
    tree.add_directory(b"kept/empty").unwrap();
    tree.add_file(b"kept/x", b"x".as_slice()).unwrap();
    tree.add_directory(b"none").unwrap();
    let without = build(|tree| tree.add_file(b"kept/x", b"x".as_slice())).unwrap();
    let tree = tree.finish().unwrap();
    assert_eq!(tree.cid, without.cid);
    assert_eq!(tree.totals.directories, 2);
}

struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("disk on fire"))
    }
}

impl BlockSink for Broken {
    fn put(&self, _: Block) -> Result<(), SinkError> {
        Err(SinkError::new("disk full"))
    }
}

#[test]
fn failures_of_reader_and_sink_are_reported() {
    let error = build(|tree| tree.add_file(b"a/x", Broken)).unwrap_err();
    assert!(matches!(error, ImportError::Read { path, .. } if path == "a/x"));
    for hashing in [Hashing::Inline, THREADS] {
        let importer = FileImporter::new(ImportParams::default(), hashing);
        let error = importer.import(Keystream::new("x", 20 << 20), &Broken).unwrap_err();
        assert!(matches!(error, ImportError::Sink { .. }));
    }
}

#[test]
fn parameters_are_checked() {
    let params = ImportParams { chunk_len_bytes: 0, ..ImportParams::default() };
    let sink = MemoryStore::default();
    let error = TreeBuilder::new(params, Hashing::Inline, &sink).map(drop).unwrap_err();
    assert!(matches!(error, ImportError::Params { source } if source.name == "chunk_len_bytes"));
}

#[test]
fn a_directory_larger_than_one_shard_level_is_built_in_one_pass() {
    let sink = MemoryStore::default();
    let mut tree = builder(&sink);
    for index in 0..30_000 {
        tree.add_symlink(format!("entry-{index:06}").as_bytes(), b"t").unwrap();
    }
    let tree = tree.finish().unwrap();
    // The symlinks are all the same block; the rest are shards: a root, 256 below, some below these.
    let shards = sink.cids().len() - 1;
    assert!((257..30_000).contains(&shards), "{shards} shards");
    assert_eq!(tree.totals.blocks, 30_000 + shards as u64);
}

/// A little tree: for each file its directory (by number) and length.
fn small_tree(hashing: Hashing, params: ImportParams, files: &[(u8, usize)]) -> ImportedTree {
    let sink = MemoryStore::default();
    let mut tree = TreeBuilder::new(params, hashing, &sink).unwrap();
    let mut sorted = files.to_vec();
    sorted.sort_unstable();
    for (index, (directory, len)) in sorted.iter().enumerate() {
        let content: Vec<u8> = (0..*len).map(|at| (at * 7 + index) as u8).collect();
        let path = format!("{directory:03}/{index:05}");
        tree.add_file(path.as_bytes(), content.as_slice()).unwrap();
    }
    tree.finish().unwrap()
}

#[test]
fn many_small_files_hash_alike_inline_and_on_threads() {
    let files: Vec<_> = (0..5_000_usize).map(|n| ((n / 100) as u8, n * 37 % 5_000)).collect();
    for profile in Profile::ALL {
        let inline = small_tree(Hashing::Inline, profile.params(), &files);
        assert_eq!(small_tree(THREADS, profile.params(), &files), inline);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn threads_change_nothing(
        files in prop::collection::vec((0_u8..5, 0_usize..3_000), 0..40),
        trickle: bool,
        wrapped: bool,
    ) {
        let params = ImportParams {
            chunk_len_bytes: 64,
            max_links_per_node: 3,
            directory_limit_bytes: 300,
            layout: if trickle { Layout::Trickle } else { Layout::Balanced },
            leaves: if wrapped { LeafFormat::DagPb } else { LeafFormat::Raw },
            ..ImportParams::default()
        };
        let inline = small_tree(Hashing::Inline, params, &files);
        let threads = small_tree(THREADS, params, &files);
        prop_assert_eq!(inline, threads);
    }
}
