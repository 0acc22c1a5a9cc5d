//! What a pin looks like in one line.

use serde_json::json;

use super::*;

#[test]
fn copies_say_what_was_asked_for() {
    let row = |min, max| json!({"replicas_live": 1, "replicas_min": min, "replicas_max": max});
    assert_eq!(copies(&row(2, 3)), "1 of 2-3");
    assert_eq!(copies(&row(2, 2)), "1 of 2");
}

#[test]
fn holders_say_how_far_they_are_and_whether_they_are_there() {
    let row = json!({"replicas": [
        {"node": 1, "name": "a", "liveness": "alive", "state": "pinned"},
        {"node": 2, "name": "b", "liveness": "lost", "state": "assigned"},
        {"node": 3, "name": "", "liveness": null, "state": {"failed": {"reason": "disk full"}}},
    ]});
    assert_eq!(holders(&row), "a (pinned), b (assigned, lost), n3 (failed: disk full, gone)");
    assert_eq!(holders(&json!({"replicas": []})), "-");
}

#[test]
fn waiting_ends_where_it_was_told_to() {
    use PinStatusKind::{Failed, Partial, Pinned, Pinning, Surplus};
    let reaches =
        |target| [Pinned, Partial, Pinning, Surplus, Failed].map(|status| reached(status, target));
    assert_eq!(reaches(WaitFor::Min), [true, true, false, true, false]);
    assert_eq!(reaches(WaitFor::Max), [true, false, false, false, false]);
}
