//! Leases are durable, bounded, and end.

use super::*;

fn key(n: u64) -> Key {
    block(n).0
}

#[test]
fn leases_survive_a_crash_and_end() {
    let disk = SimDisk::new(1);
    let (store, _) = open(&disk);
    let import = store.lease("import", &[key(1), key(2)], None).unwrap();
    let fetch = store.lease("fetch", &[key(3)], Some(100)).unwrap();
    store.extend_lease(fetch, Some(200)).unwrap();
    let short = store.lease("answered have", &[], Some(50)).unwrap();
    store.release_lease(import).unwrap();
    disk.crash();
    let (store, _) = open(&disk);
    let found = store.leases();
    assert_eq!(found.iter().map(|lease| lease.id).collect::<Vec<_>>(), [fetch, short]);
    assert_eq!(found[0].roots, [key(3)]);
    assert_eq!((found[0].reason.as_str(), found[0].until), ("fetch", Some(200)));
    assert_eq!(store.release_passed_leases(199).unwrap(), 1);
    assert_eq!(store.leases().len(), 1);
    assert_eq!(store.release_passed_leases(200).unwrap(), 1);
    store.release_lease(fetch).unwrap();
    assert!(matches!(store.extend_lease(fetch, None), Err(LeaseError::Unknown { .. })));
    let next = store.lease("more", &[], None).unwrap();
    assert!(next > short, "ids are never used twice");
}

#[test]
fn the_log_of_leases_is_compacted() {
    let disk = SimDisk::new(1);
    let (store, _) = open(&disk);
    let kept = store.lease("kept", &[key(7)], None).unwrap();
    let roots = vec![key(1); 5000];
    let mut last = kept;
    for _ in 0..20 {
        last = store.lease("passing", &roots, None).unwrap();
        store.release_lease(last).unwrap();
    }
    assert!(disk.list("blocks/leases").unwrap().len() <= 4);
    disk.crash();
    let (store, _) = open(&disk);
    assert_eq!(store.leases().iter().map(|lease| lease.id).collect::<Vec<_>>(), [kept]);
    assert!(store.lease("next", &[], None).unwrap() > last);
}

#[test]
fn a_compacted_log_may_begin_with_a_change_of_what_it_has_let_go() {
    let disk = SimDisk::new(1);
    let (store, _) = open(&disk);
    let kept = store.lease("kept", &[key(7)], None).unwrap();
    // A page each: whatever begins a segment and starts the compaction is one of these.
    for until in 0..1000 {
        store.extend_lease(kept, Some(until)).unwrap();
    }
    assert!(!disk.list("blocks/leases").unwrap().iter().any(|file| file.name.contains("01.wal")));
    let (store, _) = open(&disk);
    assert_eq!(store.leases().iter().map(|lease| lease.until).collect::<Vec<_>>(), [Some(999)]);
}

#[test]
fn leases_are_bounded() {
    let disk = SimDisk::new(1);
    let (store, _) = open(&disk);
    let long = "x".repeat(MAX_LEASE_REASON_BYTES + 1);
    assert!(matches!(store.lease(&long, &[], None), Err(LeaseError::LongReason { .. })));
    store.lease("much", &vec![key(1); MAX_LEASED_ROOTS - 1], None).unwrap();
    store.lease("last", &[key(1)], None).unwrap();
    let refused = store.lease("more", &[key(1)], None);
    assert!(matches!(refused, Err(LeaseError::TooMany { leases: 2, roots: MAX_LEASED_ROOTS })));
}

#[test]
fn a_failed_sync_of_the_leases_makes_the_store_read_only() {
    let disk = SimDisk::new(1);
    let (store, _) = open(&disk);
    store.put_many(&blocks(0..5)).unwrap();
    store.sync().unwrap();
    disk.fail_sync_after(0);
    assert!(store.lease("r", &[key(1)], None).is_err());
    assert!(
        store.failure().is_some_and(|cause| cause.contains("leases/")),
        "an operator can see why"
    );
    assert!(matches!(store.put_many(&[block(9)]), Err(PutError::Poisoned { .. })));
    expect_blocks(&store, 0..5);
}

#[test]
fn a_lease_granted_before_a_crash_is_there_after_it() {
    for stop in 0..12 {
        for seed in 0..8 {
            let disk = SimDisk::new(seed);
            let (store, _) = open(&disk);
            disk.stop_after(stop);
            let granted: Vec<_> =
                (0..5).map_while(|n| store.lease("r", &[key(n)], Some(n)).ok()).collect();
            disk.crash();
            let found: Vec<_> = open(&disk).0.leases().iter().map(|lease| lease.id).collect();
            assert!(found.starts_with(&granted), "{granted:?} {found:?}");
        }
    }
}
