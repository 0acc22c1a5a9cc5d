//! Whoever is refused has no folder afterwards.

use super::*;
use crate::config::{self, Flag, Sources};

#[test]
fn who_can_not_found_a_cluster_leaves_no_folder() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("n");
    let value = folder.to_string_lossy().into_owned();
    let flags = vec![Flag { path: "folder", name: "--folder", value }];
    let host_name = "n".to_owned();
    let loaded = config::load(&Sources { flags, host_name, ..Sources::default() }).unwrap();
    let mut settings = loaded.settings;
    // Settings have bounds of their own; these are the cluster's.
    settings.name = "n".repeat(65);
    let refused = init(&settings, &Place::Found, "").unwrap_err();
    assert!(matches!(refused, EngineError::Spec(_)), "{refused}");
    assert!(!folder.exists(), "it was judged before anything was written");
    settings.name.truncate(64);
    init(&settings, &Place::Found, "").unwrap();
    assert!(folder.join(MEMBERSHIP_FILE).exists());
}
