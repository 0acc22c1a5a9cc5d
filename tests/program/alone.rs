//! A node without a cluster: `init` without flags makes a useful one.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::harness::{Node, Place};

async fn pins(node: &Node) -> Vec<String> {
    let list = node.json(&["pin", "ls"]).await;
    list.as_array().unwrap().iter().map(|pin| pin["cid"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn what_was_added_stays_until_it_is_unpinned() {
    let place = Place::new();
    let node = place.node("n", &[]).await;
    assert!(!node.log().contains("members reach it"), "nobody does: {}", node.log());
    assert_eq!(node.json(&["status"]).await["addrs"], Value::Array(Vec::new()));
    let file = place.file("file", "kept here");
    let cid = node.says(&["-q", "add", file.to_str().unwrap()]).await.trim().to_owned();
    assert_eq!(pins(&node).await, [&*cid]);
    let pin = node.json(&["pin", "status", &cid, "--wait=max"]).await;
    assert_eq!((&pin["status"], &pin["replicas_live"]), (&"pinned".into(), &1.into()));
    assert_eq!((&pin["kind"], &pin["size_bytes"]), (&"file".into(), &9.into()));

    node.says(&["pin", "rm", &cid]).await;
    assert!(pins(&node).await.is_empty());
    node.run(&["pin", "rm", &cid]).await.refused(3, "E_NOT_FOUND", &["is not pinned"]);
    // The blocks are still here, and may be kept again; over a restart too.
    node.says(&["pin", "add", &cid]).await;
    let folder = node.folder.clone();
    node.stop().await;
    let node = Node::up(&folder, &[]).await;
    assert_eq!(pins(&node).await, [&*cid]);
    assert_eq!(node.says(&["cat", &cid]).await, "kept here");
}

#[tokio::test]
async fn what_only_a_cluster_can_promise_is_refused() {
    let place = Place::new();
    let node = place.node("n", &[]).await;
    let file = place.file("file", "x");
    let file = file.to_str().unwrap();
    let add = node.run(&["add", "--replicas", "2", file]).await;
    add.refused(1, "E_TOO_FEW_HOLDERS", &["2 copies need a cluster", "init --join"]);
    let add = node.run(&["add", "--expire", "1h", file]).await;
    add.refused(6, "E_NOT_RUNNING", &["ends no pin by itself"]);
    assert!(pins(&node).await.is_empty());
    let cid = node.says(&["-q", "add", "--replicas", "1", file]).await.trim().to_owned();
    let named = node.run(&["pin", "add", &cid, "--name", "a"]).await;
    named.refused(6, "E_NOT_RUNNING", &["keeps no names"]);
    let nobodys = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e";
    let absent = node.run(&["pin", "add", nobodys]).await;
    absent.refused(3, "E_NOT_FOUND", &[nobodys, "is not here", "add the files here"]);
    assert_eq!(pins(&node).await, [cid]);
    node.run(&["node", "ls"]).await.refused(6, "E_NOT_RUNNING", &["init --join"]);
}

/// `levels` folders inside one another, with a file in the innermost; its path.
fn nested(top: &Path, levels: usize) -> PathBuf {
    let mut inner = top.to_owned();
    inner.extend(std::iter::repeat_n("d", levels - 1));
    std::fs::create_dir_all(&inner).unwrap();
    std::fs::write(inner.join("file"), "at the bottom").unwrap();
    inner.join("file")
}

#[tokio::test]
async fn deep_folders_come_back_whole_and_too_deep_ones_are_refused() {
    let place = Place::new();
    let node = place.node("n", &[]).await;
    for levels in [255, 256] {
        let top = place.path(&format!("deep{levels}"));
        let file = nested(&top, levels);
        let cid = node.says(&["-q", "add", top.to_str().unwrap()]).await;
        let back = place.path(&format!("back{levels}"));
        node.says(&["get", cid.trim(), "-o", back.to_str().unwrap()]).await;
        let file = back.join(file.strip_prefix(&top).unwrap());
        assert_eq!(std::fs::read_to_string(file).unwrap(), "at the bottom", "{levels} levels");
    }
    let top = place.path("deeper");
    nested(&top, 257);
    let before = pins(&node).await;
    let refused = node.run(&["add", top.to_str().unwrap()]).await;
    refused.refused(1, "E_SOURCE", &["deeper than 256 folders", "nothing was added"]);
    assert_eq!(pins(&node).await, before);
}

#[tokio::test]
async fn only_hashing_says_the_root_and_keeps_nothing() {
    let place = Place::new();
    let node = place.node("n", &[]).await;
    let content: Vec<u8> = (0..1_000_000_u32).map(|at| (at % 251) as u8).collect();
    std::fs::create_dir_all(place.path("folder/sub")).unwrap();
    place.file("folder/sub/file", content);
    let folder = place.path("folder");
    let folder = folder.to_str().unwrap();
    let hashed = node.json(&["add", "--only-hash", folder]).await;
    assert_eq!((&hashed["copies"], &hashed["files"]), (&0.into(), &1.into()));
    assert!(pins(&node).await.is_empty());
    assert_eq!(node.json(&["store", "stat"]).await["blocks"], 0);
    assert_eq!(node.json(&["add", folder]).await["root"], hashed["root"]);
}

#[tokio::test]
async fn a_chunker_decides_the_blocks_of_files() {
    let place = Place::new();
    let node = place.node("n", &[]).await;
    let content: Vec<u8> = (0..1_000_000_u32).map(|at| (at % 251) as u8).collect();
    let file = place.file("file", &content);
    let file = file.to_str().unwrap();
    // Four leaves and their root; by the profile it is one leaf.
    let cut = node.json(&["add", "--chunker", "size-250000", file]).await;
    assert_eq!(cut["blocks"], 5);
    assert_eq!(node.json(&["add", file]).await["blocks"], 1);
    let root = cut["root"].as_str().unwrap();
    assert_eq!(
        node.says(&["cat", root, "--offset", "999998"]).await.as_bytes(),
        &content[999_998..]
    );
    for wrong in ["size-0", "rabin"] {
        let refused = node.run(&["add", "--chunker", wrong, file]).await;
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(
            refused.stderr.contains("it is size-BYTES, with 1 to 2096896 bytes"),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn an_archive_is_one_that_tar_unpacks() {
    let place = Place::new();
    let node = place.node("n", &[]).await;
    std::fs::create_dir_all(place.path("in/sub")).unwrap();
    place.file("in/a", "hello");
    place.file("in/sub/b", "below");
    let folder = place.path("in");
    let root = node.says(&["-q", "add", folder.to_str().unwrap()]).await.trim().to_owned();
    let out = place.path("out");
    std::fs::create_dir(&out).unwrap();
    for (what, wanted) in [(root.clone(), "sub/b"), (format!("{root}/sub/b"), "")] {
        let archive = place.path("archive.tar");
        let to = archive.to_str().unwrap();
        node.says(&["get", "--archive", &what, "-o", to]).await;
        node.run(&["get", "--archive", &what, "-o", to]).await.refused(8, "E_DESTINATION", &[to]);
        let mut tar = std::process::Command::new("tar");
        assert!(tar.arg("-xf").arg(&archive).current_dir(&out).status().unwrap().success());
        let name = what.rsplit('/').next().unwrap();
        let file = out.join(name).join(wanted);
        let file = if wanted.is_empty() { out.join(name) } else { file };
        assert_eq!(std::fs::read_to_string(file).unwrap(), "below");
        assert_eq!(node.says(&["get", "-a", &what, "-o", "-"]).await.as_bytes(), {
            let bytes = std::fs::read(&archive).unwrap();
            std::fs::remove_file(&archive).unwrap();
            bytes
        });
    }
}
