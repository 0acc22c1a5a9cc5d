//! Opening a store: listings where there are any, a scan where there are none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock, RwLock};

use super::format::{Listing, MAX_FRAME_BYTES, listings, push_listing};
use super::index::{Catalog, SegmentStat, Slot};
use super::lease::Leases;
use super::scan::{Bad, Scan, scan};
use super::segments::{
    DATA_SUFFIX, Handles, LISTING_SUFFIX, ListingFile, TOMBSTONES_SUFFIX, number_of,
};
use super::writer::{Flusher, Frame, OpenSegment, Writer, position};
use super::{BlockStoreOptions, Inner, Key, OpenError, Place, write};
use crate::disk::{
    ALIGN_BYTES, AlignedBuf, Disk, DiskError, DiskFile, Io, Open, align_up, create_dir_durable,
    join,
};
use crate::files::TEMPORARY;
use crate::wal::CutTail;

/// How many findings of each sort a report lists.
const MAX_FINDINGS: usize = 1000;
/// How much of a growing segment is written again at once.
const REWRITE_BYTES: usize = 1 << 20;
/// What an offset in units of eight bytes reaches.
const MAX_SEGMENT_BYTES: u64 = 32 << 30;

/// A place that holds no valid block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finding {
    /// Where.
    pub place: Place,
    /// Which block stood there, if its header is whole.
    pub key: Option<Key>,
}

/// What opening a store found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Blocks in the index.
    pub blocks: u64,
    /// Segments.
    pub segments: usize,
    /// Segments that had to be scanned.
    pub scanned: usize,
    /// Damage in data that had been synced: these blocks are lost here and must be fetched again.
    pub damaged: Vec<Finding>,
    /// Damage behind the last known sync: writes that a crash interrupted, not acknowledged unless
    /// the very last sync decayed.
    pub cut: Vec<Finding>,
    /// Segments whose list of deleted blocks is damaged: these blocks are back, as garbage for the next
    /// collection.
    pub undeleted: Vec<u32>,
    /// Where the end of the lease log was cut off: a change of a lease that a crash interrupted, or
    /// the last one, which has decayed.
    pub leases_cut: Option<CutTail>,
}

/// The files of one segment number.
#[derive(Debug, Clone, Copy, Default)]
struct Files {
    data: bool,
    listing: bool,
    tombstones: bool,
}

impl Inner {
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        dir: &str,
        options: BlockStoreOptions,
    ) -> Result<(Self, OpenReport), OpenError> {
        check_options(&options)?;
        create_dir_durable(&*disk, dir)?;
        let (leases, leases_cut) =
            Leases::open(Arc::clone(&disk), &join(dir, "leases"), options.identity)?;
        let first = Frame::new(1, 1, 0, AlignedBuf::with_capacity(options.frame_bytes));
        let inner = Self {
            disk,
            dir: dir.to_owned(),
            options,
            catalog: RwLock::new(Catalog::new()),
            handles: Handles::default(),
            recent: Mutex::default(),
            writer: Mutex::new(Writer::new(first)),
            flusher: Mutex::new(Flusher::default()),
            behind: OnceLock::new(),
            synced_sequence: Mutex::new(0),
            allocated: Mutex::new((0, 0)),
            written_to: AtomicU64::new(0),
            poisoned: OnceLock::new(),
            trouble: Mutex::new(None),
            leases: Mutex::new(leases),
        };
        let (inner, report) = inner.load()?;
        Ok((inner, OpenReport { leases_cut, ..report }))
    }

    fn load(mut self) -> Result<(Self, OpenReport), OpenError> {
        let mut report = OpenReport::default();
        let files = self.remove_litter()?;
        let last = files.last_key_value().map(|(number, _)| *number);
        let mut open = None;
        for (&segment, files) in &files {
            let growing = last == Some(segment) && !files.listing && !files.tombstones;
            if growing {
                open = self.load_growing(segment, &mut report)?;
            } else {
                self.load_sealed(segment, *files, &mut report)?;
            }
        }
        self.disk.sync_dir(&self.dir)?;
        let (segment, base) = match &open {
            Some(open) => (open.number, open.end),
            None => (last.unwrap_or(0) + 1, 0),
        };
        let buffer = AlignedBuf::with_capacity(self.options.frame_bytes);
        self.writer = Mutex::new(Writer::new(Frame::new(1, segment, base, buffer)));
        self.written_to = AtomicU64::new(position(segment, base));
        self.flusher = Mutex::new(Flusher { open });
        {
            let mut catalog = write(&self.catalog);
            let Catalog { index, damaged, .. } = &mut *catalog;
            damaged.retain(|key, _| index.get(key).is_none());
            report.blocks = catalog.index.len();
            report.segments = catalog.segments.len();
        }
        Ok((self, report))
    }

    /// Removes what describes no segment any more, and unfinished files.
    fn remove_litter(&self) -> Result<BTreeMap<u32, Files>, OpenError> {
        let names: Vec<_> =
            self.disk.list(&self.dir)?.into_iter().map(|entry| entry.name).collect();
        let mut files: BTreeMap<u32, Files> = BTreeMap::new();
        for name in &names {
            if let Some(number) = number_of(name, DATA_SUFFIX) {
                files.entry(number).or_default().data = true;
            } else if let Some(number) = number_of(name, LISTING_SUFFIX) {
                files.entry(number).or_default().listing = true;
            } else if let Some(number) = number_of(name, TOMBSTONES_SUFFIX) {
                files.entry(number).or_default().tombstones = true;
            } else if name.ends_with(TEMPORARY) {
                self.disk.remove(&join(&self.dir, name))?;
            }
        }
        for (&number, found) in files.iter().filter(|(_, found)| !found.data) {
            for (exists, suffix) in
                [(found.listing, LISTING_SUFFIX), (found.tombstones, TOMBSTONES_SUFFIX)]
            {
                if exists {
                    self.disk.remove(&self.path(number, suffix))?;
                }
            }
        }
        // Before a number can be used again, its old tombstones must be gone for good.
        self.disk.sync_dir(&self.dir)?;
        files.retain(|_, found| found.data);
        Ok(files)
    }

    fn load_sealed(
        &self,
        segment: u32,
        files: Files,
        report: &mut OpenReport,
    ) -> Result<(), OpenError> {
        let tombstones = self.read_tombstones(segment)?.unwrap_or_else(|| {
            report.undeleted.push(segment);
            BTreeSet::new()
        });
        let listing = if files.listing { self.read_listing(segment)? } else { None };
        let ListingFile { end, entries } = match listing {
            Some(listing) => listing,
            None => {
                report.scanned += 1;
                let found = self.scan_segment(segment)?;
                self.note_damage(&found.bad, &mut report.damaged);
                self.write_scanned_listing(segment, &found)?
            }
        };
        let living = listings(&entries)
            .map_while(|entry| entry)
            .filter(|entry| !tombstones.contains(&entry.unit));
        self.add(segment, living);
        let stat =
            SegmentStat { bytes: end, tombstones: tombstones.len(), sealed: true, live_bytes: 0 };
        self.set_stat(segment, stat);
        Ok(())
    }

    /// The segment that was growing when the store was closed. It goes on if it ends cleanly;
    /// otherwise it is sealed where it is, so that nothing that may have been synced is overwritten.
    fn load_growing(
        &self,
        segment: u32,
        report: &mut OpenReport,
    ) -> Result<Option<OpenSegment>, OpenError> {
        report.scanned += 1;
        let found = self.scan_segment(segment)?;
        let (damaged, torn): (Vec<&Bad>, Vec<&Bad>) =
            found.bad.iter().partition(|bad| bad.place.offset < found.synced_end);
        self.note_damage(&damaged, &mut report.damaged);
        let torn = torn.iter().map(|bad| Finding { place: bad.place, key: bad.key });
        report.cut.extend(torn.take(MAX_FINDINGS));
        let clean = found.bad.is_empty() && !found.garbage;
        if found.end == 0 {
            if clean {
                // A creation that a crash interrupted.
                self.disk.remove(&self.segment_path(segment))?;
                return Ok(None);
            }
            tracing::warn!(segment, "the newest segment holds no valid block");
        }
        let path = self.segment_path(segment);
        let file = self.disk.open(&path, Open::Write, Io::Direct)?;
        rewrite(&*file, found.synced_end.min(found.end), found.end)?;
        self.add(segment, found.good.iter().copied());
        let mut stat = SegmentStat { bytes: found.end, ..SegmentStat::default() };
        let listing = encode_listing(&found);
        let open =
            OpenSegment { number: segment, file, end: found.end, synced_end: found.end, listing };
        let room = found.end + self.options.frame_bytes as u64 <= self.options.segment_bytes;
        if clean && room {
            self.set_stat(segment, stat);
            return Ok(Some(open));
        }
        stat.sealed = true;
        self.set_stat(segment, stat);
        // The torn part behind the end is cut off here; damage before it stays as evidence.
        self.seal(&open)?;
        Ok(None)
    }

    fn scan_segment(&self, segment: u32) -> Result<Scan, OpenError> {
        let file = self.disk.open(&self.segment_path(segment), Open::Read, Io::Buffered)?;
        Ok(scan(&*file, segment)?)
    }

    fn write_scanned_listing(&self, segment: u32, found: &Scan) -> Result<ListingFile, OpenError> {
        let entries = encode_listing(found);
        match self.write_listing(segment, found.end, &entries) {
            Err(error) if error.is_full() => {
                tracing::warn!(%error, segment, "no listing; it will be scanned again");
            }
            other => other?,
        }
        Ok(ListingFile { end: found.end, entries })
    }

    fn note_damage(&self, bad: &[impl std::borrow::Borrow<Bad>], findings: &mut Vec<Finding>) {
        let mut catalog = write(&self.catalog);
        for bad in bad {
            let Bad { place, key } = *bad.borrow();
            if let Some(key) = key {
                catalog.damaged.insert(key, place);
            }
            if findings.len() < MAX_FINDINGS {
                findings.push(Finding { place, key });
            }
            tracing::error!(segment = place.segment, offset = place.offset, ?key, "damaged block");
        }
    }

    fn add(&self, segment: u32, living: impl Iterator<Item = Listing>) {
        let mut catalog = write(&self.catalog);
        for Listing { key, unit, len } in living {
            catalog.insert(key, Slot { segment, unit, len, epoch: 0 });
        }
    }

    /// Sets a segment's figures, keeping the live bytes that its blocks have added up to.
    fn set_stat(&self, segment: u32, stat: SegmentStat) {
        let mut catalog = write(&self.catalog);
        let entry = catalog.segments.entry(segment).or_default();
        *entry = SegmentStat { live_bytes: entry.live_bytes, ..stat };
        catalog.used_bytes += stat.bytes;
    }
}

/// What a crashed process wrote but did not sync counts from now on, so it must be durable. A sync alone
/// is not enough: after one that failed the kernel takes the bytes for written and never writes them
/// again. The same bytes again do no harm wherever that write is torn.
fn rewrite(file: &dyn DiskFile, from: u64, to: u64) -> Result<(), DiskError> {
    let unit = ALIGN_BYTES as u64;
    let (mut at, to) = (from / unit * unit, align_up(to));
    let mut bytes = vec![0; REWRITE_BYTES];
    while at < to {
        let len = (to - at).min(REWRITE_BYTES as u64) as usize;
        let read = file.read_at(at, &mut bytes[..len])?;
        let mut aligned = AlignedBuf::with_capacity(REWRITE_BYTES);
        aligned.extend(&bytes[..read]);
        aligned.pad_to(ALIGN_BYTES);
        file.write_at(at, aligned.as_slice())?;
        at += len as u64;
    }
    file.sync()
}

fn encode_listing(found: &Scan) -> Vec<u8> {
    let mut entries = Vec::new();
    for Listing { key, unit, len } in &found.good {
        push_listing(&mut entries, &key.to_bytes(), *unit, *len);
    }
    entries
}

fn check_options(options: &BlockStoreOptions) -> Result<(), OpenError> {
    let bad = |what| Err(OpenError::BadOptions { what });
    if options.max_block_bytes() == 0 || !options.frame_bytes.is_multiple_of(ALIGN_BYTES) {
        return bad("the frame size must be a multiple of 4096");
    }
    if options.frame_bytes as u64 > MAX_FRAME_BYTES {
        return bad("a frame is at most 64 MiB");
    }
    if options.segment_bytes < options.frame_bytes as u64 {
        return bad("a segment must hold a frame");
    }
    if options.segment_bytes > MAX_SEGMENT_BYTES {
        return bad("a segment is at most 32 GiB");
    }
    Ok(())
}
