//! Reading a segment that has no listing: every frame, every record, every checksum.

use super::format::{
    FRAME_HEADER_BYTES, FrameHeader, Listing, MAX_FRAME_BYTES, RECORD_UNIT_BYTES, RecordHeader,
};
use super::{Key, Place};
use crate::disk::{ALIGN_BYTES, DiskError, DiskFile, align_up};

const CHUNK_BYTES: usize = 1 << 20;

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
    /// End of the last frame.
    pub(super) end: u64,
    /// A frame said that everything before this was synced when it was written.
    pub(super) synced_end: u64,
    /// Bytes that are neither zero nor in a frame.
    pub(super) garbage: bool,
}

/// Scans a segment from start to end. A frame is trusted only as far as its checksums go: behind a
/// damaged one the scan continues at the next multiple of 4 KiB.
pub(super) fn scan(file: &dyn DiskFile, segment: u32) -> Result<Scan, DiskError> {
    let len = file.len()?;
    let mut found = Scan::default();
    let mut offset = 0;
    while offset < len {
        let Some(header) = next_frame(file, segment, &mut offset, &mut found)? else {
            break;
        };
        let mut body = vec![0; header.body_len as usize];
        let n = file.read_at(offset + FRAME_HEADER_BYTES as u64, &mut body)?;
        body.truncate(n);
        read_records(&body, header, &mut found);
        found.synced_end = found.synced_end.max(header.synced_end);
        offset += align_up(FRAME_HEADER_BYTES as u64 + u64::from(header.body_len));
        found.end = offset;
    }
    Ok(found)
}

/// Moves `offset` to the next frame and returns its header, or `None` at the end of the file.
fn next_frame(
    file: &dyn DiskFile,
    segment: u32,
    offset: &mut u64,
    found: &mut Scan,
) -> Result<Option<FrameHeader>, DiskError> {
    let mut chunk = vec![0; ALIGN_BYTES];
    loop {
        let n = file.read_at(*offset, &mut chunk)?;
        if n == 0 {
            return Ok(None);
        }
        for block in chunk[..n].chunks(ALIGN_BYTES) {
            if let Some(header) = FrameHeader::parse(block) {
                let fits = FRAME_HEADER_BYTES as u64 + u64::from(header.body_len);
                if (header.segment, header.offset) == (segment, *offset) && fits <= MAX_FRAME_BYTES
                {
                    return Ok(Some(header));
                }
            }
            if block.iter().any(|byte| *byte != 0) {
                if !found.garbage {
                    let place = Place { segment, offset: *offset };
                    found.bad.push(Bad { place, key: None });
                }
                found.garbage = true;
            }
            *offset += block.len() as u64;
        }
        // Frames follow each other; only where they don't is a long search worth a long read.
        chunk.resize(CHUNK_BYTES, 0);
    }
}

fn read_records(body: &[u8], frame: FrameHeader, found: &mut Scan) {
    let segment = frame.segment;
    let mut at = 0;
    while at < frame.body_len as usize {
        let offset = frame.offset + (FRAME_HEADER_BYTES + at) as u64;
        let place = Place { segment, offset };
        let rest = body.get(at..).unwrap_or_default();
        let Some(header) = RecordHeader::parse(rest) else {
            // Without a header nobody knows where the next record starts.
            found.bad.push(Bad { place, key: None });
            return;
        };
        let data = rest.get(header.data_at..).and_then(|data| data.get(..header.len as usize));
        if data.is_some_and(|data| crc32c::crc32c(data) == header.crc) {
            let unit = (offset / RECORD_UNIT_BYTES) as u32;
            found.good.push(Listing { key: header.key, unit, len: header.len });
        } else {
            found.bad.push(Bad { place, key: Some(header.key) });
        }
        at += header.record_bytes() as usize;
    }
}
