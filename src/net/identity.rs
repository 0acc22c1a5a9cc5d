//! Who a node is: an Ed25519 key pair, and the raw public key that names it everywhere else.
//!
//! The peer id that people read (`12D3KooW...`) is the identity multihash of the protobuf form of
//! the public key (libp2p `peer-ids` specification), so both directions are exact and need no
//! look-up.

use std::fmt;
use std::str::FromStr;

use libp2p::PeerId;
use libp2p::identity::{self, ed25519};

#[cfg(test)]
mod tests;

/// Identity multihash (code 0, 36 bytes) of a protobuf key record: type 1 (Ed25519), 32 bytes.
const PEER_ID_PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

/// Why a key could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The operating system gave no entropy; nothing was created, a retry may help.
    #[error("no entropy for a new key pair")]
    NoEntropy {
        /// What the operating system said.
        #[source]
        source: getrandom::Error,
    },
    /// The text is no peer id; nothing changed, a retry can't help.
    #[error("{text:?} is not a peer id")]
    NotAPeerId {
        /// The refused text, cut to 80 characters.
        text: String,
    },
    /// The peer id is well formed but does not hold an Ed25519 key; a retry can't help.
    #[error("peer id {peer_id} holds no ed25519 key")]
    NotEd25519 {
        /// The refused peer id.
        peer_id: String,
    },
}

/// A node's raw Ed25519 public key: its name in the registry, in events and on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerKey([u8; 32]);

impl PeerKey {
    /// Wraps raw bytes. Any 32 bytes are accepted; a value that is no curve point verifies nothing
    /// and can't be connected to.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The raw public key.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether `signature` is this key's signature (RFC 8032) over `message`.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        ed25519::PublicKey::try_from_bytes(&self.0)
            .is_ok_and(|public| public.verify(message, signature))
    }

    /// The libp2p form of this key.
    pub fn to_peer_id(self) -> PeerId {
        let mut bytes = [0; 38];
        bytes[..6].copy_from_slice(&PEER_ID_PREFIX);
        bytes[6..].copy_from_slice(&self.0);
        PeerId::from_bytes(&bytes).expect("an identity multihash of 36 bytes is a peer id")
    }

    /// Reads the key out of a libp2p peer id.
    ///
    /// # Errors
    /// [`KeyError::NotEd25519`] for every other kind of key, and for hashed keys.
    pub fn from_peer_id(peer_id: &PeerId) -> Result<Self, KeyError> {
        peer_id
            .to_bytes()
            .strip_prefix(&PEER_ID_PREFIX)
            .and_then(|raw| raw.try_into().ok())
            .map(Self)
            .ok_or_else(|| KeyError::NotEd25519 { peer_id: peer_id.to_base58() })
    }
}

impl From<[u8; 32]> for PeerKey {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl From<PeerKey> for [u8; 32] {
    fn from(key: PeerKey) -> Self {
        key.0
    }
}

impl fmt::Display for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_peer_id().fmt(f)
    }
}

impl fmt::Debug for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerKey({self})")
    }
}

impl FromStr for PeerKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let peer_id = PeerId::from_str(text)
            .map_err(|_| KeyError::NotAPeerId { text: text.chars().take(80).collect() })?;
        Self::from_peer_id(&peer_id)
    }
}

/// A node's Ed25519 key pair. `Debug` shows the public half only.
#[derive(Clone)]
pub struct Keypair {
    ed25519: ed25519::Keypair,
}

impl Keypair {
    /// A new key pair from the operating system's entropy.
    ///
    /// # Errors
    /// [`KeyError::NoEntropy`] when there is none.
    pub fn generate() -> Result<Self, KeyError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|source| KeyError::NoEntropy { source })?;
        Ok(Self::from_seed(seed))
    }

    /// The key pair of a 32-byte seed (RFC 8032 private key).
    pub fn from_seed(mut seed: [u8; 32]) -> Self {
        let secret = ed25519::SecretKey::try_from_bytes(&mut seed)
            .expect("every 32 bytes are an ed25519 seed");
        Self { ed25519: secret.into() }
    }

    /// The seed, for the key file. It is the secret itself.
    pub fn to_seed(&self) -> [u8; 32] {
        let bytes = self.ed25519.to_bytes();
        let (seed, _public) = bytes.split_at(32);
        seed.try_into().expect("half of 64 bytes")
    }

    /// The public key.
    pub fn peer_key(&self) -> PeerKey {
        PeerKey(self.ed25519.public().to_bytes())
    }

    /// Signs `message` (RFC 8032, deterministic).
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.ed25519.sign(message).try_into().expect("an ed25519 signature has 64 bytes")
    }

    pub(crate) fn to_libp2p(&self) -> identity::Keypair {
        identity::Keypair::from(self.ed25519.clone())
    }
}

impl fmt::Debug for Keypair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keypair({})", self.peer_key())
    }
}
