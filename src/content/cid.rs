//! Content identifiers: the codecs and hashes this node speaks, and the check of a block's bytes.

use bytes::Bytes;
use multihash::Multihash;
use sha2::{Digest, Sha256, Sha512};

pub use ::cid::{Cid, Version};

use crate::limits::{MAX_BLOCK_LEN_BYTES, MAX_IDENTITY_LEN_BYTES};

#[cfg(test)]
mod tests;

/// Multihash code of a digest that is the data itself.
pub const IDENTITY: u64 = 0x00;
/// Multihash code of SHA2-256.
pub const SHA2_256: u64 = 0x12;
/// Multihash code of SHA2-512.
pub const SHA2_512: u64 = 0x13;
/// Multihash code of BLAKE3 with 32 bytes of output.
pub const BLAKE3: u64 = 0x1e;

/// How the bytes of a block are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Codec {
    /// Bytes without structure: a file, or a leaf of one.
    Raw,
    /// A protobuf node with links: UnixFS files, directories and symlinks.
    DagPb,
    /// Strict CBOR with links.
    DagCbor,
    /// JSON with links and bytes.
    DagJson,
}

impl Codec {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Raw, Self::DagPb, Self::DagCbor, Self::DagJson];

    /// The multicodec number.
    pub const fn code(self) -> u64 {
        match self {
            Self::Raw => 0x55,
            Self::DagPb => 0x70,
            Self::DagCbor => 0x71,
            Self::DagJson => 0x0129,
        }
    }

    /// The multicodec name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::DagPb => "dag-pb",
            Self::DagCbor => "dag-cbor",
            Self::DagJson => "dag-json",
        }
    }

    /// The codec with this multicodec number, if it is one that this package names.
    pub const fn from_code(code: u64) -> Option<Self> {
        match code {
            0x55 => Some(Self::Raw),
            0x70 => Some(Self::DagPb),
            0x71 => Some(Self::DagCbor),
            0x0129 => Some(Self::DagJson),
            _ => None,
        }
    }

    /// The codec with this multicodec name, if it is one that this package names.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.name() == name)
    }

    /// The codec of `cid`, if it is one that this package names.
    pub fn of(cid: &Cid) -> Option<Self> {
        Self::from_code(cid.codec())
    }
}

/// Hash functions that new blocks may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// SHA2-256, which everybody has.
    Sha2_256,
    /// SHA2-512.
    Sha2_512,
    /// BLAKE3 with 32 bytes of output.
    Blake3,
}

impl Hash {
    /// The function with this multihash name, if it is one that blocks are made with here.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "sha2-256" => Some(Self::Sha2_256),
            "sha2-512" => Some(Self::Sha2_512),
            "blake3" => Some(Self::Blake3),
            _ => None,
        }
    }
}

/// The CIDv1 of a block.
pub fn hashed_cid(codec: Codec, hash: Hash, data: &[u8]) -> Cid {
    let digest = match hash {
        Hash::Sha2_256 => wrap(SHA2_256, &Sha256::digest(data)),
        Hash::Sha2_512 => wrap(SHA2_512, &Sha512::digest(data)),
        Hash::Blake3 => wrap(BLAKE3, blake3::hash(data).as_bytes()),
    };
    Cid::new_v1(codec.code(), digest)
}

/// A block and its identifier. Who builds one outside this package vouches for the match, or
/// calls [`Block::verified`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The identifier.
    pub cid: Cid,
    /// The bytes.
    pub data: Bytes,
}

impl Block {
    /// A raw block under its CIDv1.
    pub fn raw(data: Bytes) -> Self {
        Self { cid: cid_v1_raw(&data), data }
    }

    /// A block whose bytes are checked against `cid`.
    ///
    /// # Errors
    /// As [`verify`].
    pub fn verified(cid: Cid, data: Bytes) -> Result<Self, VerifyError> {
        verify(&cid, &data)?;
        Ok(Self { cid, data })
    }
}

/// Why bytes are not the block that a CID names. Nothing was changed; other bytes may match.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The bytes exceed [`MAX_BLOCK_LEN_BYTES`]. Retrying does not help.
    #[error("block {cid} has {len_bytes} bytes, more than the limit of {MAX_BLOCK_LEN_BYTES}")]
    TooLarge {
        /// The expected block.
        cid: Box<Cid>,
        /// The length of the bytes.
        len_bytes: usize,
    },
    /// The identity digest exceeds [`MAX_IDENTITY_LEN_BYTES`]. Retrying does not help.
    #[error(
        "identity cid {cid} holds {len_bytes} bytes, more than the limit of {MAX_IDENTITY_LEN_BYTES}"
    )]
    IdentityTooLarge {
        /// The refused identifier.
        cid: Box<Cid>,
        /// The length of its digest.
        len_bytes: usize,
    },
    /// The CID uses a hash, or a digest length, that this node does not check. Retrying does not
    /// help.
    #[error("cid {cid} uses hash 0x{code:x} with {digest_len_bytes} bytes, which is not supported")]
    UnsupportedHash {
        /// The refused identifier.
        cid: Box<Cid>,
        /// Its multihash code.
        code: u64,
        /// The length of its digest.
        digest_len_bytes: usize,
    },
    /// The bytes hash to something else. Fetching them from another source may help.
    #[error("bytes of block {cid} hash to {computed}")]
    Mismatch {
        /// The expected block.
        cid: Box<Cid>,
        /// What the bytes really are, in the same version and codec.
        computed: Box<Cid>,
    },
}

/// Checks that `data` is the block that `cid` names.
///
/// # Errors
/// See [`VerifyError`]; a mismatch names the expected CID and the computed one.
pub fn verify(cid: &Cid, data: &[u8]) -> Result<(), VerifyError> {
    if data.len() > MAX_BLOCK_LEN_BYTES {
        return Err(VerifyError::TooLarge { cid: Box::new(*cid), len_bytes: data.len() });
    }
    let expected = cid.hash();
    let computed = match (expected.code(), expected.digest().len()) {
        (IDENTITY, len_bytes) if len_bytes > MAX_IDENTITY_LEN_BYTES => {
            return Err(VerifyError::IdentityTooLarge { cid: Box::new(*cid), len_bytes });
        }
        (IDENTITY, _) => return verify_identity(cid, data),
        (SHA2_256, 32) => wrap(SHA2_256, &Sha256::digest(data)),
        (SHA2_512, 64) => wrap(SHA2_512, &Sha512::digest(data)),
        (BLAKE3, 32) => wrap(BLAKE3, blake3::hash(data).as_bytes()),
        (code, digest_len_bytes) => {
            return Err(VerifyError::UnsupportedHash {
                cid: Box::new(*cid),
                code,
                digest_len_bytes,
            });
        }
    };
    if computed == *expected { Ok(()) } else { Err(mismatch(cid, computed)) }
}

fn verify_identity(cid: &Cid, data: &[u8]) -> Result<(), VerifyError> {
    if cid.hash().digest() == data {
        return Ok(());
    }
    // Data too long for an identity digest is named by its SHA2-256 instead.
    let computed = match Multihash::wrap(IDENTITY, data) {
        Ok(identity) => identity,
        Err(_) => wrap(SHA2_256, &Sha256::digest(data)),
    };
    Err(mismatch(cid, computed))
}

fn mismatch(cid: &Cid, computed: Multihash<64>) -> VerifyError {
    // A CIDv0 can hold nothing but SHA2-256, and that is what it was compared with.
    let computed = match cid.version() {
        Version::V0 => Cid::new_v0(computed).unwrap_or(Cid::new_v1(cid.codec(), computed)),
        Version::V1 => Cid::new_v1(cid.codec(), computed),
    };
    VerifyError::Mismatch { cid: Box::new(*cid), computed: Box::new(computed) }
}

fn wrap(code: u64, digest: &[u8]) -> Multihash<64> {
    Multihash::wrap(code, digest).expect("every supported digest has at most 64 bytes")
}

/// The CIDv1 of `data` as a raw block, hashed with SHA2-256.
pub fn cid_v1_raw(data: &[u8]) -> Cid {
    sha2_256_cid(Version::V1, Codec::Raw, data)
}

/// The CID of `data` hashed with SHA2-256.
///
/// Version 0 exists for dag-pb only; any other codec gets version 1, as all writers do.
pub fn sha2_256_cid(version: Version, codec: Codec, data: &[u8]) -> Cid {
    cid_of_digest(version, codec, &Sha256::digest(data).into())
}

/// The CID of the block with this SHA2-256 digest.
pub(crate) fn cid_of_digest(version: Version, codec: Codec, digest: &[u8; 32]) -> Cid {
    let hash = wrap(SHA2_256, digest);
    match (version, codec) {
        (Version::V0, Codec::DagPb) => {
            Cid::new_v0(hash).expect("a SHA2-256 multihash of 32 bytes is what version 0 holds")
        }
        _ => Cid::new_v1(codec.code(), hash),
    }
}

/// The bytes that an identity CID carries itself; `None` for every other CID.
pub fn identity_data(cid: &Cid) -> Option<Bytes> {
    (cid.hash().code() == IDENTITY).then(|| Bytes::copy_from_slice(cid.hash().digest()))
}

/// Reads a binary CID that must fill `bytes` exactly.
pub(crate) fn cid_from_exact(bytes: &[u8]) -> Result<Cid, ::cid::Error> {
    let mut rest = bytes;
    let cid = Cid::read_bytes(&mut rest)?;
    // What follows the digest is not part of the CID, so the field lies about its length.
    if rest.is_empty() { Ok(cid) } else { Err(::cid::Error::ParsingError) }
}
