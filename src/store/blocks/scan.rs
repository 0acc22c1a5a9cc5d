//! Reading a segment that has no listing: every frame, every record, every checksum.
//!
//! Frames follow each other from the start, and in a frame the records do. As far as that chain is
//! whole, checksums are proof enough. Behind a break nobody knows where anything starts, so records are
//! looked for at every place where one may stand. What is found there may be a forgery inside somebody's
//! block, so it counts only if its bytes have the hash that its key says.

use super::format::{
    FRAME_HEADER_BYTES, FrameHeader, Listing, MAX_FRAME_BYTES, RECORD_UNIT_BYTES, RecordHeader,
    is_record_start,
};
use super::{Key, Place};
use crate::disk::{ALIGN_BYTES, DiskError, DiskFile, align_up};

const CHUNK_BYTES: u64 = 1 << 20;
/// A search checks this many times its own bytes: forged headers must not make it check all of them
/// again and again.
const MAX_SEARCH_WORK: usize = 16;

/// A region that is no valid record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bad {
    pub(super) place: Place,
    /// The block, where the record's header is whole.
    pub(super) key: Option<Key>,
}

/// What a scan found.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) good: Vec<Listing>,
    pub(super) bad: Vec<Bad>,
    /// End of the last frame, or of the last record behind it.
    pub(super) end: u64,
    /// A frame said that everything before this was synced when it was written.
    pub(super) synced_end: u64,
    /// Bytes that are neither zero nor in a frame.
    pub(super) garbage: bool,
}

/// Scans a segment from start to end.
pub(super) fn scan(file: &dyn DiskFile, segment: u32) -> Result<Scan, DiskError> {
    let mut found = Scan::default();
    while let Some(header) = frame_at(file, segment, found.end)? {
        let body_at = found.end + FRAME_HEADER_BYTES as u64;
        let body = read(file, body_at, header.body_len as usize)?;
        read_frame(&body, body_at, segment, &mut found);
        if body.len() < header.body_len as usize {
            let offset = body_at + body.len() as u64;
            found.bad.push(Bad { place: Place { segment, offset }, key: None });
        }
        found.synced_end = found.synced_end.max(header.synced_end);
        found.end = align_up(body_at + u64::from(header.body_len));
    }
    Search { segment, found: &mut found, reported: true }.run(file)?;
    Ok(found)
}

/// The frame that says of itself that it stands here.
fn frame_at(
    file: &dyn DiskFile,
    segment: u32,
    offset: u64,
) -> Result<Option<FrameHeader>, DiskError> {
    let bytes = read(file, offset, FRAME_HEADER_BYTES)?;
    Ok(parse_frame(&bytes, segment, offset))
}

fn parse_frame(bytes: &[u8], segment: u32, offset: u64) -> Option<FrameHeader> {
    FrameHeader::parse(bytes).filter(|header| {
        let fits = FRAME_HEADER_BYTES as u64 + u64::from(header.body_len) <= MAX_FRAME_BYTES;
        (header.segment, header.offset) == (segment, offset) && fits
    })
}

/// Reads the records of a frame, one behind the other. Behind one whose header is damaged they are
/// looked for.
fn read_frame(body: &[u8], base: u64, segment: u32, found: &mut Scan) {
    let mut at = 0;
    while at < body.len() {
        let offset = base + at as u64;
        let place = Place { segment, offset };
        let rest = &body[at..];
        let Some(header) = RecordHeader::parse(rest) else {
            found.bad.push(Bad { place, key: None });
            Search { segment, found, reported: true }.window(rest, offset, true);
            return;
        };
        if data_of(rest, &header).is_some_and(|data| crc32c::crc32c(data) == header.crc) {
            found.good.push(listing(&header, offset));
        } else {
            found.bad.push(Bad { place, key: Some(header.key) });
        }
        at += header.record_bytes() as usize;
    }
}

/// The search for records where nobody knows where they start.
struct Search<'a> {
    segment: u32,
    found: &'a mut Scan,
    /// The damage here is in the findings already.
    reported: bool,
}

impl Search<'_> {
    /// Searches from the end of the last frame to the end of the file, unless there are only zeros.
    fn run(mut self, file: &dyn DiskFile) -> Result<(), DiskError> {
        let (from, len) = (self.found.end, file.len()?);
        let mut at = from;
        while at < len {
            let chunk = read(file, at, (len - at).min(CHUNK_BYTES) as usize)?;
            match chunk.chunks(ALIGN_BYTES).position(|page| !is_zero(page)) {
                Some(page) => {
                    at += (page * ALIGN_BYTES) as u64;
                    break;
                }
                None if chunk.is_empty() => return Ok(()),
                None => at += chunk.len() as u64,
            }
        }
        if at >= len {
            return Ok(());
        }
        self.found.garbage = true;
        self.found
            .bad
            .push(Bad { place: Place { segment: self.segment, offset: from }, key: None });
        while at < len {
            let window = read(file, at, (len - at).min(MAX_FRAME_BYTES) as usize)?;
            if window.is_empty() {
                break;
            }
            let last = at + window.len() as u64 >= len;
            at += self.window(&window, at, last) as u64;
        }
        Ok(())
    }

    /// Searches `bytes`, which stand at `base`. Returns how far it came: up to a record that is not
    /// whole in here, unless these are the `last` bytes.
    fn window(&mut self, bytes: &[u8], base: u64, last: bool) -> usize {
        let mut at = 0;
        let mut work_left = bytes.len().saturating_mul(MAX_SEARCH_WORK);
        while at < bytes.len() && work_left > 0 {
            let (rest, offset) = (&bytes[at..], base + at as u64);
            let Some(header) = record_at(rest) else {
                at += self.step_over(rest, offset);
                continue;
            };
            let data = data_of(rest, &header);
            if data.is_none() && !last && at > 0 {
                return at;
            }
            work_left = work_left.saturating_sub(header.len as usize);
            let place = Place { segment: self.segment, offset };
            let whole =
                |data: &[u8]| crc32c::crc32c(data) == header.crc && header.key.check(data).is_ok();
            self.reported = !data.is_some_and(whole);
            if self.reported {
                // A forged length leads nowhere.
                self.found.bad.push(Bad { place, key: Some(header.key) });
                at += RECORD_UNIT_BYTES as usize;
            } else {
                self.found.good.push(listing(&header, offset));
                at += header.record_bytes() as usize;
                self.found.end = self.found.end.max(align_up(base + at as u64));
            }
        }
        bytes.len()
    }

    /// What is no record: the end of a frame, the header of one, or damage.
    fn step_over(&mut self, rest: &[u8], offset: u64) -> usize {
        let to_page = ALIGN_BYTES - (offset % ALIGN_BYTES as u64) as usize;
        let page = &rest[..to_page.min(rest.len())];
        if is_zero(page) {
            return page.len();
        }
        if let Some(header) = parse_frame(rest, self.segment, offset) {
            self.found.synced_end = self.found.synced_end.max(header.synced_end);
            return FRAME_HEADER_BYTES;
        }
        if !std::mem::replace(&mut self.reported, true) {
            let place = Place { segment: self.segment, offset };
            self.found.bad.push(Bad { place, key: None });
        }
        RECORD_UNIT_BYTES as usize
    }
}

fn record_at(bytes: &[u8]) -> Option<RecordHeader> {
    if is_record_start(bytes) { RecordHeader::parse(bytes) } else { None }
}

fn data_of<'a>(record: &'a [u8], header: &RecordHeader) -> Option<&'a [u8]> {
    record.get(header.data_at..)?.get(..header.len as usize)
}

fn listing(header: &RecordHeader, offset: u64) -> Listing {
    let unit = (offset / RECORD_UNIT_BYTES) as u32;
    Listing { key: header.key, unit, len: header.len }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// Up to `len` bytes; less where the file ends.
fn read(file: &dyn DiskFile, offset: u64, len: usize) -> Result<Vec<u8>, DiskError> {
    let mut bytes = vec![0; len];
    let n = file.read_at(offset, &mut bytes)?;
    bytes.truncate(n);
    Ok(bytes)
}
