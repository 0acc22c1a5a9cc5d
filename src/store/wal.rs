//! A write-ahead log: batches of records, each batch one aligned write and one sync.
//!
//! Segments are preallocated files. A batch starts on a multiple of 4 KiB and is padded to one, so
//! no sector that was ever synced is written again. Its header names the segment and offset where
//! it belongs and the end and checksum of its predecessor, which gives recovery one strong rule:
//! because a batch is written only after its predecessor was synced, **damage that any later batch
//! follows is corruption, and damage that nothing follows is a torn tail**. The first is an error
//! that names the place; the second is cut, reported in [`Recovery::cut`], and left in place: the
//! log goes on in a new segment, whose first batch names where the old one ended.
//!
//! The scheme is that of the logs of etcd and LevelDB, with the chain of LogCabin's segments.

mod frame;
mod recover;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::disk::{
    ALIGN_BYTES, AlignedBuf, Disk, DiskError, DiskErrorKind, DiskFile, Io, Open, align_up,
    create_dir_durable, join,
};
use frame::{FrameHeader, HEADER_BYTES, RECORD_HEADER_BYTES};
pub use recover::{CutTail, Recovery};

/// Zeros that a small batch writes behind itself when it comes to space that was never written. A file
/// system keeps a record of which preallocated space holds bytes, and a sync after the first write to some
/// has to make that record durable too, which costs more than the bytes.
const READY_BYTES: u64 = 256 * 1024;
/// A larger batch goes without: its own bytes cost more than the record.
const SMALL_BATCH_BYTES: u64 = 64 * 1024;

/// The log can't be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// Synced data is damaged or missing. Nothing was changed; restore the node from its peers.
    #[error("log {dir}, segment {segment}, offset {offset}: {what}")]
    Corrupt {
        /// The log's folder.
        dir: String,
        /// Segment number.
        segment: u64,
        /// Byte offset in the segment.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// The segment belongs to another log. Nothing was changed; the folder was mixed up.
    #[error("log {dir}, segment {segment} belongs to another log")]
    Foreign {
        /// The log's folder.
        dir: String,
        /// Segment number.
        segment: u64,
    },
    /// The batch is larger than the log allows. Nothing was written; split it.
    #[error("a batch of {len_bytes} bytes is larger than the {max_bytes} allowed")]
    BatchTooLarge {
        /// Length of the batch.
        len_bytes: u64,
        /// The bound.
        max_bytes: u64,
    },
    /// An earlier write or sync failed, so what is durable is unknown. Final: close and reopen.
    #[error("the log was closed by an earlier failure: {cause}")]
    Poisoned {
        /// The first failure.
        cause: String,
    },
    /// The disk failed. A full disk leaves the log usable; any other failed write or sync poisons it.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Bounds and identity of a log.
#[derive(Debug, Clone, Copy)]
pub struct WalOptions {
    /// Stands in every batch, so that a segment of another log is never taken for one's own, nor a
    /// payload for a batch. Random per node.
    pub identity: [u8; 16],
    /// Preallocated size of a segment; a larger batch gets a larger segment.
    pub segment_bytes: u64,
    /// Largest batch, in bytes on disk.
    pub max_batch_bytes: u64,
}

/// A record to append: its payload is the concatenation of the parts.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// The caller's tag.
    pub kind: u8,
    /// Pieces of the payload.
    pub parts: &'a [&'a [u8]],
}

/// A record as recovery shows it.
#[derive(Debug, Clone, Copy)]
pub struct Replayed<'a> {
    /// The caller's tag.
    pub kind: u8,
    /// The payload.
    pub payload: &'a [u8],
    /// Where it stands.
    pub at: Location,
}

/// Where a record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// Segment number.
    pub segment: u64,
    /// Offset of the record's header in the segment.
    pub offset: u64,
    /// Length of the payload.
    pub len_bytes: u32,
}

/// Where the next batch goes and what it has to name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Tail {
    segment: u64,
    end: u64,
    crc: u32,
    sequence: u64,
}

/// An open log with one writer.
#[derive(Debug)]
pub struct Wal {
    disk: Arc<dyn Disk>,
    dir: String,
    options: WalOptions,
    files: BTreeMap<u64, Arc<dyn DiskFile>>,
    tail: Tail,
    /// Where the last batch that recovery found begins.
    last_start: u64,
    /// Numbers are never used twice, not even that of a segment in which nothing survived.
    next_segment: u64,
    /// Bytes preallocated in the tail segment; 0 when the next batch must start a new segment.
    tail_capacity: u64,
    /// Up to here the tail segment was written before, if only with zeros.
    tail_ready: u64,
    buffer: AlignedBuf,
    poisoned: Option<String>,
}

impl Wal {
    /// Opens or creates the log in `dir` and shows every record that survived, oldest first.
    ///
    /// # Errors
    /// [`WalError::Corrupt`] for damage that is no torn tail, an error of `visit`, or the disk's.
    pub fn open<E: From<WalError>>(
        disk: Arc<dyn Disk>,
        dir: &str,
        options: WalOptions,
        visit: &mut dyn FnMut(Replayed<'_>) -> Result<(), E>,
    ) -> Result<(Self, Recovery), E> {
        create_dir_durable(&*disk, dir).map_err(WalError::from)?;
        let mut wal = Self {
            disk,
            dir: dir.to_owned(),
            options,
            files: BTreeMap::new(),
            tail: Tail::default(),
            last_start: 0,
            next_segment: 1,
            tail_capacity: 0,
            tail_ready: 0,
            buffer: AlignedBuf::with_capacity(ALIGN_BYTES),
            poisoned: None,
        };
        let recovery = wal.recover(visit)?;
        Ok((wal, recovery))
    }

    /// Appends the records as one batch, durable on return. Returns where each stands.
    ///
    /// # Errors
    /// [`WalError::BatchTooLarge`] or a full disk leave the log as it was; any other disk error
    /// poisons it, because the batch may or may not survive.
    pub fn append(&mut self, records: &[Record<'_>]) -> Result<Vec<Location>, WalError> {
        self.check_usable()?;
        let body_bytes: u64 = records.iter().map(frame::record_len).sum();
        let frame_bytes = align_up(HEADER_BYTES as u64 + body_bytes);
        if frame_bytes > self.options.max_batch_bytes || body_bytes > u64::from(u32::MAX) {
            let max_bytes = self.options.max_batch_bytes;
            return Err(WalError::BatchTooLarge { len_bytes: frame_bytes, max_bytes });
        }
        let fits = self.tail.end + frame_bytes <= self.tail_capacity;
        let (segment, offset) =
            if fits { (self.tail.segment, self.tail.end) } else { (self.next_segment, 0) };
        let capacity =
            if fits { self.tail_capacity } else { self.options.segment_bytes.max(frame_bytes) };
        let ready = if fits { self.tail_ready } else { 0 };
        let (end, ahead) = (offset + frame_bytes, ready_ahead(frame_bytes, capacity - offset));
        let ahead = if end <= ready { 0 } else { ahead };
        let (crc, locations) = self.encode(records, frame_bytes + ahead, segment, offset);
        let written = if fits { self.write(segment, offset) } else { self.roll(capacity) };
        if let Err(error) = written {
            if error.kind != DiskErrorKind::Full {
                self.poison(&error);
            }
            return Err(error.into());
        }
        let sequence = self.tail.sequence + 1;
        self.tail = Tail { segment, end, crc, sequence };
        self.tail_ready = ready.max(end + ahead);
        Ok(locations)
    }

    /// Reads one record's payload.
    ///
    /// # Errors
    /// [`WalError::Corrupt`] when the checksum differs or the segment is gone; else the disk's.
    pub fn read(&self, at: Location) -> Result<Vec<u8>, WalError> {
        let corrupt = |what| self.corrupt(at.segment, at.offset, what);
        let file = self.files.get(&at.segment).ok_or_else(|| corrupt("the segment was removed"))?;
        let mut bytes = vec![0; RECORD_HEADER_BYTES + at.len_bytes as usize];
        if file.read_at(at.offset, &mut bytes)? != bytes.len() {
            return Err(corrupt("the segment ends within a record"));
        }
        let (record, _) = frame::parse_record(&bytes)
            .filter(|(record, _)| record.len() == at.len_bytes as usize)
            .ok_or_else(|| corrupt("a record's checksum differs"))?;
        let payload_at = bytes.len() - record.len();
        Ok(bytes.split_off(payload_at))
    }

    /// Deletes the segments before `segment`, oldest first, each durably, so that no crash leaves a
    /// gap. The segment that is written to stays.
    ///
    /// # Errors
    /// As [`Wal::append`], since a batch is written first; a failed sync closes the log. After any other
    /// failure the call can be repeated.
    pub fn truncate_front(&mut self, segment: u64) -> Result<(), WalError> {
        self.check_usable()?;
        let keep = segment.min(self.tail.segment);
        let dead: Vec<u64> = self.files.range(..keep).map(|(number, _)| *number).collect();
        if !dead.is_empty() {
            // What makes the front dispensable must not be the last batch: if that decays, it passes for
            // a torn end.
            self.append(&[])?;
        }
        for first in dead {
            match self.disk.remove(&self.segment_path(first)) {
                // An earlier call came this far.
                Err(error) if error.is_not_found() => {}
                other => other?,
            }
            if let Err(error) = self.disk.sync_dir(&self.dir) {
                if error.kind == DiskErrorKind::Sync {
                    self.poison(&error);
                }
                return Err(error.into());
            }
            self.files.remove(&first);
        }
        Ok(())
    }

    /// Number of segments on disk.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.files.len()
    }

    /// The segment that holds the last batch (0 while there is none).
    #[must_use]
    pub fn tail_segment(&self) -> u64 {
        self.tail.segment
    }

    /// Why nothing can be written until the log is opened again; `None` in health.
    pub fn failure(&self) -> Option<&str> {
        self.poisoned.as_deref()
    }

    fn check_usable(&self) -> Result<(), WalError> {
        match &self.poisoned {
            Some(cause) => Err(WalError::Poisoned { cause: cause.clone() }),
            None => Ok(()),
        }
    }

    fn poison(&mut self, error: &DiskError) {
        self.poisoned.get_or_insert_with(|| error.to_string());
    }

    fn corrupt(&self, segment: u64, offset: u64, what: &'static str) -> WalError {
        WalError::Corrupt { dir: self.dir.clone(), segment, offset, what }
    }

    fn segment_path(&self, segment: u64) -> String {
        join(&self.dir, &format!("{segment:016x}.wal"))
    }

    /// Fills the buffer with the batch and zeros up to `len_bytes`; returns its checksum and where its
    /// records will stand.
    fn encode(
        &mut self,
        records: &[Record<'_>],
        len_bytes: u64,
        segment: u64,
        offset: u64,
    ) -> (u32, Vec<Location>) {
        if self.buffer.capacity() < len_bytes as usize {
            self.buffer = AlignedBuf::with_capacity(len_bytes as usize);
        }
        self.buffer.clear();
        self.buffer.extend(&[0; HEADER_BYTES]);
        let mut locations = Vec::with_capacity(records.len());
        for record in records {
            let at = offset + self.buffer.len() as u64;
            let len_bytes = frame::push_record(&mut self.buffer, record);
            locations.push(Location { segment, offset: at, len_bytes });
        }
        let body = &self.buffer.as_slice()[HEADER_BYTES..];
        let header = FrameHeader {
            identity: self.options.identity,
            segment,
            offset,
            sequence: self.tail.sequence + 1,
            previous_segment: self.tail.segment,
            previous_end: self.tail.end,
            previous_crc: self.tail.crc,
            body_len: body.len() as u32,
            body_crc: crc32c::crc32c(body),
        };
        let (bytes, crc) = header.encode();
        self.buffer.as_mut_slice()[..HEADER_BYTES].copy_from_slice(&bytes);
        self.buffer.pad(len_bytes as usize);
        (crc, locations)
    }

    fn write(&self, segment: u64, offset: u64) -> Result<(), DiskError> {
        let file = self.files.get(&segment).expect("the tail segment is open while it has room");
        file.write_at(offset, self.buffer.as_slice())?;
        file.sync()
    }

    /// Writes the buffer as the first batch of a new segment.
    fn roll(&mut self, capacity: u64) -> Result<(), DiskError> {
        let segment = self.next_segment;
        let path = self.segment_path(segment);
        let file = self.disk.open(&path, Open::Create, Io::Direct)?;
        let written = file.preallocate(capacity).and_then(|()| {
            file.write_at(0, self.buffer.as_slice())?;
            file.sync()?;
            self.disk.sync_dir(&self.dir)
        });
        if let Err(error) = written {
            if error.is_full() {
                // The batch was refused; a file without it is what recovery treats as torn anyway.
                self.disk.remove(&path)?;
            }
            return Err(error);
        }
        self.files.insert(segment, file);
        self.next_segment = segment + 1;
        self.tail_capacity = capacity;
        Ok(())
    }
}

/// Zeros to write behind a batch, of which `room_bytes` are left in the segment with it.
fn ready_ahead(frame_bytes: u64, room_bytes: u64) -> u64 {
    if frame_bytes > SMALL_BATCH_BYTES { 0 } else { READY_BYTES.min(room_bytes - frame_bytes) }
}
