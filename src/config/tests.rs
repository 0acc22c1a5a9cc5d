//! Table and struct agree, and each layer beats the one below.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::keys::KEYS;
use super::*;

/// Sources with nothing set, away from the machine's own environment.
pub(super) fn bare(folder: &std::path::Path) -> Sources {
    Sources {
        home: Some(folder.to_owned()),
        current_folder: folder.to_owned(),
        host_name: "host".to_owned(),
        ..Sources::default()
    }
}

/// Sources whose only file holds `text`.
pub(super) fn with_file(folder: &std::path::Path, name: &str, text: &str) -> Sources {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    Sources { file: Some(path), ..bare(folder) }
}

fn leaves(prefix: &str, value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                let path =
                    if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                leaves(&path, value, into);
            }
        }
        _ => {
            into.insert(prefix.to_owned());
        }
    }
}

#[test]
fn the_table_and_the_struct_have_the_same_keys() {
    let folder = tempfile::tempdir().unwrap();
    let loaded = load(&bare(folder.path())).unwrap();
    let mut of_struct = BTreeSet::new();
    leaves("", &serde_json::to_value(&loaded.settings).unwrap(), &mut of_struct);
    let of_table: BTreeSet<String> = KEYS.iter().map(|key| key.path.to_owned()).collect();
    assert_eq!(of_struct, of_table);
}

#[test]
fn defaults_are_canonical_and_come_back_from_the_struct() {
    let folder = tempfile::tempdir().unwrap();
    let loaded = load(&bare(folder.path())).unwrap();
    let tree = serde_json::to_value(&loaded.settings).unwrap();
    for entry in &loaded.entries {
        let in_struct = entry.key.path.split('.').fold(&tree, |value, name| &value[name]);
        assert_eq!(in_struct, &entry.value, "{}", entry.key.path);
        assert_eq!(entry.origin, Origin::Default, "{}", entry.key.path);
    }
    assert_eq!(loaded.settings.role, Role::Leecher);
    assert_eq!(loaded.settings.listen[0].port, CLUSTER_PORT);
    assert_eq!(loaded.settings.listen[1].to_string(), format!("[::]:{CLUSTER_PORT}"));
    assert_eq!(loaded.settings.api.listen.to_string(), format!("127.0.0.1:{API_PORT}"));
    assert_eq!(loaded.settings.name, "host");
    assert_eq!(loaded.settings.folder, folder.path().join(".ipfs-kit"));
}

/// A text for each key that is valid, no default, and different for each `variant`.
fn sample(path: &str, variant: usize) -> &'static str {
    match path {
        "role" => ["worker", "master", "leecher"][variant],
        "name" | "zone" => ["a", "b", "c"][variant],
        "folder" => ["/a", "/b", "/c"][variant],
        "listen" | "advertise" => ["10.0.0.1:1", "10.0.0.2:2,[::1]:3", "host.example:4"][variant],
        "api.listen" => ["127.0.0.1:1", "unix:/s", "[::1]:3"][variant],
        "storage.max"
        | "storage.reserve"
        | "cache.max"
        | "transfer.max"
        | "transfer.repair_max" => ["2GiB", "3MiB", "4000000B"][variant],
        "gateways" => ["https://a", "http://b:1/c,https://d", "https://e"][variant],
        "api.body_idle" => ["1s", "10m", "1h"][variant],
        "cluster.heartbeat" => ["2s", "3s", "4s"][variant],
        "cluster.lease" => ["11s", "12s", "1m"][variant],
        "cluster.repair_grace" => ["0s", "5m", "1h"][variant],
        "raft.tick" => ["10ms", "100ms", "1s"][variant],
        "raft.election_ticks" => ["30", "40", "50"][variant],
        "raft.heartbeat_ticks" => ["1", "2", "3"][variant],
        "gossip.enabled" => ["false", "true", "false"][variant],
        "api.expose" | "api.open_metrics" => ["true", "false", "true"][variant],
        "pins.replicas_min" => ["1", "3", "1"][variant],
        "pins.replicas_max" => ["4", "5", "6"][variant],
        "pins.masters_hold" => ["always", "never", "auto"][variant],
        "weight" | "import.hash_threads" => ["1", "2", "auto"][variant],
        "import.profile" => ["unixfs-v0-2015", "unixfs-v1-2025", "unixfs-v0-2015"][variant],
        "log.level" => ["debug", "info,net=trace", "off,raft=error"][variant],
        "log.format" => ["json", "text", "json"][variant],
        other => panic!("add a sample for the new key {other}"),
    }
}

fn value_of<'a>(loaded: &'a Loaded, path: &str) -> &'a Entry {
    loaded.entries.iter().find(|entry| entry.key.path == path).unwrap()
}

#[test]
fn every_key_is_read_from_file_environment_and_flag_in_that_order() {
    for key in KEYS {
        let folder = tempfile::tempdir().unwrap();
        let canonical = |variant| key.form.read_text(sample(key.path, variant)).unwrap();

        let tree = match key.path.split_once('.') {
            None => serde_json::json!({ key.path: canonical(0) }),
            Some((section, name)) => serde_json::json!({ section: { name: canonical(0) } }),
        };
        let mut sources = with_file(folder.path(), "any.yaml", &tree.to_string());
        let loaded = load(&sources).unwrap();
        assert_eq!(value_of(&loaded, key.path).value, canonical(0), "{}", key.path);
        assert!(matches!(value_of(&loaded, key.path).origin, Origin::File { line: 1, .. }));

        sources.environment =
            BTreeMap::from([(key.environment_name(), sample(key.path, 1).to_owned())]);
        let loaded = load(&sources).unwrap();
        assert_eq!(value_of(&loaded, key.path).value, canonical(1), "{}", key.path);
        assert_eq!(
            value_of(&loaded, key.path).origin,
            Origin::Environment { name: key.environment_name() }
        );

        let value = sample(key.path, 2).to_owned();
        sources.flags = vec![Flag { path: key.path, name: "--given", value }];
        let loaded = load(&sources).unwrap();
        assert_eq!(value_of(&loaded, key.path).value, canonical(2), "{}", key.path);
        assert_eq!(value_of(&loaded, key.path).origin, Origin::Flag { name: "--given" });
        assert_eq!(loaded.warnings, [""; 0]);
    }
}

#[test]
fn a_section_in_the_file_leaves_its_other_keys_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let sources = with_file(folder.path(), "c.yaml", "raft:\n  tick: 80ms\nlisten: ['[::1]:9']\n");
    let settings = load(&sources).unwrap().settings;
    assert_eq!(settings.raft.tick, Duration::from_millis(80));
    assert_eq!(settings.raft.election_ticks, 20);
    assert_eq!(settings.listen.len(), 1, "a list replaces the list below it");
}

#[test]
fn environment_names_are_unique_and_follow_the_rule() {
    let names: BTreeSet<String> = KEYS.iter().map(keys::Key::environment_name).collect();
    assert_eq!(names.len(), KEYS.len());
    for name in ["IPFS_KIT_ROLE", "IPFS_KIT_FOLDER", "IPFS_KIT_API_LISTEN"] {
        assert!(names.contains(name), "{name}");
    }
    assert!(names.contains("IPFS_KIT_CLUSTER_REPAIR_GRACE"));
}
