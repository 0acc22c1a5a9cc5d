//! The store with its leases and its collector, broken at every point where a disk can break it.

use std::collections::BTreeMap;

use super::*;
use crate::disk::AlignedBuf;
use crate::trials::{Flippable, Subject, Trials, Trouble, assert_place_named};

const TRIALS: Trials = Trials { steps: 12, seeds: 2 };

/// What is known of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It was synced.
    Durable,
    /// It was put; a restart may forget it.
    Present,
    /// It may have been put.
    Unknown,
    /// It was collected, or a restart has forgotten it.
    Gone,
}

type LeaseTable = Vec<Lease>;

#[derive(Clone, Default)]
struct Blocks {
    steps: u64,
    blocks: BTreeMap<u64, Fate>,
    leases: LeaseTable,
    /// The leases if the change in flight has happened.
    doubt: Option<LeaseTable>,
    before: LeaseTable,
}

type Opened = (BlockStore, OpenReport);

fn trouble(error: impl std::error::Error + 'static) -> Trouble {
    Trouble::of(&error)
}

impl Blocks {
    fn put(&mut self, store: &BlockStore, count: u64) -> Result<(), Trouble> {
        let from = self.blocks.len() as u64;
        // One that is there, or was collected, and new ones.
        let again = self.steps % from.max(1);
        let wanted: Vec<u64> = [again].into_iter().chain(from..from + count).collect();
        let batch: Vec<_> = wanted.iter().map(|n| block(*n)).collect();
        let done = store.put_many(&batch);
        for n in wanted {
            let fate = self.blocks.entry(n).or_insert(Fate::Gone);
            if *fate != Fate::Durable {
                *fate = if done.is_ok() { Fate::Present } else { Fate::Unknown };
            }
        }
        done.map(drop).map_err(trouble)
    }

    fn sync(&mut self, store: &BlockStore) -> Result<(), Trouble> {
        store.sync().map_err(trouble)?;
        self.blocks
            .values_mut()
            .filter(|fate| **fate == Fate::Present)
            .for_each(|fate| *fate = Fate::Durable);
        Ok(())
    }

    fn put_and_sync(&mut self, store: &BlockStore, count: u64) -> Result<(), Trouble> {
        self.put(store, count)?;
        self.sync(store)
    }

    fn collect(&mut self, store: &BlockStore, keep: fn(u64) -> bool) -> Result<(), Trouble> {
        let mut session = store.begin_gc().map_err(trouble)?;
        session.leased_roots().iter().for_each(|root| {
            session.mark(*root);
        });
        for n in self.blocks.keys().filter(|n| keep(**n)) {
            session.mark(block(*n).0);
        }
        let swept = session.sweep(&mut |_| SweepControl::Continue);
        for (n, fate) in &mut self.blocks {
            let leased = self.leases.iter().any(|lease| lease.roots.contains(&block(*n).0));
            if keep(*n) || leased {
                continue;
            }
            // Until the sweep has ended well, a crash may bring back what it has deleted.
            if swept.as_ref().is_ok_and(|report| report.postponed_segments == 0) {
                if !store.has(block(*n).0) {
                    *fate = Fate::Gone;
                }
            } else {
                *fate = Fate::Unknown;
            }
        }
        swept.map(drop).map_err(trouble)
    }

    fn change_leases(
        &mut self,
        next: LeaseTable,
        done: Result<(), LeaseError>,
    ) -> Result<(), Trouble> {
        match done {
            Ok(()) => self.before = std::mem::replace(&mut self.leases, next),
            Err(_) => self.doubt = Some(next),
        }
        done.map_err(trouble)
    }

    fn lease(&mut self, store: &BlockStore) -> Result<(), Trouble> {
        let roots: Vec<Key> = [1, 3, 7 + self.steps % 5].map(|n| block(n).0).to_vec();
        let until = Some(100 + self.steps);
        let granted = store.lease("trial", &roots, until);
        let id = *granted.as_ref().unwrap_or(&LeaseId(u64::MAX));
        let mut next = self.leases.clone();
        next.push(Lease { id, reason: "trial".to_owned(), roots, until });
        self.change_leases(next, granted.map(drop))
    }

    fn extend_oldest(&mut self, store: &BlockStore) -> Result<(), Trouble> {
        let mut next = self.leases.clone();
        let Some(lease) = next.first_mut() else { return self.lease(store) };
        lease.until = None;
        let done = store.extend_lease(lease.id, None);
        self.change_leases(next, done)
    }

    fn release_oldest(&mut self, store: &BlockStore) -> Result<(), Trouble> {
        if self.leases.is_empty() {
            return self.lease(store);
        }
        let mut next = self.leases.clone();
        let done = store.release_lease(next.remove(0).id);
        self.change_leases(next, done)
    }
}

/// Ids of grants that failed are not known.
fn same(found: &LeaseTable, expected: &LeaseTable) -> bool {
    found.len() == expected.len()
        && found.iter().zip(expected).all(|(a, b)| {
            let id = a.id == b.id || b.id == LeaseId(u64::MAX);
            id && (&a.roots, a.until) == (&b.roots, b.until)
        })
}

impl Subject for Blocks {
    type Open = Opened;

    fn open(&mut self, disk: &SimDisk) -> Result<Opened, Trouble> {
        BlockStore::open(port(disk), "blocks", OPTIONS).map_err(trouble)
    }

    fn step(&mut self, (store, _): &mut Opened) -> Result<(), Trouble> {
        if store.failure().is_some() {
            let before = self.doubt.clone();
            let lease = self.lease(store);
            self.doubt = before;
            return lease.and(self.put(store, 1));
        }
        self.steps += 1;
        match self.steps % 12 {
            0 => self.put(store, 2),
            1 => self.put_and_sync(store, 3),
            2 => self.lease(store),
            3 => self.put_and_sync(store, 1),
            4 => self.put(store, 7),
            5 => self.put_and_sync(store, 5),
            6 => self.collect(store, |n| n % 7 != 4),
            7 => self.extend_oldest(store),
            8 => self.put_and_sync(store, 4),
            9 => self.collect(store, |n| n % 3 == 1),
            10 => self.release_oldest(store),
            _ => store.close().map_err(trouble),
        }
    }

    fn settle(&mut self, (store, report): &Opened) {
        assert_eq!(report.damaged, [], "a crash damages nothing that was synced");
        let mut there = 0;
        for (n, fate) in &mut self.blocks {
            let found = store.get(block(*n).0).unwrap();
            assert!(found.as_ref().is_none_or(|data| *data == block(*n).1), "block {n}");
            match fate {
                Fate::Durable => assert!(found.is_some(), "block {n} was synced"),
                Fate::Gone => assert!(found.is_none(), "block {n} was collected"),
                Fate::Present | Fate::Unknown => {}
            }
            *fate = if found.is_some() { Fate::Durable } else { Fate::Gone };
            there += usize::from(found.is_some());
        }
        assert_eq!(store.page(None, 10_000).len(), there, "nothing else appears");
        let found = store.leases();
        let expected = same(&found, &self.leases);
        assert!(expected || self.doubt.take().is_some_and(|doubt| same(&found, &doubt)));
        self.leases = found;
        self.doubt = None;
    }

    fn read(&self, (store, _): &Opened) {
        for (n, fate) in &self.blocks {
            let found = store.get(block(*n).0);
            // After a failed sync the kernel may have let go of what it had not written, among it what the
            // collector was moving. An error says so; a restart finds the old copy.
            let lost = store.failure().is_some() && found.is_err();
            let data = if lost { None } else { found.unwrap() };
            assert!(data.as_ref().is_none_or(|data| *data == block(*n).1), "block {n}");
            match fate {
                Fate::Durable | Fate::Present => {
                    assert!(data.is_some() || lost, "block {n} was put")
                }
                Fate::Gone => assert!(data.is_none(), "block {n} was collected"),
                Fate::Unknown => {}
            }
        }
    }

    fn failure(&self, (store, _): &Opened) -> Option<String> {
        store.failure().map(str::to_owned)
    }
}

impl Flippable for Blocks {
    fn settle_flipped(&mut self, opened: Result<Opened, Trouble>, path: &str, offset: u64) {
        let (store, report) = match opened {
            Ok(opened) => opened,
            Err(trouble) => return assert_place_named(&trouble, path, offset),
        };
        let segment = path
            .strip_suffix(".seg")
            .map(|path| u32::from_str_radix(path.rsplit_once('/').unwrap().1, 16).unwrap());
        let mut missing = 0;
        for (n, fate) in &self.blocks {
            let (key, data) = block(*n);
            let durable = *fate == Fate::Durable;
            match store.get(key) {
                Ok(Some(found)) => {
                    assert_eq!(found, data, "block {n} after {path} {offset}");
                    assert!(durable || path.ends_with(".del"), "block {n} came back");
                }
                Ok(None) if !durable => {}
                Ok(None) => {
                    missing += 1;
                    let findings = report.damaged.iter().chain(&report.cut);
                    let named = findings.filter(|finding| {
                        Some(finding.place.segment) == segment
                            && finding.key.is_none_or(|named| named == key)
                    });
                    assert!(named.count() > 0, "block {n} after {path} {offset}: {report:?}");
                }
                Err(GetError::Corrupt { key: named, place }) => {
                    missing += 1;
                    assert_eq!((named, Some(place.segment)), (key, segment));
                    assert!(place.offset <= offset && offset < place.offset + (16 << 10));
                }
                Err(other) => panic!("block {n} after {path} {offset}: {other}"),
            }
        }
        assert!(missing <= 1, "{path} {offset}: one bit took {missing} blocks: {report:?}");
        let found = store.leases();
        let shortened = same(&found, &self.before) && report.leases_cut.is_some();
        assert!(same(&found, &self.leases) || shortened, "{path} {offset}: other leases");
    }
}

#[test]
fn a_crash_at_any_point_loses_nothing_acknowledged() {
    TRIALS.crash_everywhere(Blocks::default);
}

#[test]
fn what_a_new_process_shows_outlives_a_power_cut() {
    TRIALS.kill_everywhere(Blocks::default);
}

#[test]
fn a_failed_sync_closes_the_store_and_a_restart_is_honest() {
    TRIALS.fail_every_sync(Blocks::default);
}

#[test]
fn a_full_disk_refuses_and_passes() {
    TRIALS.fill_everywhere(Blocks::default);
}

#[test]
fn a_flipped_bit_takes_one_block_at_most_and_is_named() {
    let trials = Trials { steps: 16, ..TRIALS };
    trials.flip_bits(Blocks::default, |path, offset, byte| {
        if path.ends_with(".seg") || path.ends_with(".wal") {
            // Every byte of a frame's header and of the first record's, and of the rest some.
            let header = offset % 4096 < 140 && byte != 0;
            header || (byte != 0 && offset.is_multiple_of(89)) || offset.is_multiple_of(997)
        } else {
            offset.is_multiple_of(3)
        }
    });
}

/// A block may hold anything, also what looks like a frame in its very place.
#[test]
fn damage_lets_no_forged_record_in() {
    const FORGED_AT: u64 = 4096;
    let victim = Key::sha2_256(b"what the victim wants");
    let lie = b"a lie";
    let mut record = AlignedBuf::with_capacity(4096);
    format::push_record(&mut record, &victim.to_bytes(), lie, crc32c::crc32c(lie));
    let body_len = record.len() as u32;
    let forged = format::FrameHeader { segment: 1, offset: FORGED_AT, body_len, synced_end: 0 };
    // Frame header, record header and key stand before the block's bytes.
    let before = format::FRAME_HEADER_BYTES + format::RECORD_HEADER_BYTES + 34;
    let mut data = filler(1, FORGED_AT as usize - before);
    data.extend_from_slice(&forged.encode());
    data.extend_from_slice(record.as_slice());
    data.extend(filler(2, 3000));
    let outer = (Key::sha2_256(&data), Bytes::from(data));

    let disk = SimDisk::new(1);
    let (store, _) = open(&disk);
    store.put_many(&[outer.clone(), block(3)]).unwrap();
    store.sync().unwrap();
    drop(store);
    let bytes = disk.dump().into_iter().find(|(path, _)| path == "blocks/00000001.seg").unwrap().1;
    assert!(format::FrameHeader::parse(&bytes[FORGED_AT as usize..]).is_some(), "well aimed");
    disk.flip_bit("blocks/00000001.seg", 3, 0).unwrap();
    let (store, report) = open(&disk);
    assert_eq!(store.get(victim).unwrap(), None);
    assert!(!report.cut.is_empty(), "the damage is named");
    assert_eq!(store.get(outer.0).unwrap(), Some(outer.1));
    expect_blocks(&store, 3..4);
}
