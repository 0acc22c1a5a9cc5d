//! The bytes of the log's records.

use bytes::Bytes;

use super::{Entry, HardState, Position};
use crate::codec::Fields;

/// Index 8, term 8, kind 1, context length 4, context, data.
pub(super) const ENTRY: u8 = 1;
/// Term 8, vote 8, commit 8.
pub(super) const HARD_STATE: u8 = 2;
/// Index 8, term 8: entries up to it are gone.
pub(super) const COMPACTED: u8 = 3;
/// Index 8, term 8: the log was emptied and starts behind it.
pub(super) const RESTART: u8 = 4;
/// 1: an acknowledged tail may have been cut; 0: the node has caught up since.
pub(super) const SUSPECT: u8 = 5;

const ENTRY_HEAD_BYTES: usize = 21;

pub(super) fn entry_head(entry: &Entry) -> [u8; ENTRY_HEAD_BYTES] {
    let mut head = [0; ENTRY_HEAD_BYTES];
    head[..8].copy_from_slice(&entry.index.to_le_bytes());
    head[8..16].copy_from_slice(&entry.term.to_le_bytes());
    head[16] = entry.kind;
    head[17..].copy_from_slice(&(entry.context.len() as u32).to_le_bytes());
    head
}

/// Index and term, without the payloads.
pub(super) fn parse_entry_position(payload: &[u8]) -> Option<Position> {
    let mut fields = Fields::new(payload);
    let position = Position { index: fields.u64()?, term: fields.u64()? };
    fields.u8()?;
    let context_len = fields.u32()?;
    fields.bytes(context_len as usize)?;
    Some(position)
}

/// The entry; its payloads share `payload`.
pub(super) fn parse_entry(payload: &Bytes) -> Option<Entry> {
    let Position { index, term } = parse_entry_position(payload)?;
    let kind = payload[16];
    let context_len = u32::from_le_bytes(payload[17..ENTRY_HEAD_BYTES].try_into().ok()?) as usize;
    let context = payload.slice(ENTRY_HEAD_BYTES..ENTRY_HEAD_BYTES + context_len);
    let data = payload.slice(ENTRY_HEAD_BYTES + context_len..);
    Some(Entry { index, term, kind, data, context })
}

pub(super) fn hard_state(state: HardState) -> [u8; 24] {
    let mut bytes = [0; 24];
    for (chunk, field) in bytes.chunks_mut(8).zip([state.term, state.vote, state.commit]) {
        chunk.copy_from_slice(&field.to_le_bytes());
    }
    bytes
}

pub(super) fn parse_hard_state(payload: &[u8]) -> Option<HardState> {
    let mut fields = Fields::new(payload);
    let state = HardState { term: fields.u64()?, vote: fields.u64()?, commit: fields.u64()? };
    fields.is_empty().then_some(state)
}

pub(super) fn position(position: Position) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&position.index.to_le_bytes());
    bytes[8..].copy_from_slice(&position.term.to_le_bytes());
    bytes
}

pub(super) fn parse_position(payload: &[u8]) -> Option<Position> {
    let mut fields = Fields::new(payload);
    let position = Position { index: fields.u64()?, term: fields.u64()? };
    fields.is_empty().then_some(position)
}
