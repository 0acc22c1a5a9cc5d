//! How fast the store takes blocks and log batches on a real disk, beside the disk's own speed.
//!
//! `cargo bench -p ipfs-kit-store [FOLDER]`; only the ratios of one run count on a shared machine.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ipfs_kit_store::blocks::{BlockStore, BlockStoreOptions, Key, VerifiedBlock};
use ipfs_kit_store::disk::{AlignedBuf, Disk, Io, Open, RealDisk};
use ipfs_kit_store::raft_log::{Batch, Entry, HardState, RaftLog, RaftLogOptions};
use ipfs_kit_store::wal::WalOptions;

const MIB: usize = 1 << 20;
const TOTAL_BYTES: usize = 1 << 30;
const ROUNDS: usize = 3;

fn main() {
    let folder = std::env::args().skip(1).find(|arg| !arg.starts_with("--"));
    let parent = folder.map_or_else(std::env::temp_dir, PathBuf::from);
    for round in 1..=ROUNDS {
        let root = tempfile::tempdir_in(&parent).expect("the folder is writable");
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(root.path()).expect("a folder"));
        println!("round {round} of {ROUNDS} on {}", parent.display());
        let raw = raw_direct_writes(&*disk);
        let large = large_blocks(&disk, "large", 1);
        println!("  1 MiB blocks / raw direct writes: {:.2}", large / raw);
        large_blocks(&disk, "large2", 2);
        small_blocks(&disk, "small", 100);
        small_blocks(&disk, "small4k", 4096);
        for batch in [1, 16, 128, 1024] {
            log_batches(&disk, batch);
        }
    }
}

fn timed(work: impl FnOnce()) -> Duration {
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
    let start = Instant::now();
    work();
    start.elapsed()
}

/// MB/s of 4 MiB aligned direct writes into preallocated files of 256 MiB, one sync each.
fn raw_direct_writes(disk: &dyn Disk) -> f64 {
    let mut buffer = AlignedBuf::with_capacity(4 * MIB);
    buffer.extend(&pattern(4 * MIB, 7));
    let took = timed(|| {
        for n in 0..4 {
            let file = disk.open(&format!("raw{n}"), Open::Create, Io::Direct).expect("create");
            file.preallocate(256 << 20).expect("preallocate");
            for offset in (0..256 << 20).step_by(4 * MIB) {
                file.write_at(offset as u64, buffer.as_slice()).expect("write");
            }
            file.sync().expect("sync");
        }
    });
    for n in 0..4 {
        disk.remove(&format!("raw{n}")).expect("remove");
    }
    report("raw direct writes", TOTAL_BYTES, 0, took)
}

/// MB/s of blocks of 1 MiB, put by some threads in batches of 8, one sync at the end.
fn large_blocks(disk: &Arc<dyn Disk>, dir: &str, threads: usize) -> f64 {
    let (store, _) =
        BlockStore::open(Arc::clone(disk), dir, BlockStoreOptions::new([1; 16])).expect("open");
    let per_thread = TOTAL_BYTES / MIB / threads;
    let data = Bytes::from(pattern(MIB, 3));
    let batches: Vec<Vec<_>> =
        (0..threads).map(|thread| numbered(thread * per_thread, per_thread, &data)).collect();
    let took = timed(|| {
        std::thread::scope(|scope| {
            for blocks in &batches {
                scope.spawn(|| blocks.chunks(8).for_each(|chunk| put(&store, chunk)));
            }
        });
        store.sync().expect("sync");
    });
    let speed = report(&format!("blocks of 1 MiB, {threads} threads"), TOTAL_BYTES, 0, took);
    let key = *batches[0][5].key();
    let reads = timed(|| {
        for block in &batches[0][..per_thread.min(256)] {
            store.get(block.key()).expect("readable").expect("there");
        }
    });
    report("  read back", MIB * per_thread.min(256), 0, reads);
    assert!(store.has(key));
    speed
}

fn small_blocks(disk: &Arc<dyn Disk>, dir: &str, size: usize) {
    let count = if size < 1000 { 1_000_000 } else { 100_000 };
    let data = Bytes::from(pattern(size, 5));
    let blocks = numbered(0, count, &data);
    let (store, _) =
        BlockStore::open(Arc::clone(disk), dir, BlockStoreOptions::new([1; 16])).expect("open");
    let took = timed(|| {
        blocks.chunks(1000).for_each(|chunk| put(&store, chunk));
        store.sync().expect("sync");
    });
    report(&format!("blocks of {size} bytes, 1 thread"), count * size, count, took);
    store.close().expect("close");
    drop(store);
    let took = timed(|| {
        let options = BlockStoreOptions::new([1; 16]);
        let (_, found) = BlockStore::open(Arc::clone(disk), dir, options).expect("open");
        assert_eq!(found.blocks, count as u64);
    });
    report("  opened from its listings", 0, count, took);
}

/// Keys that only look like hashes: hashing is measured elsewhere, and is the caller's work.
fn numbered(from: usize, count: usize, data: &Bytes) -> Vec<VerifiedBlock> {
    (from..from + count)
        .map(|n| {
            let key = Key::sha2_256(&n.to_le_bytes());
            VerifiedBlock::already_checked(key, data.clone())
        })
        .collect()
}

fn put(store: &BlockStore, blocks: &[VerifiedBlock]) {
    store.put_verified(blocks).expect("put");
}

fn log_batches(disk: &Arc<dyn Disk>, batch: u64) {
    let wal = WalOptions { identity: [1; 16], segment_bytes: 64 << 20, max_batch_bytes: 64 << 20 };
    let options = RaftLogOptions { wal, cache_bytes: 16 << 20 };
    let log = RaftLog::open(Arc::clone(disk), &format!("raft{batch}"), options).expect("open");
    let data = Bytes::from(pattern(256, 9));
    let appends = 2000.min(200_000 / batch);
    let mut next = 1;
    let took = timed(|| {
        for _ in 0..appends {
            let entries = (next..next + batch)
                .map(|index| Entry { index, term: 1, data: data.clone(), ..Entry::default() })
                .collect();
            next += batch;
            let hard_state = Some(HardState { term: 1, vote: 1, commit: next - 1 });
            log.append(&Batch { entries, hard_state, restart_after: None }).expect("append");
        }
    });
    let entries = appends * batch;
    let each = took / u32::try_from(appends).expect("few");
    println!(
        "  log, batches of {batch} entries of 256 bytes: {:.0} entries/s, {each:.0?} each",
        entries as f64 / took.as_secs_f64(),
    );
}

fn report(what: &str, bytes: usize, count: usize, took: Duration) -> f64 {
    let seconds = took.as_secs_f64();
    let speed = bytes as f64 / 1e6 / seconds;
    let rate =
        if count > 0 { format!(", {:.0} blocks/s", count as f64 / seconds) } else { String::new() };
    println!("  {what}: {speed:.0} MB/s{rate}, {took:.2?}");
    speed
}

fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|n| (n as u8).wrapping_mul(31) ^ (n >> 8) as u8 ^ seed).collect()
}
