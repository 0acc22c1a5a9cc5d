//! The state as bytes: a sequence of bounded pieces, so that a large state never needs one large buffer.

use serde::{Deserialize, Serialize};

use super::{ClusterState, TokenRecord, Window};
use crate::codec::{self, Kind};
use crate::delta::SetHash;
use crate::id::{ClusterId, NodeId, PeerKey, TokenId};
use crate::member::Member;
use crate::pin::SharedPin;

/// Items in one piece.
const PIECE_ITEMS_MAX: usize = 1024;
/// Deduplication windows in one piece: each holds thousands of outcomes.
const PIECE_WINDOWS_MAX: usize = 64;
/// Bytes of one piece, envelope included.
const PIECE_BYTES_MAX: usize = 256 * 1024 * 1024;

#[derive(Serialize, Deserialize)]
enum Piece {
    Head {
        cluster: Option<ClusterId>,
        epoch: u64,
        index: u64,
        clock_ms: u64,
        next_node: u64,
        hash: SetHash,
    },
    Members(Vec<Member>),
    Removed(Vec<(PeerKey, NodeId)>),
    Tokens(Vec<(TokenId, TokenRecord)>),
    Windows(Vec<(NodeId, Window)>),
    Pins(Vec<SharedPin>),
    /// The last piece; without it the bytes were cut.
    End {
        /// BLAKE3 of all pieces before: the set hash covers members and pins only.
        digest: [u8; 32],
    },
}

/// Why a saved state could not be read. Nothing was changed; take an older checkpoint or a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A piece could not be decoded.
    #[error("a piece of the saved state can't be read")]
    Piece(#[from] codec::Error),
    /// The bytes end before the last piece.
    #[error("the saved state is cut off")]
    CutOff,
    /// The bytes or the items do not add up to what was recorded.
    #[error("the saved state does not match its hash")]
    HashMismatch,
}

impl ClusterState {
    /// Writes the state piece by piece into `sink`, each behind its length as four little-endian bytes.
    pub fn save<E>(&self, mut sink: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let mut hasher = blake3::Hasher::new();
        let mut put = |piece: &Piece| {
            let bytes = codec::seal(Kind::State, piece);
            hasher.update(&bytes);
            write_piece(&bytes, &mut sink)
        };
        put(&Piece::Head {
            cluster: self.cluster,
            epoch: self.epoch,
            index: self.index,
            clock_ms: self.clock_ms,
            next_node: self.next_node,
            hash: self.hash,
        })?;
        put_chunks(self.members.values().cloned(), PIECE_ITEMS_MAX, Piece::Members, &mut put)?;
        put_chunks(
            self.removed.iter().map(|(k, v)| (*k, *v)),
            PIECE_ITEMS_MAX,
            Piece::Removed,
            &mut put,
        )?;
        put_chunks(
            self.tokens.iter().map(|(k, v)| (*k, v.clone())),
            PIECE_ITEMS_MAX,
            Piece::Tokens,
            &mut put,
        )?;
        put_chunks(
            self.windows.iter().map(|(k, v)| (*k, v.clone())),
            PIECE_WINDOWS_MAX,
            Piece::Windows,
            &mut put,
        )?;
        put_chunks(self.pins.values().cloned(), PIECE_ITEMS_MAX, Piece::Pins, &mut put)?;
        let end = Piece::End { digest: *hasher.finalize().as_bytes() };
        write_piece(&codec::seal(Kind::State, &end), &mut sink)
    }

    /// The whole saved state in memory.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let Ok(()) = self.save(|bytes| {
            out.extend_from_slice(bytes);
            Ok::<(), std::convert::Infallible>(())
        });
        out
    }

    /// Reads what [`ClusterState::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, LoadError> {
        let mut loader = Loader::default();
        loader.push(bytes)?;
        loader.finish()
    }
}

fn write_piece<E>(piece: &[u8], sink: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
    let len_bytes = u32::try_from(piece.len())
        .expect("a piece holds 1024 items, each far below a megabyte by the limits");
    sink(&len_bytes.to_le_bytes())?;
    sink(piece)
}

fn put_chunks<T, E>(
    items: impl Iterator<Item = T>,
    items_max: usize,
    piece: impl Fn(Vec<T>) -> Piece,
    put: &mut impl FnMut(&Piece) -> Result<(), E>,
) -> Result<(), E> {
    let mut chunk = Vec::new();
    for item in items {
        chunk.push(item);
        if chunk.len() == items_max {
            put(&piece(std::mem::take(&mut chunk)))?;
        }
    }
    if chunk.is_empty() { Ok(()) } else { put(&piece(chunk)) }
}

/// Reads a saved state from chunks of any size.
#[derive(Default)]
pub struct Loader {
    state: ClusterState,
    claimed: SetHash,
    pending: Vec<u8>,
    hasher: blake3::Hasher,
    ended: bool,
}

impl Loader {
    /// Takes the next bytes. After an error the loader is useless.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), LoadError> {
        self.pending.extend_from_slice(bytes);
        let mut used = 0;
        while let Some((length, rest)) = self.pending[used..].split_first_chunk::<4>() {
            let len_bytes = u32::from_le_bytes(*length) as usize;
            if len_bytes > PIECE_BYTES_MAX {
                return Err(LoadError::Piece(codec::Error::TooLarge {
                    kind: Kind::State,
                    len_bytes,
                    limit_bytes: PIECE_BYTES_MAX,
                }));
            }
            let Some(piece) = rest.get(..len_bytes) else { break };
            used += 4 + len_bytes;
            match codec::open(Kind::State, piece, PIECE_BYTES_MAX)? {
                _ if self.ended => return Err(LoadError::HashMismatch),
                Piece::End { digest } if self.hasher.finalize() == digest => self.ended = true,
                Piece::End { .. } => return Err(LoadError::HashMismatch),
                item => {
                    self.hasher.update(piece);
                    take(&mut self.state, &mut self.claimed, item);
                }
            }
        }
        self.pending.drain(..used);
        Ok(())
    }

    /// Checks that everything came and belongs together.
    pub fn finish(self) -> Result<ClusterState, LoadError> {
        if !self.ended || !self.pending.is_empty() {
            return Err(LoadError::CutOff);
        }
        let mut state = self.state;
        let none = SetHash::default();
        for member in state.members.values() {
            state.hash = state.hash.replace(none, SetHash::of_member(Some(member)));
        }
        if state.hash != self.claimed {
            return Err(LoadError::HashMismatch);
        }
        Ok(state)
    }
}

fn take(state: &mut ClusterState, claimed: &mut SetHash, piece: Piece) {
    match piece {
        Piece::Head { cluster, epoch, index, clock_ms, next_node, hash } => {
            state.cluster = cluster;
            state.epoch = epoch;
            state.index = index;
            state.clock_ms = clock_ms;
            state.next_node = next_node;
            *claimed = hash;
        }
        Piece::Members(items) => state.members.extend(items.into_iter().map(|m| (m.id, m))),
        Piece::Removed(items) => state.removed.extend(items),
        Piece::Tokens(items) => state.tokens.extend(items),
        Piece::Windows(items) => {
            let weighed = |(node, window): (NodeId, Window)| (node, window.weighed());
            state.windows.extend(items.into_iter().map(weighed));
        }
        Piece::Pins(items) => {
            for pin in items {
                let (read, hash) = (pin.read(), SetHash::of_pin(Some(&pin)));
                let (slot, twice) = state.pins.insert(pin);
                // Two pins of one root have two hashes, and one of them is missing in the sum.
                state.hash = state.hash.replace(SetHash::of_pin(twice.as_ref()), hash);
                state.index_pin(slot, &read);
            }
        }
        Piece::End { .. } => {}
    }
}
