//! What is written is read back; what is hostile is refused; what is cut is noticed.

use proptest::prelude::*;

use super::*;

type Seen = (Vec<Vec<u8>>, EntryKind, Vec<u8>);
type Entry<'a> = (Vec<&'a [u8]>, EntryKind, &'a [u8]);

fn archive(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (path, kind, content) in entries {
        bytes.extend(entry_header(path, kind));
        bytes.extend_from_slice(content);
        bytes.extend_from_slice(padding(content.len() as u64));
    }
    bytes.extend_from_slice(&END);
    bytes
}

fn read(bytes: &[u8]) -> Result<Vec<Seen>, TarError> {
    let mut seen = Vec::new();
    read_entries(bytes, |path, kind, reader| {
        let mut content = Vec::new();
        reader
            .read_to_end(&mut content)
            .map_err(|source| TarError::Read { after: "x".into(), source })?;
        seen.push((path.to_vec(), kind.clone(), content));
        Ok::<_, TarError>(())
    })?;
    Ok(seen)
}

fn file(len: usize) -> EntryKind {
    EntryKind::File { size_bytes: len as u64 }
}

#[test]
fn every_kind_comes_back() {
    let long = [b'x'; 200];
    let bytes = archive(&[
        (vec![], EntryKind::Directory, b""),
        (vec![b"a"], file(5), b"hello"),
        (vec![b"d"], EntryKind::Directory, b""),
        (vec![b"d", &long], file(0), b""),
        (vec![b"d", b"\xff\xfe"], EntryKind::Symlink { target: long.to_vec() }, b""),
        (vec![b"l"], EntryKind::Symlink { target: b"../a".to_vec() }, b""),
    ]);
    let seen = read(&bytes).unwrap();
    assert_eq!(seen.len(), 6);
    assert_eq!(seen[0], (vec![], EntryKind::Directory, vec![]));
    assert_eq!(seen[1], (vec![b"a".to_vec()], file(5), b"hello".to_vec()));
    assert_eq!(seen[3].0, vec![b"d".to_vec(), long.to_vec()]);
    assert_eq!(seen[4].0[1], b"\xff\xfe");
    assert_eq!(seen[4].1, EntryKind::Symlink { target: long.to_vec() });
    assert_eq!(seen[5].1, EntryKind::Symlink { target: b"../a".to_vec() });
}

#[test]
fn a_file_may_be_the_root() {
    let seen = read(&archive(&[(vec![], file(2), b"hi")])).unwrap();
    assert_eq!(seen, [(vec![], file(2), b"hi".to_vec())]);
}

/// An archive with one entry whose name stands in the header as it is.
fn with_raw_name(name: &[u8], entry_type: EntryType) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.set_entry_type(entry_type);
    header.set_size(0);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(&END);
    bytes
}

#[test]
fn hostile_entries_are_refused() {
    for (name, entry_type, reason) in [
        (&b"../etc/passwd"[..], EntryType::Regular, "`..`"),
        (b"a/../../b", EntryType::Regular, "`..`"),
        (b"/etc/passwd", EntryType::Regular, "relative"),
        (b"a", EntryType::Link, "hard links"),
        (b"a", EntryType::Fifo, "devices"),
        (b"a", EntryType::Block, "devices"),
        (b"a", EntryType::GNUSparse, "unknown type"),
        (b"a", EntryType::Symlink, "without a target"),
    ] {
        let error = read(&with_raw_name(name, entry_type)).unwrap_err().to_string();
        assert!(error.contains(reason), "{entry_type:?}: {error}");
    }
    let deep: Vec<&[u8]> = vec![b"d"; DEPTH_MAX + 1];
    assert!(read(&archive(&[(deep, EntryKind::Directory, b"")])).is_err());
}

#[test]
fn a_name_without_end_is_refused_before_it_is_kept() {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::GNULongName);
    header.set_size(1 << 40);
    header.set_cksum();
    let bytes = header.as_bytes().chain(io::repeat(b'x').take(1 << 20));
    let error = read_entries(bytes, |_, _, _| Ok::<_, TarError>(())).unwrap_err();
    assert!(error.to_string().contains("64 KiB"), "{error}");
}

#[test]
fn pax_names_are_understood_and_pax_sizes_refused() {
    let pax = |record: &str| {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::XHeader);
        header.set_size(record.len() as u64);
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend_from_slice(record.as_bytes());
        bytes.extend_from_slice(padding(record.len() as u64));
        bytes.extend(archive(&[(vec![b"short"], file(1), b"x")]));
        read(&bytes)
    };
    let seen = pax("19 path=a/\u{e9}longer\n").unwrap();
    assert_eq!(seen[0].0, vec![b"a".to_vec(), "\u{e9}longer".as_bytes().to_vec()]);
    assert!(pax("12 size=500\n").unwrap_err().to_string().contains("PAX"));
}

#[test]
fn an_archive_that_is_cut_within_a_file_is_an_error() {
    let bytes = archive(&[(vec![b"a"], file(1000), &[7; 1000])]);
    for cut in [100, 512, 513, 1000, 1511] {
        assert!(read(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    let mut flipped = bytes;
    flipped[3] ^= 1;
    assert!(matches!(read(&flipped), Err(TarError::Read { .. })));
}

proptest! {
    #[test]
    fn any_tree_comes_back(
        paths in prop::collection::vec(prop::collection::vec("[^/\0]{1,120}", 1..4), 0..6),
        content in prop::collection::vec(any::<u8>(), 0..1500),
    ) {
        let paths: Vec<Vec<&[u8]>> = paths
            .iter()
            .filter(|path| path.iter().all(|name| name != "." && name != ".."))
            .map(|path| path.iter().map(|name| name.as_bytes()).collect())
            .collect();
        let entries: Vec<_> =
            paths.iter().map(|path| (path.clone(), file(content.len()), &content[..])).collect();
        let seen = read(&archive(&entries)).unwrap();
        prop_assert_eq!(seen.len(), paths.len());
        for (seen, path) in seen.iter().zip(&paths) {
            prop_assert_eq!(&seen.0, path);
            prop_assert_eq!(&seen.2, &content);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let _ = read(&bytes);
    }
}
