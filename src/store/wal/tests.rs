//! Nothing acknowledged is lost at any crash point; damage is told from a torn tail.

mod faults;

use proptest::prelude::*;

use super::*;
use crate::disk::SimDisk;
use crate::test_support::{filler, port};

const OPTIONS: WalOptions =
    WalOptions { identity: [7; 16], segment_bytes: 32 * 1024, max_batch_bytes: 1 << 20 };

type Shown = Vec<(u8, Vec<u8>)>;

fn open(disk: &SimDisk) -> Result<(Wal, Recovery, Shown), WalError> {
    let mut shown = Shown::new();
    let (wal, recovery) = Wal::open(port(disk), "wal", OPTIONS, &mut |record| {
        shown.push((record.kind, record.payload.to_vec()));
        Ok::<_, WalError>(())
    })?;
    Ok((wal, recovery, shown))
}

fn append(wal: &mut Wal, payload: &[u8]) -> Result<Location, WalError> {
    let half = payload.len() / 2;
    let record = Record { kind: 1, parts: &[&payload[..half], &payload[half..]] };
    Ok(wal.append(&[record])?[0])
}

/// Payload `n` of the workload: from empty to more than a segment.
fn payload(n: u64) -> Vec<u8> {
    filler(n, [10, 3000, 0, 5000, 12_000, 40_000, 4016][n as usize % 7])
}

#[test]
fn keeps_batches_over_reopening_and_reads_single_records() {
    let disk = SimDisk::new(1);
    let mut expected = Shown::new();
    for round in 0..5 {
        let (mut wal, recovery, shown) = open(&disk).unwrap();
        assert_eq!(shown, expected);
        assert_eq!(recovery.cut, None);
        for n in round * 10..round * 10 + 10 {
            let at = append(&mut wal, &payload(n)).unwrap();
            assert_eq!(wal.read(at).unwrap(), payload(n));
            expected.push((1, payload(n)));
        }
    }
}

#[test]
fn a_batch_is_all_or_nothing_and_keeps_its_order() {
    let disk = SimDisk::new(1);
    let (mut wal, ..) = open(&disk).unwrap();
    let records: Vec<_> = (0..9).map(|kind| Record { kind, parts: &[b"a", b"", b"bc"] }).collect();
    let at = wal.append(&records).unwrap();
    assert_eq!(wal.read(at[4]).unwrap(), b"abc");
    let (_, recovery, shown) = open(&disk).unwrap();
    assert_eq!(shown, (0..9).map(|kind| (kind, b"abc".to_vec())).collect::<Shown>());
    assert_eq!(recovery.batches, 1);
}

/// Runs the workload until the disk stops; returns what was acknowledged.
fn run_until_stopped(disk: &SimDisk, count: u64) -> u64 {
    let Ok((mut wal, _, shown)) = open(disk) else { return 0 };
    let mut acknowledged = shown.len() as u64;
    while acknowledged < count && append(&mut wal, &payload(acknowledged)).is_ok() {
        acknowledged += 1;
    }
    acknowledged
}

fn expect_prefix(shown: &Shown, acknowledged: u64) {
    assert!(
        shown.len() as u64 >= acknowledged,
        "acknowledged {acknowledged}, found {}",
        shown.len()
    );
    assert!(shown.len() as u64 <= acknowledged + 1, "at most the batch in flight is extra");
    for (n, (_, found)) in shown.iter().enumerate() {
        assert_eq!(*found, payload(n as u64));
    }
}

#[test]
fn survives_a_crash_at_every_change() {
    const COUNT: u64 = 16;
    let changes = {
        let disk = SimDisk::new(0);
        run_until_stopped(&disk, COUNT);
        disk.changes()
    };
    let mut cuts = 0;
    for stop in 0..=changes {
        for seed in 0..12 {
            let disk = SimDisk::new(seed);
            disk.stop_after(stop);
            let acknowledged = run_until_stopped(&disk, COUNT);
            disk.crash();
            // A second crash while the first is being recovered from, or soon after.
            disk.stop_after(seed);
            let later = run_until_stopped(&disk, COUNT).max(acknowledged);
            disk.crash();
            let (mut wal, recovery, shown) = open(&disk).unwrap();
            expect_prefix(&shown, later);
            cuts += usize::from(recovery.cut.is_some());
            append(&mut wal, &payload(shown.len() as u64)).unwrap();
            let (_, recovery, again) = open(&disk).unwrap();
            expect_prefix(&again, shown.len() as u64 + 1);
            assert_eq!(recovery.cut, None, "a cut is reported until the log goes on");
        }
    }
    assert!(cuts > 20, "the faults must produce torn tails, not {cuts}");
}

#[test]
fn what_a_killed_process_left_unsynced_is_durable_once_it_was_shown() {
    let mut recovered = 0;
    for stop in 0..30 {
        for seed in 0..10 {
            let disk = SimDisk::new(seed);
            disk.stop_after(stop);
            let acknowledged = run_until_stopped(&disk, 8);
            disk.kill_process();
            let Ok((_, _, shown)) = open(&disk) else { panic!("a killed process tears nothing") };
            recovered += shown.len() as u64 - acknowledged;
            disk.crash();
            assert_eq!(open(&disk).unwrap().2, shown);
        }
    }
    assert!(recovered > 0, "some batches must be written but not synced when the process dies");
}

#[test]
fn a_flipped_bit_is_named_or_cuts_only_the_last_batch() {
    let disk = SimDisk::new(1);
    let (mut wal, ..) = open(&disk).unwrap();
    let places: Vec<_> = (0..12).map(|n| append(&mut wal, &payload(n)).unwrap()).collect();
    drop(wal);
    for (n, at) in places.iter().enumerate() {
        let path = format!("wal/{:016x}.wal", at.segment);
        // The record's header, and the batch's header in front of it.
        for offset in [at.offset, at.offset - 60] {
            disk.flip_bit(&path, offset, 3).unwrap();
            match open(&disk) {
                Err(WalError::Corrupt { segment, offset: found, .. }) => {
                    assert!(n + 1 < places.len(), "only the last batch may look torn");
                    assert_eq!((segment, found), (at.segment, at.offset - HEADER_BYTES as u64));
                }
                Ok((_, recovery, shown)) => {
                    assert_eq!(n + 1, places.len(), "damage before the last batch is an error");
                    assert_eq!(shown.len(), n);
                    let offset = at.offset - HEADER_BYTES as u64;
                    assert_eq!(recovery.cut, Some(CutTail { segment: at.segment, offset }));
                }
                Err(other) => panic!("{other}"),
            }
            disk.flip_bit(&path, offset, 3).unwrap();
        }
    }
    assert_eq!(open(&disk).unwrap().2.len(), 12, "nothing was changed by the refusals");
}

#[test]
fn a_missing_segment_is_named() {
    let disk = SimDisk::new(1);
    let (mut wal, ..) = open(&disk).unwrap();
    for n in 0..20 {
        append(&mut wal, &payload(n)).unwrap();
    }
    assert!(wal.segments() > 3);
    disk.remove("wal/0000000000000002.wal").unwrap();
    assert!(matches!(open(&disk), Err(WalError::Corrupt { segment: 2, .. })));
}

#[test]
fn a_failed_sync_is_final() {
    let disk = SimDisk::new(1);
    let (mut wal, ..) = open(&disk).unwrap();
    append(&mut wal, b"fine").unwrap();
    disk.fail_sync_after(0);
    let failed = append(&mut wal, b"lost").unwrap_err();
    assert!(matches!(failed, WalError::Disk(error) if error.kind == DiskErrorKind::Sync));
    for _ in 0..2 {
        assert!(matches!(append(&mut wal, b"more"), Err(WalError::Poisoned { .. })));
    }
    assert!(matches!(wal.truncate_front(9), Err(WalError::Poisoned { .. })));
    disk.crash();
    assert_eq!(open(&disk).unwrap().2, vec![(1, b"fine".to_vec())]);
}

#[test]
fn a_full_disk_refuses_the_batch_and_nothing_else() {
    let disk = SimDisk::new(1);
    let (mut wal, ..) = open(&disk).unwrap();
    append(&mut wal, &payload(0)).unwrap();
    disk.set_capacity(40_000);
    let refused = append(&mut wal, &payload(5)).unwrap_err();
    assert!(matches!(refused, WalError::Disk(error) if error.is_full()));
    append(&mut wal, &payload(1)).unwrap();
    disk.set_capacity(1 << 30);
    append(&mut wal, &payload(2)).unwrap();
    disk.crash();
    assert_eq!(open(&disk).unwrap().2.len(), 3);
}

#[test]
fn bounds_and_foreign_segments_are_refused() {
    let disk = SimDisk::new(1);
    let (mut wal, ..) = open(&disk).unwrap();
    let refused = append(&mut wal, &vec![0; 2 << 20]).unwrap_err();
    assert!(matches!(refused, WalError::BatchTooLarge { max_bytes: 1_048_576, .. }));
    append(&mut wal, b"mine").unwrap();
    let other = WalOptions { identity: [8; 16], ..OPTIONS };
    let refused = Wal::open(port(&disk), "wal", other, &mut |_| Ok::<_, WalError>(()));
    assert!(matches!(refused, Err(WalError::Foreign { segment: 1, .. })));
}

#[test]
fn the_front_can_be_deleted_under_crashes() {
    for stop in 0..12 {
        let disk = SimDisk::new(stop);
        let (mut wal, ..) = open(&disk).unwrap();
        let places: Vec<_> = (0..30).map(|n| append(&mut wal, &payload(n)).unwrap()).collect();
        disk.stop_after(stop);
        let keep = places[20].segment;
        let done = wal.truncate_front(keep).is_ok();
        disk.crash();
        let (wal, _, shown) = open(&disk).unwrap();
        let first = 30 - shown.len();
        assert!(first <= 20, "the kept segment is whole");
        assert!(!done || places[first].segment == keep);
        assert_eq!(shown.last().unwrap().1, payload(29));
        assert_eq!(wal.read(places[29]).unwrap(), payload(29));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Random sizes, random crash points, several lives.
    #[test]
    fn never_loses_what_it_acknowledged(
        seed in any::<u64>(),
        lives in prop::collection::vec((0_u64..40, prop::collection::vec(0_usize..9000, 1..12)), 1..5),
    ) {
        let disk = SimDisk::new(seed);
        let mut expected: Vec<Vec<u8>> = Vec::new();
        for (stop, sizes) in lives {
            disk.stop_after(stop);
            let mut in_flight = None;
            if let Ok((mut wal, _, shown)) = open(&disk) {
                prop_assert_eq!(shown.len(), expected.len());
                for size in sizes {
                    let bytes = filler(size as u64, size);
                    if append(&mut wal, &bytes).is_err() {
                        in_flight = Some(bytes);
                        break;
                    }
                    expected.push(bytes);
                }
            }
            disk.crash();
            let shown: Vec<_> = open(&disk).unwrap().2.into_iter().map(|(_, bytes)| bytes).collect();
            if shown.len() > expected.len() {
                expected.extend(in_flight);
            }
            prop_assert_eq!(&shown, &expected);
        }
    }
}

#[test]
fn a_batch_that_outlived_its_failed_sync_is_durable_once_the_log_was_opened() {
    let disk = SimDisk::new(1);
    let (mut wal, ..) = open(&disk).unwrap();
    append(&mut wal, b"synced").unwrap();
    disk.fail_sync_after(0);
    append(&mut wal, &payload(3)).unwrap_err();
    assert!(wal.failure().is_some());
    drop(wal);
    disk.kill_process();
    // The next process reads the batch from the cache, counts on it and writes behind it.
    let (mut wal, _, shown) = open(&disk).unwrap();
    assert_eq!(shown.len(), 2);
    append(&mut wal, b"behind it").unwrap();
    drop(wal);
    disk.crash();
    let (_, _, shown) = open(&disk).unwrap();
    assert_eq!(shown.len(), 3, "the power failure took nothing that later batches stand on");
}

#[test]
fn small_batches_write_zeros_ahead_once_and_large_ones_never() {
    let options = WalOptions { segment_bytes: 1 << 20, ..OPTIONS };
    let open = |disk: &SimDisk| {
        Wal::open(port(disk), "wal", options, &mut |_| Ok::<_, WalError>(())).unwrap().0
    };
    // What the last append wrote.
    let written = |wal: &Wal| wal.buffer.len() as u64;
    let (small, ahead) = (ALIGN_BYTES as u64, READY_BYTES);
    let disk = SimDisk::new(1);
    let mut wal = open(&disk);
    append(&mut wal, b"first").unwrap();
    assert_eq!(written(&wal), small + ahead);
    for _ in 0..ahead / small {
        append(&mut wal, b"within").unwrap();
        assert_eq!(written(&wal), small);
    }
    append(&mut wal, b"beyond").unwrap();
    assert_eq!(written(&wal), small + ahead);
    let large = filler(1, 300_000);
    append(&mut wal, &large).unwrap();
    assert_eq!(written(&wal), align_up(large.len() as u64 + 1));
    // A log that is opened again does not know what was written, and never writes behind its segment.
    let mut wal = open(&disk);
    append(&mut wal, b"opened again").unwrap();
    assert_eq!(written(&wal), small + ahead);
    append(&mut wal, &filler(2, 150_000)).unwrap();
    while wal.tail.end + small <= wal.tail_capacity {
        append(&mut wal, b"to the end").unwrap();
        assert!(wal.tail.end + written(&wal) - small <= wal.tail_capacity);
    }
    append(&mut wal, b"the next segment").unwrap();
    assert_eq!((wal.tail.segment, written(&wal)), (2, small + ahead));
}
