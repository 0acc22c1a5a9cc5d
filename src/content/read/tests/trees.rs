//! Random trees: what goes in comes out.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use crate::cid::Cid;
use crate::import::tests::MemoryStore;
use crate::import::{EntryKind, Hashing, TreeBuilder};
use crate::profile::{DirectorySize, ImportParams, LeafFormat};
use crate::read::{directory, file, resolve, stat};

#[derive(Debug, Clone, PartialEq, Eq)]
enum Tree {
    File(Vec<u8>),
    Symlink(Vec<u8>),
    Directory(BTreeMap<String, Tree>),
}

fn any_tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..120).prop_map(Tree::File),
        prop::collection::vec(1_u8..=255, 1..20).prop_map(Tree::Symlink),
    ];
    let tree = leaf.prop_recursive(4, 40, 8, |inner| {
        prop::collection::btree_map("[a-zé ._-]{0,3}[a-z]", inner, 0..8).prop_map(Tree::Directory)
    });
    prop::collection::btree_map("[a-z]{1,4}", tree, 0..6).prop_map(Tree::Directory)
}

fn add(builder: &mut TreeBuilder<'_>, path: &str, tree: &Tree) {
    match tree {
        Tree::File(content) => builder.add_file(path.as_bytes(), content.as_slice()).unwrap(),
        Tree::Symlink(target) => builder.add_symlink(path.as_bytes(), target).unwrap(),
        Tree::Directory(entries) => {
            if !path.is_empty() {
                builder.add_directory(path.as_bytes()).unwrap();
            }
            for (name, entry) in entries {
                let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
                add(builder, &path, entry);
            }
        }
    }
}

fn read(store: &MemoryStore, cid: Cid) -> Tree {
    let root = stat(store, cid).unwrap();
    match root.kind {
        EntryKind::File => {
            let pieces: Vec<Bytes> =
                file(store, cid, 0..u64::MAX).collect::<Result<_, _>>().unwrap();
            let content = pieces.concat();
            assert_eq!(content.len() as u64, root.size_bytes);
            Tree::File(content)
        }
        EntryKind::Symlink => Tree::Symlink(root.symlink_target.unwrap().to_vec()),
        EntryKind::Directory => {
            let entries = directory(store, cid).map(Result::unwrap);
            Tree::Directory(entries.map(|entry| (entry.name, read(store, entry.cid))).collect())
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn trees_survive_a_round_trip(
        tree in any_tree(),
        limit in 0_usize..400,
        wrapped: bool,
        by_links: bool,
        fanout_log2 in 3_u32..11,
    ) {
        let params = ImportParams {
            chunk_len_bytes: 32,
            max_links_per_node: 2,
            leaves: if wrapped { LeafFormat::DagPb } else { LeafFormat::Raw },
            directory_size: if by_links { DirectorySize::LinksBytes } else { DirectorySize::BlockBytes },
            directory_limit_bytes: limit,
            hamt_fanout: 1 << fanout_log2,
            ..ImportParams::default()
        };
        let store = MemoryStore::default();
        let mut told = Vec::new();
        let mut builder = TreeBuilder::new(params, Hashing::Inline, &store)
            .unwrap()
            .with_observer(|entry| told.push((entry.path.to_owned(), entry.kind, entry.cid)));
        add(&mut builder, "", &tree);
        let root = builder.finish().unwrap();
        prop_assert_eq!(read(&store, root.cid), tree);
        prop_assert_eq!(stat(&store, root.cid).unwrap().dag_size_bytes, root.dag_size_bytes);
        for (path, kind, cid) in told {
            let found = resolve(&store, root.cid, &path).unwrap();
            prop_assert_eq!((found.kind, found.cid), (kind, cid));
        }
    }
}
