//! The node's log: its forms, its levels, and what must never be in it.

use ipfs_kit_core::token::JoinToken;
use serde_json::Value;

use super::harness::{Node, Place, free_address, http_get, kit};

const ANY_PORT: &str = "127.0.0.1:0";

/// A secret in every form in which a careless line would show it.
fn forms_of(secret: &[u8]) -> [String; 3] {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let list = format!("{secret:?}");
    // Debug of a byte string.
    let escaped = secret.escape_ascii().to_string();
    [hex, list, escaped]
}

/// The files of a node's folder that hold secrets, as text and as bytes.
fn secrets_of(node: &Node) -> Vec<String> {
    let read = |name: &str| std::fs::read_to_string(node.folder.join(name)).unwrap();
    let (token, key) = (read("api.token"), read("identity.key"));
    let mut secrets = vec![token.trim().to_owned(), key.trim().to_owned()];
    let seed: Vec<u8> =
        (0..32).map(|at| u8::from_str_radix(&key[2 * at..2 * at + 2], 16).unwrap()).collect();
    secrets.extend(forms_of(&seed));
    secrets.extend(forms_of(token.trim().as_bytes()));
    secrets
}

#[tokio::test]
async fn no_secret_is_in_the_log_or_in_what_is_shown() {
    let place = Place::new();
    let loud = [("IPFS_KIT_LOG_LEVEL", "trace,libp2p=trace,hyper=trace,yamux=trace")];
    let made = async |name: &str, more: &[&str]| {
        let (folder, addr) = (place.path(name), free_address());
        let args = ["--api", ANY_PORT, "init", "--listen", &addr, "--advertise", &addr];
        let made = kit(&folder, &args, more).await;
        assert!(made.status.success(), "{made:?}");
        (Node::up(&folder, &loud).await, made)
    };
    let (master, made_master) = made("m", &["--role", "master"]).await;
    let token = master.token(&[]).await;
    let (worker, made_worker) = made("w", &["--join", &token]).await;
    worker.works("some content").await;
    let shown = [
        worker.says(&["status"]).await,
        worker.says(&["config", "show", "--origin"]).await,
        worker.says(&["call", "metrics"]).await,
        master.says(&["cluster", "token", "ls"]).await,
        master.says(&["call", "cluster.token.ls"]).await,
        http_get(&master, "/readyz", None).await.1,
        made_master.stdout + &made_master.stderr,
        made_worker.stdout + &made_worker.stderr,
        master.log(),
        worker.log(),
    ];
    let mut secrets = [secrets_of(&master), secrets_of(&worker)].concat();
    secrets.extend(forms_of(&JoinToken::from_text(&token).unwrap().secret));
    secrets.push(token);
    for (at, text) in shown.iter().enumerate() {
        for (which, secret) in secrets.iter().enumerate() {
            // Not the text and not the secret: the report is a log too.
            assert!(!text.contains(secret.as_str()), "text {at} holds secret {which}");
        }
    }
    let log = worker.log();
    assert!(log.contains(" TRACE ") && log.contains(" INFO "), "it was loud: {log}");
}

#[tokio::test]
async fn lines_are_json_where_that_is_set_and_modules_have_levels_of_their_own() {
    let place = Place::new();
    let folder = place.path("n");
    assert!(kit(&folder, &["--api", ANY_PORT, "init"], &[]).await.status.success());
    let settings = [
        ("IPFS_KIT_LOG_FORMAT", "json"),
        ("IPFS_KIT_LOG_LEVEL", "error,actors=debug"),
        // Looks like one of ours and is none: worth a warning.
        ("IPFS_KIT_LOG_LEVELS", "x"),
    ];
    let node = Node::up(&folder, &settings).await;
    let log = node.log();
    node.stop().await;
    let lines: Vec<Value> = log
        .lines()
        .filter(|line| !line.starts_with("ready: "))
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line} is no JSON")))
        .collect();
    let of =
        |line: &Value| (line["level"].as_str().unwrap().to_owned(), line["target"].to_string());
    assert!(!lines.is_empty());
    for line in &lines {
        let (level, target) = of(line);
        assert!(level == "ERROR" || target.contains("ipfs_kit_actors"), "{line}");
    }

    let wrong = kit(&folder, &["config", "show"], &[]).await;
    assert!(wrong.status.success(), "{wrong:?}");
    let text = "log:\n  level: info,net=loud\n";
    std::fs::write(folder.join("config.yaml"), text).unwrap();
    let wrong = kit(&folder, &["config", "show"], &[]).await;
    wrong.refused(2, "E_CONFIG", &["log.level", "\"net=loud\" is no level", "MODULE=LEVEL"]);
}
