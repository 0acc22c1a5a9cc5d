//! The lines as they travel; other programs read them too.

use serde_json::json;

use super::*;

#[test]
fn lines_of_an_upload_have_one_form() {
    let cid = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e";
    let lines = [
        json!({"event": "progress", "files": 1, "bytes": 2}),
        json!({"event": "committed", "index": 7}),
        json!({"event": "added", "root": cid, "files": 1, "directories": 0, "symlinks": 0,
               "bytes": 2, "blocks": 1, "copies": 2, "index": 7}),
        json!({"event": "failed", "error": {"code": "E_FULL", "message": "m", "hint": null,
               "retryable": false}}),
    ];
    for line in lines {
        let parsed: AddLine = serde_json::from_value(line.clone()).unwrap();
        assert_eq!(
            matches!(parsed, AddLine::End(_)),
            line["event"] == "added" || line["event"] == "failed"
        );
        assert_eq!(serde_json::to_value(parsed).unwrap(), line);
    }
    assert!(serde_json::from_value::<AddLine>(json!({"event": "other"})).is_err());
}

#[test]
fn lines_of_a_listing_are_entries_or_a_failure() {
    let failed = json!({"error": {"code": "E_X", "message": "m", "hint": null, "retryable": true}});
    assert!(matches!(serde_json::from_value(failed).unwrap(), LsLine::Failed { .. }));
}

#[test]
fn names_with_special_characters_survive_in_a_url() {
    assert_eq!(encode_path("bafy/a b/ü?#%"), "bafy/a%20b/%C3%BC%3F%23%25");
}
