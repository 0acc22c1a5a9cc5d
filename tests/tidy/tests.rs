//! The rules, each over the whole workspace, and each seen to notice what it is for.

use super::*;

fn none(violations: Vec<Violation>) {
    let lines: Vec<String> =
        violations.iter().map(|v| format!("{}:{}: {}", v.path.display(), v.line, v.rule)).collect();
    assert!(lines.is_empty(), "{} rules are broken:\n{}", lines.len(), lines.join("\n"));
}

#[test]
fn rust_files_follow_the_house_rules() {
    none(sources(&[".rs"]).unwrap().iter().flat_map(check_rust).collect());
}

#[test]
fn the_rules_notice_what_they_are_for() {
    let text = concat!("fn f() {} \n#[al", "low(dead_code)]\n// FIX", "ME\nsel", "ect! {\n");
    let source = Source { path: "src/a.rs".into(), text: text.into() };
    let lines: Vec<usize> = check_rust(&source).iter().map(|v| v.line).collect();
    assert_eq!(lines, [1, 1, 2, 3, 4]);
    let long = Source { path: "src/b.rs".into(), text: "//! b\n".repeat(801) };
    assert_eq!(check_rust(&long).len(), 1);
}

/// What each room may not know. The left side may depend on anything else.
const BANNED: &[(&str, &[&str])] = &[
    (
        "src/core/Cargo.toml",
        &["tokio", "actix", "libp2p", "raft", "rand", "getrandom", "ipfs-kit-"],
    ),
    ("src/consensus/Cargo.toml", &["tokio", "actix", "libp2p", "getrandom", "ipfs-kit-"]),
    ("src/content/Cargo.toml", &["tokio", "actix", "libp2p", "raft", "getrandom", "ipfs-kit-"]),
    ("src/store/Cargo.toml", &["tokio", "actix", "libp2p", "raft", "getrandom", "ipfs-kit-"]),
    ("src/net/Cargo.toml", &["actix", "raft", "axum", "ipfs-kit-"]),
    ("actors/Cargo.toml", &["libp2p", "axum", "raft", "redb", "getrandom", "ipfs-kit-net"]),
    ("simulations/Cargo.toml", &["libp2p", "axum", "getrandom", "ipfs-kit-net"]),
];

#[test]
fn no_room_knows_what_it_must_not() {
    let mut violations = Vec::new();
    for (path, banned) in BANNED {
        let manifest = std::fs::read_to_string(root().join(path)).unwrap();
        for name in dependencies(&manifest) {
            let hit = banned
                .iter()
                .find(|ban| name == **ban || (ban.ends_with('-') && name.starts_with(**ban)));
            if let Some(ban) = hit {
                let rule = format!("may not depend on {name} (rule: {ban})");
                violations.push(Violation { path: path.into(), line: 0, rule });
            }
        }
    }
    none(violations);
}

#[test]
fn dependencies_are_read_from_a_manifest() {
    let manifest = "[package]\nname = \"a\"\n[dependencies]\nb.workspace = true\nc = \"1\"\n\
                    # d\ne = { workspace = true }\n[dev-dependencies]\nf = \"1\"\n";
    assert_eq!(dependencies(manifest), ["b", "c", "e"]);
}

#[test]
fn every_version_stands_in_the_workspace_manifest_with_its_reason() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let mut inside = false;
    let mut violations = Vec::new();
    for (at, line) in manifest.lines().enumerate() {
        if line.starts_with('[') {
            inside = line == "[workspace.dependencies]";
        }
        let named = inside && line.contains('=') && !line.starts_with('#');
        if named && !line.contains("path =") && !line.contains(" # ") {
            let rule = "a dependency gives its reason in a comment".to_owned();
            violations.push(Violation { path: "Cargo.toml".into(), line: at + 1, rule });
        }
    }
    for source in sources(&["Cargo.toml"]).unwrap() {
        if source.path.components().count() == 1 {
            continue;
        }
        for (at, line) in source.text.lines().enumerate() {
            let versioned = line.contains("version = \"") && !line.starts_with("version");
            if versioned {
                let rule = "versions stand in the workspace's manifest".to_owned();
                violations.push(Violation { path: source.path.clone(), line: at + 1, rule });
            }
        }
    }
    none(violations);
}

#[test]
fn documents_name_no_machine() {
    let mut violations = Vec::new();
    for source in sources(&[".rs", ".md", ".toml", ".sh", ".yaml"]).unwrap() {
        for (at, line) in source.text.lines().enumerate() {
            let home = concat!("/ro", "ot/");
            let work = concat!("/wo", "rk/");
            if line.contains(home) || line.contains(work) {
                let rule = "no path of one machine".to_owned();
                violations.push(Violation { path: source.path.clone(), line: at + 1, rule });
            }
        }
    }
    none(violations);
}
