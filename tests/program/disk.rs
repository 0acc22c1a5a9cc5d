//! Disks that are full, or fail.

use super::harness::{FILES_KIB_MAX, Node, Place};

/// The block store makes its files in one go, so a node whose files may not grow far is one whose disk
/// takes no blocks.
#[tokio::test]
async fn a_disk_that_takes_no_blocks_is_named_and_the_node_works_once_it_does() {
    let place = Place::new();
    let node = place.node("n", &[]).await;
    node.works("before").await;
    let folder = node.folder.clone();
    node.stop().await;

    let node = Node::up(&folder, &[(FILES_KIB_MAX, "8192")]).await;
    let file = place.file("file", "x");
    let refused = node.run(&["add", file.to_str().unwrap()]).await;
    refused.refused(9, "E_STORE", &["blocks/", "File too large", "ipfs-kit status"]);
    let names_the_disk = |status: &serde_json::Value| {
        status["warnings"].to_string().contains("the disk takes no blocks")
    };
    node.until(&["status"], names_the_disk).await;
    let pins = node.json(&["pin", "ls"]).await;
    assert_eq!(pins.as_array().map(Vec::len), Some(1), "only what was there before: {pins}");
    node.stop().await;

    let node = Node::up(&folder, &[]).await;
    node.works("after").await;
    assert_eq!(node.json(&["status"]).await["warnings"], serde_json::json!([]));
}

#[tokio::test]
async fn the_reserve_of_the_disk_is_left_alone() {
    let place = Place::new();
    let node = place.node("n", &[]).await;
    let folder = node.folder.clone();
    node.stop().await;
    // More than any disk has: nothing may be stored.
    let node = Node::up(&folder, &[("IPFS_KIT_STORAGE_RESERVE", "1000TiB")]).await;
    let file = place.file("file", "x");
    let refused = node.run(&["add", file.to_str().unwrap()]).await;
    refused.refused(1, "E_FULL", &["bytes left", "kept free", "storage.reserve"]);
    node.stop().await;
    Node::up(&folder, &[]).await.works("after").await;
}
