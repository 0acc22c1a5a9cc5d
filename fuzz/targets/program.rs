//! What users and clients hand in: configuration, archives, requests, texts on command lines.

use std::collections::BTreeMap;
use std::io;

use ipfs_kit::config::{ApiAddress, HostPort, Sources, load, quantity};
use ipfs_kit::http::tarball::{self, EntryKind, TarError};
use ipfs_kit_core::ops;

fn config(name: &str, bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a place for a file");
    std::fs::write(folder.path().join(name), bytes).expect("a place for a file");
    let folder = folder.path().to_owned();
    let sources = Sources {
        flags: Vec::new(),
        environment: BTreeMap::new(),
        file: Some(folder.join(name)),
        home: Some(folder.clone()),
        current_folder: folder,
        host_name: "host".into(),
    };
    if let Err(error) = load(&sources) {
        assert!(!error.to_string().is_empty());
    }
}

pub fn config_yaml(bytes: &[u8]) {
    config("config.yaml", bytes);
}

pub fn config_json(bytes: &[u8]) {
    config("config.json", bytes);
}

pub fn config_yaml_seeds() -> Vec<Vec<u8>> {
    vec![
        b"name: n1\nlisten: [\"127.0.0.1:4701\"]\nraft:\n  tick: 50ms\nstorage:\n  max: 1GiB\n"
            .to_vec(),
        b"log: {level: \"info,net=debug\", format: json}\napi: {listen: \"unix:api.sock\"}\n"
            .to_vec(),
        b"a: &a [x, x]\nb: [*a, *a]\n? c\n: |\n  text\n--- \n...\n".to_vec(),
    ]
}

pub fn config_json_seeds() -> Vec<Vec<u8>> {
    vec![
        br#"{"name": "n1", "raft": {"tick": "50ms"}, "listen": ["127.0.0.1:4701"], "x": null}"#
            .to_vec(),
    ]
}

/// An uploaded archive. Entries that are taken can be written, and are read again the same.
pub fn tar(bytes: &[u8]) {
    let mut written = Vec::new();
    let mut seen = Vec::new();
    let result = tarball::read_entries(bytes, |path, kind, reader| {
        let mut content = Vec::new();
        let read = io::Read::read_to_end(reader, &mut content);
        read.map_err(|source| TarError::Read { after: String::new(), source })?;
        written.extend(tarball::entry_header(path, kind));
        if let EntryKind::File { size_bytes } = kind {
            assert_eq!(content.len() as u64, *size_bytes);
            written.extend_from_slice(&content);
            written.extend_from_slice(tarball::padding(*size_bytes));
        }
        seen.push((path.to_vec(), kind.clone()));
        Ok::<_, TarError>(())
    });
    if result.is_err() {
        return;
    }
    written.extend_from_slice(&tarball::END);
    let mut again = Vec::new();
    tarball::read_entries(&written[..], |path, kind, _| {
        again.push((path.to_vec(), kind.clone()));
        Ok::<_, TarError>(())
    })
    .expect("what was written is read");
    assert_eq!(again, seen);
}

pub fn tar_seeds() -> Vec<Vec<u8>> {
    let names = |names: &[&str]| -> Vec<Vec<u8>> {
        names.iter().map(|name| name.as_bytes().to_vec()).collect()
    };
    let mut bytes = tarball::entry_header(&names(&[]), &EntryKind::Directory);
    bytes.extend(tarball::entry_header(&names(&["a"]), &EntryKind::File { size_bytes: 3 }));
    bytes.extend_from_slice(b"abc");
    bytes.extend_from_slice(tarball::padding(3));
    let target = b"../elsewhere".to_vec();
    bytes.extend(tarball::entry_header(&names(&["b", "link"]), &EntryKind::Symlink { target }));
    let long = "n".repeat(150);
    bytes.extend(tarball::entry_header(&names(&[&long]), &EntryKind::File { size_bytes: 0 }));
    bytes.extend_from_slice(&tarball::END);
    vec![bytes]
}

/// Bodies of calls: JSON, then the request of an operation.
pub fn http_json(bytes: &[u8]) {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(bytes) else { return };
    let _ = serde_json::from_value::<ops::CidRequest>(value.clone());
    let _ = serde_json::from_value::<ops::LsRequest>(value.clone());
    let _ = serde_json::from_value::<ops::NodeRoleRequest>(value.clone());
    let _ = serde_json::from_value::<ops::PathRequest>(value.clone());
    let _ = serde_json::from_value::<ops::PinLsRequest>(value.clone());
    let _ = serde_json::from_value::<ops::TokenCreateRequest>(value.clone());
    if let Ok(request) = serde_json::from_value::<ops::PinAddRequest>(value) {
        let again = serde_json::to_value(&request).expect("what was read is written");
        serde_json::from_value::<ops::PinAddRequest>(again).expect("and read again");
    }
}

pub fn http_json_seeds() -> Vec<Vec<u8>> {
    ops::ALL.iter().map(|operation| operation.example.as_bytes().to_vec()).collect()
}

/// Addresses, sizes and times as people write them.
pub fn texts(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Ok(address) = text.parse::<HostPort>() {
        assert_eq!(address.to_string().parse::<HostPort>().as_ref().ok(), Some(&address));
    }
    if let Ok(address) = text.parse::<ApiAddress>() {
        assert_eq!(address.to_string().parse::<ApiAddress>().as_ref().ok(), Some(&address));
    }
    if let Ok(address) = text.parse::<ipfs_kit_net::NetAddr>() {
        let shown = address.to_string();
        assert_eq!(shown.parse::<ipfs_kit_net::NetAddr>().as_ref().ok(), Some(&address));
    }
    if let Ok(span) = quantity::parse_duration(text) {
        assert_eq!(quantity::parse_duration(&quantity::format_duration(span)).ok(), Some(span));
    }
    if let Ok(size) = quantity::parse_size(text) {
        assert_eq!(quantity::parse_size(&quantity::format_size(size)).ok(), Some(size));
    }
}

pub fn texts_seeds() -> Vec<Vec<u8>> {
    [
        "127.0.0.1:4701",
        "[::1]:80",
        "m1.example:4701",
        "unix:/run/api.sock",
        "1h30m",
        "50ms",
        "1.5GiB",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}
