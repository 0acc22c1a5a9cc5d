//! Files that are hard to add: the rows of `docs/bad-input.md` about what is put in.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

use super::harness::{Ended, Node, Place, kit_os, spawn_kit};

/// What the empty file is called everywhere.
const EMPTY: &str = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku";
/// Larger than any disk of a test, and no byte of it is stored.
const SPARSE_BYTES: u64 = 100_000_000_000;

async fn alone(place: &Place) -> Node {
    place.node("n", &[]).await
}

fn sparse(path: &Path, len_bytes: u64) {
    std::fs::File::create(path).unwrap().set_len(len_bytes).unwrap();
}

/// An `add` under way: the node has told of its first megabytes.
async fn adding(node: &Node, path: &Path) -> Child {
    let mut command = spawn_kit(&node.folder, &["--output", "ndjson", "add"]);
    command.arg(path).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let out = child.stdout.as_mut().unwrap();
    let mut first = String::new();
    BufReader::new(out).read_line(&mut first).await.unwrap();
    let event: Value = serde_json::from_str(&first).unwrap();
    assert_eq!(event["event"], "progress", "{event}");
    child
}

fn interrupt(child: &Child) {
    let pid = rustix::process::Pid::from_raw(child.id().unwrap() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
}

async fn end_of(child: Child) -> Ended {
    let output = tokio::time::timeout(super::harness::PATIENCE, child.wait_with_output());
    Ended::of(output.await.expect("it ends").unwrap())
}

/// As [`Ended::refused`], for a command that was asked for JSON.
#[track_caller]
fn failed(ended: &Ended, exit: i32, code: &str, parts: &[&str]) {
    assert_eq!(ended.status.code(), Some(exit), "{ended:?}");
    let error: Value = serde_json::from_str(&ended.stderr).unwrap();
    assert_eq!(error["error"]["code"], code, "{ended:?}");
    for part in parts {
        assert!(ended.stderr.contains(part), "{part:?} is not in {ended:?}");
    }
}

/// Nothing is pinned, and what came of the add is gone with the next collection.
async fn left_nothing(node: &Node) {
    // A collection waits until the node has noticed the end of the add.
    node.until(&["store", "gc"], |_| true).await;
    let stat = node.json(&["store", "stat"]).await;
    assert_eq!((&stat["blocks"], &stat["roots"]), (&json!(0), &json!(0)), "{stat}");
    assert_eq!(node.json(&["pin", "ls"]).await, json!([]));
    node.works("after").await;
}

#[tokio::test]
async fn a_file_that_shrinks_while_it_is_added_is_named() {
    let place = Place::new();
    let node = alone(&place).await;
    let path = place.path("growing");
    sparse(&path, SPARSE_BYTES);
    let add = adding(&node, &path).await;
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(1).unwrap();
    let parts = ["growing changed while it was being added", "shorter", "nothing was added"];
    failed(&end_of(add).await, 1, "E_SOURCE", &parts);
    left_nothing(&node).await;
}

#[tokio::test]
async fn a_file_that_vanishes_while_its_folder_is_added_is_named() {
    let place = Place::new();
    let node = alone(&place).await;
    let folder = place.path("data");
    std::fs::create_dir(&folder).unwrap();
    sparse(&folder.join("first"), 2 << 30);
    std::fs::write(folder.join("second"), "x").unwrap();
    let add = adding(&node, &folder).await;
    std::fs::remove_file(folder.join("second")).unwrap();
    let parts = ["second changed while it was being added", "vanished", "nothing was added"];
    failed(&end_of(add).await, 1, "E_SOURCE", &parts);
    left_nothing(&node).await;
}

#[tokio::test]
async fn names_that_are_not_utf8_are_refused_and_a_single_file_needs_none() {
    let place = Place::new();
    let node = alone(&place).await;
    let folder = place.path("data");
    std::fs::create_dir(&folder).unwrap();
    let odd = folder.join(OsStr::from_bytes(b"caf\xe9"));
    std::fs::write(&odd, "latin 1").unwrap();
    let refused = node.run(&["add", folder.to_str().unwrap()]).await;
    refused.refused(2, "E_INVALID_TREE", &["caf\u{fffd}", "not valid utf-8", "nothing was added"]);
    assert_eq!(node.json(&["pin", "ls"]).await, json!([]));
    // What is added alone has no name in the tree.
    let args = [OsStr::new("-q"), OsStr::new("add"), odd.as_os_str()].map(OsStr::to_owned);
    let added = kit_os(&node.folder, &args).await;
    assert!(added.status.success(), "{added:?}");
    assert_eq!(node.says(&["cat", added.stdout.trim()]).await, "latin 1");
    node.works("after").await;
}

#[tokio::test]
async fn what_has_no_content_is_refused_by_hand_and_skipped_in_a_folder() {
    let place = Place::new();
    let node = alone(&place).await;
    let folder = place.path("data");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("file"), "x").unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folder.join("socket")).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    let pipe = folder.join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, mode).unwrap();
    for path in [folder.join("socket"), pipe, PathBuf::from("/dev/null"), "/dev/zero".into()] {
        let refused = node.run(&["add", path.to_str().unwrap()]).await;
        let name = path.to_str().unwrap();
        refused.refused(1, "E_SOURCE", &[name, "has no content to add", "give a file"]);
    }
    let added = node.run(&["--output", "json", "add", folder.to_str().unwrap()]).await;
    assert!(added.stderr.contains("skipped 2 sockets, pipes or devices: "), "{added:?}");
    let added: Value = serde_json::from_str(&added.stdout).unwrap();
    assert_eq!((&added["files"], &added["skipped"]["special"]), (&json!(1), &json!(2)), "{added}");
    node.works("after").await;
}

#[tokio::test]
async fn loops_of_links_end() {
    let place = Place::new();
    let node = alone(&place).await;
    let folder = place.path("data");
    std::fs::create_dir(&folder).unwrap();
    symlink("loop", folder.join("loop")).unwrap();
    symlink(".", folder.join("self")).unwrap();
    symlink("..", folder.join("up")).unwrap();
    let by_hand = node.run(&["add", folder.join("loop").to_str().unwrap()]).await;
    by_hand.refused(1, "E_SOURCE", &["loop", "symbolic links", "nothing was added"]);
    // In a folder a link is a link, wherever it leads.
    let added = node.json(&["add", folder.to_str().unwrap()]).await;
    assert_eq!((&added["symlinks"], &added["directories"]), (&json!(3), &json!(1)), "{added}");
    let back = place.path("back");
    let cid = added["root"].as_str().unwrap();
    node.says(&["get", cid, "-o", back.to_str().unwrap()]).await;
    for (name, target) in [("loop", "loop"), ("self", "."), ("up", "..")] {
        assert_eq!(std::fs::read_link(back.join(name)).unwrap(), Path::new(target));
    }
    // Nor are they followed in what was added.
    let through = format!("{cid}/self/self/loop");
    assert!(!node.run(&["cat", &through]).await.status.success());
    node.works("after").await;
}

/// `tests/large_folder.sh` does the same with a million.
#[tokio::test]
async fn a_folder_of_very_many_entries_is_listed_whole() {
    const ENTRIES: usize = 20_000;
    let place = Place::new();
    let node = alone(&place).await;
    let folder = place.path("data");
    std::fs::create_dir(&folder).unwrap();
    for number in 0..ENTRIES {
        std::fs::write(folder.join(format!("{number:07}")), []).unwrap();
    }
    let cid = node.says(&["-q", "add", folder.to_str().unwrap()]).await;
    let listed = node.json(&["ls", cid.trim()]).await;
    let mut names: Vec<&str> =
        listed.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names.len(), ENTRIES);
    assert!(names.iter().enumerate().all(|(at, name)| **name == *format!("{at:07}")));
}

/// A folder inside folders whose path below `top` has that many bytes; the innermost holds a file.
fn long_path(top: &Path, len_bytes: usize) -> PathBuf {
    let mut path = PathBuf::new();
    let file = "file";
    let mut left = len_bytes - file.len();
    while left > 0 {
        // Never a rest of one, which would be a slash without a name.
        let take = match left {
            0..=256 => left,
            257 => 128,
            _ => 256,
        };
        path.push(OsString::from_vec(vec![b'd'; take - 1]));
        left -= take;
    }
    let out = std::process::Command::new("mkdir")
        .args(["-p", path.to_str().unwrap()])
        .current_dir(top)
        .status();
    assert!(out.unwrap().success());
    path.join(file)
}

#[tokio::test]
async fn a_path_of_4_kib_is_added_read_and_given_back() {
    let place = Place::new();
    let node = alone(&place).await;
    // Longer than the name of the folder in which `get` makes what then gets its own name.
    let top = place.path(&"a-long-name-".repeat(8));
    std::fs::create_dir(&top).unwrap();
    // The longest that the kernel takes, the final zero included.
    let longest = 4095 - top.as_os_str().len() - 1;
    let file = long_path(&top, longest);
    std::fs::write(top.join(&file), "at the end").unwrap();
    let cid = node.says(&["-q", "add", top.to_str().unwrap()]).await.trim().to_owned();
    let inside = format!("{cid}/{}", file.to_str().unwrap());
    assert_eq!(node.says(&["cat", &inside]).await, "at the end");
    let back = place.path("back");
    node.says(&["get", &cid, "-o", back.to_str().unwrap()]).await;
    assert_eq!(std::fs::read_to_string(back.join(&file)).unwrap(), "at the end");
    // A path that the kernel can't open is named.
    let longer = place.path(&"a-longer-still-".repeat(8));
    std::fs::rename(&top, &longer).unwrap();
    let refused = node.run(&["add", longer.to_str().unwrap()]).await;
    refused.refused(1, "E_SOURCE", &["File name too long", "nothing was added"]);
    node.works("after").await;
}

#[tokio::test]
async fn empty_files_and_folders_are_content_too() {
    let place = Place::new();
    let node = alone(&place).await;
    let file = place.file("file", "");
    let cid = node.says(&["-q", "add", file.to_str().unwrap()]).await;
    assert_eq!(cid.trim(), EMPTY);
    assert_eq!(node.says(&["cat", EMPTY]).await, "");
    let folder = place.path("folder");
    std::fs::create_dir(&folder).unwrap();
    let cid = node.says(&["-q", "add", folder.to_str().unwrap()]).await;
    assert_eq!(node.json(&["ls", cid.trim()]).await, json!([]));
    for (cid, name) in [(EMPTY, "file-back"), (cid.trim(), "folder-back")] {
        let back = place.path(name);
        node.says(&["get", cid, "-o", back.to_str().unwrap()]).await;
        let metadata = std::fs::metadata(&back).unwrap();
        assert_eq!(
            (metadata.is_dir(), metadata.len() == 0 || metadata.is_dir()),
            (name != "file-back", true)
        );
    }
}

#[tokio::test]
async fn a_huge_sparse_file_is_cancelled_cleanly() {
    let place = Place::new();
    let node = alone(&place).await;
    let path = place.path("huge");
    sparse(&path, SPARSE_BYTES);
    let add = adding(&node, &path).await;
    interrupt(&add);
    failed(&end_of(add).await, 130, "E_INTERRUPTED", &["leaves nothing behind"]);
    left_nothing(&node).await;
    // A client that is gone without a word is the same to the node.
    let pin = pinned(&node).await;
    node.says(&["pin", "rm", &pin]).await;
    let mut add = adding(&node, &path).await;
    add.kill().await.unwrap();
    left_nothing(&node).await;
}

#[tokio::test]
async fn an_add_is_interrupted_although_its_node_stands_still() {
    let place = Place::new();
    let node = alone(&place).await;
    let path = place.path("huge");
    sparse(&path, SPARSE_BYTES);
    let add = adding(&node, &path).await;
    let pid = rustix::process::Pid::from_raw(node.pid() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    interrupt(&add);
    failed(&end_of(add).await, 130, "E_INTERRUPTED", &["leaves nothing behind"]);
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    left_nothing(&node).await;
}

#[tokio::test]
async fn standard_input_that_never_comes_does_not_outlast_the_timeout() {
    let place = Place::new();
    let node = alone(&place).await;
    let mut add = spawn_kit(&node.folder, &["--output", "json", "--timeout", "1s", "add", "-"]);
    add.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut add = add.spawn().unwrap();
    let _silent = add.stdin.take();
    failed(&end_of(add).await, 62, "E_TIMEOUT", &["not finished within --timeout"]);
    left_nothing(&node).await;
}

/// The one pin that there is.
async fn pinned(node: &Node) -> String {
    let pins = node.json(&["pin", "ls"]).await;
    let [pin] = &pins.as_array().unwrap()[..] else { panic!("{pins}") };
    pin["cid"].as_str().unwrap().to_owned()
}
