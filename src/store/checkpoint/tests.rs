//! Atomic saving, falling back, and resumable transfer, through crashes.

mod faults;

use std::io::{Read, Write};

use super::*;
use crate::disk::SimDisk;
use crate::test_support::{filler, port};

fn open(disk: &SimDisk) -> Checkpoints {
    let (checkpoints, damaged) = Checkpoints::open(port(disk), "ckpt").unwrap();
    assert!(damaged.is_empty(), "{damaged:?}");
    checkpoints
}

fn meta(applied_index: u64) -> CheckpointMeta {
    CheckpointMeta { applied_index, term: 3, conf_state: Bytes::from_static(b"1,2,3") }
}

/// Two chunks and a bit; cheap to make, because some tests make it hundreds of times.
fn state(applied_index: u64) -> Vec<u8> {
    let mut bytes = filler(applied_index, 4096).repeat(2 * CHUNK_BYTES / 4096);
    bytes.extend_from_slice(&applied_index.to_le_bytes());
    bytes
}

fn load(checkpoints: &Checkpoints) -> Option<(u64, Vec<u8>)> {
    let checkpoint = checkpoints.load_newest().unwrap().checkpoint?;
    let mut bytes = Vec::new();
    checkpoint.reader().read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, checkpoint.manifest().len_bytes);
    Some((checkpoint.manifest().applied_index, bytes))
}

#[test]
fn keeps_the_last_two_and_loads_the_newest() {
    let disk = SimDisk::new(1);
    let checkpoints = open(&disk);
    assert!(load(&checkpoints).is_none());
    for applied in [10, 20, 30] {
        checkpoints.save(meta(applied), &state(applied)).unwrap();
    }
    for checkpoints in [checkpoints, open(&disk)] {
        assert_eq!(load(&checkpoints).unwrap(), (30, state(30)));
        let kept: Vec<_> = checkpoints.list().iter().map(|kept| kept.applied_index).collect();
        assert_eq!(kept, [20, 30]);
        assert_eq!(checkpoints.list()[1].conf_state, meta(30).conf_state);
    }
    assert_eq!(disk.list("ckpt").unwrap().len(), 4, "two data files and two manifests");
}

#[test]
fn streams_in_pieces_of_any_size_and_empty_states_work() {
    let disk = SimDisk::new(1);
    let checkpoints = open(&disk);
    let mut writer = checkpoints.begin(meta(1)).unwrap();
    for piece in state(1).chunks(7777) {
        writer.write_all(piece).unwrap();
    }
    let streamed = writer.finish().unwrap();
    assert_eq!(streamed, checkpoints.save(meta(1), &state(1)).unwrap(), "same root");
    checkpoints.save(meta(2), b"").unwrap();
    assert_eq!(load(&checkpoints).unwrap(), (2, vec![]));
    drop(checkpoints.begin(meta(3)).unwrap());
    assert_eq!(disk.list("ckpt").unwrap().len(), 4, "an abandoned writer leaves nothing");
}

#[test]
fn a_decayed_checkpoint_is_named_and_the_older_one_serves() {
    let disk = SimDisk::new(1);
    let checkpoints = open(&disk);
    checkpoints.save(meta(10), &state(10)).unwrap();
    checkpoints.save(meta(20), &state(20)).unwrap();
    disk.flip_bit("ckpt/0000000000000002.data", CHUNK_BYTES as u64 + 5, 1).unwrap();
    let loaded = checkpoints.load_newest().unwrap();
    assert_eq!(loaded.checkpoint.unwrap().manifest().applied_index, 10);
    let [Damaged { name, error: CheckpointError::BadChunk { applied_index: 20, chunk: 1 } }] =
        &loaded.damaged[..]
    else {
        panic!("{:?}", loaded.damaged)
    };
    assert_eq!(name, "0000000000000002.ckpt");
    disk.flip_bit("ckpt/0000000000000002.ckpt", 40, 1).unwrap();
    let (checkpoints, damaged) = Checkpoints::open(port(&disk), "ckpt").unwrap();
    assert_eq!((damaged.len(), load(&checkpoints).unwrap().0), (1, 10));
}

#[test]
fn saving_is_atomic_at_every_crash_point() {
    for stop in 0..24 {
        for seed in 0..3 {
            let disk = SimDisk::new(seed);
            open(&disk).save(meta(10), &state(10)).unwrap();
            open(&disk).save(meta(20), &state(20)).unwrap();
            let checkpoints = open(&disk);
            disk.stop_after(stop);
            let done = checkpoints.save(meta(30), &state(30)).is_ok();
            drop(checkpoints);
            disk.crash();
            let checkpoints = open(&disk);
            let (applied, bytes) = load(&checkpoints).unwrap();
            assert_eq!(bytes, state(applied));
            assert!(applied == 30 || (!done && applied == 20));
            checkpoints.save(meta(40), &state(40)).unwrap();
            assert_eq!(load(&open(&disk)).unwrap().0, 40);
        }
    }
}

#[test]
fn a_transfer_resumes_after_a_crash_and_installs_only_what_is_right() {
    let source_disk = SimDisk::new(1);
    let source = open(&source_disk);
    let manifest = source.save(meta(50), &state(50)).unwrap();
    let sent = source.get(&manifest.root).unwrap().unwrap();
    let hashes = ChunkHashes::from_bytes(sent.chunk_hashes().as_bytes()).unwrap();
    for stop in 0..20 {
        for seed in 0..2 {
            let disk = SimDisk::new(seed);
            let target = open(&disk);
            disk.stop_after(stop);
            let mut done = false;
            if let Ok(mut receiving) = target.receive(manifest.clone(), hashes.clone()) {
                while let Some(chunk) = receiving.next_chunk() {
                    if receiving.write_chunk(chunk, &sent.read_chunk(chunk).unwrap()).is_err() {
                        break;
                    }
                }
                done = receiving.finish().is_ok();
            }
            drop(target);
            disk.crash();
            let target = open(&disk);
            if done {
                assert_eq!(load(&target).unwrap(), (50, state(50)));
            }
            let mut receiving = target.receive(manifest.clone(), hashes.clone()).unwrap();
            while let Some(chunk) = receiving.next_chunk() {
                receiving.write_chunk(chunk, &sent.read_chunk(chunk).unwrap()).unwrap();
            }
            receiving.finish().unwrap();
            assert_eq!(load(&open(&disk)).unwrap(), (50, state(50)));
        }
    }
}

#[test]
fn a_lying_sender_is_refused() {
    let disk = SimDisk::new(1);
    let source = open(&disk);
    let manifest = source.save(meta(5), &state(5)).unwrap();
    let sent = source.get(&manifest.root).unwrap().unwrap();
    let hashes = sent.chunk_hashes().clone();
    let target_disk = SimDisk::new(2);
    let target = open(&target_disk);
    let lie = Manifest { applied_index: 6, ..manifest.clone() };
    let refused = target.receive(lie, hashes.clone()).unwrap_err();
    assert!(matches!(refused, CheckpointError::BadManifest { .. }));
    let refused = target.receive(manifest.clone(), ChunkHashes::default()).unwrap_err();
    assert!(matches!(refused, CheckpointError::BadManifest { .. }));
    let mut receiving = target.receive(manifest.clone(), hashes.clone()).unwrap();
    assert!(matches!(target.receive(manifest, hashes), Err(CheckpointError::Busy)));
    let chunk = sent.read_chunk(0).unwrap();
    let mut wrong = chunk.to_vec();
    wrong[9] ^= 1;
    let refused = receiving.write_chunk(0, &wrong).unwrap_err();
    assert!(matches!(refused, CheckpointError::BadChunk { chunk: 0, .. }));
    assert!(matches!(receiving.write_chunk(0, b"x"), Err(CheckpointError::BadChunk { .. })));
    let refused = receiving.write_chunk(1, &chunk).unwrap_err();
    assert!(matches!(refused, CheckpointError::OutOfOrder { expected: 0, got: 1 }));
    receiving.write_chunk(0, &chunk).unwrap();
    assert!(matches!(receiving.finish(), Err(CheckpointError::Incomplete { expected: 1 })));
}
