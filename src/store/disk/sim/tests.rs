//! The simulated disk keeps the contract, and forgets only what was not synced.

use super::*;
use crate::disk::contract;

fn create(disk: &SimDisk, path: &str, bytes: &[u8]) -> Arc<dyn DiskFile> {
    let file = disk.open(path, Open::Create, Io::Buffered).unwrap();
    file.write_at(0, bytes).unwrap();
    file
}

fn content(disk: &SimDisk, path: &str) -> Option<Vec<u8>> {
    disk.dump().into_iter().find_map(|(name, bytes)| (name == path).then_some(bytes))
}

#[test]
fn keeps_the_contract() {
    contract::check(&SimDisk::new(1));
}

#[test]
fn synced_bytes_and_names_survive_every_crash() {
    for seed in 0..200 {
        let disk = SimDisk::new(seed);
        create(&disk, "f", b"kept").sync().unwrap();
        disk.sync_dir("").unwrap();
        disk.open("f", Open::Write, Io::Buffered).unwrap().write_at(4, b" maybe").unwrap();
        disk.crash();
        assert!(content(&disk, "f").unwrap().starts_with(b"kept"));
    }
}

#[test]
fn a_crash_can_drop_tear_and_keep() {
    let mut seen = CrashReport::default();
    for seed in 0..100 {
        let disk = SimDisk::new(seed);
        create(&disk, "f", &[1; 2000]);
        let report = disk.crash();
        seen.writes_kept += report.writes_kept;
        seen.writes_dropped += report.writes_dropped;
        seen.writes_torn += report.writes_torn;
        seen.names_undone += report.names_undone;
    }
    assert!(seen.writes_kept > 10 && seen.writes_dropped > 10, "{seen:?}");
    assert!(seen.writes_torn > 20 && seen.names_undone > 20, "{seen:?}");
}

#[test]
fn a_crash_is_the_same_for_the_same_seed() {
    let run = |seed| {
        let disk = SimDisk::new(seed);
        for n in 0..10_u8 {
            create(&disk, &format!("f{n}"), &[n; 3000]);
        }
        disk.crash();
        disk.dump()
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn handles_and_locks_end_with_their_process() {
    let disk = SimDisk::new(1);
    let file = create(&disk, "f", b"x");
    file.sync().unwrap();
    disk.sync_dir("").unwrap();
    let old_lock = disk.lock("lock").unwrap();
    disk.crash();
    assert!(file.write_at(0, b"zombie").is_err());
    let _new_lock = disk.lock("lock").unwrap();
    drop(old_lock);
    assert!(disk.lock("lock").is_err(), "a dead process's guard must not free a new lock");
}

#[test]
fn stops_at_the_chosen_change_and_stays_down() {
    let disk = SimDisk::new(3);
    disk.stop_after(2);
    let file = create(&disk, "f", b"one");
    assert!(file.write_at(3, b"two").is_err());
    assert!(file.read_at(0, &mut [0]).is_err());
    assert!(disk.list("").is_err());
    disk.crash();
    assert!(disk.list("").is_ok());
}

#[test]
fn a_failed_sync_loses_the_bytes_for_good() {
    let disk = SimDisk::new(5);
    let file = create(&disk, "f", b"data");
    disk.sync_dir("").unwrap();
    disk.fail_sync_after(0);
    assert_eq!(file.sync().unwrap_err().kind, DiskErrorKind::Sync);
    file.sync().unwrap();
    assert_eq!(content(&disk, "f").unwrap(), b"data", "reads still show it");
    disk.crash();
    assert_eq!(content(&disk, "f").unwrap(), b"");
}

#[test]
fn removed_files_cost_nothing_once_nobody_can_reach_them() {
    let disk = SimDisk::new(5);
    let file = create(&disk, "f", &[1; 1000]);
    disk.sync_dir("").unwrap();
    disk.remove("f").unwrap();
    drop(file);
    assert_eq!(disk.state().files(), 1, "a crash may bring it back");
    disk.sync_dir("").unwrap();
    assert_eq!(disk.state().files(), 0);
    write_and_replace(&disk);
    assert_eq!(disk.state().files(), 1);
}

fn write_and_replace(disk: &SimDisk) {
    for _ in 0..3 {
        crate::files::write_atomic(disk, "g", b"content").unwrap();
    }
}

#[test]
fn a_full_disk_refuses_growth_only() {
    let disk = SimDisk::new(5);
    disk.set_capacity(10);
    let file = create(&disk, "f", b"12345678");
    assert_eq!(file.append(b"9ab").unwrap_err().kind, DiskErrorKind::Full);
    file.append(b"9a").unwrap();
    file.write_at(0, b"overwrit").unwrap();
    assert_eq!(disk.space().unwrap().free_bytes, 0);
}
