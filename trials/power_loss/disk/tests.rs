//! The disk keeps the contract, and whoever comes after a kill finds what was synced and no more.

use ipfs_kit_store::disk::contract;

use super::*;

const SEED: u64 = 11;

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn disk(&self, landing: Landing, seed: u64) -> PowerLossDisk {
        PowerLossDisk::new(self.durable(), landing, seed).unwrap()
    }

    /// What a process finds that starts after a kill.
    fn durable(&self) -> RealDisk {
        RealDisk::new(self.0.path()).unwrap()
    }

    fn names(&self, dir: &str) -> Vec<String> {
        let names = self.durable().list(dir).unwrap().into_iter().map(|one| one.name);
        names.filter(|name| !name.starts_with(ASIDE)).collect()
    }

    fn content(&self, path: &str) -> Vec<u8> {
        content(&self.durable(), path)
    }
}

fn content(disk: &dyn Disk, path: &str) -> Vec<u8> {
    let file = disk.open(path, Open::Read, Io::Buffered).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    assert_eq!(file.read_at(0, &mut bytes).unwrap(), bytes.len());
    bytes
}

fn create(disk: &dyn Disk, path: &str, bytes: &[u8]) -> Arc<dyn DiskFile> {
    let file = disk.open(path, Open::Create, Io::Buffered).unwrap();
    file.write_at(0, bytes).unwrap();
    file
}

#[test]
fn keeps_the_contract_whatever_lands() {
    contract::check(&Place::new().disk(Landing::Never, SEED));
    for seed in 0..50 {
        contract::check(&Place::new().disk(Landing::Sometimes, seed));
    }
}

#[test]
fn bytes_and_lengths_last_once_they_are_synced() {
    let place = Place::new();
    let disk = place.disk(Landing::Never, SEED);
    let file = create(&disk, "f", b"first");
    file.sync().unwrap();
    disk.sync_dir("").unwrap();
    file.write_at(0, b"SECOND").unwrap();
    file.set_len(4).unwrap();
    assert_eq!(place.content("f"), b"first");
    assert_eq!(content(&disk, "f"), b"SECO", "this process sees what it wrote");
    file.sync().unwrap();
    assert_eq!(place.content("f"), b"SECO");
}

#[test]
fn names_last_once_their_folder_is_synced() {
    let place = Place::new();
    let disk = place.disk(Landing::Never, SEED);
    create(&disk, "old", b"old").sync().unwrap();
    create(&disk, "gone", b"gone").sync().unwrap();
    assert!(place.names("").is_empty(), "a file may be synced and its name not");
    disk.sync_dir("").unwrap();
    assert_eq!(place.names(""), ["gone", "old"]);
    create(&disk, "new", b"new").sync().unwrap();
    disk.rename("new", "old").unwrap();
    disk.remove("gone").unwrap();
    assert_eq!(place.names(""), ["gone", "old"]);
    assert_eq!(place.content("old"), b"old");
    assert_eq!(content(&disk, "old"), b"new");
    disk.sync_dir("").unwrap();
    assert_eq!(place.names(""), ["old"]);
    assert_eq!(place.content("old"), b"new");
}

#[test]
fn a_folder_and_what_is_in_it_last_once_its_parent_is_synced() {
    let place = Place::new();
    let disk = place.disk(Landing::Never, SEED);
    disk.create_dir("a").unwrap();
    disk.create_dir("a/b").unwrap();
    create(&disk, "a/b/f", b"deep").sync().unwrap();
    disk.sync_dir("a/b").unwrap();
    disk.sync_dir("a").unwrap();
    assert!(place.names("").is_empty());
    disk.sync_dir("").unwrap();
    assert_eq!(place.content("a/b/f"), b"deep");
    create(&disk, "a/b/g", b"more").sync().unwrap();
    assert_eq!(place.names("a/b"), ["f"]);
    disk.sync_dir("a/b").unwrap();
    assert_eq!(place.names("a/b"), ["f", "g"]);
}

#[test]
fn whoever_takes_the_lock_throws_away_what_was_not_synced() {
    let place = Place::new();
    let left = place.0.path().join(format!("{ASIDE}1"));
    std::fs::create_dir(&left).unwrap();
    std::fs::write(left.join("1"), b"lost").unwrap();
    let disk = place.disk(Landing::Never, SEED);
    assert!(disk.list("").unwrap().is_empty(), "nobody sees it");
    let _lock = disk.lock("lock").unwrap();
    assert!(!left.exists());
}

#[test]
fn a_forgotten_sync_lasts_nothing() {
    let place = Place::new();
    let disk = place.disk(Landing::Never, SEED).forgetting(Some("log".to_owned()));
    for dir in ["log", "other"] {
        disk.create_dir(dir).unwrap();
        create(&disk, &format!("{dir}/f"), b"bytes").sync().unwrap();
        disk.sync_dir(dir).unwrap();
    }
    disk.sync_dir("").unwrap();
    assert!(place.names("log").is_empty());
    assert_eq!(place.content("other/f"), b"bytes");
}

#[test]
fn a_part_of_what_was_not_synced_may_land() {
    let (mut nothing, mut torn, mut whole) = (0, 0, 0);
    for seed in 0..200 {
        let place = Place::new();
        let disk = place.disk(Landing::Never, SEED);
        create(&disk, "f", &[1; 4096]).sync().unwrap();
        disk.sync_dir("").unwrap();
        drop(disk);
        let disk = place.disk(Landing::Sometimes, seed);
        let file = disk.open("f", Open::Write, Io::Buffered).unwrap();
        file.write_at(0, &[2; 4096]).unwrap();
        let new = place.content("f").iter().take_while(|byte| **byte == 2).count();
        assert!(place.content("f")[new..].iter().all(|byte| *byte == 1));
        assert!(new.is_multiple_of(512));
        match new {
            0 => nothing += 1,
            4096 => whole += 1,
            _ => torn += 1,
        }
    }
    assert!(nothing > 100 && torn > 5 && whole > 5, "{nothing} {torn} {whole}");
}
