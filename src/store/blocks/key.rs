//! What blocks are keyed by, and checking bytes against it.

use std::fmt;

use bytes::Bytes;
use cid::Cid;
use multihash::Multihash;
use sha2::{Digest, Sha256, Sha512};

use super::PutError;

pub(super) const SHA2_256: u64 = 0x12;
const SHA2_512: u64 = 0x13;
const BLAKE3: u64 = 0x1e;
const IDENTITY: u64 = 0x00;
const RAW: u64 = 0x55;
/// Shorter digests can be forged; the same bound as in other implementations.
const MIN_DIGEST_BYTES: usize = 20;

/// The multihash of a block. CIDs of either version and any codec over the same bytes share it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(Multihash<64>);

impl Key {
    /// The SHA2-256 key of `data`.
    #[must_use]
    pub fn sha2_256(data: &[u8]) -> Self {
        Self::from_sha2_256(Sha256::digest(data).into())
    }

    pub(super) fn from_sha2_256(digest: [u8; 32]) -> Self {
        Self(Multihash::wrap(SHA2_256, &digest).expect("32 bytes fit a multihash of 64"))
    }

    /// The digest, if the hash function is SHA2-256 at full length.
    pub(super) fn as_sha2_256(&self) -> Option<&[u8; 32]> {
        if self.0.code() == SHA2_256 { self.0.digest().try_into().ok() } else { None }
    }

    /// The bytes that an identity key carries itself.
    pub(super) fn identity(&self) -> Option<&[u8]> {
        (self.0.code() == IDENTITY).then(|| self.0.digest())
    }

    /// The multihash.
    #[must_use]
    pub fn multihash(&self) -> &Multihash<64> {
        &self.0
    }

    /// Binary form: code, length, digest.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.to_bytes()
    }

    /// Reads the binary form; `None` if it is malformed or longer than its digest.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Multihash::from_bytes(bytes).ok().map(Self)
    }

    /// Whether `data` hashes to this key.
    ///
    /// # Errors
    /// [`PutError::UnsupportedHash`] for a function this store can't compute, or
    /// [`PutError::HashMismatch`].
    pub fn check(&self, data: &[u8]) -> Result<(), PutError> {
        let digest = self.0.digest();
        let computed = match self.0.code() {
            SHA2_256 => Sha256::digest(data).to_vec(),
            SHA2_512 => Sha512::digest(data).to_vec(),
            BLAKE3 if digest.len() >= MIN_DIGEST_BYTES => {
                let mut out = vec![0; digest.len()];
                blake3::Hasher::new().update(data).finalize_xof().fill(&mut out);
                out
            }
            IDENTITY => data.to_vec(),
            code => return Err(PutError::UnsupportedHash { key: *self, code }),
        };
        if computed == digest {
            return Ok(());
        }
        let computed =
            Multihash::wrap(self.0.code(), &computed).ok().map(|hash| Box::new(Self(hash)));
        Err(PutError::HashMismatch { key: *self, computed })
    }
}

/// Shown as the CIDv1 of the raw block, which people can paste into other tools.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Cid::new_v1(RAW, self.0).fmt(f)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Multihash<64>> for Key {
    fn from(multihash: Multihash<64>) -> Self {
        Self(multihash)
    }
}

impl From<&Multihash<64>> for Key {
    fn from(multihash: &Multihash<64>) -> Self {
        Self(*multihash)
    }
}

impl From<&Cid> for Key {
    fn from(cid: &Cid) -> Self {
        Self(*cid.hash())
    }
}

impl From<Cid> for Key {
    fn from(cid: Cid) -> Self {
        Self(*cid.hash())
    }
}

impl From<&Key> for Key {
    fn from(key: &Key) -> Self {
        *key
    }
}

/// A block whose bytes are known to match its key.
#[derive(Debug, Clone)]
pub struct VerifiedBlock {
    key: Key,
    data: Bytes,
}

impl VerifiedBlock {
    /// Hashes the bytes and compares.
    ///
    /// # Errors
    /// As [`Key::check`].
    pub fn verify(key: impl Into<Key>, data: Bytes) -> Result<Self, PutError> {
        let key = key.into();
        key.check(&data)?;
        Ok(Self { key, data })
    }

    /// For a caller that has just computed or checked the key from these very bytes.
    #[must_use]
    pub fn already_checked(key: impl Into<Key>, data: Bytes) -> Self {
        Self { key: key.into(), data }
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The bytes.
    #[must_use]
    pub fn data(&self) -> &Bytes {
        &self.data
    }
}
