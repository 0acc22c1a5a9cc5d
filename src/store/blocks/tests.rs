//! The block store: reading, bounds, failures. Crashes and collection have their own files.

mod behind;
mod collect;
mod crash;
mod faults;
mod leases;

use std::sync::Arc;

use sha2::Digest;

use super::*;
use crate::disk::{Io, Open, RealDisk, SimDisk};
use crate::test_support::{filler, port};

pub(super) const OPTIONS: BlockStoreOptions = BlockStoreOptions {
    identity: [9; 16],
    segment_bytes: 64 << 10,
    frame_bytes: 16 << 10,
    max_bytes: None,
    reserve_bytes: 0,
    rewrite_below_percent: 60,
    write_behind: false,
};

pub(super) fn open(disk: &SimDisk) -> (BlockStore, OpenReport) {
    BlockStore::open(port(disk), "blocks", OPTIONS).unwrap()
}

/// Block `n` of a workload, from tiny to nearly a frame.
pub(super) fn block(n: u64) -> (Key, Bytes) {
    let data = filler(n, [100, 5000, 0, 300, 12_000, 40, 2000][n as usize % 7] + (n / 7) as usize);
    (Key::sha2_256(&data), data.into())
}

pub(super) fn blocks(range: std::ops::Range<u64>) -> Vec<(Key, Bytes)> {
    range.map(block).collect()
}

/// Asserts that the store gives back exactly these.
pub(super) fn expect_blocks(store: &BlockStore, range: std::ops::Range<u64>) {
    for (key, data) in blocks(range) {
        assert_eq!(store.get(key).unwrap().as_ref(), Some(&data), "{key}");
        assert_eq!(store.size(key), Some(data.len() as u64));
    }
}

fn all_keys(store: &BlockStore, limit: usize) -> Vec<Key> {
    let mut keys: Vec<Key> = Vec::new();
    loop {
        let page = store.page(keys.last().copied(), limit);
        if page.is_empty() {
            return keys;
        }
        keys.extend(page.into_iter().map(|(key, _)| key));
    }
}

#[test]
fn gives_back_what_was_put_buffered_written_and_reopened() {
    let disk = SimDisk::new(1);
    let (store, report) = open(&disk);
    assert_eq!(report, OpenReport::default());
    for n in 0..60 {
        let report = store.put_many(&[block(n)]).unwrap();
        assert_eq!((report.stored, report.present), (1, 0));
        expect_blocks(&store, n..n + 1);
    }
    expect_blocks(&store, 0..60);
    store.sync().unwrap();
    expect_blocks(&store, 0..60);
    assert!(store.get(block(99).0).unwrap().is_none());
    assert!(!store.has(block(99).0) && store.has(block(5).0));
    for _ in 0..3 {
        let (store, report) = open(&disk);
        assert!(report.damaged.is_empty() && report.cut.is_empty());
        assert_eq!((report.blocks, report.scanned), (60, 1));
        expect_blocks(&store, 0..60);
    }
    let (store, _) = open(&disk);
    store.close().unwrap();
    let (store, report) = open(&disk);
    assert_eq!((report.blocks, report.scanned), (60, 0), "a closed store needs no scan");
    store.put_many(&blocks(60..90)).unwrap();
    expect_blocks(&store, 0..90);
    let stat = store.stat().unwrap();
    assert_eq!(stat.blocks, 90);
    assert_eq!(stat.block_bytes, blocks(0..90).iter().map(|(_, data)| data.len() as u64).sum());
    assert!(stat.used_bytes > stat.block_bytes && stat.segments > 3);
}

#[test]
fn blocks_that_are_there_are_skipped_and_cids_of_any_codec_find_them() {
    let disk = SimDisk::new(1);
    let (store, _) = open(&disk);
    store.put_many(&blocks(0..5)).unwrap();
    let again = store.put_many(&blocks(3..7)).unwrap();
    assert_eq!((again.stored, again.present), (2, 2));
    let (key, data) = block(4);
    for cid in [
        cid::Cid::new_v0(*key.multihash()).unwrap(),
        cid::Cid::new_v1(0x70, *key.multihash()),
        cid::Cid::new_v1(0x55, *key.multihash()),
    ] {
        assert_eq!(store.get(cid).unwrap().unwrap(), data);
        assert!(store.has(cid));
    }
}

#[test]
fn iterates_all_in_pages_in_one_order() {
    let disk = SimDisk::new(1);
    let (store, _) = open(&disk);
    store.put_many(&blocks(0..40)).unwrap();
    let long: Vec<_> = (0..5_u8)
        .map(|n| {
            let data = Bytes::from(vec![n; 10]);
            let hash = blake3::hash(&data);
            let multihash = multihash::Multihash::wrap(0x1e, hash.as_bytes()).unwrap();
            (Key::from(multihash), data)
        })
        .collect();
    store.put_many(&long).unwrap();
    let one = all_keys(&store, 1);
    assert_eq!(one.len(), 45);
    for limit in [2, 7, 40, 41, 1000] {
        assert_eq!(all_keys(&store, limit), one);
    }
    store.sync().unwrap();
    assert_eq!(all_keys(&open(&disk).0, 3), one);
}

#[test]
fn checks_every_hash_on_the_way_in() {
    let disk = SimDisk::new(1);
    let (store, _) = open(&disk);
    let (good, _) = block(1);
    let (_, other) = block(2);
    let refused = store.put_many(&[block(0), (good, other.clone())]).unwrap_err();
    let PutError::HashMismatch { key, computed } = refused else { panic!("{refused}") };
    assert_eq!((key, computed.map(|key| *key)), (good, Some(block(2).0)));
    assert_eq!(store.stat().unwrap().blocks, 0, "nothing of the batch");
    let sha512 = sha2::Sha512::digest(&other);
    let key = Key::from(multihash::Multihash::wrap(0x13, &sha512).unwrap());
    store.put_many(&[(key, other.clone())]).unwrap();
    assert_eq!(store.get(key).unwrap().unwrap(), other);
    let short = Key::from(multihash::Multihash::wrap(0x1e, &[1; 4]).unwrap());
    let refused = store.put_many(&[(short, other.clone())]).unwrap_err();
    assert!(matches!(refused, PutError::UnsupportedHash { code: 0x1e, .. }), "forgeable");
    let unknown = Key::from(multihash::Multihash::wrap(0xb220, &[1; 32]).unwrap());
    let refused = store.put_many(&[(unknown, other)]).unwrap_err();
    assert!(matches!(refused, PutError::UnsupportedHash { code: 0xb220, .. }));
}

#[test]
fn identity_blocks_are_their_own_storage() {
    let disk = SimDisk::new(1);
    let (store, _) = open(&disk);
    let key = Key::from(multihash::Multihash::wrap(0, b"inline").unwrap());
    let report = store.put_many(&[(key, Bytes::from_static(b"inline"))]).unwrap();
    assert_eq!((report.stored, report.present), (0, 1));
    assert!(store.put_many(&[(key, Bytes::from_static(b"other"))]).is_err());
    assert_eq!(store.get(key).unwrap().unwrap(), &b"inline"[..]);
    assert_eq!(store.stat().unwrap().blocks, 0);
}

#[test]
fn refuses_what_is_too_large_or_over_the_bound() {
    let disk = SimDisk::new(1);
    let max_bytes = 100 << 10;
    let options = BlockStoreOptions { max_bytes: Some(max_bytes), ..OPTIONS };
    let (store, _) = BlockStore::open(port(&disk), "blocks", options).unwrap();
    let largest = Bytes::from(vec![1; options.max_block_bytes()]);
    store.put_many(&[(Key::sha2_256(&largest), largest)]).unwrap();
    let large = Bytes::from(vec![2; options.max_block_bytes() + 1]);
    let refused = store.put_many(&[(Key::sha2_256(&large), large)]).unwrap_err();
    assert!(matches!(refused, PutError::TooLarge { .. }));
    let mut n = 0;
    let refused = loop {
        match store.put_many(&[block(n)]) {
            Ok(_) => n += 1,
            Err(error) => break error,
        }
        store.sync().unwrap();
    };
    let PutError::Full { used, max } = refused else { panic!("{refused}") };
    assert!(used <= max && max == max_bytes && n > 5);
    let on_disk: u64 = disk
        .dump()
        .iter()
        .filter(|(path, _)| path.ends_with(".seg"))
        .map(|(_, bytes)| bytes.len() as u64)
        .sum();
    assert!(on_disk <= max_bytes, "{on_disk}");
    assert_eq!(store.put_many(&blocks(0..n)).unwrap().present, n as usize, "not even needed");
    expect_blocks(&store, 0..n);
    assert!(store.stat().unwrap().free_bytes <= max_bytes - used);
}

#[test]
fn new_blocks_leave_the_reserve_free() {
    let disk = SimDisk::new(1);
    let (capacity, reserve_bytes) = (1 << 20, 512 << 10);
    disk.set_capacity(capacity);
    let options = BlockStoreOptions { reserve_bytes, ..OPTIONS };
    let (store, _) = BlockStore::open(port(&disk), "blocks", options).unwrap();
    let mut n = 0;
    let refused = loop {
        match store.put_many(&[block(n)]).and_then(|_| store.sync()) {
            Ok(()) => n += 1,
            Err(error) => break error,
        }
        assert!(n < 1000, "the disk must fill up");
    };
    assert!(matches!(refused, PutError::Reserved { reserve, .. } if reserve == reserve_bytes));
    let free = port(&disk).space().unwrap().free_bytes;
    let slack = options.segment_bytes + 2 * options.frame_bytes as u64;
    assert!(free >= reserve_bytes, "{free} bytes are free");
    assert!(free <= reserve_bytes + slack, "what was given is used: {free} bytes are free");
    expect_blocks(&store, 0..n);
    assert_eq!(store.trouble(), None, "nothing waits for the disk");
    // Collecting is still possible, and makes room.
    let mut session = store.begin_gc().unwrap();
    session.sweep(&mut |_| SweepControl::Continue).unwrap();
    store.put_many(&[block(n)]).unwrap();
    store.sync().unwrap();
}

#[test]
fn a_full_disk_leaves_the_store_readable_and_writable_later() {
    let disk = SimDisk::new(1);
    let (store, _) = open(&disk);
    store.put_many(&blocks(0..20)).unwrap();
    store.sync().unwrap();
    let used: u64 = disk.dump().iter().map(|(_, bytes)| bytes.len() as u64).sum();
    disk.set_capacity(used + 1000);
    let mut n = 20;
    let refused = loop {
        match store.put_many(&[block(n)]).and_then(|_| store.sync()) {
            Ok(()) => n += 1,
            Err(error) => break error,
        }
        assert!(n < 200, "the disk must fill up");
    };
    assert!(matches!(refused, PutError::Disk(ref error) if error.is_full()), "{refused}");
    expect_blocks(&store, 0..n);
    assert!(store.sync().is_err(), "still full");
    assert!(store.trouble().is_some_and(|cause| cause.contains("blocks/")));
    disk.set_capacity(1 << 30);
    store.put_many(&blocks(n..n + 20)).unwrap();
    store.sync().unwrap();
    assert_eq!(store.trouble(), None);
    expect_blocks(&store, 0..n + 20);
    disk.crash();
    expect_blocks(&open(&disk).0, 0..n + 20);
}

#[test]
fn a_failed_sync_makes_the_store_read_only() {
    let disk = SimDisk::new(1);
    let (store, _) = open(&disk);
    store.put_many(&blocks(0..5)).unwrap();
    store.sync().unwrap();
    store.put_many(&blocks(5..7)).unwrap();
    disk.fail_sync_after(0);
    assert!(matches!(store.sync(), Err(PutError::Disk(_))));
    assert!(matches!(store.sync(), Err(PutError::Poisoned { .. })));
    assert!(store.failure().is_some_and(|cause| cause.contains("sync")), "an operator can see why");
    assert!(matches!(store.put_many(&[block(9)]), Err(PutError::Poisoned { .. })));
    expect_blocks(&store, 0..5);
    disk.crash();
    let (store, _) = open(&disk);
    expect_blocks(&store, 0..5);
    store.put_many(&blocks(5..9)).unwrap();
    store.sync().unwrap();
}

#[test]
fn blocks_that_outlived_their_failed_sync_are_durable_once_the_store_was_opened() {
    let disk = SimDisk::new(1);
    let (store, _) = open(&disk);
    store.put_many(&blocks(0..5)).unwrap();
    store.sync().unwrap();
    store.put_many(&blocks(5..9)).unwrap();
    disk.fail_sync_after(0);
    assert!(store.sync().is_err());
    drop(store);
    disk.kill_process();
    // The next process finds them in the cache, so it says that it has them.
    let (store, _) = open(&disk);
    expect_blocks(&store, 0..9);
    store.sync().unwrap();
    drop(store);
    disk.crash();
    expect_blocks(&open(&disk).0, 0..9);
}

#[test]
fn a_damaged_block_is_named_counts_as_absent_and_heals_when_put_again() {
    for seal in [true, false] {
        let disk = SimDisk::new(1);
        let (store, _) = open(&disk);
        store.put_many(&blocks(0..30)).unwrap();
        if seal {
            store.close().unwrap();
        } else {
            store.sync().unwrap();
        }
        let (key, data) = block(11);
        let place = flip_a_byte_of(&disk, &data);
        let refused = store.get(key).unwrap_err();
        let GetError::Corrupt { key: named, place: found } = refused else { panic!("{refused}") };
        assert_eq!(named, key);
        assert!(found.segment == place.segment && found.offset < place.offset);
        assert!(refused.to_string().contains(&key.to_string()), "{refused}");
        assert!(!store.has(key) && store.stat().unwrap().damaged == 1);
        assert!(store.get(key).is_err(), "still named");
        store.put_many(&[block(11)]).unwrap();
        expect_blocks(&store, 0..30);
        store.sync().unwrap();
        expect_blocks(&open(&disk).0, 0..30);
    }
}

/// Damages the stored copy of `data` and says where.
pub(super) fn flip_a_byte_of(disk: &SimDisk, data: &[u8]) -> Place {
    for (path, bytes) in disk.dump() {
        let Some(at) = bytes.windows(data.len()).position(|window| window == data) else {
            continue;
        };
        let Some(segment) = segments::number_of(&path["blocks/".len()..], ".seg") else { continue };
        let offset = (at + data.len() / 2) as u64;
        disk.flip_bit(&path, offset, 4).unwrap();
        return Place { segment, offset };
    }
    panic!("the block is in no segment");
}

#[test]
fn damage_found_at_opening_is_named() {
    let disk = SimDisk::new(1);
    let (store, _) = open(&disk);
    let segment_of = |n| read(&store.inner.catalog).index.get(&block(n).0).map(|slot| slot.segment);
    // A last sync in the same segment proves that the one before it had happened.
    let mut count = 0;
    while count < 30 || segment_of(count - 2) != segment_of(count - 1) {
        store.put_many(&[block(count)]).unwrap();
        store.sync().unwrap();
        count += 1;
    }
    drop(store);
    // The segment that was growing, and a sealed one that lost its listing.
    let growing = flip_a_byte_of(&disk, &block(count - 2).1);
    let sealed = flip_a_byte_of(&disk, &block(1).1);
    assert_ne!(growing.segment, sealed.segment);
    disk.remove(&format!("blocks/{:08x}.idx", sealed.segment)).unwrap();
    let (store, report) = open(&disk);
    let named: Vec<_> = report.damaged.iter().map(|finding| finding.key.unwrap()).collect();
    assert_eq!(named, [block(1).0, block(count - 2).0]);
    assert!(report.cut.is_empty());
    for n in [1, count - 2] {
        assert!(matches!(store.get(block(n).0), Err(GetError::Corrupt { .. })));
        assert!(!store.has(block(n).0));
    }
    store.put_many(&blocks(0..count)).unwrap();
    store.close().unwrap();
    expect_blocks(&open(&disk).0, 0..count);
}

#[test]
fn a_damaged_listing_is_replaced_by_a_scan() {
    let disk = SimDisk::new(1);
    let (store, _) = open(&disk);
    store.put_many(&blocks(0..40)).unwrap();
    store.close().unwrap();
    disk.flip_bit("blocks/00000001.idx", 50, 0).unwrap();
    let (store, report) = open(&disk);
    assert_eq!((report.scanned, report.blocks), (1, 40));
    expect_blocks(&store, 0..40);
    assert_eq!(open(&disk).1.scanned, 0, "it was written anew");
}

#[test]
fn bad_options_are_refused() {
    let disk = SimDisk::new(1);
    for options in [
        BlockStoreOptions { frame_bytes: 1000, ..OPTIONS },
        BlockStoreOptions { segment_bytes: 4096, ..OPTIONS },
        BlockStoreOptions { segment_bytes: 1 << 40, ..OPTIONS },
    ] {
        let refused = BlockStore::open(port(&disk), "blocks", options);
        assert!(matches!(refused, Err(OpenError::BadOptions { .. })));
    }
}

#[test]
fn many_threads_put_read_and_sync_on_a_real_disk() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(RealDisk::new(folder.path()).unwrap());
    let (store, _) = BlockStore::open(disk.clone(), "blocks", OPTIONS).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let store = store.clone();
            scope.spawn(move || {
                for n in 0..40 {
                    // Half of the blocks are shared between threads.
                    let n = if n % 2 == 0 { n } else { 1000 + thread * 100 + n };
                    store.put_many(&[block(n)]).unwrap();
                    expect_blocks(&store, n..n + 1);
                    store.sync().unwrap();
                }
            });
        }
    });
    let stat = store.stat().unwrap();
    assert_eq!(stat.blocks, 20 + 4 * 20);
    drop(store);
    let (store, report) = BlockStore::open(disk.clone(), "blocks", OPTIONS).unwrap();
    assert_eq!((report.blocks, report.damaged.len(), report.cut.len()), (100, 0, 0));
    assert_eq!(store.page(None, 1000).len(), 100);
    assert!(disk.open("blocks/00000001.seg", Open::Read, Io::Buffered).is_ok());
}
