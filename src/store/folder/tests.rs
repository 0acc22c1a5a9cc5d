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
    assert!(matches!(Folder::open(disk.clone()), Err(FolderError::Missing)));
    let new = NewFolder::begin(disk.clone()).unwrap();
    assert!(matches!(Folder::open(disk.clone()), Err(FolderError::Missing)));
    drop(new.finish().unwrap());
    assert!(matches!(NewFolder::begin(disk.clone()), Err(FolderError::Exists)));
    assert_eq!(Folder::open(disk).unwrap().version(), FOLDER_VERSION);
}

#[test]
fn a_newer_folder_is_refused_untouched_and_one_too_old_likewise() {
    for found in [FOLDER_VERSION + 1, OLDEST_VERSION - 1] {
        let (sim, disk) = sim();
        write_atomic(&sim, VERSION_FILE, format!("ipfs-kit folder {found}\n").as_bytes()).unwrap();
        let before = sim.dump();
        let refused = [
            Folder::open(disk.clone()).map(drop).unwrap_err(),
            NewFolder::begin(disk).map(drop).unwrap_err(),
        ];
        for refused in refused {
            match refused {
                FolderError::Newer { supported, .. } => assert!(supported < found),
                FolderError::Older { oldest, .. } => assert!(found < oldest),
                other => panic!("{other}"),
            }
        }
        assert_eq!(sim.dump(), before);
    }
}

#[test]
fn a_foreign_or_damaged_folder_is_refused_untouched() {
    let (sim, disk) = sim();
    sim.open("thesis.tex", Open::Create, Io::Buffered).unwrap();
    let before = sim.dump();
    let refused = NewFolder::begin(disk.clone()).unwrap_err();
    assert!(matches!(refused, FolderError::Foreign { ref found } if found == "thesis.tex"));
    assert_eq!(sim.dump(), before);
    for bad in ["", "ipfs-kit folder x\n", "ipfs-kit folder 0\n", "7\n"] {
        write_atomic(&sim, VERSION_FILE, bad.as_bytes()).unwrap();
        let refused = Folder::open(disk.clone()).unwrap_err();
        assert!(matches!(refused, FolderError::BadVersion), "{bad:?}");
    }
}

#[test]
fn a_second_process_is_refused_and_told_who_holds_it() {
    let root = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(root.path()).unwrap());
    let held = NewFolder::begin(disk.clone()).unwrap();
    assert!(matches!(NewFolder::begin(disk.clone()), Err(FolderError::Locked { .. })));
    let held = held.finish().unwrap();
    let refused = Folder::open(disk.clone()).unwrap_err();
    assert!(refused.to_string().contains(&std::process::id().to_string()), "{refused}");
    drop(held);
    Folder::open(disk).unwrap();
}

#[test]
fn an_interrupted_initialisation_can_be_repeated() {
    let (mut finished, mut left) = (0, 0);
    for stop in 0..24 {
        for seed in 0..20 {
            let sim = SimDisk::new(seed);
            let disk: Arc<dyn Disk> = Arc::new(sim.clone());
            sim.stop_after(stop);
            let first = make(&disk, "first").is_ok();
            sim.crash();
            match Folder::open(disk.clone()) {
                Ok(folder) => {
                    finished += 1;
                    assert_eq!(made_by(&*disk), ["first", "first"], "a node's folder is whole");
                    drop(folder);
                }
                Err(FolderError::Missing) => {
                    left += 1;
                    assert!(!first, "what was finished stays finished");
                    make(&disk, "second").unwrap();
                    assert_eq!(made_by(&*disk), ["second", "second"]);
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
    assert!(finished > 0 && left > 0, "{finished} finished, {left} left");
}

const FILES: [&str; 2] = ["identity", "config"];

fn make(disk: &Arc<dyn Disk>, by: &str) -> Result<(), FolderError> {
    let folder = NewFolder::begin(disk.clone())?;
    for path in FILES {
        let file = disk.open(path, Open::Create, Io::Buffered)?;
        file.write_at(0, by.as_bytes())?;
        file.sync()?;
    }
    folder.finish().map(drop)
}

fn made_by(disk: &dyn Disk) -> [String; 2] {
    FILES.map(|path| String::from_utf8(read_bounded(disk, path, 64).unwrap().unwrap()).unwrap())
}
