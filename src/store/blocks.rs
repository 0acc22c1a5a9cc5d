//! Blocks keyed by multihash, in append-only segments.
//!
//! A put copies the block into a frame of a few MiB; full frames are written with direct I/O into a
//! preallocated segment file, and [`BlockStore::sync`] makes everything before it durable with one
//! sync that concurrent callers share. A segment that is full is sealed: cut to its length, synced,
//! and given a listing of what it holds. The index is in memory; opening rebuilds it from the
//! listings and a scan of the one segment that was growing.
//!
//! Space comes back by [collection](GcSession) only: dead blocks get tombstones, segments with
//! little life in them are copied and deleted. [Leases](BlockStore::lease) keep what no pin keeps yet.

mod behind;
mod format;
mod gc;
mod index;
mod key;
mod lease;
mod open;
mod recent;
mod scan;
mod segments;
#[cfg(test)]
mod tests;
mod writer;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};

use bytes::Bytes;

use self::behind::WriteBehind;
use self::format::{MAX_OVERHEAD_BYTES, RecordHeader};
use self::index::{Catalog, Slot};
use self::lease::Leases;
use self::recent::Recent;
use self::segments::Handles;
use self::writer::{Appended, Flusher, Purpose, Writer, position};
use crate::disk::{Disk, DiskError};
use crate::files::FileError;
use crate::wal::WalError;

pub use gc::{GcError, GcSession, SweepControl, SweepProgress, SweepReport};
pub use key::{Key, VerifiedBlock};
pub use lease::{Lease, LeaseError, LeaseId, MAX_LEASE_REASON_BYTES, MAX_LEASED_ROOTS, MAX_LEASES};
pub use open::{Finding, OpenReport};

/// Blocks from this length on are read past the disk's cache the first time.
const LARGE_BYTES: usize = 256 << 10;
/// How often a read looks again because the collector moved the block meanwhile.
const READ_ATTEMPTS: usize = 8;

/// Where a record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Segment number.
    pub segment: u32,
    /// Byte offset in the segment.
    pub offset: u64,
}

/// Bounds of a block store.
#[derive(Debug, Clone, Copy)]
pub struct BlockStoreOptions {
    /// Marks the lease log as this node's; random per node.
    pub identity: [u8; 16],
    /// Size of a segment file, at most 32 GiB.
    pub segment_bytes: u64,
    /// Size of a write, and with it the largest block that fits.
    pub frame_bytes: usize,
    /// `storage.max`: what all segments may take on disk together.
    pub max_bytes: Option<u64>,
    /// `storage.reserve`: what new blocks leave free on the file system.
    pub reserve_bytes: u64,
    /// The collector rewrites segments whose living share is below this percentage.
    pub rewrite_below_percent: u8,
    /// Full frames are written by a thread of their own instead of by who fills them. What happens when
    /// is not repeatable then.
    pub write_behind: bool,
}

impl BlockStoreOptions {
    /// 256 MiB segments, writes of 4 MiB, no bound, no reserve, no thread.
    #[must_use]
    pub fn new(identity: [u8; 16]) -> Self {
        Self {
            identity,
            segment_bytes: 256 << 20,
            frame_bytes: (4 << 20) + (64 << 10),
            max_bytes: None,
            reserve_bytes: 0,
            rewrite_below_percent: 60,
            write_behind: false,
        }
    }

    /// The largest block that can be put.
    #[must_use]
    pub fn max_block_bytes(&self) -> usize {
        self.frame_bytes.saturating_sub(MAX_OVERHEAD_BYTES)
    }
}

/// A block was not put.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// `storage.max` is reached. Nothing of the batch was written; collect garbage or raise it.
    #[error("the store is full: {used} of {max} bytes are used")]
    Full {
        /// Bytes in use.
        used: u64,
        /// The bound.
        max: u64,
    },
    /// The file system has little more left than `storage.reserve`. The block was not written; free
    /// space there, or lower the reserve.
    #[error("the disk has {free} bytes left, of which {reserve} are kept free")]
    Reserved {
        /// Bytes that are free.
        free: u64,
        /// Bytes that stay free.
        reserve: u64,
    },
    /// The bytes hash to something else. Nothing of the batch was written; whoever sent them lies or
    /// is broken.
    #[error("the bytes do not match {key}{}", computed.as_ref().map(|key| format!(", they hash to {key}")).unwrap_or_default())]
    HashMismatch {
        /// The key they came with.
        key: Key,
        /// Their own key.
        computed: Option<Box<Key>>,
    },
    /// The store can't compute this hash function. Nothing of the batch was written.
    #[error("{key} uses hash function 0x{code:x}, which is not supported")]
    UnsupportedHash {
        /// The key.
        key: Key,
        /// Its function's code.
        code: u64,
    },
    /// The block is larger than the store allows. Nothing of the batch was written.
    #[error("{key} has {len_bytes} bytes, more than the {max_bytes} allowed")]
    TooLarge {
        /// The key.
        key: Key,
        /// The block's length.
        len_bytes: usize,
        /// The bound.
        max_bytes: usize,
    },
    /// The disk failed. What was put stays readable and is tried again at the next put or sync; a
    /// full disk is worth a retry after space was freed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// An earlier sync failed. Reads still work; close and reopen the store to write again.
    #[error("the store is read-only after a failed sync: {cause}")]
    Poisoned {
        /// The first failure.
        cause: String,
    },
}

/// A block could not be read.
#[derive(Debug, thiserror::Error)]
pub enum GetError {
    /// The block's record has decayed. It counts as absent from now on; fetch and put it again.
    #[error("block {key} is damaged in segment {} at offset {}", place.segment, place.offset)]
    Corrupt {
        /// The block.
        key: Key,
        /// Where.
        place: Place,
    },
    /// The disk failed; retry may help.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// The store could not be opened. Nothing but litter of interrupted writes was removed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The options contradict each other.
    #[error("invalid block store options: {what}")]
    BadOptions {
        /// What is wrong.
        what: &'static str,
    },
    /// A listing or tombstone file could not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The lease log could not be opened.
    #[error(transparent)]
    Leases(#[from] LeaseError),
    /// The disk failed; see its kind.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl From<WalError> for OpenError {
    fn from(error: WalError) -> Self {
        Self::Leases(error.into())
    }
}

/// What a put did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PutReport {
    /// Blocks that are new.
    pub stored: usize,
    /// Their payload.
    pub stored_bytes: u64,
    /// Blocks that were there already.
    pub present: usize,
}

/// Figures of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Blocks.
    pub blocks: u64,
    /// Their payload.
    pub block_bytes: u64,
    /// What all segments take, with framing and garbage.
    pub used_bytes: u64,
    /// What can still be put: the lower of the bound's and the disk's room, without the reserve.
    pub free_bytes: u64,
    /// What is free on the file system, the reserve included.
    pub disk_free_bytes: u64,
    /// `storage.max`.
    pub max_bytes: Option<u64>,
    /// Segments.
    pub segments: usize,
    /// Blocks known to be damaged, which count as absent.
    pub damaged: usize,
}

/// The store; clones are handles to the same one, all methods may be called from many threads.
#[derive(Debug, Clone)]
pub struct BlockStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    disk: Arc<dyn Disk>,
    dir: String,
    options: BlockStoreOptions,
    catalog: RwLock<Catalog>,
    handles: Handles,
    recent: Mutex<Recent>,
    writer: Mutex<Writer>,
    flusher: Mutex<Flusher>,
    /// Writes full frames, if a thread does.
    behind: OnceLock<WriteBehind>,
    /// The newest frame that is durable. Its lock is held during a sync, so waiters share it.
    synced_sequence: Mutex<u64>,
    /// The growing segment, and up to where the disk has given it room.
    allocated: Mutex<(u32, u64)>,
    /// Everything before this [`position`] can be read from the disk.
    written_to: AtomicU64,
    poisoned: OnceLock<String>,
    /// Why blocks wait in memory for the disk.
    trouble: Mutex<Option<String>>,
    leases: Mutex<Leases>,
}

impl BlockStore {
    /// Opens or creates the store in `dir`.
    ///
    /// # Errors
    /// See [`OpenError`]. Damaged blocks are no error; the report names them.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &str,
        options: BlockStoreOptions,
    ) -> Result<(Self, OpenReport), OpenError> {
        let (inner, report) = Inner::open(disk, dir, options)?;
        let inner = Arc::new(inner);
        if let Some(behind) = options.write_behind.then(|| WriteBehind::start(&inner)).flatten() {
            inner.behind.get_or_init(|| behind);
        }
        Ok((Self { inner }, report))
    }

    /// Verifies and puts blocks; those that are there already are skipped. Readable on return,
    /// durable after [`BlockStore::sync`].
    ///
    /// # Errors
    /// See [`PutError`]; after a disk error a part of the batch may have been put.
    pub fn put_many(&self, blocks: &[(Key, Bytes)]) -> Result<PutReport, PutError> {
        let verified = blocks
            .iter()
            .map(|(key, data)| VerifiedBlock::verify(key, data.clone()))
            .collect::<Result<Vec<_>, _>>()?;
        self.put_verified(&verified)
    }

    /// As [`BlockStore::put_many`], for blocks whose bytes were checked already.
    ///
    /// # Errors
    /// As [`BlockStore::put_many`].
    pub fn put_verified(&self, blocks: &[VerifiedBlock]) -> Result<PutReport, PutError> {
        self.inner.check_usable()?;
        self.inner.check_batch(blocks)?;
        let mut report = PutReport::default();
        for block in blocks {
            let identity = block.key().identity().is_some();
            let appended = if identity {
                Appended::NotNeeded
            } else {
                self.inner.append(block.key(), block.data(), Purpose::Put)?
            };
            match appended {
                Appended::Stored => {
                    report.stored += 1;
                    report.stored_bytes += block.data().len() as u64;
                }
                Appended::NotNeeded => report.present += 1,
            }
        }
        Ok(report)
    }

    /// Makes everything that was put before the call durable. Concurrent callers share one sync.
    ///
    /// # Errors
    /// A full disk (retry later, nothing is lost), or a failed sync, which makes the store read-only.
    pub fn sync(&self) -> Result<(), PutError> {
        self.inner.sync()
    }

    /// The block's bytes, checked, or `None` where it is absent.
    ///
    /// # Errors
    /// [`GetError::Corrupt`] names a damaged block; else the disk's.
    pub fn get(&self, key: impl Into<Key>) -> Result<Option<Bytes>, GetError> {
        let key = key.into();
        match key.identity() {
            Some(data) => Ok(Some(Bytes::copy_from_slice(data))),
            None => self.inner.get(&key),
        }
    }

    /// Whether the block is there and not known to be damaged.
    #[must_use]
    pub fn has(&self, key: impl Into<Key>) -> bool {
        self.size(key).is_some()
    }

    /// Length of the block, or `None` where it is absent.
    #[must_use]
    pub fn size(&self, key: impl Into<Key>) -> Option<u64> {
        let key = key.into();
        match key.identity() {
            Some(data) => Some(data.len() as u64),
            None => read(&self.inner.catalog).index.get(&key).map(|slot| u64::from(slot.len)),
        }
    }

    /// Up to `limit` keys with their lengths behind `after`, in a fixed order; continue with the
    /// last one. Blocks put meanwhile may or may not appear.
    #[must_use]
    pub fn page(&self, after: Option<Key>, limit: usize) -> Vec<(Key, u64)> {
        let page = read(&self.inner.catalog).index.page(after.as_ref(), limit);
        page.into_iter().map(|(key, slot)| (key, u64::from(slot.len))).collect()
    }

    /// The damaged blocks that are known, with their places. They count as absent.
    #[must_use]
    pub fn damaged(&self) -> Vec<(Key, Place)> {
        read(&self.inner.catalog).damaged.iter().map(|(key, place)| (*key, *place)).collect()
    }

    /// Why the store takes no writes until it is opened again, after a failed sync; `None` in health.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.inner.poisoned.get().map(String::as_str)
    }

    /// Why blocks that were put can't be written now: they wait in memory, and the next put or sync
    /// tries again. `None` in health.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        lock(&self.inner.trouble).clone()
    }

    /// Figures of the store.
    ///
    /// # Errors
    /// The disk's, when its room can't be measured.
    pub fn stat(&self) -> Result<Stat, DiskError> {
        let disk_free_bytes = self.inner.disk.space()?.free_bytes;
        let unreserved = disk_free_bytes.saturating_sub(self.inner.options.reserve_bytes);
        let catalog = read(&self.inner.catalog);
        let max_bytes = self.inner.options.max_bytes;
        let bound_free = max_bytes.map_or(u64::MAX, |max| max.saturating_sub(catalog.used_bytes));
        Ok(Stat {
            blocks: catalog.index.len(),
            block_bytes: catalog.block_bytes,
            used_bytes: catalog.used_bytes,
            free_bytes: bound_free.min(unreserved),
            disk_free_bytes,
            max_bytes,
            segments: catalog.segments.len(),
            damaged: catalog.damaged.len(),
        })
    }

    /// Syncs and seals the growing segment, so that the next opening scans nothing. Dropping the
    /// store without it is safe and forgets what was not synced.
    ///
    /// # Errors
    /// As [`BlockStore::sync`].
    pub fn close(&self) -> Result<(), PutError> {
        self.inner.sync()?;
        self.inner.seal_open_segment()
    }
}

impl Inner {
    /// Refuses a batch that can't be put whole, before any of it is.
    fn check_batch(&self, blocks: &[VerifiedBlock]) -> Result<(), PutError> {
        let max_bytes = self.options.max_block_bytes();
        let mut wanted_bytes = 0_u64;
        let catalog = read(&self.catalog);
        for block in blocks {
            let (key, len_bytes) = (*block.key(), block.data().len());
            if len_bytes > max_bytes {
                return Err(PutError::TooLarge { key, len_bytes, max_bytes });
            }
            if catalog.index.get(&key).is_none() && key.identity().is_none() {
                let key_len = key.multihash().encoded_len();
                wanted_bytes += format::record_bytes(key_len, len_bytes);
            }
        }
        let used = catalog.used_bytes;
        if wanted_bytes > 0 && !self.has_room(used, wanted_bytes) {
            return Err(PutError::Full { used, max: self.max_bytes() });
        }
        Ok(())
    }

    fn get(&self, key: &Key) -> Result<Option<Bytes>, GetError> {
        let mut last = None;
        for _ in 0..READ_ATTEMPTS {
            let slot = {
                let catalog = read(&self.catalog);
                if let Some(place) = catalog.damaged.get(key) {
                    return Err(GetError::Corrupt { key: *key, place: *place });
                }
                match catalog.index.get(key) {
                    Some(slot) => slot,
                    None => return Ok(None),
                }
            };
            match self.read_slot(key, &slot) {
                Ok(Some(data)) => return Ok(Some(data)),
                Ok(None) => {
                    write(&self.catalog).mark_damaged(key, slot);
                    return Err(GetError::Corrupt { key: *key, place: slot.place() });
                }
                // The collector deleted the segment after this read had looked the block up.
                Err(error) if error.is_not_found() => last = Some((slot, error)),
                Err(error) => return Err(error.into()),
            }
        }
        let (slot, error) = last.expect("every other outcome of an attempt returns");
        tracing::error!(%key, segment = slot.segment, %error, "a segment is missing");
        Err(error.into())
    }

    /// The bytes at a slot, or `None` where the record is not this block's or is damaged.
    fn read_slot(&self, key: &Key, slot: &Slot) -> Result<Option<Bytes>, DiskError> {
        if position(slot.segment, slot.offset()) >= self.written_to.load(Ordering::Acquire) {
            let writer = lock(&self.writer);
            if let Some(record) = writer.find(slot) {
                return Ok(RecordHeader::parse(record).and_then(|header| {
                    let data = record.get(header.data_at..)?.get(..header.len as usize)?;
                    (header.key == *key).then(|| Bytes::copy_from_slice(data))
                }));
            }
        }
        let file = self.handles.get(&*self.disk, slot.segment, &self.segment_path(slot.segment))?;
        let data_at = format::RECORD_HEADER_BYTES + key.multihash().encoded_len();
        let len = data_at + slot.len as usize;
        let record = if len < LARGE_BYTES {
            let mut record = vec![0; len];
            let read = file.read_at(slot.offset(), &mut record)?;
            record.truncate(read);
            Bytes::from(record)
        } else if lock(&self.recent).is_first(slot.place()) {
            file.read_once(slot.offset(), len)?
        } else {
            file.read_again(slot.offset(), len)?
        };
        if record.len() != len {
            return Ok(None);
        }
        let header = RecordHeader::parse(&record)
            .filter(|header| (header.key, header.len, header.data_at) == (*key, slot.len, data_at));
        let fine = header.is_some_and(|header| crc32c::crc32c(&record[data_at..]) == header.crc);
        Ok(fine.then(|| record.slice(data_at..)))
    }
}

// A panic of another thread can't leave these half changed: what they guard is changed last, after
// everything that can fail.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
