//! The bytes of a batch and of its records.

use super::{Record, Tail};
use crate::codec::Fields;
use crate::disk::AlignedBuf;

const MAGIC: [u8; 8] = *b"IKWAL\0\x01\n";
/// magic 8, identity 16, segment 8, offset 8, sequence 8, previous segment 8, previous end 8,
/// previous checksum 4, body length 4, body checksum 4, header checksum 4.
pub(super) const HEADER_BYTES: usize = 80;
/// length 4, checksum 4, kind 1.
pub(super) const RECORD_HEADER_BYTES: usize = 9;

/// What stands before the records of a batch. Its own checksum, which covers the body's, is the
/// batch's checksum that the next batch names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) identity: [u8; 16],
    pub(super) segment: u64,
    pub(super) offset: u64,
    pub(super) sequence: u64,
    pub(super) previous_segment: u64,
    pub(super) previous_end: u64,
    pub(super) previous_crc: u32,
    pub(super) body_len: u32,
    pub(super) body_crc: u32,
}

impl FrameHeader {
    pub(super) fn encode(&self) -> ([u8; HEADER_BYTES], u32) {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&self.identity);
        for field in
            [self.segment, self.offset, self.sequence, self.previous_segment, self.previous_end]
        {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        for field in [self.previous_crc, self.body_len, self.body_crc] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        (bytes.try_into().expect("the fields add up to the header's length"), crc)
    }

    /// The header and its checksum, or `None` where no header stands.
    pub(super) fn parse(bytes: &[u8]) -> Option<(Self, u32)> {
        let head = bytes.get(..HEADER_BYTES)?;
        let mut fields = Fields::new(head);
        if fields.array()? != MAGIC {
            return None;
        }
        let header = Self {
            identity: fields.array()?,
            segment: fields.u64()?,
            offset: fields.u64()?,
            sequence: fields.u64()?,
            previous_segment: fields.u64()?,
            previous_end: fields.u64()?,
            previous_crc: fields.u32()?,
            body_len: fields.u32()?,
            body_crc: fields.u32()?,
        };
        let crc = fields.u32()?;
        (crc32c::crc32c(&head[..HEADER_BYTES - 4]) == crc).then_some((header, crc))
    }

    /// Whether this batch follows `tail`.
    pub(super) fn follows(&self, tail: &Tail) -> bool {
        self.sequence == tail.sequence + 1
            && (self.previous_segment, self.previous_end, self.previous_crc)
                == (tail.segment, tail.end, tail.crc)
    }
}

pub(super) fn record_len(record: &Record<'_>) -> u64 {
    RECORD_HEADER_BYTES as u64 + record.parts.iter().map(|part| part.len() as u64).sum::<u64>()
}

/// Appends one record; returns its payload's length.
pub(super) fn push_record(buffer: &mut AlignedBuf, record: &Record<'_>) -> u32 {
    let len = record.parts.iter().map(|part| part.len()).sum::<usize>() as u32;
    let crc = record
        .parts
        .iter()
        .fold(record_crc_seed(len, record.kind), |crc, part| crc32c::crc32c_append(crc, part));
    buffer.extend(&len.to_le_bytes());
    buffer.extend(&crc.to_le_bytes());
    buffer.extend(&[record.kind]);
    for part in record.parts {
        buffer.extend(part);
    }
    len
}

/// The payload and kind of the record at the start of `bytes`, if it is whole.
pub(super) fn parse_record(bytes: &[u8]) -> Option<(&[u8], u8)> {
    let mut fields = Fields::new(bytes);
    let (len, crc, kind) = (fields.u32()?, fields.u32()?, fields.u8()?);
    let payload = fields.bytes(len as usize)?;
    (crc32c::crc32c_append(record_crc_seed(len, kind), payload) == crc).then_some((payload, kind))
}

fn record_crc_seed(len: u32, kind: u8) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&len.to_le_bytes()), &[kind])
}
