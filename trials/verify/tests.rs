//! A store is judged by what it must and what it may hold.

use super::*;

fn figures(blocks: u64, leases: u64) -> StoreFigures {
    StoreFigures {
        blocks,
        block_bytes: 0,
        used_bytes: 0,
        free_bytes: 0,
        max_bytes: None,
        segments: 1,
        damaged: 0,
        roots: 1,
        leases,
    }
}

#[test]
fn missing_blocks_and_garbage_are_seen() {
    assert_eq!(judge(&figures(5, 0), &[], 5, 5), None);
    assert_eq!(judge(&figures(6, 0), &[], 5, 7), None, "a master may keep what others hold");
    assert!(judge(&figures(4, 0), &[], 5, 5).is_some(), "a block is missing");
    assert!(judge(&figures(6, 0), &[], 5, 5).is_some(), "garbage");
    assert_eq!(judge(&figures(6, 1), &[], 5, 5), None, "a lease keeps it");
    assert!(judge(&figures(4, 1), &[], 5, 5).is_some(), "no lease excuses a missing block");
    let root = Content::of(1, 1).unwrap().cid;
    assert!(judge(&figures(5, 0), &[root], 5, 5).is_some(), "incomplete");
}
