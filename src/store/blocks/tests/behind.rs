//! Frames that a thread writes, while others fill the next ones.

use std::sync::mpsc::Receiver;

use super::*;
use crate::disk::Full;

const BEHIND: BlockStoreOptions = BlockStoreOptions { write_behind: true, ..OPTIONS };

fn open_behind(disk: &SimDisk) -> BlockStore {
    BlockStore::open(port(disk), "blocks", BEHIND).unwrap().0
}

/// A store whose thread comes when the test says so, with what would wake it.
fn open_by_hand(disk: &SimDisk) -> (BlockStore, Receiver<()>) {
    let (store, _) = open(disk);
    let (behind, woken) = WriteBehind::new();
    assert!(store.inner.behind.set(behind).is_ok());
    (store, woken)
}

/// Puts blocks until a frame of them waits for the thread; how many there are.
fn hand_over(store: &BlockStore, woken: &Receiver<()>) -> u64 {
    let mut n = 0;
    while woken.try_recv().is_err() {
        store.put_many(&[block(n)]).unwrap();
        n += 1;
        assert!(n < 200, "a frame must fill up");
    }
    n
}

#[test]
fn a_frame_that_the_thread_could_not_write_stays_and_the_next_put_and_sync_hear_of_it() {
    let disk = SimDisk::new(1);
    let (store, woken) = open_by_hand(&disk);
    let mut n = hand_over(&store, &woken);
    disk.fill_after(0, Full::Everything);
    store.inner.write_behind();
    assert!(store.trouble().is_some());
    expect_blocks(&store, 0..n);
    assert!(store.sync().is_err_and(|error| matches!(error, PutError::Disk(e) if e.is_full())));
    let refused = loop {
        match store.put_many(&[block(n)]) {
            Ok(_) => n += 1,
            Err(error) => break error,
        }
        assert!(n < 200, "a put must hear of it");
    };
    assert!(matches!(refused, PutError::Disk(ref error) if error.is_full()), "{refused}");
    expect_blocks(&store, 0..n);
    disk.make_room();
    store.sync().unwrap();
    assert_eq!(store.trouble(), None);
    disk.crash();
    expect_blocks(&open(&disk).0, 0..n);
}

#[test]
fn a_sync_covers_the_frame_that_waits_for_the_thread() {
    let disk = SimDisk::new(1);
    let (store, woken) = open_by_hand(&disk);
    let n = hand_over(&store, &woken);
    store.sync().unwrap();
    disk.crash();
    expect_blocks(&open(&disk).0, 0..n);
}

#[test]
fn what_was_put_is_readable_at_once_and_durable_after_a_sync() {
    let disk = SimDisk::new(1);
    let store = open_behind(&disk);
    for n in 0..200 {
        store.put_many(&[block(n)]).unwrap();
        expect_blocks(&store, 0..n + 1);
    }
    store.sync().unwrap();
    disk.crash();
    expect_blocks(&open(&disk).0, 0..200);
}

#[test]
fn a_disk_that_fills_up_is_told_and_takes_what_waited_later() {
    let disk = SimDisk::new(1);
    let store = open_behind(&disk);
    store.put_many(&blocks(0..20)).unwrap();
    store.sync().unwrap();
    let used: u64 = disk.dump().iter().map(|(_, bytes)| bytes.len() as u64).sum();
    disk.set_capacity(used + 1000);
    let mut n = 20;
    // No sync here: a put has to hear of a frame that another thread could not write.
    let refused = loop {
        match store.put_many(&[block(n)]) {
            Ok(_) => n += 1,
            Err(error) => break error,
        }
        assert!(n < 200, "the disk must fill up");
    };
    assert!(matches!(refused, PutError::Disk(ref error) if error.is_full()), "{refused}");
    expect_blocks(&store, 0..n);
    assert!(store.sync().is_err(), "still full");
    disk.set_capacity(1 << 30);
    store.put_many(&blocks(n..n + 20)).unwrap();
    store.sync().unwrap();
    assert_eq!(store.trouble(), None);
    disk.crash();
    expect_blocks(&open(&disk).0, 0..n + 20);
}

#[test]
fn many_threads_put_read_and_sync_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(RealDisk::new(folder.path()).unwrap());
    let (store, _) = BlockStore::open(disk.clone(), "blocks", BEHIND).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let store = store.clone();
            scope.spawn(move || {
                for n in 0..100 {
                    let n = 1000 * thread + n;
                    store.put_many(&[block(n)]).unwrap();
                    expect_blocks(&store, n..n + 1);
                    if n % 10 == 0 {
                        store.sync().unwrap();
                    }
                }
            });
        }
    });
    store.sync().unwrap();
    drop(store);
    let (store, report) = BlockStore::open(disk, "blocks", OPTIONS).unwrap();
    assert_eq!((report.blocks, report.damaged.len(), report.cut.len()), (400, 0, 0));
    (0..4).for_each(|thread| expect_blocks(&store, 1000 * thread..1000 * thread + 100));
}
