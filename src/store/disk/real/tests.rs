//! The real disk keeps the contract and the file modes.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::disk::contract;

#[test]
fn keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    contract::check(&RealDisk::new(folder.path().join("deep/root")).unwrap());
}

#[test]
fn files_and_folders_belong_to_their_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let disk = RealDisk::new(folder.path().join("root")).unwrap();
    disk.create_dir("d").unwrap();
    disk.open("d/f", Open::Create, Io::Buffered).unwrap();
    let _lock = disk.lock("lock").unwrap();
    let mode =
        |path: &str| fs::metadata(disk.root().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(""), mode("d"), mode("d/f"), mode("lock")), (0o700, 0o700, 0o600, 0o600));
}

#[test]
fn a_refused_lock_names_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let disk = RealDisk::new(folder.path()).unwrap();
    let _held = disk.lock("lock").unwrap();
    let refused = disk.lock("lock").unwrap_err();
    assert!(refused.to_string().contains(&std::process::id().to_string()), "{refused}");
}
