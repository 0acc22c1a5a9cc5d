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

/// The rows of those tables of a document whose last column is `tests`: their cells.
fn rows(text: &str) -> Vec<(usize, Vec<&str>)> {
    let mut wanted = None;
    let mut rows = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if !line.starts_with('|') {
            wanted = None;
            continue;
        }
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        match wanted {
            None => wanted = Some(cells.last() == Some(&"tests")),
            Some(true) if !line.starts_with("|-") => rows.push((at + 1, cells)),
            Some(_) => {}
        }
    }
    rows
}

fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// What a table promises is tested: every test that a row names exists, and every code.
fn check_table(path: &str, text: &str, tests: &[String], codes: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (line, cells) in rows(text) {
        let mut broken = |rule: String| {
            violations.push(Violation { path: path.into(), line, rule });
        };
        let last = *cells.last().unwrap_or(&"");
        let named: Vec<&str> = quoted(last).filter(|name| !name.ends_with(".sh")).collect();
        if named.is_empty() && last != "the same" {
            broken("a row names the test that shows it".to_owned());
        }
        let missing = named.iter().filter(|name| !tests.iter().any(|test| test == *name));
        missing.for_each(|name| broken(format!("there is no test {name}")));
        let unknown = cells
            .iter()
            .flat_map(|cell| quoted(cell))
            .filter(|word| word.starts_with("E_") && !codes.contains(&format!("\"{word}\"")));
        unknown.for_each(|code| broken(format!("there is no code {code}")));
    }
    violations
}

/// Names of the functions of a file that are marked as tests, those of property tests among them.
fn tests_of(text: &str) -> Vec<String> {
    let mut marked = false;
    let mut names = Vec::new();
    for line in text.lines().map(str::trim) {
        marked |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        let function = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
        if let (true, Some(function)) = (marked, function) {
            let end = function.find('(').unwrap_or(function.len());
            names.push(function[..end].to_owned());
            marked = false;
        }
    }
    names
}

#[test]
fn every_row_of_bad_input_and_of_rafts_pitfalls_has_its_test() {
    let tests: Vec<String> =
        sources(&[".rs"]).unwrap().iter().flat_map(|source| tests_of(&source.text)).collect();
    let read = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
    let codes = read("src/http/codes.rs");
    for (path, rows_min) in [("docs/bad-input.md", 50), ("src/consensus/README.md", 24)] {
        let table = read(path);
        assert!(rows(&table).len() >= rows_min, "{path}");
        none(check_table(path, &table, &tests, &codes));
    }
}

#[test]
fn a_row_without_its_test_is_noticed() {
    let tests =
        tests_of("#[test]\nfn there() {}\nfn helper() {}\n#[tokio::test]\nasync fn too() {}\n");
    assert_eq!(tests, ["there", "too"]);
    let table = "| input | code | tests |\n|---|---|---|\n| a | `E_A` | `there`, `too` |\n\
                 | b | - | the same |\n| c | `E_B` | `helper` |\n| d | - | soon |\n\n| other | table |\n|---|---|\n| e | f |\n";
    let found = check_table("a.md", table, &tests, "code(\"E_A\", \"a\")");
    let lines: Vec<usize> = found.iter().map(|violation| violation.line).collect();
    assert_eq!(lines, [5, 5, 6]);
}
