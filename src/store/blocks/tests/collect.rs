//! Collection deletes what nobody marked, keeps everything else, and survives crashes.

use super::*;
use crate::disk::Loss;

fn keep_going(_: SweepProgress) -> SweepControl {
    SweepControl::Continue
}

/// Collects everything but blocks that satisfy `keep`.
fn collect(
    store: &BlockStore,
    of: std::ops::Range<u64>,
    keep: fn(u64) -> bool,
) -> Result<SweepReport, GcError> {
    let mut session = store.begin_gc()?;
    for n in of.filter(|n| keep(*n)) {
        session.mark(block(n).0);
    }
    session.sweep(&mut keep_going)
}

fn expect_only(store: &BlockStore, of: std::ops::Range<u64>, keep: fn(u64) -> bool) {
    for n in of {
        let (key, data) = block(n);
        let expected = keep(n).then_some(data);
        assert_eq!(store.get(key).unwrap(), expected, "block {n}");
        assert_eq!(store.has(key), keep(n));
    }
}

#[test]
fn deletes_the_unmarked_and_gives_back_space() {
    let disk = SimDisk::new(1);
    let (store, _) = open(&disk);
    store.put_many(&blocks(0..100)).unwrap();
    let before = store.stat().unwrap();
    let report = collect(&store, 0..100, |n| n % 5 == 0).unwrap();
    assert_eq!(report.removed_blocks, 80);
    assert!(report.removed_segments > 0 && report.moved_blocks > 0 && !report.cancelled);
    expect_only(&store, 0..100, |n| n % 5 == 0);
    let after = store.stat().unwrap();
    assert_eq!(after.blocks, 20);
    assert!(after.used_bytes < before.used_bytes / 2, "{before:?} {after:?}");
    for _ in 0..2 {
        disk.crash();
        let (store, report) = open(&disk);
        assert!(report.damaged.is_empty() && report.cut.is_empty());
        expect_only(&store, 0..100, |n| n % 5 == 0);
        assert_eq!(store.stat().unwrap().blocks, 20);
    }
    let (store, _) = open(&disk);
    store.put_many(&blocks(0..100)).unwrap();
    store.sync().unwrap();
    expect_blocks(&open(&disk).0, 0..100);
}

#[test]
fn few_dead_blocks_get_tombstones_and_stay_deleted() {
    let disk = SimDisk::new(1);
    let (store, _) = open(&disk);
    store.put_many(&blocks(0..100)).unwrap();
    // The largest blocks live, so every segment stays above the threshold.
    let keep = |n: u64| !n.is_multiple_of(7);
    let report = collect(&store, 0..100, keep).unwrap();
    assert_eq!((report.removed_segments, report.moved_blocks), (0, 0));
    assert_eq!(report.removed_blocks, 15);
    disk.crash();
    let (store, _) = open(&disk);
    expect_only(&store, 0..100, keep);
    store.put_many(&[block(7)]).unwrap();
    store.sync().unwrap();
    disk.crash();
    let (store, _) = open(&disk);
    assert!(store.has(block(7).0), "put again after its deletion");
    let report = collect(&store, 0..100, |n| n == 7).unwrap();
    assert_eq!(report.removed_blocks, 85);
    expect_only(&open(&disk).0, 0..100, |n| n == 7);
}

#[test]
fn blocks_put_put_again_or_leased_during_a_collection_are_safe() {
    let disk = SimDisk::new(1);
    let (store, _) = open(&disk);
    store.put_many(&blocks(0..50)).unwrap();
    let mut session = store.begin_gc().unwrap();
    assert!(matches!(store.begin_gc(), Err(GcError::Running)));
    store.put_many(&blocks(50..60)).unwrap();
    assert_eq!(store.put_many(&blocks(10..12)).unwrap().present, 2);
    store.lease("download", &[block(20).0, block(999).0], Some(9)).unwrap();
    let refused = session.sweep(&mut keep_going).unwrap_err();
    assert!(matches!(refused, GcError::UnwalkedRoots { roots: 2 }));
    assert_eq!(session.new_roots(), [block(20).0, block(999).0]);
    // What the marker finds below the leased root.
    assert!(session.mark(block(21).0) && !session.mark(block(999).0));
    assert_eq!(session.leased_roots().len(), 2);
    let report = session.sweep(&mut keep_going).unwrap();
    assert_eq!(report.removed_blocks, 50 - 2 - 2);
    let kept = |n: u64| matches!(n, 10 | 11 | 20 | 21 | 50..60);
    expect_only(&store, 0..60, kept);
    disk.crash();
    expect_only(&open(&disk).0, 0..50, kept);
    drop(session);
    store.begin_gc().unwrap();
}

#[test]
fn a_dropped_or_cancelled_collection_loses_nothing_that_is_marked() {
    let disk = SimDisk::new(1);
    let (store, _) = open(&disk);
    store.put_many(&blocks(0..100)).unwrap();
    drop(store.begin_gc().unwrap());
    expect_blocks(&store, 0..100);
    for patience in 0..6 {
        let mut session = store.begin_gc().unwrap();
        for n in (0..100).step_by(2) {
            session.mark(block(n).0);
        }
        let mut left = patience;
        let report = session
            .sweep(&mut |progress| {
                assert!(progress.segments_done <= progress.segments);
                if left == 0 {
                    return SweepControl::Cancel;
                }
                left -= 1;
                SweepControl::Continue
            })
            .unwrap();
        assert!(report.cancelled || patience > 3);
        for n in (0..100).step_by(2) {
            assert!(store.has(block(n).0));
        }
    }
    collect(&store, 0..100, |n| n % 2 == 0).unwrap();
    disk.crash();
    expect_only(&open(&disk).0, 0..100, |n| n % 2 == 0);
}

/// The heart of it: a crash at every change of a collection.
#[test]
fn a_crash_at_any_point_of_a_collection_loses_no_marked_block() {
    const COUNT: u64 = 60;
    let keep = |n: u64| n % 4 == 1;
    let prepare = |seed| {
        let disk = SimDisk::new(seed);
        let (store, _) = open(&disk);
        store.put_many(&blocks(0..COUNT)).unwrap();
        store.sync().unwrap();
        (disk, store)
    };
    let changes = {
        let (disk, store) = prepare(0);
        let before = disk.changes();
        collect(&store, 0..COUNT, keep).unwrap();
        disk.changes() - before
    };
    assert!(changes > 20);
    for stop in 0..=changes {
        for seed in 0..5 {
            let (disk, store) = prepare(seed * 7919 + stop);
            disk.stop_after(stop);
            let finished = collect(&store, 0..COUNT, keep).is_ok();
            drop(store);
            disk.crash();
            let (store, report) = open(&disk);
            assert_eq!(report.damaged, []);
            for n in 0..COUNT {
                let (key, data) = block(n);
                let found = store.get(key).unwrap();
                match found {
                    Some(found) => assert_eq!(found, data),
                    None => assert!(!keep(n), "marked block {n} is lost, stop {stop} seed {seed}"),
                }
                assert!(!finished || keep(n) == store.has(key), "a finished sweep is durable");
            }
            // The store works on, and the next collection finishes the job.
            collect(&store, 0..COUNT, keep).unwrap();
            disk.crash();
            let (store, _) = open(&disk);
            expect_only(&store, 0..COUNT, keep);
            store.put_many(&blocks(0..COUNT)).unwrap();
            store.sync().unwrap();
            disk.crash();
            expect_blocks(&open(&disk).0, 0..COUNT);
        }
    }
}

#[test]
fn collecting_makes_room_on_a_full_disk() {
    let disk = SimDisk::new(1);
    let (store, _) = open(&disk);
    store.put_many(&blocks(0..100)).unwrap();
    store.close().unwrap();
    let used: u64 = disk.dump().iter().map(|(_, bytes)| bytes.len() as u64).sum();
    disk.set_capacity(used + 4096);
    assert!(store.put_many(&blocks(100..140)).and_then(|_| store.sync()).is_err());
    let report = collect(&store, 0..140, |n| (95..140).contains(&n)).unwrap();
    assert!(report.removed_segments > 0);
    store.put_many(&blocks(100..140)).unwrap();
    store.sync().unwrap();
    disk.crash();
    expect_blocks(&open(&disk).0, 95..140);
}

#[test]
fn collecting_makes_room_under_the_bound() {
    let disk = SimDisk::new(1);
    let options = BlockStoreOptions { max_bytes: Some(200 << 10), ..OPTIONS };
    let (store, _) = BlockStore::open(port(&disk), "blocks", options).unwrap();
    let mut n = 0;
    while store.put_many(&[block(n)]).is_ok() {
        n += 1;
    }
    collect(&store, 0..n, |n| n % 3 == 0).unwrap();
    store.put_many(&[block(n)]).unwrap();
    expect_only(&store, 0..n, |n| n % 3 == 0);
}

#[test]
fn a_damaged_living_block_keeps_its_segment_and_is_counted() {
    let disk = SimDisk::new(1);
    let (store, _) = open(&disk);
    store.put_many(&blocks(0..60)).unwrap();
    store.close().unwrap();
    let place = flip_a_byte_of(&disk, &block(15).1);
    let report = collect(&store, 0..60, |n| n % 5 == 0).unwrap();
    assert_eq!(report.damaged_blocks, 1);
    assert!(
        disk.list("blocks")
            .unwrap()
            .iter()
            .any(|entry| { entry.name == format!("{:08x}.seg", place.segment) })
    );
    assert!(matches!(store.get(block(15).0), Err(GetError::Corrupt { .. })));
    store.put_many(&[block(15)]).unwrap();
    expect_only(&store, 0..60, |n| n % 5 == 0);
}

#[test]
fn damaged_tombstones_are_named_and_cost_another_collection_only() {
    let disk = SimDisk::new(1);
    let keep = |n: u64| !n.is_multiple_of(7);
    let (store, _) = open(&disk);
    store.put_many(&blocks(0..60)).unwrap();
    collect(&store, 0..60, keep).unwrap();
    let listed = disk.list("blocks").unwrap();
    let damaged = listed.iter().find(|entry| entry.name.ends_with(".del")).unwrap();
    disk.flip_bit(&format!("blocks/{}", damaged.name), 20, 1).unwrap();
    let (store, report) = open(&disk);
    let segment = segments::number_of(&damaged.name, ".del").unwrap();
    assert_eq!(report.undeleted, [segment]);
    for (key, data) in blocks(0..60) {
        assert!(store.get(key).unwrap().is_none_or(|found| found == data));
    }
    assert!(store.stat().unwrap().blocks > 51, "garbage is back");
    collect(&store, 0..60, keep).unwrap();
    for _ in 0..2 {
        disk.crash();
        let (store, report) = open(&disk);
        assert_eq!(report.undeleted, [0; 0]);
        expect_only(&store, 0..60, keep);
    }
}

/// A copy that waits for a full disk is no reason to let go of the durable one.
#[test]
fn a_full_disk_lets_no_marked_block_go_before_its_copy_is_durable() {
    let disk = SimDisk::new(1);
    let keep = |n: u64| n % 7 == 1;
    let (store, _) = open(&disk);
    store.put_many(&blocks(0..60)).unwrap();
    store.close().unwrap();
    let used: u64 = disk.dump().iter().map(|(_, bytes)| bytes.len() as u64).sum();
    disk.set_capacity(used + 8000);
    for _ in 0..3 {
        let report = collect(&store, 0..60, keep).unwrap();
        assert!(report.postponed_segments > 0, "copies find no room: {report:?}");
        let now = disk.fork();
        now.crash_with(Loss::All);
        for (key, data) in blocks(0..60).into_iter().skip(1).step_by(7) {
            assert_eq!(open(&now).0.get(key).unwrap(), Some(data));
        }
    }
    disk.set_capacity(1 << 30);
    collect(&store, 0..60, keep).unwrap();
    disk.crash_with(Loss::All);
    expect_only(&open(&disk).0, 0..60, keep);
}
