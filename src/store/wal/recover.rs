//! Opening a log: replay, and telling a torn tail from corruption.

use super::frame::{self, FrameHeader, HEADER_BYTES, RECORD_HEADER_BYTES};
use super::{Location, Replayed, Tail, Wal, WalError};
use crate::disk::{ALIGN_BYTES, AlignedBuf, DiskFile, Io, ListedKind, Open, align_up};
use std::sync::Arc;

/// How much is read at once while looking for batches behind damage.
const SEARCH_CHUNK_BYTES: u64 = 1 << 20;

const FOLLOWED: &str = "a batch that others follow is damaged";

/// What opening a log found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Batches that survived.
    pub batches: u64,
    /// Bytes behind the last batch that are no batch. They are the trace of a write that a crash
    /// interrupted, or of a last batch that decayed: the log can't tell, so a consensus node must
    /// neither vote nor acknowledge until it has caught up with its peers.
    pub cut: Option<CutTail>,
}

/// Where an incomplete tail was cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CutTail {
    /// Segment number.
    pub segment: u64,
    /// Offset of the first byte that was not kept.
    pub offset: u64,
}

/// What stands behind the last valid batch of a segment.
#[derive(Debug, PartialEq, Eq)]
enum Rest {
    Zeros,
    Garbage,
    /// A later batch: its sequence number proves that what is before it had been synced.
    LaterBatch,
}

impl Wal {
    pub(super) fn recover<E: From<WalError>>(
        &mut self,
        visit: &mut dyn FnMut(Replayed<'_>) -> Result<(), E>,
    ) -> Result<Recovery, E> {
        let mut recovery = Recovery::default();
        let numbers = self.list_segments()?;
        let oldest = numbers.first().copied().unwrap_or(1);
        let mut suspect = (oldest, 0);
        for (index, &segment) in numbers.iter().enumerate() {
            let path = self.segment_path(segment);
            let file = self.disk.open(&path, Open::Write, Io::Direct).map_err(WalError::from)?;
            let len = file.len().map_err(WalError::from)?;
            self.check_link(&*file, segment, oldest, suspect)?;
            let end = self.replay(&*file, segment, len, &mut recovery, visit)?;
            suspect = (segment, end);
            self.next_segment = segment + 1;
            self.files.insert(segment, Arc::clone(&file));
            let last = index + 1 == numbers.len();
            self.settle_end(&*file, (segment, end, len), last, &mut recovery)?;
        }
        self.rewrite_last_batch()?;
        // The names of the surviving segments may still be unsynced.
        self.disk.sync_dir(&self.dir).map_err(WalError::from)?;
        Ok(recovery)
    }

    fn list_segments(&self) -> Result<Vec<u64>, WalError> {
        let mut numbers = Vec::new();
        for entry in self.disk.list(&self.dir)? {
            let number = entry
                .name
                .strip_suffix(".wal")
                .filter(|name| name.len() == 16 && entry.kind == ListedKind::File)
                .and_then(|name| u64::from_str_radix(name, 16).ok());
            numbers.extend(number);
        }
        numbers.sort_unstable();
        match numbers.windows(2).find(|pair| pair[0] + 1 != pair[1]) {
            Some(gap) => Err(self.corrupt(gap[0] + 1, 0, "a segment is missing")),
            None => Ok(numbers),
        }
    }

    /// The first batch of a segment must name what survived of the segments before it, or one in a
    /// segment that was deleted with the front; otherwise the batch that it names, at `suspect`, is
    /// damaged. A segment without a first batch is judged by the segment after it.
    fn check_link(
        &self,
        file: &dyn DiskFile,
        segment: u64,
        oldest: u64,
        suspect: (u64, u64),
    ) -> Result<(), WalError> {
        let Some((header, _)) = self.header_at(file, segment, 0)? else { return Ok(()) };
        let first = self.tail == Tail::default();
        let linked =
            if first { header.previous_segment < oldest } else { header.follows(&self.tail) };
        if linked { Ok(()) } else { Err(self.corrupt(suspect.0, suspect.1, FOLLOWED)) }
    }

    /// Shows the records of the segment's valid batches; returns the end of the last.
    fn replay<E: From<WalError>>(
        &mut self,
        file: &dyn DiskFile,
        segment: u64,
        len: u64,
        recovery: &mut Recovery,
        visit: &mut dyn FnMut(Replayed<'_>) -> Result<(), E>,
    ) -> Result<u64, E> {
        let mut offset = 0;
        while let Some((header, crc)) = self.header_at(file, segment, offset)? {
            let frame_bytes = align_up(HEADER_BYTES as u64 + u64::from(header.body_len));
            // The file bounds it, not the option, which may have been larger when it was written.
            if offset + frame_bytes > len {
                break;
            }
            let mut body = vec![0; header.body_len as usize];
            let at = offset + HEADER_BYTES as u64;
            let read = file.read_at(at, &mut body).map_err(WalError::from)?;
            if read != body.len() || crc32c::crc32c(&body) != header.body_crc {
                break;
            }
            // The oldest segment that was kept starts in the middle of the chain.
            if self.tail != Tail::default() && !header.follows(&self.tail) {
                return Err(self
                    .corrupt(segment, offset, "a batch does not follow the one before")
                    .into());
            }
            self.show_records(segment, at, &body, visit)?;
            self.last_start = offset;
            offset += frame_bytes;
            self.tail = Tail { segment, end: offset, crc, sequence: header.sequence };
            recovery.batches += 1;
        }
        Ok(offset)
    }

    fn show_records<E: From<WalError>>(
        &self,
        segment: u64,
        body_at: u64,
        body: &[u8],
        visit: &mut dyn FnMut(Replayed<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut done = 0;
        while done < body.len() {
            let offset = body_at + done as u64;
            let (payload, kind) = frame::parse_record(&body[done..])
                .ok_or_else(|| self.corrupt(segment, offset, "a record's checksum differs"))?;
            let at = Location { segment, offset, len_bytes: payload.len() as u32 };
            visit(Replayed { kind, payload, at })?;
            done += RECORD_HEADER_BYTES + payload.len();
        }
        Ok(())
    }

    /// The batch header at this place, if one stands there that names this place.
    fn header_at(
        &self,
        file: &dyn DiskFile,
        segment: u64,
        offset: u64,
    ) -> Result<Option<(FrameHeader, u32)>, WalError> {
        let mut bytes = [0; HEADER_BYTES];
        let n = file.read_at(offset, &mut bytes)?;
        let Some((header, crc)) = FrameHeader::parse(&bytes[..n]) else { return Ok(None) };
        if header.identity != self.options.identity {
            return Err(WalError::Foreign { dir: self.dir.clone(), segment });
        }
        Ok((header.segment == segment && header.offset == offset).then_some((header, crc)))
    }

    /// Decides what stands behind the last valid batch of a segment of `len` bytes, whose last valid
    /// batch ends at `end`.
    fn settle_end(
        &mut self,
        file: &dyn DiskFile,
        (segment, end, len): (u64, u64, u64),
        last: bool,
        recovery: &mut Recovery,
    ) -> Result<(), WalError> {
        if end > 0 {
            // Whatever an earlier segment ends with was cut, and reported, before this one was begun.
            recovery.cut = None;
        }
        match self.rest(file, segment, end, len)? {
            Rest::LaterBatch => return Err(self.corrupt(segment, end, FOLLOWED)),
            // The evidence stays, and no sector that may have been synced is written again.
            Rest::Garbage => {
                recovery.cut.get_or_insert(CutTail { segment, offset: end });
            }
            Rest::Zeros if last && end > 0 => self.tail_capacity = len,
            Rest::Zeros if last => {
                // A creation that a crash interrupted before its first batch.
                self.files.remove(&segment);
                self.next_segment = segment;
                self.disk.remove(&self.segment_path(segment))?;
            }
            Rest::Zeros => {}
        }
        Ok(())
    }

    /// What a crashed process wrote but did not sync counts from now on, so it must be durable. A sync
    /// alone is not enough: after one that failed the kernel takes the bytes for written and never
    /// writes them again. Only the last batch can be in doubt, since each is synced before the next;
    /// the same bytes again do no harm wherever that write is torn.
    fn rewrite_last_batch(&mut self) -> Result<(), WalError> {
        let Some(file) = self.files.get(&self.tail.segment).cloned() else { return Ok(()) };
        let len_bytes = (self.tail.end - self.last_start) as usize;
        let mut frame = vec![0; len_bytes];
        if file.read_at(self.last_start, &mut frame)? != len_bytes {
            return Err(self.corrupt(self.tail.segment, self.last_start, "the last batch is cut"));
        }
        self.buffer = AlignedBuf::with_capacity(len_bytes.max(ALIGN_BYTES));
        self.buffer.extend(&frame);
        file.write_at(self.last_start, self.buffer.as_slice())?;
        Ok(file.sync()?)
    }

    fn rest(
        &self,
        file: &dyn DiskFile,
        segment: u64,
        from: u64,
        len: u64,
    ) -> Result<Rest, WalError> {
        let mut chunk = vec![0; len.saturating_sub(from).min(SEARCH_CHUNK_BYTES) as usize];
        let mut rest = Rest::Zeros;
        let mut at = from;
        while at < len {
            let n = file.read_at(at, &mut chunk)?;
            if n == 0 {
                break;
            }
            for (index, block) in chunk[..n].chunks(ALIGN_BYTES).enumerate() {
                let offset = at + (index * ALIGN_BYTES) as u64;
                if block.iter().all(|byte| *byte == 0) {
                    continue;
                }
                rest = Rest::Garbage;
                // At `from` itself stands the header of the batch that is torn or damaged.
                let later = FrameHeader::parse(block).is_some_and(|(header, _)| {
                    offset > from
                        && header.identity == self.options.identity
                        && (header.segment, header.offset) == (segment, offset)
                        && header.sequence > self.tail.sequence + 1
                });
                if later {
                    return Ok(Rest::LaterBatch);
                }
            }
            at += n as u64;
        }
        Ok(rest)
    }
}
