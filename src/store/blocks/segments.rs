//! A segment's files: the data, the listing of a sealed one, the tombstones of a collected one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use super::{Inner, lock};
use crate::codec::Fields;
use crate::disk::{Disk, DiskError, DiskFile, Io, Open, join};
use crate::files::{FileError, read_record, write_record};

pub(super) const DATA_SUFFIX: &str = ".seg";
pub(super) const LISTING_SUFFIX: &str = ".idx";
pub(super) const TOMBSTONES_SUFFIX: &str = ".del";

const LISTING_MAGIC: [u8; 4] = *b"IKBI";
const TOMBSTONES_MAGIC: [u8; 4] = *b"IKBD";
const VERSION: u16 = 1;
/// Bounds do not follow the options: what was written under larger ones must stay readable.
const MAX_LISTING_FILE_BYTES: u64 = 256 << 20;
/// Each has two descriptors.
const MAX_OPEN_FILES: usize = 128;

pub(super) fn number_of(name: &str, suffix: &str) -> Option<u32> {
    let digits = name.strip_suffix(suffix).filter(|digits| digits.len() == 8)?;
    u32::from_str_radix(digits, 16).ok()
}

/// What a sealed segment says it holds.
#[derive(Debug)]
pub(super) struct ListingFile {
    pub(super) end: u64,
    pub(super) entries: Vec<u8>,
}

impl Inner {
    pub(super) fn segment_path(&self, segment: u32) -> String {
        self.path(segment, DATA_SUFFIX)
    }

    pub(super) fn path(&self, segment: u32, suffix: &str) -> String {
        join(&self.dir, &format!("{segment:08x}{suffix}"))
    }

    /// Segment 4, end 8, entries.
    pub(super) fn write_listing(
        &self,
        segment: u32,
        end: u64,
        entries: &[u8],
    ) -> Result<(), DiskError> {
        let mut payload = Vec::with_capacity(12 + entries.len());
        payload.extend_from_slice(&segment.to_le_bytes());
        payload.extend_from_slice(&end.to_le_bytes());
        payload.extend_from_slice(entries);
        let path = self.path(segment, LISTING_SUFFIX);
        write_record(&*self.disk, &path, LISTING_MAGIC, VERSION, &payload)
    }

    /// The listing; `None` where it is absent, damaged or another segment's, so that the segment has
    /// to be scanned.
    pub(super) fn read_listing(&self, segment: u32) -> Result<Option<ListingFile>, DiskError> {
        let path = self.path(segment, LISTING_SUFFIX);
        let record = match read_record(&*self.disk, &path, LISTING_MAGIC, MAX_LISTING_FILE_BYTES) {
            Ok(Some(record)) if record.version == VERSION => record,
            Ok(_) => return Ok(None),
            Err(FileError::Disk(error)) => return Err(error),
            Err(error) => {
                tracing::warn!(%error, segment, "the listing is unusable; the segment is scanned");
                return Ok(None);
            }
        };
        let mut fields = Fields::new(&record.payload);
        let (Some(number), Some(end)) = (fields.u32(), fields.u64()) else { return Ok(None) };
        let entries = fields.rest().to_vec();
        Ok((number == segment).then_some(ListingFile { end, entries }))
    }

    /// Segment 4, then the unit of each deleted record.
    pub(super) fn write_tombstones(
        &self,
        segment: u32,
        units: &BTreeSet<u32>,
    ) -> Result<(), DiskError> {
        let mut payload = Vec::with_capacity(4 + units.len() * 4);
        payload.extend_from_slice(&segment.to_le_bytes());
        units.iter().for_each(|unit| payload.extend_from_slice(&unit.to_le_bytes()));
        let path = self.path(segment, TOMBSTONES_SUFFIX);
        write_record(&*self.disk, &path, TOMBSTONES_MAGIC, VERSION, &payload)
    }

    /// The deleted records of a segment, or `None` where the file that names them is damaged: then they
    /// are back, as garbage for the next collection.
    pub(super) fn read_tombstones(&self, segment: u32) -> Result<Option<BTreeSet<u32>>, DiskError> {
        let path = self.path(segment, TOMBSTONES_SUFFIX);
        let record = match read_record(&*self.disk, &path, TOMBSTONES_MAGIC, MAX_LISTING_FILE_BYTES)
        {
            Ok(Some(record)) => record,
            Ok(None) => return Ok(Some(BTreeSet::new())),
            Err(FileError::Disk(error)) => return Err(error),
            Err(error) => {
                tracing::warn!(%error, segment, "deleted blocks are back until the next collection");
                return Ok(None);
            }
        };
        let mut fields = Fields::new(&record.payload);
        let own = record.version == VERSION && fields.u32() == Some(segment);
        Ok(own.then(|| std::iter::from_fn(|| fields.u32()).collect()))
    }

    /// Deletes a segment, durably, and then what described it.
    pub(super) fn remove_segment(&self, segment: u32) -> Result<(), DiskError> {
        self.handles.remove(segment);
        self.disk.remove(&self.segment_path(segment))?;
        self.disk.sync_dir(&self.dir)?;
        for suffix in [LISTING_SUFFIX, TOMBSTONES_SUFFIX] {
            match self.disk.remove(&self.path(segment, suffix)) {
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Open segment files, the least recently used closed when there are too many.
#[derive(Debug, Default)]
pub(super) struct Handles {
    open: Mutex<OpenFiles>,
}

#[derive(Debug, Default)]
struct OpenFiles {
    files: BTreeMap<u32, (Arc<dyn DiskFile>, u64)>,
    clock: u64,
}

impl Handles {
    pub(super) fn insert(&self, segment: u32, file: Arc<dyn DiskFile>) {
        let mut open = lock(&self.open);
        open.clock += 1;
        let now = open.clock;
        open.files.insert(segment, (file, now));
        if open.files.len() > MAX_OPEN_FILES {
            let oldest = open.files.iter().min_by_key(|(_, (_, used))| *used).map(|(n, _)| *n);
            oldest.map(|oldest| open.files.remove(&oldest));
        }
    }

    pub(super) fn get(
        &self,
        disk: &dyn Disk,
        segment: u32,
        path: &str,
    ) -> Result<Arc<dyn DiskFile>, DiskError> {
        {
            let mut open = lock(&self.open);
            open.clock += 1;
            let now = open.clock;
            if let Some((file, used)) = open.files.get_mut(&segment) {
                *used = now;
                return Ok(Arc::clone(file));
            }
        }
        let file = disk.open(path, Open::Read, Io::Direct)?;
        self.insert(segment, Arc::clone(&file));
        Ok(file)
    }

    pub(super) fn remove(&self, segment: u32) {
        lock(&self.open).files.remove(&segment);
    }
}
