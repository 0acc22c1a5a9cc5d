//! The bytes of a segment: frames of records, and the listing that a sealed segment gets.
//!
//! A frame is one write: it starts and ends on a multiple of 4 KiB and names its segment, its offset
//! and how much of the segment was synced before it was written. A record within is found by its
//! offset alone and proves itself by two checksums, one of its header (so that a damaged block can
//! still be named) and one of its bytes.

use crate::codec::Fields;
use crate::disk::AlignedBuf;

use super::Key;

const FRAME_MAGIC: [u8; 8] = *b"IKBLK\0\x01\n";
const RECORD_MAGIC: u32 = 0x4B_4C_42_72;
/// magic 8, segment 4, offset 8, body length 4, synced end 8, checksum 4; the rest is zero.
pub(super) const FRAME_HEADER_BYTES: usize = 64;
/// Largest frame that a segment of any configuration may hold.
pub(super) const MAX_FRAME_BYTES: u64 = 64 << 20;
const FRAME_FIELDS_BYTES: usize = 36;
/// magic 4, length 4, checksum of the bytes 4, key length 1, zero 3, checksum of header and key 4.
pub(super) const RECORD_HEADER_BYTES: usize = 20;
/// Records start at multiples of this, so that an offset fits 32 bits.
pub(super) const RECORD_UNIT_BYTES: u64 = 8;
/// What a block can cost besides its bytes, at most: frame header, record header, the longest key
/// (two varints and 64 bytes) and padding.
pub(super) const MAX_OVERHEAD_BYTES: usize = FRAME_HEADER_BYTES + RECORD_HEADER_BYTES + 84 + 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) segment: u32,
    pub(super) offset: u64,
    pub(super) body_len: u32,
    pub(super) synced_end: u64,
}

impl FrameHeader {
    pub(super) fn encode(&self) -> [u8; FRAME_HEADER_BYTES] {
        let mut fields = Vec::with_capacity(FRAME_HEADER_BYTES);
        fields.extend_from_slice(&FRAME_MAGIC);
        fields.extend_from_slice(&self.segment.to_le_bytes());
        fields.extend_from_slice(&self.offset.to_le_bytes());
        fields.extend_from_slice(&self.body_len.to_le_bytes());
        fields.extend_from_slice(&self.synced_end.to_le_bytes());
        fields.extend_from_slice(&crc32c::crc32c(&fields).to_le_bytes());
        fields.resize(FRAME_HEADER_BYTES, 0);
        fields.try_into().expect("it was resized to the header's length")
    }

    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let head = bytes.get(..FRAME_HEADER_BYTES)?;
        let mut fields = Fields::new(head);
        if fields.array()? != FRAME_MAGIC {
            return None;
        }
        let header = Self {
            segment: fields.u32()?,
            offset: fields.u64()?,
            body_len: fields.u32()?,
            synced_end: fields.u64()?,
        };
        let crc = fields.u32()?;
        (crc32c::crc32c(&head[..FRAME_FIELDS_BYTES - 4]) == crc).then_some(header)
    }
}

/// A record's header with its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordHeader {
    pub(super) key: Key,
    pub(super) len: u32,
    pub(super) crc: u32,
    /// Where the bytes start, from the start of the record.
    pub(super) data_at: usize,
}

impl RecordHeader {
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(bytes);
        let (magic, len, crc) = (fields.u32()?, fields.u32()?, fields.u32()?);
        let key_len = fields.u8()? as usize;
        fields.bytes(3)?;
        let header_crc = fields.u32()?;
        let key = fields.bytes(key_len)?;
        let fine = magic == RECORD_MAGIC
            && crc32c::crc32c_append(crc32c::crc32c(&bytes[..RECORD_HEADER_BYTES - 4]), key)
                == header_crc;
        let key = Key::from_bytes(key).filter(|_| fine)?;
        Some(Self { key, len, crc, data_at: RECORD_HEADER_BYTES + key_len })
    }

    /// The record's length with padding.
    pub(super) fn record_bytes(&self) -> u64 {
        (self.data_at as u64 + u64::from(self.len)).next_multiple_of(RECORD_UNIT_BYTES)
    }
}

/// Whether a record may start here; the rest of its header decides.
pub(super) fn is_record_start(bytes: &[u8]) -> bool {
    bytes.starts_with(&RECORD_MAGIC.to_le_bytes())
}

/// Length on disk of a record.
pub(super) fn record_bytes(key_len: usize, data_len: usize) -> u64 {
    ((RECORD_HEADER_BYTES + key_len + data_len) as u64).next_multiple_of(RECORD_UNIT_BYTES)
}

pub(super) fn push_record(buffer: &mut AlignedBuf, key: &[u8], data: &[u8], crc: u32) {
    let mut head = [0; RECORD_HEADER_BYTES];
    head[..4].copy_from_slice(&RECORD_MAGIC.to_le_bytes());
    head[4..8].copy_from_slice(&(data.len() as u32).to_le_bytes());
    head[8..12].copy_from_slice(&crc.to_le_bytes());
    head[12] = key.len() as u8;
    let header_crc = crc32c::crc32c_append(crc32c::crc32c(&head[..RECORD_HEADER_BYTES - 4]), key);
    head[16..].copy_from_slice(&header_crc.to_le_bytes());
    buffer.extend(&head);
    buffer.extend(key);
    buffer.extend(data);
    buffer.pad_to(RECORD_UNIT_BYTES as usize);
}

/// One block of a segment, as its listing has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listing {
    pub(super) key: Key,
    /// In units of [`RECORD_UNIT_BYTES`].
    pub(super) unit: u32,
    pub(super) len: u32,
}

/// Key length 1, key, unit 4, length 4.
pub(super) fn push_listing(out: &mut Vec<u8>, key: &[u8], unit: u32, len: u32) {
    out.push(key.len() as u8);
    out.extend_from_slice(key);
    out.extend_from_slice(&unit.to_le_bytes());
    out.extend_from_slice(&len.to_le_bytes());
}

/// Walks a listing; ends early (with `None` inside) where it is malformed.
pub(super) fn listings(bytes: &[u8]) -> impl Iterator<Item = Option<Listing>> {
    let mut fields = Fields::new(bytes);
    std::iter::from_fn(move || {
        if fields.is_empty() {
            return None;
        }
        let listing = parse_listing(&mut fields);
        if listing.is_none() {
            fields.rest();
        }
        Some(listing)
    })
}

fn parse_listing(fields: &mut Fields<'_>) -> Option<Listing> {
    let key_len = fields.u8()? as usize;
    let key = Key::from_bytes(fields.bytes(key_len)?)?;
    Some(Listing { key, unit: fields.u32()?, len: fields.u32()? })
}
