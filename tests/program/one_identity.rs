//! Two nodes with one identity: exactly one of them goes on.

use std::path::Path;

use super::harness::{Node, Place, up_ends};

/// The copy's own ports. Where the cluster reaches the identity is not the copy's to change.
const OTHER_PORTS: &[(&str, &str)] =
    &[("IPFS_KIT_LISTEN", "127.0.0.1:0"), ("IPFS_KIT_API_LISTEN", "127.0.0.1:0")];

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            // A small file that is replaced while it is copied may be gone: the next one has its name.
            false => drop(std::fs::copy(entry.path(), to)),
        }
    }
}

async fn alive(master: &Node, members: usize) {
    let all_alive = |ls: &serde_json::Value| {
        let items = ls["items"].as_array().or(ls.as_array());
        items.is_some_and(|items| {
            items.len() == members && items.iter().all(|item| item["liveness"] == "alive")
        })
    };
    master.until(&["node", "ls"], all_alive).await;
}

#[tokio::test]
async fn a_copy_of_a_running_node_does_not_start() {
    let place = Place::new();
    let master = place.master("m").await;
    let worker = place.worker("w", &master).await;
    worker.works("before").await;
    for node in [&master, &worker] {
        let folder = node.folder.with_extension("copy");
        copy(&node.folder, &folder);
        let ended = up_ends(&folder, OTHER_PORTS).await;
        let parts =
            ["another running node has this node's identity", "answers at 127.0.0.1:", "init"];
        ended.refused(8, "E_IDENTITY", &parts);
        assert!(!ended.stdout.contains("ready"), "it never served anybody: {ended:?}");
    }
    alive(&master, 2).await;
    master.works("after, at the master").await;
    worker.works("after, at the worker").await;
    worker.stop().await;
    master.stop().await;
}

/// The copy can't find out at its start: nothing answers where the cluster believes the node to be.
#[tokio::test]
async fn a_copy_that_does_not_see_the_node_is_refused_by_the_members() {
    let place = Place::new();
    let master = place.master("m").await;
    let token = master.token(&[]).await;
    let init = ["--listen", "127.0.0.1:0", "--advertise", "127.0.0.1:1", "--join", token.as_str()];
    let worker = place.node("w", &init).await;
    worker.works("before").await;
    let folder = place.path("copy");
    copy(&worker.folder, &folder);
    let ended = up_ends(&folder, OTHER_PORTS).await;
    let parts = [
        "the cluster does not want this node",
        "another running node has this node's identity; it is reached at 127.0.0.1:1",
    ];
    ended.refused(8, "E_IDENTITY", &parts);
    assert!(ended.stdout.contains("refuses this run"), "the log says who: {ended:?}");
    alive(&master, 2).await;
    worker.works("after").await;
    assert!(!worker.log().contains("refuses this run"), "nobody troubled the node itself");
    // Once the node has gone, its copy is the node: that is how a machine is moved.
    worker.stop().await;
    let moved = Node::up(&folder, OTHER_PORTS).await;
    alive(&master, 2).await;
    moved.works("moved").await;
}
