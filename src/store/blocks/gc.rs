//! Collecting garbage: mark what must stay, sweep the rest.
//!
//! Every block carries the number of the last collection that must keep it. Marking, putting,
//! putting again and leasing all set the current number, so a sweep deletes exactly the blocks that
//! none of these touched since it began. Per segment the sweep (1) takes the dead out of the index,
//! so that a put from now on writes a new copy, (2) makes tombstones durable, (3) if too little is
//! alive, copies that, syncs, and deletes the segment. After a crash between any two steps every
//! marked block has at least one durable copy, and what a finished sweep deleted stays deleted.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::format::{Listing, listings};
use super::index::Slot;
use super::scan::scan;
use super::writer::Purpose;
use super::{BlockStore, Inner, Key, LeaseError, PutError, read, write};
use crate::disk::{DiskError, Io, Open};

/// A collection could not start or go on. No marked block is lost; start another one.
#[derive(Debug, thiserror::Error)]
pub enum GcError {
    /// Only one runs at a time.
    #[error("a collection is running already")]
    Running,
    /// Roots were leased since the marker last asked. Nothing was deleted; walk
    /// [`GcSession::new_roots`] and sweep again.
    #[error("{roots} roots were leased and not walked yet")]
    UnwalkedRoots {
        /// How many.
        roots: usize,
    },
    /// Moving a living block failed; what was deleted before stays deleted.
    #[error(transparent)]
    Put(#[from] PutError),
    /// The lease log failed.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The disk failed; what was deleted before stays deleted.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// How far a sweep is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SweepProgress {
    /// Segments looked at.
    pub segments_done: usize,
    /// Segments to look at.
    pub segments: usize,
    /// What has happened so far.
    pub so_far: SweepReport,
}

/// Whether a sweep goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SweepControl {
    /// Go on.
    Continue,
    /// Stop at the next safe point.
    Cancel,
}

/// What a sweep did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Blocks deleted.
    pub removed_blocks: u64,
    /// Their payload.
    pub removed_bytes: u64,
    /// Room that came back, with framing.
    pub freed_bytes: u64,
    /// Segments deleted.
    pub removed_segments: usize,
    /// Living blocks that were copied for it.
    pub moved_blocks: u64,
    /// Living blocks that turned out to be damaged; their segments were kept.
    pub damaged_blocks: u64,
    /// Segments that should have been rewritten, but the disk has no room for the copies, or not even
    /// for the list of what was deleted; another collection tries again. A restart before that may
    /// bring back what was deleted in them.
    pub postponed_segments: usize,
    /// It was cancelled; another collection continues.
    pub cancelled: bool,
}

/// A running collection. Dropping it ends it; without a sweep it deletes nothing.
#[derive(Debug)]
pub struct GcSession {
    inner: Arc<Inner>,
}

impl BlockStore {
    /// Begins a collection. From now on blocks that are put, put again or leased are safe.
    ///
    /// # Errors
    /// [`GcError::Running`].
    pub fn begin_gc(&self) -> Result<GcSession, GcError> {
        let mut catalog = write(&self.inner.catalog);
        if catalog.collecting {
            return Err(GcError::Running);
        }
        catalog.collecting = true;
        catalog.epoch += 1;
        catalog.new_roots.clear();
        Ok(GcSession { inner: Arc::clone(&self.inner) })
    }
}

impl Drop for GcSession {
    fn drop(&mut self) {
        let mut catalog = write(&self.inner.catalog);
        catalog.collecting = false;
        catalog.new_roots.clear();
    }
}

impl GcSession {
    /// Roots of all leases as they are now: the marker walks them along with the pins.
    #[must_use]
    pub fn leased_roots(&self) -> Vec<Key> {
        let leases = BlockStore { inner: Arc::clone(&self.inner) }.leases();
        leases.into_iter().flat_map(|lease| lease.roots).collect()
    }

    /// Roots that were leased since the last call; to be walked before the sweep.
    #[must_use]
    pub fn new_roots(&self) -> Vec<Key> {
        std::mem::take(&mut write(&self.inner.catalog).new_roots)
    }

    /// Keeps a block. Says whether it is there.
    pub fn mark(&self, key: impl Into<Key>) -> bool {
        write(&self.inner.catalog).protect(&key.into())
    }

    /// Deletes every block that is neither marked nor protected, and frees segments. Durable on
    /// return but for what was [postponed](SweepReport::postponed_segments). `control` is asked between segments and every few blocks.
    ///
    /// # Errors
    /// See [`GcError`]; in every case marked blocks are safe.
    pub fn sweep(
        &mut self,
        control: &mut dyn FnMut(SweepProgress) -> SweepControl,
    ) -> Result<SweepReport, GcError> {
        let roots = read(&self.inner.catalog).new_roots.len();
        if roots > 0 {
            return Err(GcError::UnwalkedRoots { roots });
        }
        // Blocks put before the sweep stand in sealed segments then, and copies are durable.
        self.inner.check_usable()?;
        if let Err(error) = self.inner.seal_open_segment() {
            // A disk that is full must not keep the collector from making room.
            match error {
                PutError::Disk(error) if error.is_full() => {
                    tracing::warn!(%error, "collecting without the growing segment");
                }
                other => return Err(other.into()),
            }
        }
        let segments = self.inner.sealed_segments();
        let mut report = SweepReport::default();
        for (done, segment) in segments.iter().enumerate() {
            let mut ask = |so_far: &SweepReport| {
                control(SweepProgress {
                    segments_done: done,
                    segments: segments.len(),
                    so_far: *so_far,
                })
            };
            report.cancelled = ask(&report) == SweepControl::Cancel;
            if report.cancelled {
                break;
            }
            self.inner.sweep_segment(*segment, &mut report, &mut ask).inspect_err(|error| {
                // Whatever failed to become durable, nothing may rest on it.
                if let GcError::Disk(error) = error {
                    self.inner.poison_if_final(error);
                }
            })?;
            if report.cancelled {
                break;
            }
        }
        Ok(report)
    }
}

/// A segment's blocks, as the sweep sees them.
#[derive(Debug, Default)]
struct Sorted {
    living: Vec<(Key, Slot)>,
    /// Units of what was deleted, now or before.
    dead: BTreeSet<u32>,
    /// Units of what has another copy elsewhere, which may not be durable yet.
    superseded: BTreeSet<u32>,
}

impl Inner {
    /// Sealed segments, those with the least life first, so that space comes back early.
    fn sealed_segments(&self) -> Vec<u32> {
        let catalog = read(&self.catalog);
        let mut sealed: Vec<_> = catalog.segments.iter().filter(|(_, stat)| stat.sealed).collect();
        sealed.sort_by_key(|(number, stat)| (stat.live_bytes, **number));
        sealed.into_iter().map(|(number, _)| *number).collect()
    }

    fn sweep_segment(
        &self,
        segment: u32,
        report: &mut SweepReport,
        ask: &mut dyn FnMut(&SweepReport) -> SweepControl,
    ) -> Result<(), GcError> {
        let tombstones = self.read_tombstones(segment)?.unwrap_or_default();
        let mut sorted = Sorted { dead: tombstones, ..Sorted::default() };
        self.each_listing(segment, &mut |listing| {
            self.sort(segment, &listing, &mut sorted, report)
        })?;
        let Some(stat) = read(&self.catalog).segments.get(&segment).copied() else { return Ok(()) };
        let bury = self.bury_superseded(&mut sorted)?;
        if sorted.living.is_empty() && bury {
            return Ok(self.drop_segment(segment, report)?);
        }
        if sorted.dead.len() > stat.tombstones {
            match self.write_tombstones(segment, &sorted.dead) {
                // Go on: segments without any life need no room to be deleted.
                Err(error) if error.is_full() => {
                    report.postponed_segments += 1;
                    return Ok(());
                }
                other => other?,
            }
            if let Some(stat) = write(&self.catalog).segments.get_mut(&segment) {
                stat.tombstones = sorted.dead.len();
            }
        }
        if !bury {
            report.postponed_segments += 1;
            return Ok(());
        }
        let threshold = stat.bytes / 100 * u64::from(self.options.rewrite_below_percent);
        let living_bytes: u64 = sorted.living.iter().map(|(_, slot)| u64::from(slot.len)).sum();
        if sorted.dead.is_empty() || living_bytes >= threshold {
            return Ok(());
        }
        match self.move_living(segment, &sorted.living, report, ask) {
            Err(GcError::Put(PutError::Disk(error))) if error.is_full() => {
                report.postponed_segments += 1;
                Ok(())
            }
            other => other,
        }
    }

    /// Decides one block, atomically with every put and lease.
    fn sort(&self, segment: u32, listing: &Listing, sorted: &mut Sorted, report: &mut SweepReport) {
        let mut catalog = write(&self.catalog);
        let slot = catalog.index.get(&listing.key);
        match slot.filter(|slot| slot.is_at(segment, listing.unit)) {
            Some(slot) if slot.epoch == catalog.epoch => sorted.living.push((listing.key, slot)),
            Some(_) => {
                catalog.remove(&listing.key);
                report.removed_blocks += 1;
                report.removed_bytes += u64::from(listing.len);
                sorted.dead.insert(listing.unit);
            }
            None if slot.is_some() && !sorted.dead.contains(&listing.unit) => {
                sorted.superseded.insert(listing.unit);
            }
            None => {
                sorted.dead.insert(listing.unit);
            }
        }
    }

    /// Counts what has another copy among the dead, once that copy is durable. `false` where the disk
    /// has no room for it: then the one here is still needed.
    fn bury_superseded(&self, sorted: &mut Sorted) -> Result<bool, GcError> {
        if sorted.superseded.is_empty() {
            return Ok(true);
        }
        match self.sync() {
            Ok(()) => {
                sorted.dead.append(&mut sorted.superseded);
                Ok(true)
            }
            Err(PutError::Disk(error)) if error.is_full() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn each_listing(&self, segment: u32, each: &mut dyn FnMut(Listing)) -> Result<(), DiskError> {
        if let Some(listing) = self.read_listing(segment)? {
            listings(&listing.entries).map_while(|entry| entry).for_each(each);
            return Ok(());
        }
        let file = self.disk.open(&self.segment_path(segment), Open::Read, Io::Buffered)?;
        let found = scan(&*file, segment)?;
        found.good.into_iter().for_each(each);
        Ok(())
    }

    fn move_living(
        &self,
        segment: u32,
        living: &[(Key, Slot)],
        report: &mut SweepReport,
        ask: &mut dyn FnMut(&SweepReport) -> SweepControl,
    ) -> Result<(), GcError> {
        const ASK_EVERY: usize = 64;
        let mut whole = true;
        for (n, (key, slot)) in living.iter().enumerate() {
            if n % ASK_EVERY == ASK_EVERY - 1 && ask(report) == SweepControl::Cancel {
                report.cancelled = true;
                return Ok(());
            }
            match self.read_slot(key, slot)? {
                Some(data) => {
                    self.append(key, &data, Purpose::Move { from: *slot })?;
                    report.moved_blocks += 1;
                }
                None => {
                    write(&self.catalog).mark_damaged(key, *slot);
                    report.damaged_blocks += 1;
                    whole = false;
                }
            }
        }
        if !whole {
            return Ok(());
        }
        self.sync()?;
        Ok(self.drop_segment(segment, report)?)
    }

    fn drop_segment(&self, segment: u32, report: &mut SweepReport) -> Result<(), DiskError> {
        self.remove_segment(segment)?;
        let mut catalog = write(&self.catalog);
        catalog.damaged.retain(|_, place| place.segment != segment);
        if let Some(stat) = catalog.segments.remove(&segment) {
            catalog.used_bytes = catalog.used_bytes.saturating_sub(stat.bytes);
            report.freed_bytes += stat.bytes;
        }
        report.removed_segments += 1;
        Ok(())
    }
}
