//! Which blocks there are, where, and what each segment holds of value.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;

use super::format::RECORD_UNIT_BYTES;
use super::{Key, Place};

/// Where a block's record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) segment: u32,
    pub(super) unit: u32,
    pub(super) len: u32,
    /// The last garbage collection that must keep the block.
    pub(super) epoch: u32,
}

impl Slot {
    pub(super) fn offset(&self) -> u64 {
        u64::from(self.unit) * RECORD_UNIT_BYTES
    }

    pub(super) fn place(&self) -> Place {
        Place { segment: self.segment, offset: self.offset() }
    }

    pub(super) fn is_at(&self, segment: u32, unit: u32) -> bool {
        (self.segment, self.unit) == (segment, unit)
    }
}

/// The map from key to slot, small enough to be replaced by one on disk.
pub(super) trait BlockIndex: Send + Sync + fmt::Debug {
    fn get(&self, key: &Key) -> Option<Slot>;
    /// Returns the slot that was replaced.
    fn insert(&mut self, key: Key, slot: Slot) -> Option<Slot>;
    fn remove(&mut self, key: &Key) -> Option<Slot>;
    /// Up to `limit` blocks behind `after`, in an order that stays the same.
    fn page(&self, after: Option<&Key>, limit: usize) -> Vec<(Key, Slot)>;
    fn len(&self) -> u64;
}

/// An ordered map in memory, about 70 bytes a block; SHA2-256, which nearly all blocks use, without
/// the room that longer digests need. Ordered, so that iteration is the same in every run.
#[derive(Debug, Default)]
pub(super) struct MemoryIndex {
    sha2_256: BTreeMap<[u8; 32], Slot>,
    other: BTreeMap<Key, Slot>,
}

impl BlockIndex for MemoryIndex {
    fn get(&self, key: &Key) -> Option<Slot> {
        match key.as_sha2_256() {
            Some(digest) => self.sha2_256.get(digest).copied(),
            None => self.other.get(key).copied(),
        }
    }

    fn insert(&mut self, key: Key, slot: Slot) -> Option<Slot> {
        match key.as_sha2_256() {
            Some(digest) => self.sha2_256.insert(*digest, slot),
            None => self.other.insert(key, slot),
        }
    }

    fn remove(&mut self, key: &Key) -> Option<Slot> {
        match key.as_sha2_256() {
            Some(digest) => self.sha2_256.remove(digest),
            None => self.other.remove(key),
        }
    }

    fn page(&self, after: Option<&Key>, limit: usize) -> Vec<(Key, Slot)> {
        let mut page = Vec::new();
        let digest = after.map(Key::as_sha2_256);
        let common = match digest {
            None => Some(Bound::Unbounded),
            Some(Some(digest)) => Some(Bound::Excluded(*digest)),
            Some(None) => None,
        };
        if let Some(start) = common {
            let rest = self.sha2_256.range((start, Bound::Unbounded)).take(limit);
            page.extend(rest.map(|(digest, slot)| (Key::from_sha2_256(*digest), *slot)));
        }
        let start = match (after, digest) {
            (Some(key), Some(None)) => Bound::Excluded(*key),
            _ => Bound::Unbounded,
        };
        let rest = self.other.range((start, Bound::Unbounded)).take(limit - page.len());
        page.extend(rest.map(|(key, slot)| (*key, *slot)));
        page
    }

    fn len(&self) -> u64 {
        (self.sha2_256.len() + self.other.len()) as u64
    }
}

/// Figures of one segment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct SegmentStat {
    /// On disk, with framing.
    pub(super) bytes: u64,
    /// Payload of the blocks that the index finds here.
    pub(super) live_bytes: u64,
    /// Records that are marked as deleted.
    pub(super) tombstones: usize,
    /// No more frames are added.
    pub(super) sealed: bool,
}

/// The index with the figures that follow from it.
#[derive(Debug)]
pub(super) struct Catalog {
    pub(super) index: Box<dyn BlockIndex>,
    pub(super) segments: BTreeMap<u32, SegmentStat>,
    /// Blocks whose only copy is known to be damaged. They count as absent until they are put again.
    pub(super) damaged: BTreeMap<Key, Place>,
    pub(super) block_bytes: u64,
    /// Of all segments and of what is buffered for them.
    pub(super) used_bytes: u64,
    /// Number of the latest garbage collection.
    pub(super) epoch: u32,
    pub(super) collecting: bool,
    /// Roots that were leased since the collector last asked.
    pub(super) new_roots: Vec<Key>,
}

impl Catalog {
    pub(super) fn new() -> Self {
        Self {
            index: Box::new(MemoryIndex::default()),
            segments: BTreeMap::new(),
            damaged: BTreeMap::new(),
            block_bytes: 0,
            used_bytes: 0,
            epoch: 0,
            collecting: false,
            new_roots: Vec::new(),
        }
    }

    /// Makes `slot` the block's place; an older copy becomes garbage.
    pub(super) fn insert(&mut self, key: Key, slot: Slot) {
        self.damaged.remove(&key);
        let replaced = self.index.insert(key, slot);
        self.segments.entry(slot.segment).or_default().live_bytes += u64::from(slot.len);
        self.block_bytes += u64::from(slot.len);
        if let Some(old) = replaced {
            self.forget(old);
        }
    }

    pub(super) fn remove(&mut self, key: &Key) {
        if let Some(old) = self.index.remove(key) {
            self.forget(old);
        }
    }

    fn forget(&mut self, old: Slot) {
        self.block_bytes -= u64::from(old.len);
        if let Some(stat) = self.segments.get_mut(&old.segment) {
            stat.live_bytes -= u64::from(old.len);
        }
    }

    /// Whether the block is there; if so, the running collection keeps it.
    pub(super) fn protect(&mut self, key: &Key) -> bool {
        let Some(slot) = self.index.get(key) else { return false };
        if slot.epoch != self.epoch {
            self.index.insert(*key, Slot { epoch: self.epoch, ..slot });
        }
        true
    }

    /// Counts the only copy as absent until the block is put again.
    pub(super) fn mark_damaged(&mut self, key: &Key, slot: Slot) {
        if self.index.get(key).is_some_and(|now| now.is_at(slot.segment, slot.unit)) {
            self.remove(key);
            self.damaged.insert(*key, slot.place());
        }
    }
}
