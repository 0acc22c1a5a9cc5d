//! Wrong input at the front door: a clear error, and no damage.

use std::os::unix::fs::PermissionsExt;

use ipfs_kit_core::token::JoinToken;

use super::harness::{Node, Place, free_address, kit, kit_through, up_ends};

/// A CID that nobody has.
const NOBODYS: &str = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e";
const ANY_PORT: (&str, &str) = ("IPFS_KIT_LISTEN", "127.0.0.1:0");

async fn alone(place: &Place) -> Node {
    place.node("n", &[]).await
}

#[tokio::test]
async fn a_missing_path_is_named() {
    let place = Place::new();
    let node = alone(&place).await;
    let missing = node.run(&["add", "no/such/thing"]).await;
    missing.refused(3, "E_PATH", &["there is no file or folder no/such/thing"]);
    // One of several: all or nothing.
    let there = place.file("there", "x");
    let both = node.run(&["add", there.to_str().unwrap(), "no/such/thing"]).await;
    both.refused(3, "E_PATH", &["no/such/thing", "nothing was added"]);
    assert_eq!(node.json(&["status"]).await["usage"]["blocks"], 0);
    node.works("after").await;
}

/// Reading `/proc/self/mem` at its begin fails with an input error for every user, root among them, as a
/// file on a failing disk does: it is found, opened, and can't be read.
#[tokio::test]
async fn a_file_that_cannot_be_read_ends_the_add_and_nothing_is_kept() {
    let place = Place::new();
    let node = alone(&place).await;
    let decayed = "/proc/self/mem";
    let alone = node.run(&["add", decayed]).await;
    let parts = ["cannot read /proc/self/mem", "Input/output error", "nothing was added"];
    alone.refused(1, "E_SOURCE", &parts);
    // In the middle of an upload, after megabytes that could be read.
    let good = place.file("good", vec![7; 9 << 20]);
    let midway = node.run(&["add", good.to_str().unwrap(), decayed]).await;
    midway.refused(1, "E_SOURCE", &parts);
    let pins = node.json(&["pin", "ls"]).await;
    assert_eq!(pins.as_array().map(Vec::len), Some(0), "{pins}");
    node.works("after").await;
}

/// Root reads everything, unless it goes without the right to: then it is told like everybody.
#[tokio::test]
async fn a_file_of_somebody_else_is_named() {
    let place = Place::new();
    let node = alone(&place).await;
    let folder = place.path("data");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("mine"), "x").unwrap();
    std::fs::write(folder.join("secret"), "x").unwrap();
    std::fs::set_permissions(folder.join("secret"), PermissionsExt::from_mode(0o000)).unwrap();
    let add = ["add", folder.to_str().unwrap()];
    let refused = match std::fs::read(folder.join("secret")) {
        Err(_) => node.run(&add).await,
        Ok(_) => {
            let mortal = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"];
            kit_through(&mortal, &node.folder, &add).await
        }
    };
    refused.refused(1, "E_SOURCE", &["secret", "Permission denied", "nothing was added"]);
    node.works("after").await;
}

#[tokio::test]
async fn a_port_in_use_is_named_and_the_node_starts_on_another() {
    let place = Place::new();
    let master = place.master("m").await;
    let api = std::fs::read_to_string(master.folder.join("api.addr")).unwrap();
    let folder = place.path("api");
    let made = kit(&folder, &["--api", api.trim(), "init"], &[]).await;
    assert!(made.status.success(), "{made:?}");
    let ended = up_ends(&folder, &[]).await;
    ended.refused(8, "E_PORT_IN_USE", &[api.trim(), "in use", "--api or api.listen"]);
    let other = ("IPFS_KIT_API_LISTEN", "127.0.0.1:0");
    Node::up(&folder, &[other]).await.works("on another port").await;

    let members = master.json(&["status"]).await["addrs"][0].as_str().unwrap().to_owned();
    let folder = place.path("members");
    let init = ["--api", "127.0.0.1:0", "init", "--role", "master", "--listen", &members];
    assert!(kit(&folder, &init, &[]).await.status.success());
    let ended = up_ends(&folder, &[]).await;
    ended.refused(8, "E_PORT_IN_USE", &[&members, "Address already in use", "`listen`"]);
    Node::up(&folder, &[ANY_PORT]).await.works("on another port").await;

    // An address of another machine is no port in use.
    let ended = up_ends(&folder, &[("IPFS_KIT_LISTEN", "192.0.2.1:4701")]).await;
    ended.refused(1, "E_NETWORK", &["192.0.2.1:4701", "an address of this machine"]);
    master.works("after").await;
}

#[tokio::test]
async fn a_wrong_token_is_refused_before_a_folder_is_made() {
    let place = Place::new();
    let master = place.master("m").await;
    let token = master.token(&[]).await;
    let damaged = format!("{}aaaa", &token[..token.len() - 4]);
    let folder = place.path("w");
    for (text, why) in [("garbage", "not a join token"), (&*damaged, "check digits do not match")] {
        let refused = kit(&folder, &["init", "--join", text], &[]).await;
        refused.refused(5, "E_TOKEN", &["can't be read", why, "copy the whole line"]);
    }
    let refused = kit(&folder, &["init", "--role", "master", "--join", &token], &[]).await;
    refused.refused(5, "E_TOKEN", &["admits no master", "--role master"]);
    assert!(!folder.exists(), "nothing was made");
    place.worker("w", &master).await.works("after").await;
}

/// The cluster says no; a new token in the same folder is all it takes.
#[tokio::test]
async fn a_token_that_the_cluster_refuses_costs_nothing_but_a_new_token() {
    let place = Place::new();
    let master = place.master("m").await;
    let expired = master.token(&["--expire", "1ms"]).await;
    let used = master.token(&[]).await;
    let init = ["--listen", "127.0.0.1:0", "--join", &used];
    let first = place.node("first", &init).await;
    let mut forged = JoinToken::from_text(&master.token(&[]).await).unwrap();
    forged.secret[0] ^= 1;

    let folder = place.path("w");
    let init = ["--api", "127.0.0.1:0", "init", "--listen", "127.0.0.1:0", "--join", &expired];
    assert!(kit(&folder, &init, &[]).await.status.success());
    let token_file = folder.join("join.token");
    for (text, why) in [
        (expired.clone(), "the join token expired"),
        (used, "the join token was used by another node"),
        (forged.to_text(), "join token"),
    ] {
        std::fs::write(&token_file, text).unwrap();
        let ended = up_ends(&folder, &[]).await;
        ended.refused(5, "E_TOKEN", &["this node was not admitted", why, "join.token"]);
    }
    std::fs::write(&token_file, master.token(&[]).await).unwrap();
    let joined = Node::up(&folder, &[]).await;
    joined.works("after").await;
    assert!(!token_file.exists(), "it has done its duty");
    first.works("after").await;
    let members = master.json(&["node", "ls"]).await;
    let items = members["items"].as_array().or(members.as_array()).unwrap();
    assert_eq!(items.len(), 3, "nobody was admitted on the way: {members}");
}

#[tokio::test]
async fn a_folder_of_another_cluster_does_not_change_sides() {
    let place = Place::new();
    let (ours, theirs) = (place.master("ours").await, place.master("theirs").await);
    let worker = place.worker("w", &ours).await;
    let token = theirs.token(&[]).await;

    let refused = kit(&worker.folder, &["init", "--join", &token], &[]).await;
    refused.refused(8, "E_CONFLICT", &["holds a node already", "choose another folder"]);
    let folder = worker.folder.clone();
    worker.stop().await;
    let refused = kit(&folder, &["init", "--join", &token], &[]).await;
    refused.refused(8, "E_CONFLICT", &["holds a node already"]);

    let token_file = folder.join("join.token");
    std::fs::write(&token_file, &token).unwrap();
    std::fs::set_permissions(&token_file, PermissionsExt::from_mode(0o600)).unwrap();
    let cluster =
        async |node: &Node| node.json(&["status"]).await["cluster"].as_str().unwrap().to_owned();
    let (our_id, their_id) = (cluster(&ours).await, cluster(&theirs).await);
    let ended = up_ends(&folder, &[]).await;
    ended.refused(8, "E_MISMATCH", &[&our_id, &their_id, "nothing was changed", "join.token"]);
    std::fs::remove_file(&token_file).unwrap();
    let worker = Node::up(&folder, &[]).await;
    assert_eq!(cluster(&worker).await, our_id);
    worker.works("after").await;
    theirs.works("after").await;
}

/// The master of the token's cluster is gone, and another cluster's master has its address.
#[tokio::test]
async fn a_token_whose_address_leads_to_another_cluster_is_refused() {
    let place = Place::new();
    let addr = free_address();
    let init = ["--role", "master", "--listen", &addr, "--advertise", &addr];
    let gone = place.node("gone", &init).await;
    let token = gone.token(&[]).await;
    gone.stop().await;
    let other = place.node("other", &init).await;
    let folder = place.path("w");
    let init = ["--api", "127.0.0.1:0", "init", "--listen", "127.0.0.1:0", "--join", &token];
    assert!(kit(&folder, &init, &[]).await.status.success());
    let ended = up_ends(&folder, &[]).await;
    ended.refused(7, "E_UNREACHABLE", &["no master admitted this node", &addr, "not 12D3Koo"]);
    other.works("after").await;
    assert_eq!(other.json(&["status"]).await["view"]["alive"], 1);
}

#[tokio::test]
async fn a_config_with_wrong_keys_is_refused_with_every_line() {
    let place = Place::new();
    let node = alone(&place).await;
    let folder = node.folder.clone();
    let file = folder.join("config.yaml");
    let good = std::fs::read_to_string(&file).unwrap();
    node.stop().await;
    let lines = good.lines().count();
    let line = |more: usize| format!("config.yaml:{}: ", lines + more);
    let bad = format!("{good}raft:\n  tock: 1s\nfruit: apple\napi.tokn: x\n");
    std::fs::write(&file, &bad).unwrap();
    let parts = [
        format!("{}raft.tock: unknown key; did you mean raft.tick?", line(2)),
        format!("{}fruit: unknown key", line(3)),
        format!("{}api.tokn: unknown key", line(4)),
    ];
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    up_ends(&folder, &[]).await.refused(2, "E_CONFIG", &parts);
    kit(&folder, &["status"], &[]).await.refused(2, "E_CONFIG", &parts);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), bad, "the file is the operator's");

    // Keys that contradict each other.
    let ticks = "raft:\n  heartbeat_ticks: 3\n  election_ticks: 5\n";
    std::fs::write(&file, format!("{good}{ticks}")).unwrap();
    let twice = format!("{}raft.election_ticks: ", line(3));
    up_ends(&folder, &[]).await.refused(2, "E_CONFIG", &[&twice, "at least twice"]);

    std::fs::write(&file, good).unwrap();
    Node::up(&folder, &[]).await.works("after").await;
}

#[tokio::test]
async fn a_cid_that_nobody_has_is_not_found() {
    let place = Place::new();
    let master = place.master("m").await;
    let worker = place.worker("w", &master).await;
    let lonely = alone(&place).await;
    let dest = place.path("dest");
    let one = "the one other member that was asked does not have it";
    for (node, asked) in
        [(&lonely, "there is no other member to ask"), (&master, one), (&worker, one)]
    {
        let parts = [NOBODYS, "is not here", asked, "nobody has it"];
        node.run(&["cat", NOBODYS]).await.refused(3, "E_NOT_FOUND", &parts);
        node.run(&["ls", NOBODYS]).await.refused(3, "E_NOT_FOUND", &parts);
        let path = dest.to_str().unwrap();
        node.run(&["get", NOBODYS, "-o", path]).await.refused(3, "E_NOT_FOUND", &parts);
        assert!(!dest.exists(), "nothing half done is left");
        let file = place.file("file", "x");
        let cid = node.says(&["-q", "add", "--ack", "local", file.to_str().unwrap()]).await;
        let below = format!("{}/no/such", cid.trim());
        node.run(&["cat", &below]).await.refused(3, "E_NOT_FOUND", &["ipfs-kit ls"]);
        node.run(&["cat", "no-cid"]).await.refused(2, "E_USAGE", &["not a CID"]);
        node.works("after").await;
    }
    // A cluster keeps looking for what it was asked to keep, and can be told to stop.
    let add = ["--timeout", "1s", "pin", "add", NOBODYS, "--replicas", "1", "--wait"];
    worker.run(&add).await.refused(62, "E_TIMEOUT", &["it may still happen"]);
    let pin = worker.json(&["pin", "status", NOBODYS]).await;
    assert_eq!((&pin["status"], &pin["replicas_live"]), (&"pinning".into(), &0.into()));
    worker.says(&["pin", "rm", NOBODYS]).await;
    worker.run(&["pin", "status", NOBODYS]).await.refused(3, "E_NOT_FOUND", &["is not pinned"]);
}
