//! What `init` writes is read back as the same settings.

use crate::config::tests::bare;
use crate::config::{Flag, Sources, load};

use super::*;

fn flag(path: &'static str, value: &str) -> Flag {
    Flag { path, name: "--given", value: value.to_owned() }
}

#[test]
fn the_initial_file_gives_the_same_settings() {
    let folder = tempfile::tempdir().unwrap();
    let given = Sources {
        flags: vec![
            flag("role", "master"),
            flag("name", "on"),
            flag("listen", "[::]:4701,10.0.0.1:4702"),
            flag("advertise", ""),
            flag("storage.max", "5GiB"),
            flag("cluster.lease", "10s"),
            flag("raft.tick", "50ms"),
            flag("raft.heartbeat_ticks", "1"),
            flag("weight", "7"),
            flag("gossip.enabled", "false"),
        ],
        ..bare(folder.path())
    };
    let loaded = load(&given).unwrap();
    let text = initial_file(&loaded);
    let path = folder.path().join("config.yaml");
    std::fs::write(&path, &text).unwrap();
    let again = load(&Sources { file: Some(path), ..bare(folder.path()) }).unwrap();
    assert_eq!(again.settings, loaded.settings, "{text}");
    assert!(!text.contains("lease"), "a default is not written:\n{text}");
    assert!(!text.contains("folder:"), "{text}");
}

#[test]
fn without_changes_there_are_only_comments() {
    let folder = tempfile::tempdir().unwrap();
    let text = initial_file(&load(&bare(folder.path())).unwrap());
    assert!(text.lines().all(|line| line.starts_with('#')), "{text}");
}

#[test]
fn help_names_every_key_and_variable() {
    let text = help_text();
    for key in KEYS {
        assert!(text.contains(&key.environment_name()), "{}", key.path);
    }
}
