//! How a node that gave up explains itself.

use super::*;
use crate::cli::output::Format;

#[test]
fn a_failed_disk_is_named_with_what_to_do() {
    let error = disk_failed("sync blocks/1.seg: Input/output error".into());
    assert_eq!(error.code(), "E_STORE");
    let text = error.render(Format::Table);
    for part in ["disk of the node's folder failed", "blocks/1.seg", "start the node again"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}
