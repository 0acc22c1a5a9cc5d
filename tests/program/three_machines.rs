//! The page on three machines, run as it stands.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::process::Stdio;

use tokio::time::{Instant, timeout};

use super::harness::{KIT, PATIENCE, Place};

const PAGE: &str = include_str!("../../docs/three-machines.md");

/// Stands for the build, which this test has behind it.
const BUILT: &str = r#"
cargo() {
  [ "$*" = "build --release" ]
  mkdir -p "$CARGO_TARGET_DIR/release"
  ln -s "$KIT_UNDER_TEST" "$CARGO_TARGET_DIR/release/ipfs-kit"
}
"#;

/// The page's shell blocks in order, each under its heading.
fn blocks() -> Vec<(&'static str, String)> {
    let (mut heading, mut inside) = ("", false);
    let mut blocks: Vec<(&str, String)> = Vec::new();
    for line in PAGE.lines() {
        match line {
            "```sh" => {
                inside = true;
                blocks.push((heading, String::new()));
            }
            "```" => inside = false,
            _ if inside => blocks.last_mut().unwrap().1.push_str(&format!("{line}\n")),
            _ => heading = line.strip_prefix("## ").unwrap_or(heading),
        }
    }
    blocks
}

/// The page names addresses and ports: whoever runs it on this machine takes turns.
async fn turn() -> UnixListener {
    let name = SocketAddr::from_abstract_name("ipfs-kit three machines").unwrap();
    let end = Instant::now() + 2 * PATIENCE;
    loop {
        match UnixListener::bind_addr(&name) {
            Ok(turn) => return turn,
            Err(error) => assert!(Instant::now() < end, "somebody else runs the page: {error}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// What a block printed, by its heading.
fn printed<'a>(all: &'a str, heading: &str) -> &'a str {
    let begin = all.find(&format!("== {heading}\n")).unwrap_or_else(|| panic!("{heading}: {all}"));
    let rest = &all[begin + 3..];
    rest.find("\n== ").map_or(rest, |end| &rest[..end])
}

#[tokio::test]
async fn the_page_runs_as_it_stands() {
    let _turn = turn().await;
    let place = Place::new();
    let mut script = BUILT.to_owned();
    for (heading, block) in blocks() {
        if heading == "Stop" {
            // Last look at the logs, which the page's last block removes.
            script.push_str("printf '\\n== Logs\\n'\ncat \"$M1.log\" \"$W1.log\" \"$W2.log\"\n");
        }
        script.push_str(&format!("printf '\\n== {heading}\\n'\n{block}"));
    }
    let path = place.file("page.sh", script);
    std::fs::create_dir(place.path("tmp")).unwrap();
    let shell = tokio::process::Command::new("bash")
        .arg("-eu")
        .arg(&path)
        .current_dir(std::env::var_os("CARGO_MANIFEST_DIR").unwrap())
        .env("KIT_UNDER_TEST", KIT)
        .env("CARGO_TARGET_DIR", place.path("target"))
        .env("TMPDIR", place.path("tmp"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let pid = rustix::process::Pid::from_raw(shell.id().unwrap() as i32).unwrap();
    let Ok(output) = timeout(2 * PATIENCE, shell.wait_with_output()).await else {
        // Its trap stops the nodes.
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        panic!("the page did not come to its end");
    };
    let output = output.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{}\n{said}\n{errors}", output.status);
    assert_eq!(errors, "", "nothing on the page complains");
    what_the_page_promises(&said);
    assert!(is_empty(&place.path("tmp")), "the page leaves nothing behind");
}

fn what_the_page_promises(said: &str) {
    let founded = printed(said, "Machine 1 (127.0.0.11): found the cluster");
    for part in ["open to other machines: TCP port 4701", "127.0.0.11:4701", "next: ", "master"] {
        assert!(founded.contains(part), "{part}: {founded}");
    }
    let joined = printed(said, "Machine 3 (127.0.0.13): join as a worker");
    assert_members(joined);
    for heading in ["Add a folder with two copies", "Check"] {
        let kept = printed(said, heading);
        for part in ["STATUS   pinned", "COPIES   2 of 2", "w1 (pinned), w2 (pinned)"] {
            assert!(kept.contains(part), "{part}: {kept}");
        }
    }
    let checked = printed(said, "Check");
    assert_members(checked);
    assert!(checked.contains("data  directory"), "the index knows it: {checked}");
    assert!(!checked.contains("diff "), "what came back is what went in: {checked}");
    let logs = printed(said, "Logs");
    for machine in ["127.0.0.11", "127.0.0.12", "127.0.0.13"] {
        // Each of them was started twice, at the same address.
        let ready = format!("ready: API at {machine}:4702");
        assert_eq!(logs.matches(&ready).count(), 2, "{ready}: {logs}");
    }
    for part in ["joined as n2", "joined as n3"] {
        assert_eq!(logs.matches(part).count(), 1, "{part}: {logs}");
    }
}

/// The three members as `node ls` shows them.
fn assert_members(text: &str) {
    for (name, role, machine) in [
        ("m1", "master (leader)", "127.0.0.11:4701"),
        ("w1", "worker", "127.0.0.12:4701"),
        ("w2", "worker", "127.0.0.13:4701"),
    ] {
        let is_row = |line: &&str| line.contains(name) && line.ends_with(machine);
        let row = text.lines().find(is_row).unwrap_or_else(|| panic!("{name}: {text}"));
        assert!(row.contains(role) && row.contains("alive"), "{row}");
        assert_eq!(row.contains("voter"), name == "m1", "{row}");
    }
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
}
