//! Problems name key, file and line; layers and folders resolve as documented.

use std::collections::BTreeMap;

use crate::config::tests::{bare, with_file};

use super::*;

fn problems(text: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    match load(&with_file(folder.path(), "config.yaml", text)) {
        Err(ConfigError::Invalid { problems }) => problems
            .iter()
            .map(|p| p.to_string().replace(folder.path().to_str().unwrap(), ""))
            .collect(),
        other => panic!("expected problems, got {other:?}"),
    }
}

#[test]
fn unknown_keys_and_bad_values_name_key_file_and_line_all_at_once() {
    let found = problems("role: worker\nrol: master\nraft:\n  tick: fast\n  tock: 1\nlisten: 5\n");
    assert_eq!(found.len(), 4, "{found:?}");
    assert_eq!(found[0], "/config.yaml:2: rol: unknown key; did you mean role?");
    assert!(
        found[1].starts_with("/config.yaml:4: raft.tick: \"fast\" is no duration"),
        "{found:?}"
    );
    assert!(
        found[2].starts_with("/config.yaml:5: raft.tock: unknown key; did you mean raft.tick?")
    );
    assert!(found[3].starts_with("/config.yaml:6: listen: expected a list of host:port, found 5"));
}

#[test]
fn shapes_that_do_not_fit_are_named() {
    assert!(problems("raft: 5\n")[0].contains("raft: expected a mapping"));
    assert!(problems("role:\n  is: worker\n")[0].contains("role: expected one of"));
    assert!(problems("- role\n")[0].contains("expected a mapping of settings"));
    assert!(problems("raft.tick: 5ms\nraft:\n  tick: 6ms\n")[0].contains("already set in line 1"));
    assert!(problems("api:\n  token: abc\n")[0].contains("never settings"));
    assert!(problems("cluster:\n  secret: abc\n")[0].contains("never settings"));
}

#[test]
fn sections_and_keys_without_values_say_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let loaded = load(&with_file(
        folder.path(),
        "config.yaml",
        "raft:\n  # tick: 1s\nzone:\nraft.tick: 1s\n",
    ))
    .unwrap();
    assert_eq!(loaded.settings.raft.tick, std::time::Duration::from_secs(1));
    assert_eq!(loaded.settings.zone, "");
}

#[test]
fn rules_between_settings_blame_what_was_written() {
    assert_eq!(
        problems("zone: a\npins:\n  replicas_max: 1\n"),
        ["/config.yaml:3: pins.replicas_max: pins.replicas_max (1) is below pins.replicas_min (2)"]
    );
    assert!(
        problems("pins:\n  replicas_min: 9\n")[0].starts_with("/config.yaml:2: pins.replicas_min")
    );
    assert!(problems("cluster:\n  heartbeat: 5s\n")[0].contains("more than twice"));
    let late = "raft.election_ticks (20) must be at least twice raft.heartbeat_ticks (11)";
    let found = problems("raft:\n  heartbeat_ticks: 11\n");
    assert!(found[0].starts_with("/config.yaml:2: raft.heartbeat_ticks: "), "{found:?}");
    assert!(found[0].contains(late), "{found:?}");
    let folder = tempfile::tempdir().unwrap();
    let just = with_file(folder.path(), "config.yaml", "raft:\n  heartbeat_ticks: 10\n");
    assert!(load(&just).is_ok());
    assert!(
        problems("role: master\nlisten: []\n")[0].starts_with("/config.yaml:2: listen: a master")
    );
    assert!(problems("api:\n  listen: 0.0.0.0:4702\n")[0].contains("set api.expose: true"));
    assert_eq!(problems("raft:\n  heartbeat_ticks: 20\ncluster:\n  lease: 1s\n").len(), 2);
}

#[test]
fn the_file_is_looked_for_in_the_folder() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join(".ipfs-kit");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("config.yml"), "name: found\n").unwrap();
    let mut sources = bare(home.path());
    let loaded = load(&sources).unwrap();
    assert_eq!(loaded.settings.name, "found");
    assert_eq!(loaded.file, Some(folder.join("config.yml")));

    let other = tempfile::tempdir().unwrap();
    sources.environment =
        BTreeMap::from([("IPFS_KIT_FOLDER".to_owned(), other.path().to_str().unwrap().to_owned())]);
    let loaded = load(&sources).unwrap();
    assert_eq!((loaded.settings.name.as_str(), loaded.file), ("host", None));
    sources.flags =
        vec![Flag { path: "folder", name: "--folder", value: "~/.ipfs-kit".to_owned() }];
    assert_eq!(load(&sources).unwrap().settings.name, "found");
}

#[test]
fn a_named_file_must_exist_and_may_choose_the_folder() {
    let home = tempfile::tempdir().unwrap();
    let mut sources = bare(home.path());
    sources.environment =
        BTreeMap::from([("IPFS_KIT_CONFIG".to_owned(), "absent.yaml".to_owned())]);
    assert!(matches!(load(&sources), Err(ConfigError::Unreadable { .. })));

    std::fs::create_dir(home.path().join("etc")).unwrap();
    std::fs::write(home.path().join("etc/node.yaml"), "folder: data\n").unwrap();
    sources.file = Some("etc/node.yaml".into());
    let loaded = load(&sources).unwrap();
    assert_eq!(loaded.settings.folder, home.path().join("etc/data"));

    std::fs::create_dir(home.path().join(".ipfs-kit")).unwrap();
    std::fs::write(home.path().join(".ipfs-kit/config.yaml"), "folder: elsewhere\n").unwrap();
    let error = load(&bare(home.path())).unwrap_err().to_string();
    assert!(
        error.contains("config.yaml:1: folder: this file was found in a node's folder"),
        "{error}"
    );
}

#[test]
fn without_a_home_a_folder_must_be_given() {
    let current = tempfile::tempdir().unwrap();
    let mut sources = Sources { home: None, ..bare(current.path()) };
    assert!(matches!(load(&sources), Err(ConfigError::NoHome)));
    sources.flags = vec![Flag { path: "folder", name: "--folder", value: "node".to_owned() }];
    assert_eq!(load(&sources).unwrap().settings.folder, current.path().join("node"));
}

#[test]
fn unknown_variables_are_warnings_and_kubernetes_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let mut sources = bare(folder.path());
    for name in
        ["IPFS_KIT_ROEL", "IPFS_KIT_SERVICE_HOST", "IPFS_KIT_PORT_4701_TCP_ADDR", "IPFS_KIT_OUTPUT"]
    {
        sources.environment.insert(name.to_owned(), "x".to_owned());
    }
    assert_eq!(
        load(&sources).unwrap().warnings,
        ["environment variable IPFS_KIT_ROEL is no setting; did you mean IPFS_KIT_ROLE?"]
    );
    sources.environment.insert("IPFS_KIT_ROLE".to_owned(), "boss".to_owned());
    let error = load(&sources).unwrap_err().to_string();
    assert!(error.starts_with("environment IPFS_KIT_ROLE: role: expected one of"), "{error}");
}

#[test]
fn a_host_name_becomes_a_valid_name() {
    assert_eq!(host_name("my host!"), "my-host-");
    assert_eq!(host_name(""), "node");
    assert_eq!(host_name(&"x".repeat(100)).len(), 64);
}

#[test]
fn a_relative_socket_lies_beside_the_file_or_in_the_current_folder() {
    let home = tempfile::tempdir().unwrap();
    let mut sources = with_file(home.path(), "config.yaml", "api:\n  listen: unix:api.sock\n");
    let listen = |sources: &Sources| load(sources).unwrap().settings.api.listen.to_string();
    let here = |name: &str| format!("unix:{}", home.path().join(name).display());
    assert_eq!(listen(&sources), here("api.sock"));
    sources.environment.insert("IPFS_KIT_API_LISTEN".to_owned(), "unix:~/b.sock".to_owned());
    assert_eq!(listen(&sources), here("b.sock"));
    sources.current_folder = home.path().join("x".repeat(100));
    sources.environment.insert("IPFS_KIT_API_LISTEN".to_owned(), "unix:c.sock".to_owned());
    assert!(load(&sources).unwrap_err().to_string().contains("103 bytes"));
}

#[test]
fn text_that_is_no_utf8_is_refused_rather_than_guessed() {
    let home = tempfile::tempdir().unwrap();
    for (name, value) in
        [("IPFS_KIT_FOLDER", "/a\u{fffd}"), ("IPFS_KIT_API_LISTEN", "unix:/\u{fffd}")]
    {
        let mut sources = with_file(home.path(), "config.yaml", "");
        sources.environment.insert(name.to_owned(), value.to_owned());
        assert!(load(&sources).unwrap_err().to_string().contains("no UTF-8"), "{name}");
    }
}
