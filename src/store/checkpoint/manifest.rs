//! What a checkpoint says about itself.

use bytes::Bytes;

use super::{CheckpointError, CheckpointMeta};
use crate::codec::Fields;
use crate::files::RecordFile;

/// Length of a chunk: the unit of transfer and of verification.
pub const CHUNK_BYTES: usize = 1 << 20;
/// Largest state.
pub const MAX_STATE_BYTES: u64 = 16 << 30;
/// Largest opaque configuration.
pub const MAX_CONF_STATE_BYTES: usize = 64 << 10;

pub(super) const MAGIC: [u8; 4] = *b"IKCP";
pub(super) const MAX_MANIFEST_BYTES: u64 =
    128 + MAX_CONF_STATE_BYTES as u64 + MAX_STATE_BYTES / CHUNK_BYTES as u64 * 32;
const VERSION: u16 = 1;
const ROOT_CONTEXT: &str = "ipfs-kit 2026-11 checkpoint root";

/// Identifies a checkpoint and lets its chunks be verified. It fits Raft's snapshot message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Last log entry that is in the state.
    pub applied_index: u64,
    /// That entry's term.
    pub term: u64,
    /// The group's configuration at that entry, opaque.
    pub conf_state: Bytes,
    /// Length of the state.
    pub len_bytes: u64,
    /// BLAKE3 over all of the above and every chunk's hash.
    pub root: [u8; 32],
}

impl Manifest {
    /// Number of chunks.
    #[must_use]
    pub fn chunks(&self) -> u32 {
        self.len_bytes.div_ceil(CHUNK_BYTES as u64) as u32
    }

    /// Length of a chunk, or `None` where there is no such chunk.
    #[must_use]
    pub fn chunk_len(&self, chunk: u32) -> Option<usize> {
        let rest = self.len_bytes.checked_sub(u64::from(chunk) * CHUNK_BYTES as u64)?;
        (rest > 0).then_some(rest.min(CHUNK_BYTES as u64) as usize)
    }

    pub(super) fn new(meta: &CheckpointMeta, len_bytes: u64, hashes: &ChunkHashes) -> Self {
        let mut manifest = Self {
            applied_index: meta.applied_index,
            term: meta.term,
            conf_state: meta.conf_state.clone(),
            len_bytes,
            root: [0; 32],
        };
        manifest.root = manifest.compute_root(hashes);
        manifest
    }

    fn head(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64 + self.conf_state.len());
        for field in [self.applied_index, self.term, self.len_bytes] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        bytes.extend_from_slice(&(self.conf_state.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&self.conf_state);
        bytes
    }

    fn compute_root(&self, hashes: &ChunkHashes) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key(ROOT_CONTEXT);
        hasher.update(&self.head());
        hashes.0.iter().for_each(|hash| {
            hasher.update(hash);
        });
        *hasher.finalize().as_bytes()
    }

    /// Checks bounds, the number of hashes and the root.
    pub(super) fn check(&self, hashes: &ChunkHashes) -> Result<(), CheckpointError> {
        let bad = |what| Err(CheckpointError::BadManifest { what });
        if self.len_bytes > MAX_STATE_BYTES || self.conf_state.len() > MAX_CONF_STATE_BYTES {
            return bad("it is larger than allowed");
        }
        if hashes.0.len() != self.chunks() as usize {
            return bad("the number of chunk hashes does not fit its length");
        }
        if self.compute_root(hashes) != self.root {
            return bad("its root differs from what it describes");
        }
        Ok(())
    }
}

/// The hash of every chunk, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChunkHashes(pub(super) Vec<[u8; 32]>);

impl ChunkHashes {
    /// From their concatenation, as a peer sent it; `None` unless it is a whole number of hashes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (hashes, rest) = bytes.as_chunks::<32>();
        rest.is_empty().then(|| Self(hashes.to_vec()))
    }

    /// Their concatenation.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_flattened()
    }

    pub(super) fn push(&mut self, chunk: &[u8]) {
        self.0.push(*blake3::hash(chunk).as_bytes());
    }

    pub(super) fn matches(&self, chunk: u32, bytes: &[u8]) -> bool {
        self.0.get(chunk as usize).is_some_and(|hash| blake3::hash(bytes) == *hash)
    }
}

/// Version and payload of a manifest file.
pub(super) fn encode(manifest: &Manifest, hashes: &ChunkHashes) -> (u16, Vec<u8>) {
    let mut bytes = manifest.head();
    bytes.extend_from_slice(&manifest.root);
    bytes.extend_from_slice(hashes.as_bytes());
    (VERSION, bytes)
}

pub(super) fn decode(record: &RecordFile) -> Result<(Manifest, ChunkHashes), CheckpointError> {
    if record.version != VERSION {
        return Err(CheckpointError::BadManifest { what: "it has an unknown version" });
    }
    let parse = || {
        let mut fields = Fields::new(&record.payload);
        let (applied_index, term, len_bytes) = (fields.u64()?, fields.u64()?, fields.u64()?);
        let conf_len = fields.u32()? as usize;
        let conf_state = Bytes::copy_from_slice(fields.bytes(conf_len)?);
        let root = fields.array()?;
        let hashes = ChunkHashes::from_bytes(fields.rest())?;
        Some((Manifest { applied_index, term, conf_state, len_bytes, root }, hashes))
    };
    let (manifest, hashes) =
        parse().ok_or(CheckpointError::BadManifest { what: "its fields are malformed" })?;
    manifest.check(&hashes)?;
    Ok((manifest, hashes))
}
