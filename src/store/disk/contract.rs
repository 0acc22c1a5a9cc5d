//! What every [`Disk`] promises, as checks that run against the real and the simulated one, so
//! that the simulation can't be kinder than the world.

use super::{ALIGN_BYTES, AlignedBuf, Disk, DiskErrorKind, Io, ListedKind, Open};

/// Runs every check against an empty disk.
///
/// # Panics
/// When the disk breaks a promise.
pub fn check(disk: &dyn Disk) {
    reads_and_writes(disk);
    lengths(disk);
    names(disk);
    direct_writes(disk);
    reads_past_the_cache(disk);
    missing_and_bad_paths(disk);
    removed_files_stay_readable(disk);
    locks(disk);
    let space = disk.space().expect("space is measurable");
    assert!(space.free_bytes <= space.total_bytes);
}

fn reads_and_writes(disk: &dyn Disk) {
    let file = disk.open("rw", Open::Create, Io::Buffered).expect("create");
    file.write_at(0, b"hello").expect("write");
    assert_eq!(file.append(b" world").expect("append"), 5);
    file.write_at(20, b"far").expect("write past the end");
    let mut buf = [0xFF_u8; 64];
    let n = file.read_at(0, &mut buf).expect("read");
    assert_eq!(&buf[..n], b"hello world\0\0\0\0\0\0\0\0\0far");
    assert_eq!(file.read_at(100, &mut buf).expect("read past the end"), 0);
    file.sync().expect("sync");
    disk.sync_dir("").expect("sync folder");
    let again = disk.open("rw", Open::Read, Io::Buffered).expect("open for reading");
    let n = again.read_at(6, &mut buf[..5]).expect("read");
    assert_eq!(&buf[..n], b"world");
    assert!(again.write_at(0, b"x").is_err(), "a read-only handle must refuse writes");
    let emptied = disk.open("rw", Open::Create, Io::Buffered).expect("create over");
    assert!(emptied.is_empty().expect("len"));
}

fn lengths(disk: &dyn Disk) {
    let file = disk.open("len", Open::Create, Io::Buffered).expect("create");
    file.write_at(0, &[7; 100]).expect("write");
    file.set_len(10).expect("shrink");
    file.set_len(20).expect("grow");
    let mut buf = [0xFF_u8; 32];
    assert_eq!(file.read_at(0, &mut buf).expect("read"), 20);
    assert_eq!(&buf[..20], [[7_u8; 10], [0; 10]].as_flattened());
    file.preallocate(8192).expect("preallocate");
    assert_eq!(file.len().expect("len"), 8192);
    file.preallocate(100).expect("preallocate less");
    assert_eq!(file.len().expect("len"), 8192, "preallocation never shrinks");
    let mut tail = [0xFF_u8; 16];
    assert_eq!(file.read_at(8180, &mut tail).expect("read"), 12);
    assert_eq!(&tail[..12], &[0; 12]);
}

fn names(disk: &dyn Disk) {
    disk.create_dir("d").expect("create folder");
    disk.create_dir("d").expect("an existing folder is fine");
    for name in ["d/b", "d/a", "d/c"] {
        let file = disk.open(name, Open::Create, Io::Buffered).expect("create");
        file.write_at(0, name.as_bytes()).expect("write");
    }
    disk.rename("d/c", "d/a").expect("rename over");
    disk.sync_dir("d").expect("sync folder");
    let listed = disk.list("d").expect("list");
    let names: Vec<_> = listed.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, ["a", "b"], "sorted, and the rename replaced");
    assert!(listed.iter().all(|entry| entry.kind == ListedKind::File));
    let file = disk.open("d/a", Open::Read, Io::Buffered).expect("open");
    let mut buf = [0; 8];
    let n = file.read_at(0, &mut buf).expect("read");
    assert_eq!(&buf[..n], b"d/c");
    disk.remove("d/b").expect("remove");
    assert_eq!(disk.list("d").expect("list").len(), 1);
    let root = disk.list("").expect("list root");
    assert!(root.iter().any(|entry| entry.name == "d" && entry.kind == ListedKind::Dir));
}

fn direct_writes(disk: &dyn Disk) {
    let file = disk.open("direct", Open::Create, Io::Direct).expect("create");
    file.preallocate(4 * ALIGN_BYTES as u64).expect("preallocate");
    let mut aligned = AlignedBuf::with_capacity(2 * ALIGN_BYTES);
    aligned.extend(&[1; ALIGN_BYTES + 1]);
    aligned.pad_to(ALIGN_BYTES);
    file.write_at(ALIGN_BYTES as u64, aligned.as_slice()).expect("aligned write");
    file.write_at(3, b"odd").expect("odd writes work too");
    file.sync().expect("sync");
    let mut buf = vec![9_u8; 4 * ALIGN_BYTES];
    assert_eq!(file.read_at(0, &mut buf).expect("read"), buf.len());
    assert_eq!(&buf[3..6], b"odd");
    assert_eq!(buf.iter().filter(|byte| **byte == 1).count(), ALIGN_BYTES + 1);
}

fn reads_past_the_cache(disk: &dyn Disk) {
    let content: Vec<u8> = (0..3 * ALIGN_BYTES + 100).map(|at| (at % 251) as u8).collect();
    let file = disk.open("once", Open::Create, Io::Direct).expect("create");
    file.write_at(0, &content).expect("write");
    let again = disk.open("once", Open::Read, Io::Direct).expect("open");
    for file in [file, again] {
        for (offset, len) in
            [(0, 10), (1, 2 * ALIGN_BYTES), (ALIGN_BYTES, ALIGN_BYTES), (5000, 7000)]
        {
            let read = file.read_once(offset as u64, len).expect("read");
            assert_eq!(read, content[offset..offset + len], "{len} bytes from {offset}");
        }
        let tail = file.read_once(3 * ALIGN_BYTES as u64 + 90, 1000).expect("read over the end");
        assert_eq!(tail, content[3 * ALIGN_BYTES + 90..]);
        assert!(file.read_once(1 << 20, 10).expect("read past the end").is_empty());
    }
}

fn missing_and_bad_paths(disk: &dyn Disk) {
    let kind = |result: Result<(), super::DiskError>| result.expect_err("must fail").kind;
    assert_eq!(
        kind(disk.open("none", Open::Read, Io::Buffered).map(drop)),
        DiskErrorKind::NotFound
    );
    assert_eq!(kind(disk.open("none", Open::Write, Io::Direct).map(drop)), DiskErrorKind::NotFound);
    assert_eq!(kind(disk.remove("none")), DiskErrorKind::NotFound);
    assert_eq!(kind(disk.rename("none", "other")), DiskErrorKind::NotFound);
    assert_eq!(kind(disk.list("none").map(drop)), DiskErrorKind::NotFound);
    assert_eq!(
        kind(disk.open("none/file", Open::Create, Io::Buffered).map(drop)),
        DiskErrorKind::NotFound
    );
    for bad in ["/etc", "../up", "a//b", "a/.", "a\0b"] {
        assert_eq!(
            kind(disk.open(bad, Open::Create, Io::Buffered).map(drop)),
            DiskErrorKind::Other
        );
    }
}

fn removed_files_stay_readable(disk: &dyn Disk) {
    let file = disk.open("gone", Open::Create, Io::Buffered).expect("create");
    file.write_at(0, b"still here").expect("write");
    disk.remove("gone").expect("remove");
    let mut buf = [0; 10];
    assert_eq!(file.read_at(0, &mut buf).expect("read"), 10);
    assert_eq!(&buf, b"still here");
}

fn locks(disk: &dyn Disk) {
    let first = disk.lock("lock").expect("lock");
    let refused = disk.lock("lock").expect_err("held");
    assert_eq!(refused.kind, DiskErrorKind::Locked);
    assert!(refused.to_string().contains("held by"), "{refused}");
    drop(first);
    drop(disk.lock("lock").expect("free again"));
}
