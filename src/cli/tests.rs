//! Whole commands against a served node: what users type, print and get as exit code.

use clap::Parser;
use serde_json::{Value, json};

use super::*;
use crate::http::fake::{self, Item, Served, cid, failure};

const CID: &str = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e";

/// A node that is served while commands run against it.
struct Room {
    served: Served,
    work: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

impl Room {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let served = runtime.block_on(fake::serve());
        Self { served, work: tempfile::tempdir().unwrap(), _runtime: runtime }
    }

    /// Runs a line; words are separated by spaces.
    fn run(&self, line: &str) -> (String, VerbResult) {
        let folder = self.served.folder.path().to_str().unwrap();
        let words = ["ipfs-kit", "--folder", folder].into_iter().chain(line.split(' '));
        run_words(words)
    }

    fn succeed(&self, line: &str) -> String {
        let (printed, result) = self.run(line);
        assert_eq!(result.unwrap(), Done::Fully, "{line}");
        printed
    }

    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.succeed(&format!("--output json {line}"))).unwrap()
    }

    fn fail(&self, line: &str) -> CliError {
        match self.run(line).1 {
            Err(Halt::Failed(error)) => error,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn path(&self, name: &str) -> String {
        self.work.path().join(name).to_str().unwrap().to_owned()
    }
}

fn run_words<'a>(words: impl Iterator<Item = &'a str>) -> (String, VerbResult) {
    let cli = Cli::try_parse_from(words).unwrap();
    let Command::Client(command) = cli.command else { panic!("a client command") };
    let mut printed = Vec::new();
    let result = run_client(&cli.globals, command, Output::new(&mut printed, cli.globals.output));
    (String::from_utf8(printed).unwrap(), result)
}

fn pin(status: &str, live: u64) -> Value {
    json!({
        "cid": CID, "name": "data", "status": status, "replicas_min": 2, "replicas_max": 3,
        "replicas_live": live, "size_bytes": 2048, "kind": "directory", "created_ms": 0,
        "expires_ms": null, "metadata": {}, "revision": 5,
        "replicas": [{"node": 2, "name": "w2", "liveness": "alive", "state": "pinned"}],
    })
}

#[test]
fn what_is_added_is_got_back_equal() {
    let room = Room::new();
    std::fs::create_dir_all(room.path("in/sub")).unwrap();
    std::fs::write(room.path("in/a"), "hello").unwrap();
    std::fs::write(room.path("in/sub/b"), vec![7; 300_000]).unwrap();
    std::fs::write(room.path("in/.hidden"), "x").unwrap();
    std::os::unix::fs::symlink("a", room.path("in/link")).unwrap();

    let added = room.json(&format!("-q add {} --replicas 1-2 --expire 1d", room.path("in")));
    assert_eq!((&added["files"], &added["name"]), (&json!(2), &json!("in")));
    assert_eq!(added["skipped"], json!({"hidden": 1, "special": 0, "ignored": 0}));
    let options = room.served.node.added_with.lock().unwrap().clone().unwrap();
    assert_eq!((options.replicas_min, options.replicas_max), (Some(1), Some(2)));
    assert_eq!(options.expires_in_ms, Some(86_400_000));

    let root = added["root"].as_str().unwrap();
    room.succeed(&format!("get {root} -o {}", room.path("out")));
    for name in ["a", "sub/b", "link"] {
        let (before, after) = (room.path(&format!("in/{name}")), room.path(&format!("out/{name}")));
        assert!(std::fs::read(before).unwrap() == std::fs::read(after).unwrap(), "{name}");
    }
    assert!(!std::fs::exists(room.path("out/.hidden")).unwrap());
    assert_eq!(room.fail(&format!("get {root} -o {}", room.path("out"))).code(), "E_DESTINATION");
    assert_eq!(room.succeed("cat root/a --offset 1 --length 3"), "ell");
}

#[test]
fn add_streams_events_and_is_terse_when_asked() {
    let room = Room::new();
    std::fs::write(room.path("a"), "hello").unwrap();
    let root = cid("root").to_string();
    assert_eq!(room.succeed(&format!("-q add {}", room.path("a"))), format!("{root}\n"));
    let lines = room.succeed(&format!("--output ndjson add {}", room.path("a")));
    let events: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events[0]["event"], "progress");
    assert_eq!(
        (&events.last().unwrap()["event"], &events.last().unwrap()["root"]),
        (&json!("added"), &json!(root))
    );
}

#[test]
fn what_fails_leaves_nothing_and_says_why() {
    let room = Room::new();
    assert_eq!(room.fail("add /nowhere/at/all").code(), "E_PATH");
    assert_eq!(room.fail("cat nowhere").code(), "E_NOT_FOUND");
    assert_eq!(room.fail(&format!("get nowhere -o {}", room.path("x"))).code(), "E_NOT_FOUND");
    assert_eq!(room.fail("get ..").code(), "E_USAGE");
    assert!(room.served.node.items().is_empty());

    room.served.node.put("root", Item::File(vec![1; 100_000]));
    *room.served.node.cat_fails_after.lock().unwrap() = Some(50_000);
    let error = room.fail(&format!("get root -o {}", room.path("x")));
    assert_eq!(error.code(), "E_NOT_FOUND", "{}", error.render(Format::Table));
    assert_eq!(std::fs::read_dir(room.work.path()).unwrap().count(), 0);
}

#[test]
fn waiting_for_a_pin_ends_with_its_copies_or_degraded() {
    let room = Room::new();
    let node = &room.served.node;
    node.answer("pin.add", Ok(pin("pinning", 0)));
    node.answer("pin.status", Ok(pin("pinning", 1)));
    node.answer(
        "pin.status",
        Err(ipfs_kit_actors::api::Failure { retryable: true, ..failure("E_NO_QUORUM") }),
    );
    node.answer("pin.status", Ok(pin("partial", 2)));
    let printed = room.succeed(&format!("pin add {CID} --wait --meta k=v"));
    assert!(printed.contains("2 of 2-3") && printed.contains("w2 (pinned)"), "{printed}");
    let (_, request) = node.calls.lock().unwrap()[0].clone();
    assert_eq!((&request["cid"], &request["metadata"]["k"]), (&json!(CID), &json!("v")));

    let room = Room::new();
    room.served.node.answer("pin.status", Ok(pin("failed", 0)));
    let (_, result) = room.run(&format!("-q pin status {CID} --wait=max"));
    assert_eq!(result.unwrap(), Done::Degraded);
}

#[test]
fn a_wait_without_end_is_ended_by_the_timeout() {
    let room = Room::new();
    room.served.node.answer("pin.status", Ok(pin("pinning", 0)));
    let error = room.fail(&format!("--timeout 700ms pin status {CID} --wait"));
    assert_eq!((error.code(), error.class().exit_code()), ("E_TIMEOUT", 62));
}

#[test]
fn lists_go_through_all_pages() {
    let room = Room::new();
    let node = &room.served.node;
    node.answer("pin.ls", Ok(json!({"items": [pin("pinned", 3)], "next": CID})));
    node.answer("pin.ls", Ok(json!({"items": [pin("failed", 0)], "next": null})));
    let printed = room.succeed("pin ls --name dat --status pinned");
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[1].contains("3 of 2-3") && lines[2].contains("failed"));
    let calls = node.calls.lock().unwrap().clone();
    assert_eq!((&calls[0].1["after"], &calls[1].1["after"]), (&json!(null), &json!(CID)));
    assert_eq!((&calls[0].1["name"], &calls[0].1["status"]), (&json!("dat"), &json!("pinned")));

    node.put("d", Item::Directory);
    node.put("d/x", Item::Symlink("y".into()));
    assert!(room.succeed("ls d").contains("x -> y"));
    assert_eq!(room.json("ls d")[0]["target"], "y");
}

#[test]
fn members_and_tokens_are_shown_and_removal_needs_a_yes() {
    let room = Room::new();
    let node = &room.served.node;
    let member = json!({
        "node": 3, "name": "m", "peer": "12D3", "role": "master", "raft": "voter", "leader": true,
        "liveness": "alive", "zone": "", "addrs": ["h:1"], "pins": 4, "heard_ms_ago": 1500,
        "usage": {"blocks": 1, "used_bytes": 1024, "max_bytes": 2048}, "unreachable": null,
    });
    node.answer("node.ls", Ok(json!({"items": [member]})));
    let printed = room.succeed("node ls");
    for part in ["n3", "master (leader)", "1.5s", "1.00 KiB of 2.00 KiB", "h:1"] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    node.answer("node.rm", Ok(json!({"node": 3, "index": 9})));
    assert_eq!(room.json("--yes node rm n3")["index"], 9);
    let before = node.calls.lock().unwrap().len();
    if !std::io::IsTerminal::is_terminal(&std::io::stdin()) {
        assert_eq!(room.fail("node rm n3").code(), "E_USAGE");
        assert_eq!(node.calls.lock().unwrap().len(), before, "nothing was asked of the node");
    }
    let id =
        serde_json::to_value("0011223344556677".parse::<ipfs_kit_core::id::TokenId>().unwrap())
            .unwrap();
    node.answer(
        "cluster.token.create",
        Ok(json!({"token": "secret-token", "id": id, "role": "worker", "expires_ms": 0})),
    );
    assert_eq!(room.succeed("-q cluster token create --expire 1h"), "secret-token\n");
    node.answer(
        "cluster.token.ls",
        Ok(json!({"items": [{"id": id, "role": "worker", "expires_ms": 0, "used_by": 4}]})),
    );
    let printed = room.succeed("cluster token ls");
    assert!(printed.contains("0011223344556677") && printed.contains("n4"), "{printed}");
}

#[test]
fn status_is_readable_with_and_without_a_cluster() {
    let room = Room::new();
    let alone = json!({
        "version": "1", "name": "a", "peer": "12D3", "role": "leecher", "node": null,
        "cluster": null, "addrs": [], "uptime_ms": 61_000,
        "usage": {"blocks": 2, "used_bytes": 10, "max_bytes": 2048}, "view": null, "warnings": [],
    });
    room.served.node.answer("status", Ok(alone));
    let printed = room.succeed("status");
    assert!(printed.contains("CLUSTER    none"), "{printed}");
    assert!(printed.contains("UPTIME     1m 1s"), "{printed}");
    assert_eq!(room.json("status")["role"], "leecher");
}

#[test]
fn any_operation_can_be_called() {
    let room = Room::new();
    room.served.node.answer("x.y", Ok(json!({"b": 1})));
    assert_eq!(room.json("call x.y {\"a\":1}"), json!({"b": 1}));
    assert_eq!(room.served.node.calls.lock().unwrap()[0], ("x.y".into(), json!({"a": 1})));
    assert_eq!(room.fail("call x.y {a").code(), "E_USAGE");
    assert_eq!(room.fail("call no.such").code(), "E_UNKNOWN_OPERATION");
}

#[test]
fn some_verbs_need_no_node() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    std::fs::write(folder.path().join("config.yaml"), "raft:\n  tick: 50ms\n").unwrap();
    let run = |line: &str| {
        let words = ["ipfs-kit", "--folder", path].into_iter().chain(line.split(' '));
        let (printed, result) = run_words(words);
        assert_eq!(result.unwrap(), Done::Fully, "{line}");
        printed
    };
    assert!(run("config show --origin").contains(&format!("{path}/config.yaml:2")));
    assert!(!run("config show").contains("ORIGIN"));
    assert_eq!(run("config path"), format!("{path}/config.yaml\n"));
    assert!(run("version").starts_with("ipfs-kit "));
    for word in ["wire", "messages", "folder"] {
        assert!(run("version").contains(&format!("{word} ")), "{word}");
        let as_json: Value = serde_json::from_str(&run("--output json version")).unwrap();
        assert!(as_json[word].as_u64().is_some_and(|number| number > 0), "{as_json}");
    }
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = run(&format!("completions {shell}"));
        assert!(script.contains("replicas") && script.contains("token"), "{shell}");
    }
    let pages = format!("{path}/pages");
    run(&format!("man {pages}"));
    let page = |name: &str| std::fs::read_to_string(format!("{pages}/{name}.1")).unwrap();
    assert!(page("ipfs-kit").contains(".TH ipfs-kit 1"));
    assert!(page("ipfs-kit-pin-add").contains("replicas"));
    assert!(run("call --list").contains("pin.add"));
    assert!(run("help exit-codes").contains("62"));
    assert!(run("help errors").contains("E_NO_QUORUM"));
    assert!(run("help config").contains("IPFS_KIT_RAFT_TICK"));
    assert!(run("help").contains("Usage: ipfs-kit"));
    assert!(run("help pin add").contains("--replicas"));
    let (_, result) = run_words("ipfs-kit help nonsense".split(' '));
    assert!(matches!(result, Err(Halt::Failed(error)) if error.class().exit_code() == 2));
}

#[test]
fn a_line_that_is_not_understood_fails_in_the_format_that_it_asks_for() {
    let format = |line: &str| {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        format_asked_for(&words)
    };
    assert_eq!(format("ipfs-kit --output json nonsense"), Format::Json);
    assert_eq!(format("ipfs-kit nonsense --output=ndjson"), Format::Ndjson);
    assert_eq!(format("ipfs-kit nonsense --output"), Format::Table);
}
