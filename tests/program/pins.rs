//! Pins as an operator asks for them.

use super::harness::{Node, Place};

#[tokio::test]
async fn a_pin_without_a_number_promises_no_less_because_a_member_is_away() {
    let place = Place::new();
    let master = place.master("m").await;
    let folder = master.stopped().await;
    let master = Node::up(&folder, &[("IPFS_KIT_CLUSTER_REPAIR_GRACE", "1s")]).await;
    let worker = place.worker("w", &master).await;
    master.until(&["node", "ls"], |list| list.as_array().is_some_and(|l| l.len() == 2)).await;
    let block = place.file("block", "kept twice, or not at all");
    let cid = master.says(&["-q", "block", "put", block.to_str().unwrap()]).await;
    worker.kill().await;
    let lost = |list: &serde_json::Value| list[1]["liveness"] == "lost";
    master.until(&["node", "ls"], lost).await;
    let refused = master.run(&["pin", "add", cid.trim()]).await;
    refused.refused(1, "E_TOO_FEW_HOLDERS", &["2 copies are the minimum", "is lost"]);
    // Whoever wants less says so.
    master.says(&["pin", "add", "--replicas", "1", "--wait", cid.trim()]).await;
}

#[tokio::test]
async fn several_pins_end_at_once_and_one_that_is_none_keeps_no_other() {
    let place = Place::new();
    let node = place.node("n", &[]).await;
    let mut cids = Vec::new();
    for name in ["a", "b", "c"] {
        let file = place.file(name, name);
        cids.push(node.says(&["-q", "add", file.to_str().unwrap()]).await.trim().to_owned());
    }
    let count = async |args: &[&str]| node.json(args).await.as_array().unwrap().len();
    assert_eq!(count(&["pin", "ls", "--status", "pinned"]).await, 3);
    assert_eq!(count(&["pin", "ls", "--status", "failed"]).await, 0);
    node.says(&["pin", "rm", &cids[0]]).await;
    let ended = node.run(&["pin", "rm", &cids[0], &cids[1], &cids[2]]).await;
    ended.refused(3, "E_NOT_FOUND", &[&cids[0], "is not pinned"]);
    assert!(cids[1..].iter().all(|cid| ended.stdout.contains(cid)), "{ended:?}");
    assert_eq!(count(&["pin", "ls"]).await, 0);
}
