//! The write path: blocks gather in a frame, full frames go to the segment in one aligned write.
//!
//! Two locks in this order: the *flusher* (one thread writes at a time) and the *writer* (the frame
//! that fills). A thread that finds the frame full swaps in an empty one and writes without the
//! writer lock, so that others hash and fill meanwhile; or it leaves the write to the thread that
//! writes behind, and fills the empty one itself. A frame that could not be written (a full disk)
//! stays in memory, readable, and is tried again first: nothing that was put is lost.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};

use super::format::{self, FRAME_HEADER_BYTES, FrameHeader, RECORD_UNIT_BYTES};
use super::index::Slot;
use super::{Inner, Key, PutError, lock, read, write};
use crate::disk::{ALIGN_BYTES, AlignedBuf, DiskError, DiskErrorKind, DiskFile, Io, Open};

/// A segment is closed when its listing has grown to this, however small its blocks are.
const MAX_LISTING_BYTES: usize = 32 << 20;

/// Blocks on their way to the disk.
#[derive(Debug)]
pub(super) struct Frame {
    sequence: u64,
    segment: u32,
    base: u64,
    buffer: AlignedBuf,
    listing: Vec<u8>,
}

impl Frame {
    pub(super) fn new(sequence: u64, segment: u32, base: u64, mut buffer: AlignedBuf) -> Self {
        buffer.clear();
        buffer.extend(&[0; FRAME_HEADER_BYTES]);
        Self { sequence, segment, base, buffer, listing: Vec::new() }
    }

    fn has_blocks(&self) -> bool {
        !self.listing.is_empty()
    }

    /// The record at this place, if it is in this frame.
    fn find(&self, slot: &Slot) -> Option<&[u8]> {
        let at = slot.offset().checked_sub(self.base)?;
        (slot.segment == self.segment).then(|| self.buffer.as_slice().get(at as usize..))?
    }
}

/// The frame that fills, and the one being written.
#[derive(Debug)]
pub(super) struct Writer {
    frame: Frame,
    in_flight: Option<Arc<Frame>>,
    spare: Option<AlignedBuf>,
}

impl Writer {
    pub(super) fn new(frame: Frame) -> Self {
        Self { frame, in_flight: None, spare: None }
    }

    /// The newest frame with blocks in it.
    pub(super) fn newest_sequence(&self) -> u64 {
        if self.frame.has_blocks() { self.frame.sequence } else { self.frame.sequence - 1 }
    }

    /// The record at this place, if it has not reached the disk yet.
    pub(super) fn find(&self, slot: &Slot) -> Option<&[u8]> {
        self.frame.find(slot).or_else(|| self.in_flight.as_ref()?.find(slot))
    }
}

/// The segment that grows.
#[derive(Debug)]
pub(super) struct OpenSegment {
    pub(super) number: u32,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) end: u64,
    pub(super) synced_end: u64,
    pub(super) listing: Vec<u8>,
}

/// What the one flushing thread owns.
#[derive(Debug, Default)]
pub(super) struct Flusher {
    pub(super) open: Option<OpenSegment>,
}

/// Why a block is appended.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    /// It is new; refuse it when the store is full.
    Put,
    /// The collector moves it away from this slot. May exceed the bound for a moment, since space
    /// is about to be freed.
    Move { from: Slot },
}

/// What became of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Appended {
    Stored,
    /// Nothing to do: it is there already, or it is no longer where it was to be moved from.
    NotNeeded,
}

impl Inner {
    /// Appends one block, flushing full frames on the way.
    pub(super) fn append(
        &self,
        key: &Key,
        data: &[u8],
        purpose: Purpose,
    ) -> Result<Appended, PutError> {
        let crc = crc32c::crc32c(data);
        let key_bytes = key.to_bytes();
        let record_bytes = format::record_bytes(key_bytes.len(), data.len());
        loop {
            let mut writer = lock(&self.writer);
            let epoch = {
                let mut catalog = write(&self.catalog);
                let needed = match purpose {
                    Purpose::Put => !catalog.protect(key),
                    Purpose::Move { from } => {
                        catalog.index.get(key).is_some_and(|now| now.is_at(from.segment, from.unit))
                    }
                };
                if !needed {
                    return Ok(Appended::NotNeeded);
                }
                let used = catalog.used_bytes;
                if matches!(purpose, Purpose::Put) && !self.has_room(used, record_bytes) {
                    return Err(PutError::Full { used, max: self.max_bytes() });
                }
                catalog.epoch
            };
            if matches!(purpose, Purpose::Put) {
                self.check_reserve(&writer.frame, record_bytes)?;
            }
            let frame = &mut writer.frame;
            if (frame.buffer.room() as u64) < record_bytes {
                let sequence = frame.sequence;
                drop(writer);
                self.make_room(sequence)?;
                continue;
            }
            let offset = frame.base + frame.buffer.len() as u64;
            let unit = (offset / RECORD_UNIT_BYTES) as u32;
            let len = data.len() as u32;
            format::push_record(&mut frame.buffer, &key_bytes, data, crc);
            format::push_listing(&mut frame.listing, &key_bytes, unit, len);
            let segment = frame.segment;
            let mut catalog = write(&self.catalog);
            catalog.used_bytes += record_bytes;
            catalog.insert(*key, Slot { segment, unit, len, epoch });
            return Ok(Appended::Stored);
        }
    }

    /// Refuses what would use the last of the disk. Room that the growing segment was given already is
    /// free no more, and may be filled.
    fn check_reserve(&self, frame: &Frame, more: u64) -> Result<(), PutError> {
        let reserve = self.options.reserve_bytes;
        let end = frame.base + frame.buffer.len() as u64 + more;
        let (segment, allocated) = *lock(&self.allocated);
        if reserve == 0 || (segment == frame.segment && end <= allocated) {
            return Ok(());
        }
        let free = self.disk.space()?.free_bytes;
        // Two frames may wait in memory for their write.
        let wanted =
            reserve.saturating_add(more).saturating_add(2 * self.options.frame_bytes as u64);
        if free < wanted { Err(PutError::Reserved { free, reserve }) } else { Ok(()) }
    }

    /// Whether `more` bytes, framed, keep within the bound.
    pub(super) fn has_room(&self, used: u64, more: u64) -> bool {
        used.saturating_add(more).saturating_add(ALIGN_BYTES as u64) <= self.max_bytes()
    }

    pub(super) fn max_bytes(&self) -> u64 {
        self.options.max_bytes.unwrap_or(u64::MAX)
    }

    /// Writes all frames up to `sequence`. Keeps the flusher lock for the caller.
    pub(super) fn flush_through(&self, sequence: u64) -> Result<MutexGuard<'_, Flusher>, PutError> {
        let mut flusher = lock(&self.flusher);
        while let Some(frame) = self.next_frame(&flusher, sequence) {
            self.check_usable()?;
            let written = self.write_frame(&mut flusher, &frame);
            *lock(&self.trouble) = written.as_ref().err().map(ToString::to_string);
            written?;
            self.written(frame);
        }
        Ok(flusher)
    }

    /// Whether another frame fills now, and this one is left to the thread that writes; not while an
    /// earlier one waits.
    pub(super) fn hand_over(&self, flusher: &Flusher, sequence: u64) -> bool {
        let writer = lock(&self.writer);
        if writer.frame.sequence > sequence {
            return true;
        }
        let waits = writer.in_flight.is_some();
        drop(writer);
        !waits && self.next_frame(flusher, sequence).is_some()
    }

    /// Writes the frame that was taken over, if nobody has done it yet.
    pub(super) fn flush_handed_over(&self) -> Result<(), PutError> {
        // No frame has the number 0: only what has been taken over is written.
        self.flush_through(0).map(drop)
    }

    /// The stuck frame if there is one, else the one that fills if it is wanted.
    fn next_frame(&self, flusher: &Flusher, sequence: u64) -> Option<Arc<Frame>> {
        let mut writer = lock(&self.writer);
        if let Some(stuck) = &writer.in_flight {
            return Some(Arc::clone(stuck));
        }
        if writer.frame.sequence > sequence || !writer.frame.has_blocks() {
            return None;
        }
        let spare = writer.spare.take();
        let buffer = spare.unwrap_or_else(|| AlignedBuf::with_capacity(self.options.frame_bytes));
        let frame = &mut writer.frame;
        let body_len = frame.buffer.len() - FRAME_HEADER_BYTES;
        let open = flusher.open.as_ref().filter(|open| open.number == frame.segment);
        let header = FrameHeader {
            segment: frame.segment,
            offset: frame.base,
            body_len: body_len as u32,
            synced_end: open.map_or(0, |open| open.synced_end),
        };
        frame.buffer.as_mut_slice()[..FRAME_HEADER_BYTES].copy_from_slice(&header.encode());
        frame.buffer.pad_to(ALIGN_BYTES);
        let frame_bytes = frame.buffer.len() as u64;
        let end = frame.base + frame_bytes;
        let listing_bytes = open.map_or(0, |open| open.listing.len());
        let fits = end + self.options.frame_bytes as u64 <= self.options.segment_bytes
            && listing_bytes < MAX_LISTING_BYTES;
        let (segment, base) = if fits { (frame.segment, end) } else { (frame.segment + 1, 0) };
        let next = Frame::new(frame.sequence + 1, segment, base, buffer);
        let full = Arc::new(std::mem::replace(&mut writer.frame, next));
        writer.in_flight = Some(Arc::clone(&full));
        let mut catalog = write(&self.catalog);
        catalog.used_bytes += frame_bytes - body_len as u64;
        catalog.segments.entry(full.segment).or_default().bytes = end;
        Some(full)
    }

    fn write_frame(&self, flusher: &mut Flusher, frame: &Frame) -> Result<(), DiskError> {
        if flusher.open.as_ref().is_none_or(|open| open.number != frame.segment) {
            if let Some(full) = &flusher.open {
                self.seal(full)?;
            }
            // Only now, because an unsealed segment may hold what a later sync has to cover.
            flusher.open = None;
            flusher.open = Some(self.create_segment(frame)?);
        }
        let open = flusher.open.as_mut().expect("it was just opened");
        open.file.write_at(frame.base, frame.buffer.as_slice())?;
        open.end = frame.base + frame.buffer.len() as u64;
        open.listing.extend_from_slice(&frame.listing);
        Ok(())
    }

    fn written(&self, frame: Arc<Frame>) {
        let end = position(frame.segment, frame.base + frame.buffer.len() as u64);
        self.written_to.store(end, Ordering::Release);
        let mut writer = lock(&self.writer);
        writer.in_flight = None;
        writer.spare = Arc::into_inner(frame).map(|frame| frame.buffer);
    }

    fn create_segment(&self, frame: &Frame) -> Result<OpenSegment, DiskError> {
        let path = self.segment_path(frame.segment);
        let used = read(&self.catalog).used_bytes;
        let spare = self.disk.space()?.free_bytes.saturating_sub(self.options.reserve_bytes);
        let room = self.max_bytes().saturating_sub(used).min(self.options.segment_bytes).min(spare);
        let capacity = room.max(frame.buffer.len() as u64).next_multiple_of(ALIGN_BYTES as u64);
        let file = self.disk.open(&path, Open::Create, Io::Direct)?;
        let prepared = file.preallocate(capacity).and_then(|()| self.disk.sync_dir(&self.dir));
        if let Err(error) = prepared {
            self.poison_if_final(&error);
            if error.is_full() {
                self.disk.remove(&path)?;
            }
            return Err(error);
        }
        let number = frame.segment;
        *lock(&self.allocated) = (number, capacity);
        self.handles.insert(number, Arc::clone(&file));
        Ok(OpenSegment { number, file, end: 0, synced_end: 0, listing: Vec::new() })
    }

    /// Cuts a segment to its length, makes it durable and gives it its listing.
    pub(super) fn seal(&self, open: &OpenSegment) -> Result<(), DiskError> {
        open.file.set_len(open.end)?;
        open.file.sync().inspect_err(|error| self.poison_if_final(error))?;
        if let Some(stat) = write(&self.catalog).segments.get_mut(&open.number) {
            stat.sealed = true;
        }
        if let Err(error) = self.write_listing(open.number, open.end, &open.listing) {
            self.poison_if_final(&error);
            tracing::warn!(%error, segment = open.number, "no listing; it will be scanned at start");
        }
        Ok(())
    }

    /// Closes the growing segment, so that everything put before stands in sealed ones.
    pub(super) fn seal_open_segment(&self) -> Result<(), PutError> {
        loop {
            let newest = lock(&self.writer).newest_sequence();
            let mut flusher = self.flush_through(newest)?;
            let mut writer = lock(&self.writer);
            if writer.frame.has_blocks() || writer.in_flight.is_some() {
                continue;
            }
            let Some(open) = &flusher.open else { return Ok(()) };
            writer.frame.segment = open.number + 1;
            writer.frame.base = 0;
            drop(writer);
            self.seal(open)?;
            flusher.open = None;
            return Ok(());
        }
    }

    /// See [`super::BlockStore::sync`].
    pub(super) fn sync(&self) -> Result<(), PutError> {
        self.check_usable()?;
        let mine = lock(&self.writer).newest_sequence();
        let mut synced = lock(&self.synced_sequence);
        // Whoever held the lock before may have synced this caller's blocks along with its own.
        if *synced >= mine {
            return self.check_usable();
        }
        let newest = lock(&self.writer).newest_sequence();
        let flusher = self.flush_through(newest)?;
        let open =
            flusher.open.as_ref().map(|open| (Arc::clone(&open.file), open.number, open.end));
        drop(flusher);
        let Some((file, number, end)) = open else {
            *synced = newest;
            return self.check_usable();
        };
        file.sync().inspect_err(|error| self.poison_if_final(error))?;
        // A segment that was sealed on the way was synced by that, or poisoned the store.
        self.check_usable()?;
        *synced = newest;
        let mut flusher = lock(&self.flusher);
        if let Some(open) = flusher.open.as_mut().filter(|open| open.number == number) {
            open.synced_end = open.synced_end.max(end);
        }
        Ok(())
    }

    pub(super) fn check_usable(&self) -> Result<(), PutError> {
        match self.poisoned.get() {
            Some(cause) => Err(PutError::Poisoned { cause: cause.clone() }),
            None => Ok(()),
        }
    }

    /// After a failed sync nobody knows what is durable; the store becomes read-only.
    pub(super) fn poison_if_final(&self, error: &DiskError) {
        if error.kind == DiskErrorKind::Sync {
            self.poisoned.get_or_init(|| error.to_string());
        }
    }
}

/// A place in the order of writing, for comparison.
pub(super) fn position(segment: u32, offset: u64) -> u64 {
    (u64::from(segment) << 32) | (offset / RECORD_UNIT_BYTES)
}
