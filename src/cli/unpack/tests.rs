//! All or nothing, and nothing outside.

use super::*;
use crate::http::tarball::{END, entry_header, padding};

/// `a/` is a folder, `a` a file that holds its own name, `a->b` a link.
fn archive(entries: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        let (name, target) = entry.split_once("->").unwrap_or((entry, ""));
        let path: Vec<&str> =
            name.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        let (kind, content) = match (name.ends_with('/'), target) {
            (true, _) => (EntryKind::Directory, ""),
            (false, "") => (EntryKind::File { size_bytes: name.len() as u64 }, name),
            (false, target) => (EntryKind::Symlink { target: target.into() }, ""),
        };
        bytes.extend(entry_header(&path, &kind));
        bytes.extend_from_slice(content.as_bytes());
        bytes.extend_from_slice(padding(content.len() as u64));
    }
    bytes.extend_from_slice(&END);
    bytes
}

struct Room(tempfile::TempDir);

impl Room {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn dest(&self) -> PathBuf {
        self.0.path().join("dest")
    }

    fn unpack(&self, bytes: &[u8]) -> Result<Unpacked, CliError> {
        unpack(bytes, &self.dest(), &mut |_| {})
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

#[test]
fn a_tree_appears_whole() {
    let room = Room::new();
    let done = room.unpack(&archive(&["./", "a", "d/", "d/b", "d/l->../a", "z->nowhere"])).unwrap();
    assert_eq!(done, Unpacked { files: 2, directories: 2, symlinks: 2, bytes: 4 });
    assert_eq!(fs::read_to_string(room.dest().join("d/b")).unwrap(), "d/b");
    assert_eq!(fs::read_to_string(room.dest().join("d/l")).unwrap(), "a");
    assert_eq!(fs::read_link(room.dest().join("z")).unwrap(), Path::new("nowhere"));
    assert_eq!(room.names(), ["dest"]);
}

#[test]
fn a_file_or_a_link_may_be_the_root() {
    let room = Room::new();
    room.unpack(&archive(&["."])).unwrap();
    assert_eq!(fs::read_to_string(room.dest()).unwrap(), ".");
    let room = Room::new();
    room.unpack(&archive(&[".->target"])).unwrap();
    assert_eq!(fs::read_link(room.dest()).unwrap(), Path::new("target"));
}

#[test]
fn what_is_there_stays_there() {
    let room = Room::new();
    fs::write(room.dest(), "mine").unwrap();
    assert_eq!(room.unpack(&archive(&["."])).unwrap_err().code(), "E_DESTINATION");
    assert_eq!(fs::read_to_string(room.dest()).unwrap(), "mine");
    assert_eq!(room.names(), ["dest"]);
    let nowhere = unpack(&archive(&["."])[..], &room.0.path().join("no/dest"), &mut |_| {});
    assert_eq!(nowhere.unwrap_err().code(), "E_DESTINATION");
}

#[test]
fn a_part_leaves_nothing_behind() {
    let bytes = archive(&["./", "a", "d/", "d/b"]);
    for cut in [700, 1000, 1024 + 100, 2048 + 513] {
        let room = Room::new();
        assert!(room.unpack(&bytes[..cut]).is_err(), "cut at {cut}");
        assert!(room.names().is_empty(), "cut at {cut}");
    }
    let room = Room::new();
    assert_eq!(room.unpack(&END).unwrap_err().code(), "E_PROTOCOL");
    assert!(room.names().is_empty());
}

#[test]
fn no_name_leads_outside() {
    let outside = tempfile::tempdir().unwrap();
    let link = format!("a->{}", outside.path().display());
    for hostile in
        [vec!["./", &link, "a/evil"], vec!["./", "a->..", "a/evil"], vec![".->..", "evil"]]
    {
        let room = Room::new();
        assert!(room.unpack(&archive(&hostile)).is_err(), "{hostile:?}");
        assert!(room.names().is_empty(), "{hostile:?}");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0, "{hostile:?}");
    }
    let room = Room::new();
    assert!(room.unpack(&archive(&["./", "a", "a"])).is_err(), "a name twice");
    assert!(room.unpack(&archive(&["./", "a", "a->b"])).is_err(), "a link over a file");
    assert!(room.names().is_empty());
}
