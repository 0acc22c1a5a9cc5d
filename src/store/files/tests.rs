//! Atomic replacement under crashes; damage and length are refused.

mod faults;

use super::*;
use crate::disk::SimDisk;

const MAGIC: [u8; 4] = *b"TEST";

#[test]
fn replacement_is_old_or_new_at_every_crash_point() {
    let steps = {
        let disk = SimDisk::new(0);
        write_atomic(&disk, "f", b"old").unwrap();
        let before = disk.changes();
        write_atomic(&disk, "f", b"newer").unwrap();
        disk.changes() - before
    };
    for stop in 0..=steps {
        for seed in 0..50 {
            let disk = SimDisk::new(seed);
            write_atomic(&disk, "f", b"old").unwrap();
            disk.stop_after(stop);
            let done = write_atomic(&disk, "f", b"newer").is_ok();
            disk.crash();
            let found = read_bounded(&disk, "f", 100).unwrap().unwrap();
            assert!(found == b"newer" || (!done && found == b"old"), "{found:?} at {stop}");
            write_atomic(&disk, "f", b"last").unwrap();
        }
    }
}

#[test]
fn reads_are_bounded() {
    let disk = SimDisk::new(0);
    write_atomic(&disk, "f", &[0; 100]).unwrap();
    assert_eq!(read_bounded(&disk, "f", 100).unwrap().unwrap().len(), 100);
    let refused = read_bounded(&disk, "f", 99).unwrap_err();
    assert!(matches!(refused, FileError::TooLong { len_bytes: 100, max_bytes: 99, .. }));
    assert!(read_bounded(&disk, "none", 99).unwrap().is_none());
}

#[test]
fn every_flipped_bit_of_a_record_is_noticed() {
    let disk = SimDisk::new(0);
    write_record(&disk, "r", MAGIC, 3, b"payload").unwrap();
    let read = || read_record(&disk, "r", MAGIC, 7);
    assert_eq!(read().unwrap(), Some(RecordFile { version: 3, payload: b"payload".to_vec() }));
    for at in 0..(RECORD_HEADER_BYTES as u64 + 7) {
        for bit in 0..8 {
            disk.flip_bit("r", at, bit).unwrap();
            assert!(matches!(read(), Err(FileError::Corrupt { .. })), "byte {at} bit {bit}");
            disk.flip_bit("r", at, bit).unwrap();
        }
    }
    assert!(read().is_ok());
    assert!(read_record(&disk, "r", MAGIC, 6).is_err(), "bounded");
}
