//! Forms read what they should, and say what they wanted.

use std::collections::BTreeSet;

use serde_json::json;

use super::*;

#[test]
fn paths_are_unique_sections_are_contiguous_and_no_key_is_a_section() {
    let paths: BTreeSet<&str> = KEYS.iter().map(|key| key.path).collect();
    assert_eq!(paths.len(), KEYS.len());
    assert!(KEYS.iter().all(|key| !is_section(key.path)));
    let mut sections: Vec<&str> =
        KEYS.iter().filter_map(|key| Some(key.path.split_once('.')?.0)).collect();
    sections.dedup();
    let distinct: BTreeSet<&str> = sections.iter().copied().collect();
    assert_eq!(sections.len(), distinct.len(), "a section stands in two places of the table");
}

#[test]
fn wrong_values_say_what_was_wanted() {
    for (path, value, message) in [
        ("role", json!("boss"), "one of leecher, worker, master, found \"boss\""),
        ("gossip.enabled", json!("yes"), "expected true or false"),
        ("cluster.lease", json!(10), "a unit is missing"),
        ("cluster.lease", json!("10 parsecs"), "the unit is ms, s, m, h or d"),
        ("cluster.lease", json!("1ms"), "out of range; expected a duration from 200ms to 1d"),
        ("storage.max", json!("0B"), "out of range"),
        ("storage.max", json!(5), "a unit is missing"),
        ("raft.election_ticks", json!(-1), "expected a number from 2 to 1000"),
        ("raft.election_ticks", json!(1.5), "expected a number"),
        ("weight", json!("heavy"), "expected auto, or a number"),
        ("name", json!(""), "must not be empty"),
        ("name", json!(7), "put it in quotes"),
        ("name", json!("a b"), "' ' is not allowed"),
        ("name", json!("a".repeat(65)), "longer than 64"),
        ("listen", json!("0.0.0.0:1"), "write it as a list"),
        ("listen", json!(["0.0.0.0"]), "a port is missing"),
        ("listen", json!([4701]), "put it in quotes"),
        ("listen", json!(["a:1", "a:1"]), "stands there twice"),
        ("gateways", json!("https://a"), "write it as a list"),
        ("gateways", json!(["a:1"]), "write http://HOST"),
        ("gateways", json!(["ftp://a"]), "write http://HOST"),
        ("gateways", json!(["https://me:secret@a"]), "secrets are no settings"),
        ("gateways", json!(["https://a?b=c"]), "without a query"),
        ("gateways", json!(["https://a/ipfs/"]), "without /ipfs"),
        ("gateways", json!(["https://a", "https://a/"]), "stands there twice"),
        ("listen", json!((1..20).map(|n| format!("a:{n}")).collect::<Vec<_>>()), "more than 16"),
        ("advertise", json!(["0.0.0.0:4701"]), "nobody can reach"),
        ("advertise", json!(["host:0"]), "nobody can reach"),
        ("folder", json!(""), "must not be empty"),
        ("api.listen", json!({"a": 1}), "found a mapping"),
        ("zone", json!(null), "found nothing"),
    ] {
        let error = find(path).unwrap().form.read(&value).unwrap_err();
        assert!(error.contains(message), "{path} {value}: {error}");
    }
}

#[test]
fn equal_values_have_one_canonical_form() {
    let read = |path: &str, text: &str| find(path).unwrap().form.read_text(text).unwrap();
    assert_eq!(read("cluster.lease", "60000ms"), json!("1m"));
    assert_eq!(read("storage.max", "1048576"), json!("1MiB"));
    assert_eq!(read("gateways", "HTTPS://A/, http://b:80/x/"), json!(["https://a", "http://b/x"]));
    assert_eq!(read("listen", " [0::0]:1 , HOST:2,"), json!(["[::]:1", "host:2"]));
    assert_eq!(read("zone", ""), json!(""));
    assert_eq!(read("gossip.enabled", " false "), json!(false));
}
