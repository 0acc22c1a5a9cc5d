//! Lines are right, bounds hold, and neither YAML nor JSON gets past them.

use proptest::prelude::*;

use super::*;

fn lines(node: &Node) -> Vec<(String, u64)> {
    match &node.content {
        Content::Mapping(pairs) => pairs
            .iter()
            .flat_map(|(key, node)| {
                let inner =
                    lines(node).into_iter().map(move |(k, line)| (format!("{key}.{k}"), line));
                std::iter::once((key.clone(), node.line)).chain(inner)
            })
            .collect(),
        _ => Vec::new(),
    }
}

#[test]
fn every_key_has_its_line() {
    let yaml = "# comment\nrole: worker\n\nraft:\n  # more\n  tick: 5ms\n  election_ticks:\n    20\nlisten:\n  - 'a:1'\n";
    assert_eq!(
        lines(&parse(yaml).unwrap()),
        [("role", 2), ("raft", 4), ("raft.tick", 6), ("raft.election_ticks", 7), ("listen", 9)]
            .map(|(key, line)| (key.to_owned(), line))
    );
    let json = "{\n\t\"role\": \"worker\",\n\t\"raft\": {\n\t\t\"tick\": \"5ms\"\n\t}\n}\n";
    assert_eq!(
        lines(&parse(json).unwrap()),
        [("role", 2), ("raft", 3), ("raft.tick", 4)].map(|(key, line)| (key.to_owned(), line))
    );
}

#[test]
fn values_keep_their_types() {
    let node =
        parse("{a: 1, b: true, c: null, d: 'true', e: [1, x], f: 10s, g: -1, h: 1.5}").unwrap();
    assert_eq!(
        node.to_value(),
        serde_json::json!({"a": 1, "b": true, "c": null, "d": "true", "e": [1, "x"], "f": "10s", "g": -1, "h": 1.5})
    );
    for empty in ["", "\n", "# only a comment\n", "---\n"] {
        let node = parse(empty).unwrap();
        assert_eq!(node.to_value(), Value::Null, "{empty:?}");
    }
}

#[test]
fn broken_files_are_errors_with_a_line() {
    for (text, line) in
        [("a: 1\nb: [1\n", 2..=3), ("a: 1\na: 2\n", 2..=2), ("a: 1\n b: 2\n", 2..=2)]
    {
        let error = parse(text).unwrap_err();
        let location = error.location().unwrap();
        assert!(line.contains(&location.line()), "{text:?}: {error}");
        assert!(!plain_message(&error).is_empty());
        assert!(!plain_message(&error).contains('\n'));
    }
}

#[test]
fn depth_aliases_and_size_are_bounded() {
    assert!(parse(&"[".repeat(100_000)).is_err());
    assert!(parse(&format!("a: {}{}", "[".repeat(40), "]".repeat(40))).is_err());
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for i in 1..9 {
        bomb.push_str(&format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 9].join(", ")));
    }
    assert!(parse(&bomb).is_err());

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    std::fs::write(&path, "#".repeat(300 * 1024)).unwrap();
    assert!(matches!(read(&path), Err(ConfigError::TooLarge { .. })));
    std::fs::write(&path, [0xff, 0xfe, 0xfd]).unwrap();
    assert!(matches!(read(&path), Err(ConfigError::Unreadable { .. })));
}

#[test]
fn one_file_is_found_and_two_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert!(find(folder.path()).unwrap().is_none());
    assert!(find(&folder.path().join("absent")).unwrap().is_none());
    std::fs::write(folder.path().join("config.json"), "{}").unwrap();
    assert_eq!(find(folder.path()).unwrap(), Some(folder.path().join("config.json")));
    std::fs::write(folder.path().join("config.yaml"), "").unwrap();
    assert!(matches!(find(folder.path()), Err(ConfigError::Ambiguous { .. })));
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text in "[a-c:{}\\[\\],&* \n\t'\"#|>!-]{0,80}") {
        let _ = parse(&text);
    }
}
