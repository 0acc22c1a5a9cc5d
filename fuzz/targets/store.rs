//! Files of a node's folder: damaged anywhere, or whole and holding what nobody wrote.

use std::sync::Arc;

use ipfs_kit_store::blocks::{BlockStore, BlockStoreOptions, Key};
use ipfs_kit_store::checkpoint::{CheckpointMeta, Checkpoints};
use ipfs_kit_store::disk::{Disk, Io, Open, SimDisk};
use ipfs_kit_store::files::{read_record, write_record};
use ipfs_kit_store::folder::{Folder, NewFolder};
use ipfs_kit_store::raft_log::{Batch, Entry, HardState, RaftLog, RaftLogOptions};
use ipfs_kit_store::wal::{Record, Wal, WalError, WalOptions};

const BLOCKS: BlockStoreOptions = BlockStoreOptions {
    identity: [9; 16],
    segment_bytes: 64 << 10,
    frame_bytes: 16 << 10,
    max_bytes: None,
    reserve_bytes: 0,
    rewrite_below_percent: 60,
    write_behind: false,
};
const WAL: WalOptions =
    WalOptions { identity: [3; 16], segment_bytes: 16 << 10, max_batch_bytes: 1 << 20 };
const LOG: RaftLogOptions = RaftLogOptions { wal: WAL, cache_bytes: 4096 };

fn port(disk: &SimDisk) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

/// Changes files as the input says, in steps of 8 bytes: which file, where, three bytes to put there or
/// where to cut it. What was valid stays valid nearly everywhere, so that damage lies deep.
fn damage(disk: &SimDisk, input: &[u8]) {
    let files: Vec<String> = disk.dump().into_iter().map(|(path, _)| path).collect();
    for step in input.chunks_exact(8) {
        let Some(path) = files.get(usize::from(step[0]) % files.len().max(1)) else { return };
        let file = disk.open(path, Open::Write, Io::Buffered).expect("it was just listed");
        let len = file.len().expect("a simulated disk without faults");
        let at = u64::from(u32::from_le_bytes([step[2], step[3], step[4], 0])) % (len + 1);
        let done = match step[1] % 4 {
            0 => file.set_len(at),
            kind => file.write_at(at, &step[5..5 + usize::from(kind)]),
        };
        done.expect("a simulated disk without faults");
    }
}

/// A few patches: near the begin, in the middle, a cut.
fn patches() -> Vec<Vec<u8>> {
    vec![
        Vec::new(),
        vec![0, 1, 0, 0, 0, 0xff, 0, 0],
        vec![0, 3, 16, 0, 0, 0xff, 0xff, 0xff, 1, 2, 0, 16, 0, 1, 2, 3],
        vec![0, 0, 200, 16, 0, 0, 0, 0],
        vec![2, 3, 8, 0, 0, 0xff, 0xff, 0xff],
    ]
}

/// A block store with sealed segments, a listing, tombstones and leases.
pub fn blocks(input: &[u8]) {
    let disk = SimDisk::new(1);
    let blocks: Vec<_> = (0..30_u8)
        .map(|number| vec![number; 200 + usize::from(number) * 120])
        .map(|bytes| (Key::sha2_256(&bytes), bytes.into()))
        .collect();
    {
        let (store, _) = BlockStore::open(port(&disk), "blocks", BLOCKS).expect("a new store");
        store.put_many(&blocks).expect("there is room");
        store.sync().expect("a simulated disk without faults");
    }
    damage(&disk, input);
    let Ok((store, _)) = BlockStore::open(port(&disk), "blocks", BLOCKS) else { return };
    for (key, bytes) in &blocks {
        // What is damaged is an error or absent, never something else.
        if let Ok(Some(read)) = store.get(*key) {
            assert_eq!(read, bytes, "a block that is not what its key says");
        }
    }
    let _ = (store.stat(), store.page(None, 100));
}

pub fn blocks_seeds() -> Vec<Vec<u8>> {
    patches()
}

fn wal_of(records: &[(u8, &[u8])], disk: &SimDisk) {
    let (mut wal, _) =
        Wal::open(port(disk), "raft", WAL, &mut |_| Ok::<_, WalError>(())).expect("a new log");
    for (kind, payload) in records {
        // Too long a record is refused, which is fine.
        let _ = wal.append(&[Record { kind: *kind, parts: &[payload] }]);
    }
}

/// A log whose records are whole and hold anything, then one whose bytes are damaged.
pub fn raft_log(input: &[u8]) {
    let disk = SimDisk::new(1);
    let mut records = Vec::new();
    let mut rest = input;
    while let [kind, len, more @ ..] = rest {
        let (payload, more) = more.split_at(usize::from(*len).min(more.len()));
        records.push((*kind % 8, payload));
        rest = more;
    }
    wal_of(&records, &disk);
    look(&disk);

    let disk = SimDisk::new(1);
    let log = RaftLog::open(port(&disk), "raft", LOG).expect("a new log");
    for index in 1..12_u64 {
        let data = vec![index as u8; 500].into();
        let entry = Entry { index, term: 1, kind: 0, data, context: Vec::new().into() };
        let hard_state = Some(HardState { term: 1, vote: 2, commit: index - 1 });
        log.append(&Batch { restart_after: None, entries: vec![entry], hard_state })
            .expect("there is room");
    }
    drop(log);
    damage(&disk, input);
    look(&disk);
}

/// Opens a log and reads all of it.
fn look(disk: &SimDisk) {
    let Ok(log) = RaftLog::open(port(disk), "raft", LOG) else { return };
    let (first, last) = (log.first_index(), log.last_index());
    assert!(first <= last.saturating_add(1), "{first} {last}");
    let _ = log.entries(first, last.saturating_add(1), 1 << 20);
    let _ = (log.term(last), log.hard_state(), log.base(), log.is_suspect());
}

pub fn raft_log_seeds() -> Vec<Vec<u8>> {
    let mut seeds = patches();
    // Records as the log writes them are found by reading one back.
    let disk = SimDisk::new(1);
    let log = RaftLog::open(port(&disk), "raft", LOG).expect("a new log");
    let entry = Entry {
        index: 1,
        term: 1,
        kind: 0,
        data: b"ab".to_vec().into(),
        context: Vec::new().into(),
    };
    let hard_state = Some(HardState { term: 1, vote: 2, commit: 1 });
    log.append(&Batch { restart_after: None, entries: vec![entry], hard_state })
        .expect("there is room");
    drop(log);
    let mut seed = Vec::new();
    let mut keep = |kind: u8, payload: &[u8]| {
        seed.extend([kind, payload.len().min(255) as u8]);
        seed.extend_from_slice(&payload[..payload.len().min(255)]);
    };
    Wal::open(port(&disk), "raft", WAL, &mut |record| {
        keep(record.kind, record.payload);
        Ok::<_, WalError>(())
    })
    .expect("what was just written");
    seeds.push(seed);
    seeds
}

/// Checkpoints whose files are damaged.
pub fn checkpoint(input: &[u8]) {
    let disk = SimDisk::new(1);
    let (checkpoints, _) = Checkpoints::open(port(&disk), "raft").expect("a new folder");
    for index in [5, 9] {
        let meta = CheckpointMeta { applied_index: index, term: 1, conf_state: vec![1, 2].into() };
        checkpoints.save(meta, &[index as u8; 5000]).expect("there is room");
    }
    drop(checkpoints);
    damage(&disk, input);
    let Ok((checkpoints, _)) = Checkpoints::open(port(&disk), "raft") else { return };
    let Ok(loaded) = checkpoints.load_newest() else { return };
    if let Some(checkpoint) = loaded.checkpoint {
        let index = checkpoint.manifest().applied_index;
        let chunk = checkpoint.read_chunk(0).expect("what was loaded is whole");
        assert!(chunk.iter().all(|byte| u64::from(*byte) == index));
    }
}

pub fn checkpoint_seeds() -> Vec<Vec<u8>> {
    patches()
}

fn write(disk: &SimDisk, path: &str, bytes: &[u8]) {
    let file = disk.open(path, Open::Create, Io::Buffered).expect("a simulated disk");
    file.write_at(0, bytes).expect("a simulated disk without faults");
}

/// A folder of a node without anything in it.
fn make_folder(disk: &SimDisk) {
    let folder = NewFolder::begin(port(disk)).and_then(NewFolder::finish);
    drop(folder.expect("a simulated disk without faults"));
}

/// A whole file of any bytes in the place of each that a node opens.
pub fn files(input: &[u8]) {
    let disk = SimDisk::new(1);
    make_folder(&disk);
    write(&disk, "version", input);
    let _ = Folder::open(port(&disk));
    for path in [
        "raft/0000000000000001.wal",
        "blocks/00000001.seg",
        "blocks/00000001.idx",
        "blocks/00000001.del",
    ] {
        let disk = SimDisk::new(1);
        let folder = path.split('/').next().unwrap_or_default();
        disk.create_dir(folder).expect("a simulated disk without faults");
        write(&disk, path, input);
        look(&disk);
        let _ = BlockStore::open(port(&disk), "blocks", BLOCKS);
    }
}

pub fn files_seeds() -> Vec<Vec<u8>> {
    let disk = SimDisk::new(1);
    make_folder(&disk);
    wal_of(&[(1, b"record")], &disk);
    let (store, _) = BlockStore::open(port(&disk), "blocks", BLOCKS).expect("a new store");
    store.put_many(&[(Key::sha2_256(b"x"), b"x".to_vec().into())]).expect("there is room");
    store.sync().expect("a simulated disk without faults");
    // Preallocated zeros teach nothing.
    disk.dump()
        .into_iter()
        .map(|(_, mut bytes)| {
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
            bytes.truncate(used.min(8 << 10));
            bytes
        })
        .collect()
}

/// Small record files: any bytes, and any payload under a right checksum.
pub fn records(input: &[u8]) {
    let disk = SimDisk::new(1);
    write(&disk, "record", input);
    let _ = read_record(&disk, "record", *b"TEST", 1 << 16);
    write_record(&disk, "record", *b"TEST", 1, input).expect("there is room");
    let read = read_record(&disk, "record", *b"TEST", 1 << 16);
    if input.len() <= 1 << 16 {
        assert_eq!(read.expect("it is whole").expect("it is there").payload, input);
    } else {
        assert!(read.is_err());
    }
}

pub fn records_seeds() -> Vec<Vec<u8>> {
    let disk = SimDisk::new(1);
    write_record(&disk, "record", *b"TEST", 1, b"payload").expect("there is room");
    disk.dump().into_iter().map(|(_, bytes)| bytes).collect()
}
