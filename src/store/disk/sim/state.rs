//! The simulated disk's two views and the rules by which a crash merges them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::faults::{FailingSync, Full, NO_ROOM};
use crate::disk::{DiskError, DiskErrorKind, join, parent_of};

pub(super) const SECTOR_BYTES: usize = 512;

/// What a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    Dir,
    File(u64),
}

/// A change of a folder.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Link { path: String, node: Node },
    Unlink { path: String },
    Rename { from: String, to: String, node: Node },
}

impl Change {
    fn dir(&self) -> &str {
        match self {
            Self::Link { path, .. } | Self::Unlink { path } => parent_of(path),
            Self::Rename { to, .. } => parent_of(to),
        }
    }

    fn node(&self) -> Option<u64> {
        match self {
            Self::Link { node: Node::File(inode), .. }
            | Self::Rename { node: Node::File(inode), .. } => Some(*inode),
            _ => None,
        }
    }

    pub(super) fn apply(&self, names: &mut BTreeMap<String, Node>) {
        match self {
            Self::Link { path, node } => {
                names.insert(path.clone(), *node);
            }
            Self::Unlink { path } => {
                names.remove(path);
            }
            Self::Rename { from, to, node } => {
                names.remove(from);
                names.insert(to.clone(), *node);
            }
        }
    }
}

/// Whether a change completes or is where the machine stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Done,
    Last,
}

/// File content; zeros beyond `bytes` up to `len` cost no memory.
#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    pub(super) bytes: Vec<u8>,
    len: usize,
}

impl Content {
    pub(super) fn write(&mut self, offset: usize, data: &[u8]) {
        // Zeros over zeros leave nothing to store: preallocated files stay small.
        let end = offset + data.len();
        if self.bytes.len() < end && !(offset >= self.bytes.len() && data.iter().all(|b| *b == 0)) {
            self.bytes.resize(end, 0);
        }
        if self.bytes.len() >= end {
            self.bytes[offset..end].copy_from_slice(data);
        }
        self.len = self.len.max(end);
    }

    pub(super) fn set_len(&mut self, len: usize) {
        self.bytes.truncate(len);
        self.len = len;
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    fn read(&self, offset: usize, buf: &mut [u8]) -> usize {
        let n = buf.len().min(self.len.saturating_sub(offset));
        let stored = self.bytes.get(offset..).unwrap_or_default();
        let copied = stored.len().min(n);
        buf[..copied].copy_from_slice(&stored[..copied]);
        buf[copied..n].fill(0);
        n
    }
}

#[derive(Debug, Clone)]
pub(super) enum Unsynced {
    /// `order` counts the writes of the whole disk.
    Write {
        order: u64,
        offset: usize,
        data: Vec<u8>,
    },
    SetLen(usize),
}

#[derive(Debug, Clone, Default)]
pub(super) struct Inode {
    pub(super) seen: Content,
    pub(super) durable: Content,
    pub(super) unsynced: Vec<Unsynced>,
    handles: usize,
}

#[derive(Clone)]
pub(super) struct State {
    rng: u64,
    /// Counts process lives; handles of an earlier one are dead.
    pub(super) epoch: u64,
    pub(super) changes: u64,
    pub(super) stop_at: Option<u64>,
    pub(super) file_syncs: u64,
    pub(super) name_syncs: u64,
    pub(super) failing_sync: Option<FailingSync>,
    pub(super) capacity_bytes: u64,
    /// From this many changes on there is no room.
    pub(super) full_at: Option<(u64, Full)>,
    pub(super) locks: BTreeSet<String>,
    stopped: bool,
    writes: u64,
    pub(super) inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    pub(super) seen: BTreeMap<String, Node>,
    pub(super) durable: BTreeMap<String, Node>,
    pub(super) unsynced_names: Vec<Change>,
}

impl State {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rng: seed,
            epoch: 0,
            changes: 0,
            stop_at: None,
            file_syncs: 0,
            name_syncs: 0,
            failing_sync: None,
            capacity_bytes: 1 << 50,
            full_at: None,
            locks: BTreeSet::new(),
            stopped: false,
            writes: 0,
            inodes: BTreeMap::new(),
            next_inode: 0,
            seen: BTreeMap::new(),
            durable: BTreeMap::new(),
            unsynced_names: Vec::new(),
        }
    }

    /// SplitMix64 (Steele, Lea, Flood 2014): small, and good enough to choose faults.
    fn random(&mut self) -> u64 {
        self.rng = self.rng.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.rng;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        (self.random() % n.max(1) as u64) as usize
    }

    pub(super) fn coin(&mut self) -> bool {
        self.random() & 1 == 0
    }

    pub(super) fn not_found(op: &'static str, path: &str) -> DiskError {
        DiskError::new(op, path, io::Error::new(io::ErrorKind::NotFound, "no such name"))
    }

    pub(super) fn check_up(&self, op: &'static str, path: &str) -> Result<(), DiskError> {
        if self.stopped { Err(Self::down(op, path)) } else { Ok(()) }
    }

    fn down(op: &'static str, path: &str) -> DiskError {
        DiskError::new(op, path, io::Error::other("injected: the machine has stopped"))
    }

    /// Counts a change and says whether it is the one at which the machine stops.
    pub(super) fn step(&mut self, op: &'static str, path: &str) -> Result<Step, DiskError> {
        self.check_up(op, path)?;
        if self.stop_at.is_some_and(|stop_at| self.changes >= stop_at) {
            self.stopped = true;
            return Ok(Step::Last);
        }
        self.changes += 1;
        Ok(Step::Done)
    }

    pub(super) fn finish(&self, step: Step, op: &'static str, path: &str) -> Result<(), DiskError> {
        if step == Step::Done { Ok(()) } else { Err(Self::down(op, path)) }
    }

    pub(super) fn lookup(&self, path: &str) -> Option<Node> {
        if path.is_empty() { Some(Node::Dir) } else { self.seen.get(path).copied() }
    }

    pub(super) fn file_at(&self, op: &'static str, path: &str) -> Result<u64, DiskError> {
        match self.lookup(path) {
            Some(Node::File(inode)) => Ok(inode),
            _ => Err(Self::not_found(op, path)),
        }
    }

    pub(super) fn require_dir(&self, op: &'static str, path: &str) -> Result<(), DiskError> {
        if self.lookup(path) == Some(Node::Dir) { Ok(()) } else { Err(Self::not_found(op, path)) }
    }

    pub(super) fn children<'a>(&'a self, dir: &str) -> impl Iterator<Item = (&'a str, Node)> {
        let prefix = join(dir, "");
        let skip = if dir.is_empty() { 0 } else { prefix.len() };
        self.seen
            .iter()
            .filter(move |(path, _)| skip == 0 || path.starts_with(&prefix))
            .map(move |(path, node)| (&path[skip..], *node))
            .filter(|(name, _)| !name.contains('/'))
    }

    pub(super) fn new_inode(&mut self) -> u64 {
        self.next_inode += 1;
        self.inodes.insert(self.next_inode, Inode::default());
        self.next_inode
    }

    pub(super) fn hold(&mut self, inode: u64) {
        self.inode(inode).handles += 1;
    }

    pub(super) fn release(&mut self, inode: u64) {
        let file = self.inode(inode);
        file.handles = file.handles.saturating_sub(1);
        self.free_if_unreachable(inode);
    }

    /// Drops the content of a file that has no name, now or after a crash, and no handle.
    fn free_if_unreachable(&mut self, inode: u64) {
        let named =
            |names: &BTreeMap<String, Node>| names.values().any(|node| *node == Node::File(inode));
        let held = self.inodes.get(&inode).is_some_and(|file| file.handles > 0);
        let pending = self.unsynced_names.iter().any(|change| change.node() == Some(inode));
        if !held && !pending && !named(&self.seen) && !named(&self.durable) {
            self.inodes.remove(&inode);
        }
    }

    pub(super) fn inode(&mut self, inode: u64) -> &mut Inode {
        self.inodes.entry(inode).or_default()
    }

    pub(super) fn change_name(&mut self, change: Change) {
        change.apply(&mut self.seen);
        self.unsynced_names.push(change);
    }

    pub(super) fn sync_names(&mut self, dir: &str) {
        let (now, later): (Vec<_>, Vec<_>) =
            self.unsynced_names.drain(..).partition(|change| change.dir() == dir);
        self.unsynced_names = later;
        for change in now {
            let replaced = match &change {
                Change::Link { .. } => None,
                Change::Unlink { path } => self.durable.get(path).copied(),
                Change::Rename { to, .. } => self.durable.get(to).copied(),
            };
            change.apply(&mut self.durable);
            if let Some(Node::File(inode)) = replaced {
                self.free_if_unreachable(inode);
            }
        }
    }

    pub(super) fn len(&self, inode: u64) -> u64 {
        self.inodes.get(&inode).map_or(0, |file| file.seen.len as u64)
    }

    pub(super) fn used_bytes(&self) -> u64 {
        let files = self.seen.values().filter_map(|node| match node {
            Node::File(inode) => Some(self.len(*inode)),
            Node::Dir => None,
        });
        files.sum()
    }

    pub(super) fn check_room(
        &self,
        op: &'static str,
        path: &str,
        inode: u64,
        end: u64,
    ) -> Result<(), DiskError> {
        let growth = end.saturating_sub(self.len(inode));
        let fits = growth == 0 || self.used_bytes() + growth <= self.capacity_bytes;
        let refused = self.full().is_some_and(|full| full == Full::Everything || growth > 0);
        if fits && !refused { Ok(()) } else { Err(Self::no_room(op, path)) }
    }

    pub(super) fn check_room_for_name(
        &self,
        op: &'static str,
        path: &str,
    ) -> Result<(), DiskError> {
        if self.full().is_none() { Ok(()) } else { Err(Self::no_room(op, path)) }
    }

    pub(super) fn free_bytes(&self) -> u64 {
        if self.full().is_some() {
            0
        } else {
            self.capacity_bytes.saturating_sub(self.used_bytes())
        }
    }

    fn full(&self) -> Option<Full> {
        self.full_at.filter(|(at, _)| self.changes >= *at).map(|(_, full)| full)
    }

    fn no_room(op: &'static str, path: &str) -> DiskError {
        let cause = io::Error::new(io::ErrorKind::StorageFull, NO_ROOM);
        DiskError::new(op, path, cause).with_kind(DiskErrorKind::Full)
    }

    pub(super) fn read(&self, inode: u64, offset: u64, buf: &mut [u8]) -> usize {
        self.inodes.get(&inode).map_or(0, |file| file.seen.read(offset as usize, buf))
    }

    pub(super) fn write(&mut self, inode: u64, offset: u64, data: &[u8]) {
        self.writes += 1;
        let order = self.writes;
        let file = self.inode(inode);
        let offset = offset as usize;
        file.seen.write(offset, data);
        file.unsynced.push(Unsynced::Write { order, offset, data: data.to_vec() });
    }

    pub(super) fn set_len(&mut self, inode: u64, len: u64) {
        let file = self.inode(inode);
        file.seen.set_len(len as usize);
        file.unsynced.push(Unsynced::SetLen(len as usize));
    }

    pub(super) fn sync_file(&mut self, inode: u64) {
        let file = self.inode(inode);
        for change in std::mem::take(&mut file.unsynced) {
            apply(&mut file.durable, &change);
        }
    }

    pub(super) fn flip(&mut self, inode: u64, offset: u64, bit: u8) -> bool {
        let file = self.inode(inode);
        let mut found = false;
        for content in [&mut file.seen, &mut file.durable] {
            let at = offset as usize;
            if at < content.len {
                // Zeros at the end are not stored.
                content.bytes.resize(content.bytes.len().max(at + 1), 0);
                content.bytes[at] ^= 1 << (bit % 8);
                found = true;
            }
        }
        found
    }

    #[cfg(test)]
    pub(super) fn files(&self) -> usize {
        self.inodes.len()
    }

    pub(super) fn dump(&self) -> Vec<(String, Vec<u8>)> {
        let files = self.seen.iter().filter_map(|(path, node)| match node {
            Node::File(inode) => {
                let content = self.inodes.get(inode)?;
                let mut bytes = content.seen.bytes.clone();
                bytes.resize(content.seen.len, 0);
                Some((path.clone(), bytes))
            }
            Node::Dir => None,
        });
        files.collect()
    }

    pub(super) fn kill_process(&mut self) {
        self.epoch += 1;
        self.inodes.values_mut().for_each(|file| file.handles = 0);
        self.locks.clear();
        self.stopped = false;
        self.stop_at = None;
        self.failing_sync = None;
        self.full_at = None;
    }
}

pub(super) fn apply(content: &mut Content, change: &Unsynced) {
    match change {
        Unsynced::Write { offset, data, .. } => content.write(*offset, data),
        Unsynced::SetLen(len) => content.set_len(*len),
    }
}
