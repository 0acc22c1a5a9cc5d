//! Nodes' folders that are not as they should be: the rows of `docs/bad-input.md` about what lies there.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::harness::{Node, Place, kit, kit_through, up_ends};

/// Root may write anywhere, unless it goes without the right to.
const MORTAL: [&str; 2] = ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner"];

async fn stopped(place: &Place) -> PathBuf {
    let node = place.node("n", &[]).await;
    node.works("before").await;
    node.stopped().await
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

/// Everything in a folder but its lock, which names the last process that had it.
fn content(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(content(&path));
        } else if !path.ends_with("lock") {
            all.push((path.clone(), std::fs::read(path).unwrap()));
        }
    }
    all.sort();
    all
}

#[tokio::test]
async fn a_folder_that_may_not_be_written_is_named_and_left_as_it_is() {
    let place = Place::new();
    let folder = stopped(&place).await;
    let before = content(&folder);
    let folders: Vec<PathBuf> =
        [folder.clone(), folder.join("blocks"), folder.join("holdings")].into();
    folders.iter().for_each(|folder| set_mode(folder, 0o500));
    let starter: &[&str] = if rustix::process::geteuid().is_root() { &MORTAL } else { &["env"] };
    let ended = kit_through(starter, &folder, &["up"]).await;
    assert_eq!(ended.status.code(), Some(9), "{ended:?}");
    for part in ["E_STORE", "Permission denied", "belong to the user who runs the node"] {
        assert!(ended.stderr.contains(part), "{part}: {ended:?}");
    }
    assert!(content(&folder) == before, "nothing was changed");
    // Nor can a node be made where nothing may be made.
    let inside = folder.join("another");
    let init = kit_through(starter, &inside, &["init"]).await;
    assert!(!init.status.success() && init.stderr.contains("Permission denied"), "{init:?}");
    assert!(!inside.exists());
    folders.iter().for_each(|folder| set_mode(folder, 0o700));
    Node::up(&folder, &[]).await.works("after").await;
}

#[tokio::test]
async fn a_corrupt_config_is_refused_and_kept() {
    let place = Place::new();
    let folder = stopped(&place).await;
    let file = folder.join("config.yaml");
    let good = std::fs::read(&file).unwrap();
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned()
        + &('b'..='k').map(|c| {
            let before = (c as u8 - 1) as char;
            format!("{c}: &{c} [*{before},*{before},*{before},*{before},*{before},*{before},*{before}]\n")
        }).collect::<String>();
    let cases: [(&str, Vec<u8>); 7] = [
        ("not UTF-8", vec![0xff, 0xfe, 0x00, 0x80]),
        ("cut off", b"raft: {tick: 50ms".to_vec()),
        ("another type", b"- a\n- b\n".to_vec()),
        ("zeros, as after a power cut", vec![0; 512]),
        ("too large", [b"# ".to_vec(), vec![b'x'; 300 << 10]].concat()),
        ("deep", b"[".repeat(10_000)),
        ("a bomb", bomb.into_bytes()),
    ];
    for (what, bytes) in cases {
        std::fs::write(&file, &bytes).unwrap();
        for ended in [up_ends(&folder, &[]).await, kit(&folder, &["status"], &[]).await] {
            assert_eq!(ended.status.code(), Some(2), "{what}: {ended:?}");
            ended.refused(2, "E_CONFIG", &["config.yaml"]);
        }
        assert!(std::fs::read(&file).unwrap() == bytes, "{what}: the file is the operator's");
    }
    std::fs::write(&file, good).unwrap();
    Node::up(&folder, &[]).await.works("after").await;
}

/// What a crash leaves of an `init` before its last step, with the names that were not durable gone.
fn interrupt(folder: &Path, lost: &[&str]) {
    std::fs::rename(folder.join("version"), folder.join("unfinished")).unwrap();
    lost.iter().for_each(|name| std::fs::remove_file(folder.join(name)).unwrap());
}

#[tokio::test]
async fn an_interrupted_init_makes_no_node_and_can_be_repeated() {
    let place = Place::new();
    let folder = place.path("n");
    let init = async |args: &[&str]| {
        let api = ["--api", "127.0.0.1:0", "--output", "json", "init"];
        let made = kit(&folder, &api, args).await;
        assert!(made.status.success(), "{made:?}");
        serde_json::from_str::<serde_json::Value>(&made.stdout).unwrap()
    };
    let all = ["identity.key", "api.token", "config.yaml", "membership"];
    let mut keys = std::collections::BTreeSet::new();
    for lost in [&[][..], &["membership"], &["config.yaml"], &["membership", "api.token"], &all] {
        let made = init(&["--role", "master", "--name", "first"]).await;
        keys.insert(made["peer"].to_string());
        interrupt(&folder, lost);
        let before = content(&folder);
        let up = up_ends(&folder, &[]).await;
        up.refused(3, "E_NOT_FOUND", &["the folder holds no node", "init"]);
        assert!(content(&folder) == before, "{lost:?}: nothing was changed");
        // Another wish than the first time: nothing of that is left.
        let made = init(&[]).await;
        assert_eq!(made["role"], "leecher", "{lost:?}: {made}");
        assert_ne!(made["name"], "first");
        keys.insert(made["peer"].to_string());
        assert!(!folder.join("membership").exists());
        let again = kit(&folder, &["init"], &[]).await;
        again.refused(8, "E_CONFLICT", &["the folder holds a node already"]);
        interrupt(&folder, &[]);
    }
    assert_eq!(keys.len(), 10, "every attempt has a key of its own");
    init(&[]).await;
    Node::up(&folder, &[]).await.works("after").await;
}

/// Counted as none, the next run's number could be smaller than one that members have seen.
#[tokio::test]
async fn a_damaged_incarnation_keeps_the_node_down() {
    let place = Place::new();
    let folder = stopped(&place).await;
    let file = folder.join("incarnation");
    let good = std::fs::read_to_string(&file).unwrap();
    let cases: [(&str, &[u8]); 6] = [
        ("empty", b""),
        ("zeros, as after a power cut", &[0; 13]),
        ("words", b"twelve"),
        ("no UTF-8", &[0xff, 0xfe]),
        ("one more does not fit", b"18446744073709551615"),
        ("too long", &[b'1'; 65]),
    ];
    for (what, bytes) in cases {
        std::fs::write(&file, bytes).unwrap();
        up_ends(&folder, &[]).await.refused(9, "E_CORRUPT", &["incarnation"]);
        assert!(std::fs::read(&file).unwrap() == bytes, "{what}: the file stays as it is");
    }
    // However far ahead: the next one is larger.
    std::fs::write(&file, "18446744073709551613").unwrap();
    Node::up(&folder, &[]).await.works("far ahead").await;
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "18446744073709551614");
    std::fs::write(&file, good).unwrap();
}

#[tokio::test]
async fn the_lock_of_a_killed_node_keeps_nobody_out() {
    let place = Place::new();
    let node = place.node("n", &[]).await;
    node.works("before").await;
    let folder = node.folder.clone();
    node.kill().await;
    assert!(folder.join("lock").exists() && folder.join("api.addr").exists());
    // A command finds out that nobody is there.
    kit(&folder, &["status"], &[]).await.refused(1, "E_NO_NODE", &["no node is running"]);
    Node::up(&folder, &[]).await.works("after").await;
}

#[tokio::test]
async fn a_second_process_on_a_folder_is_refused_and_the_first_goes_on() {
    let place = Place::new();
    let node = place.node("n", &[]).await;
    let log = node.log();
    let again = kit(&node.folder, &["up"], &[]).await;
    again.refused(8, "E_CONFLICT", &["process", &node.pid().to_string()]);
    assert_eq!(node.log(), log);
    node.works("after").await;
}

fn log_segments(folder: &Path) -> Vec<PathBuf> {
    let log = std::fs::read_dir(folder.join("raft/log")).unwrap();
    let mut segments: Vec<_> = log.map(|entry| entry.unwrap().path()).collect();
    segments.sort();
    segments
}

/// As after a power cut of a disk that kept no promise: what was acknowledged last is gone.
#[tokio::test]
async fn a_truncated_log_is_cut_where_it_broke_off() {
    let place = Place::new();
    let node = place.master("m").await;
    let file = place.file("file", "early");
    let early = node.says(&["-q", "add", "--replicas", "1", file.to_str().unwrap()]).await;
    let early = early.trim().to_owned();
    node.works("last").await;
    let folder = node.stopped().await;
    let segments = log_segments(&folder);
    let last = std::fs::OpenOptions::new().write(true).open(segments.last().unwrap()).unwrap();
    let bytes = std::fs::read(segments.last().unwrap()).unwrap();
    let written = bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1;
    last.set_len(written - 5).unwrap();
    let node = Node::up(&folder, &[]).await;
    assert!(node.log().contains("cut an incomplete tail off the log"), "{}", node.log());
    node.until(&["call", "health"], |health| health["ready"] == true).await;
    assert_eq!(node.says(&["cat", &early]).await, "early");
    node.works("after").await;
    // Once.
    let node = Node::up(&node.stopped().await, &[]).await;
    assert!(!node.log().contains("cut an incomplete tail"), "{}", node.log());
}

/// As when the disk below it is not mounted.
fn without_raft(folder: &Path) -> PathBuf {
    let away = folder.with_extension("raft");
    std::fs::rename(folder.join("raft"), &away).unwrap();
    std::fs::create_dir(folder.join("raft")).unwrap();
    away
}

#[tokio::test]
async fn pitfall_14_a_member_that_has_lost_its_raft_folder_neither_founds_again_nor_votes() {
    let place = Place::new();
    let first = place.master("m1").await;
    let second = place.member("m2", &first, "master").await;
    let votes = |node: &Value| node["raft"] == "voter" && node["liveness"] == "alive";
    let all = |list: &Value| list.as_array().is_some_and(|list| list.iter().all(votes));
    first.until(&["node", "ls"], |list| all(list) && list.as_array().unwrap().len() == 2).await;
    let (joined, founder) = (second.stopped().await, first.stopped().await);
    for folder in [&joined, &founder] {
        let away = without_raft(folder);
        let up = up_ends(folder, &[]).await;
        up.refused(9, "E_CORRUPT", &["raft is empty", "is its disk mounted?"]);
        std::fs::remove_dir_all(folder.join("raft")).unwrap();
        std::fs::rename(away, folder.join("raft")).unwrap();
    }
    let first = Node::up(&founder, &[]).await;
    let _second = Node::up(&joined, &[]).await;
    first.until(&["node", "ls"], |list| all(list)).await;
}
