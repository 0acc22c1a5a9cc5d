//! Refusals leave the folder untouched; initialisation survives every crash.

use super::*;
use crate::disk::{Io, Open, RealDisk, SimDisk};

fn sim() -> (SimDisk, Arc<dyn Disk>) {
    let disk = SimDisk::new(1);
    (disk.clone(), Arc::new(disk))
}

#[test]
fn a_new_folder_can_be_opened_again() {
    let (_, disk) = sim();
    assert!(matches!(Folder::open(disk.clone(), Expect::Existing), Err(FolderError::Missing)));
    drop(Folder::open(disk.clone(), Expect::New).unwrap());
    assert!(matches!(Folder::open(disk.clone(), Expect::New), Err(FolderError::Exists)));
    assert_eq!(Folder::open(disk, Expect::Existing).unwrap().version(), FOLDER_VERSION);
}

#[test]
fn a_newer_folder_is_refused_untouched_and_one_too_old_likewise() {
    for found in [FOLDER_VERSION + 1, OLDEST_VERSION - 1] {
        let (sim, disk) = sim();
        write_atomic(&sim, VERSION_FILE, format!("ipfs-kit folder {found}\n").as_bytes()).unwrap();
        let before = sim.dump();
        let refused = Folder::open(disk, Expect::Any).unwrap_err();
        match refused {
            FolderError::Newer { supported, .. } => assert!(supported < found),
            FolderError::Older { oldest, .. } => assert!(found < oldest),
            other => panic!("{other}"),
        }
        assert_eq!(sim.dump(), before);
    }
}

#[test]
fn a_foreign_or_damaged_folder_is_refused_untouched() {
    let (sim, disk) = sim();
    sim.open("thesis.tex", Open::Create, Io::Buffered).unwrap();
    let before = sim.dump();
    let refused = Folder::open(disk.clone(), Expect::Any).unwrap_err();
    assert!(matches!(refused, FolderError::Foreign { ref found } if found == "thesis.tex"));
    assert_eq!(sim.dump(), before);
    for bad in ["", "ipfs-kit folder x\n", "ipfs-kit folder 0\n", "7\n"] {
        write_atomic(&sim, VERSION_FILE, bad.as_bytes()).unwrap();
        let refused = Folder::open(disk.clone(), Expect::Any).unwrap_err();
        assert!(matches!(refused, FolderError::BadVersion), "{bad:?}");
    }
}

#[test]
fn a_second_process_is_refused_and_told_who_holds_it() {
    let root = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(root.path()).unwrap());
    let held = Folder::open(disk.clone(), Expect::New).unwrap();
    let refused = Folder::open(disk.clone(), Expect::Existing).unwrap_err();
    assert!(refused.to_string().contains(&std::process::id().to_string()), "{refused}");
    drop(held);
    Folder::open(disk, Expect::Existing).unwrap();
}

#[test]
fn an_interrupted_initialisation_can_be_repeated() {
    for stop in 0..8 {
        for seed in 0..20 {
            let sim = SimDisk::new(seed);
            let disk: Arc<dyn Disk> = Arc::new(sim.clone());
            sim.stop_after(stop);
            let first = Folder::open(disk.clone(), Expect::New).is_ok();
            sim.crash();
            let again = Folder::open(disk, Expect::Any).unwrap();
            assert!(again.version() == FOLDER_VERSION, "first attempt: {first}");
        }
    }
}
