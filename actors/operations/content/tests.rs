//! How deep a walk goes, and what it says there.

use std::sync::Mutex;

use ipfs_kit_content::cid::Block;
use ipfs_kit_content::import::{BlockSink, FileImporter, Hashing, SinkError};
use ipfs_kit_content::profile::{ImportParams, LeafFormat};

use super::*;

const CID: &str = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e";

fn directories(levels: usize, entries: usize) -> Vec<OpenDirectory> {
    let cid: cid::Cid = CID.parse().unwrap();
    let directory = |level: usize| OpenDirectory {
        name: if level == 0 { String::new() } else { format!("d{level}") },
        cursor: DirectoryCursor::new(cid),
        ahead: std::iter::repeat_n(("file".to_owned(), cid), entries).collect(),
        fetched: BTreeMap::new(),
        ended: false,
    };
    (0..levels).map(directory).collect()
}

#[test]
fn what_lies_too_deep_is_an_error_and_never_left_out() {
    let max = limits::TREE_DEPTH_MAX;
    assert!(check_depth(&directories(max, 1)).is_ok());
    assert!(check_depth(&directories(max + 1, 0)).is_ok(), "an empty folder hides nothing");
    let error = check_depth(&directories(max + 1, 1)).unwrap_err();
    let failure = read_failure(&error);
    assert_eq!(failure.code, "E_TOO_LARGE");
    assert_eq!(failure.message, "d1/d2/d3/d4/d5/d6/d7/… lies deeper than 256 folders");
    assert!(failure.hint.unwrap().contains("ipfs-kit get CID/PATH"));
}

#[derive(Default)]
struct Sink(Mutex<Vec<Block>>);

impl BlockSink for Sink {
    fn put(&self, block: Block) -> Result<(), SinkError> {
        self.0.lock().unwrap().push(block);
        Ok(())
    }
}

fn kept_whole(leaves: LeafFormat, content: &[u8]) -> Option<Bytes> {
    let params = ImportParams { chunk_len_bytes: 10, leaves, ..ImportParams::default() };
    let sink = Sink::default();
    let file = FileImporter::new(params, Hashing::Inline).import(content, &sink).unwrap();
    let blocks = sink.0.into_inner().unwrap();
    let root = blocks.iter().find(|block| block.cid == file.cid).unwrap();
    whole_file(file.cid, file.size_bytes, root.data.clone())
}

#[test]
fn a_file_of_one_block_is_handed_on_with_the_walk_and_a_longer_one_is_not() {
    for leaves in [LeafFormat::Raw, LeafFormat::DagPb] {
        assert_eq!(kept_whole(leaves, b"").as_deref(), Some(&b""[..]));
        assert_eq!(kept_whole(leaves, b"ten bytes.").as_deref(), Some(&b"ten bytes."[..]));
        assert_eq!(kept_whole(leaves, b"eleven byte"), None);
    }
}
