//! After any crash: everything that was synced is there, and nothing is wrong.

use proptest::prelude::*;

use super::*;

/// Puts blocks and syncs now and then until the disk stops. Returns how many are durable.
fn run_until_stopped(disk: &SimDisk, from: u64, to: u64, sync_every: u64) -> u64 {
    let Ok((store, _)) = BlockStore::open(port(disk), "blocks", OPTIONS) else { return from };
    let mut durable = from;
    for n in from..to {
        if store.put_many(&[block(n)]).is_err() {
            break;
        }
        if n % sync_every == sync_every - 1 {
            if store.sync().is_err() {
                break;
            }
            durable = n + 1;
        }
    }
    durable
}

fn expect_consistent(disk: &SimDisk, durable: u64, put: u64) -> BlockStore {
    let (store, report) = open(disk);
    assert_eq!(report.damaged, [], "a crash damages nothing that was synced");
    expect_blocks(&store, 0..durable);
    for n in durable..put {
        // Not acknowledged: there or not, but never wrong.
        let found = store.get(block(n).0).unwrap();
        assert!(found.is_none_or(|data| data == block(n).1));
    }
    store
}

#[test]
fn survives_a_crash_at_every_change() {
    const COUNT: u64 = 36;
    const SYNC_EVERY: u64 = 3;
    let changes = {
        let disk = SimDisk::new(0);
        assert_eq!(run_until_stopped(&disk, 0, COUNT, SYNC_EVERY), COUNT);
        disk.changes()
    };
    let mut cuts = 0;
    for stop in 0..=changes {
        for seed in 0..5 {
            let disk = SimDisk::new(seed * 1000 + stop);
            disk.stop_after(stop);
            let durable = run_until_stopped(&disk, 0, COUNT, SYNC_EVERY);
            disk.crash();
            cuts += open(&disk).1.cut.len();
            disk.stop_after(seed * 3);
            let durable = run_until_stopped(&disk, durable, COUNT, SYNC_EVERY);
            disk.crash();
            let store = expect_consistent(&disk, durable, COUNT);
            store.put_many(&blocks(0..COUNT)).unwrap();
            store.sync().unwrap();
            drop(store);
            disk.crash();
            expect_consistent(&disk, COUNT, COUNT);
        }
    }
    assert!(cuts > 20, "the faults must tear writes, not only {cuts}");
}

#[test]
fn a_killed_process_loses_nothing_that_was_written() {
    let disk = SimDisk::new(1);
    let (store, _) = open(&disk);
    store.put_many(&blocks(0..20)).unwrap();
    store.sync().unwrap();
    store.put_many(&blocks(20..40)).unwrap();
    disk.kill_process();
    assert!(store.sync().is_err(), "its handles are dead");
    let store = expect_consistent(&disk, 20, 40);
    store.put_many(&blocks(20..60)).unwrap();
    store.sync().unwrap();
    disk.crash();
    expect_consistent(&disk, 60, 60);
}

#[test]
fn what_a_killed_process_left_unsynced_is_durable_once_it_was_found() {
    let mut recovered = 0;
    for stop in 0..40 {
        for seed in 0..6 {
            let disk = SimDisk::new(seed);
            disk.stop_after(stop);
            let durable = run_until_stopped(&disk, 0, 30, 3);
            disk.kill_process();
            let (store, _) = open(&disk);
            let found: Vec<_> = store.page(None, 1000);
            recovered += (found.len() as u64).saturating_sub(durable);
            drop(store);
            disk.crash();
            assert_eq!(open(&disk).0.page(None, 1000), found);
        }
    }
    assert!(recovered > 0, "some blocks must be written but not synced when the process dies");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn never_loses_what_was_synced(
        seed in any::<u64>(),
        lives in prop::collection::vec((0_u64..60, 1_u64..40, 1_u64..9), 1..6),
    ) {
        let disk = SimDisk::new(seed);
        let (mut durable, mut put) = (0, 0);
        for (stop, count, sync_every) in lives {
            disk.stop_after(stop);
            let to = durable + count;
            durable = run_until_stopped(&disk, durable, to, sync_every);
            put = put.max(to);
            disk.crash();
            expect_consistent(&disk, durable, put);
        }
    }
}
