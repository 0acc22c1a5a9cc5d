//! A node that its cluster has removed ends, whether it runs at that moment or starts later.

use std::path::Path;

use super::harness::{Node, Place, up_ends};

const WHY: &str = "this node was removed from its cluster";

/// Whether some file of a folder's block store has these bytes.
fn stores(folder: &Path, content: &str) -> bool {
    let files = std::fs::read_dir(folder.join("blocks")).unwrap();
    let mut files = files.map(|file| file.unwrap().path()).filter(|path| path.is_file());
    files.any(|path| {
        let bytes = std::fs::read(path).unwrap();
        bytes.windows(content.len()).any(|window| window == content.as_bytes())
    })
}

#[tokio::test]
async fn a_removed_node_ends_whether_it_was_running_or_not() {
    let place = Place::new();
    let master = place.master("m").await;
    let running = place.worker("running", &master).await;
    let asleep = place.worker("asleep", &master).await;
    asleep.works("stays where it is").await;
    let folder = asleep.stopped().await;
    for name in ["running", "asleep"] {
        master.says(&["node", "rm", name, "--yes"]).await;
    }
    let (status, log) = running.ended().await;
    assert_eq!(status.code(), Some(8), "{log}");
    assert!(log.contains(WHY) && log.contains("E_IDENTITY"), "{log}");
    up_ends(&folder, &[]).await.refused(8, "E_IDENTITY", &[WHY, "node ls"]);
    // Masters that start later know it too.
    let master = Node::up(&master.stopped().await, &[]).await;
    up_ends(&folder, &[]).await.refused(8, "E_IDENTITY", &[WHY]);
    assert!(stores(&folder, "stays where it is"), "its blocks were not touched");
    master.works("after").await;
    master.stop().await;
}

#[tokio::test]
async fn a_master_that_was_removed_while_it_was_down_ends_at_its_next_start() {
    let place = Place::new();
    let first = place.master("m1").await;
    let second = place.member("m2", &first, "master").await;
    let third = place.member("m3", &first, "master").await;
    first.until(&["node", "ls"], |list| voters(list) == 3).await;
    let folder = third.stopped().await;
    first.says(&["node", "rm", "m3", "--yes"]).await;
    up_ends(&folder, &[]).await.refused(8, "E_IDENTITY", &[WHY]);
    first.until(&["node", "ls"], |list| voters(list) == 2).await;
    second.works("after").await;
}

#[tokio::test]
async fn a_node_that_leaves_ends_once_it_is_taken_out() {
    let place = Place::new();
    let master = place.master("m").await;
    let leaver = place.worker("w", &master).await;
    master.says(&["node", "leave", "w", "--yes"]).await;
    let (status, log) = leaver.ended().await;
    assert_eq!(status.code(), Some(8), "{log}");
    assert!(log.contains(WHY), "{log}");
    master.until(&["node", "ls"], |list| list.as_array().is_some_and(|l| l.len() == 1)).await;
}

fn voters(list: &serde_json::Value) -> usize {
    let nodes = list.as_array().into_iter().flatten();
    nodes.filter(|node| node["raft"] == "voter").count()
}
