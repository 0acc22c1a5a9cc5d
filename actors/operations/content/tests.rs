//! How deep a walk goes, and what it says there.

use super::*;

const CID: &str = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e";

fn directories(levels: usize, entries: usize) -> Vec<OpenDirectory> {
    let cid: cid::Cid = CID.parse().unwrap();
    let directory = |level: usize| OpenDirectory {
        name: if level == 0 { String::new() } else { format!("d{level}") },
        cursor: DirectoryCursor::new(cid),
        ahead: std::iter::repeat_n(("file".to_owned(), cid), entries).collect(),
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
