//! Identifiers: small, ordered, serialisable, and never confused with one another.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A member's number in the cluster. The state machine hands it out at join, and never twice; it is
/// also the member's Raft id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug)]
#[serde(transparent)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

impl FromStr for NodeId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let digits = text.strip_prefix('n').unwrap_or(text);
        digits.parse().map(NodeId).map_err(|_| ParseError::new("node id", text, "n1, n2, …"))
    }
}

/// One run of one node: milliseconds at its start, made larger than any run before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug)]
#[serde(transparent)]
pub struct Incarnation(pub u64);

/// A raw Ed25519 public key: who a peer is, whatever its address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PeerKey(pub [u8; 32]);

/// What precedes an Ed25519 key in a libp2p peer id: identity multihash of a 36-byte protobuf.
const PEER_ID_PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

impl fmt::Display for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0u8; 38];
        bytes[..6].copy_from_slice(&PEER_ID_PREFIX);
        bytes[6..].copy_from_slice(&self.0);
        f.write_str(&bs58::encode(bytes).into_string())
    }
}

impl fmt::Debug for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PeerKey {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let fail = || ParseError::new("peer id", text, "an Ed25519 peer id, 12D3KooW…");
        if text.len() > 64 {
            return Err(fail());
        }
        let bytes = bs58::decode(text).into_vec().map_err(|_| fail())?;
        let key = bytes.strip_prefix(&PEER_ID_PREFIX).ok_or_else(fail)?;
        key.try_into().map(PeerKey).map_err(|_| fail())
    }
}

/// A cluster's identity, drawn once when it is created; two clusters never mix.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub [u8; 16]);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A join token's public half.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(pub [u8; 8]);

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TokenId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let fail = || ParseError::new("token id", text, "16 hexadecimal digits");
        let mut id = [0u8; 8];
        hex::decode_to_slice(text, &mut id).map_err(|_| fail())?;
        Ok(TokenId(id))
    }
}

impl FromStr for ClusterId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let fail = || ParseError::new("cluster id", text, "32 hexadecimal digits");
        let mut id = [0u8; 16];
        hex::decode_to_slice(text, &mut id).map_err(|_| fail())?;
        Ok(ClusterId(id))
    }
}

/// Hexadecimal digits for people, plain bytes on the wire and in the log.
macro_rules! serde_as_text {
    ($($id:ident: $len:literal),+) => {$(
        impl Serialize for $id {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    self.0.serialize(serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $id {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    let text = String::deserialize(deserializer)?;
                    text.parse().map_err(serde::de::Error::custom)
                } else {
                    <[u8; $len]>::deserialize(deserializer).map(Self)
                }
            }
        }
    )+};
}

serde_as_text!(ClusterId: 16, TokenId: 8);

/// A content identifier, kept as its binary form: 36 bytes for the common kind, ordered for paging.
#[derive(Clone)]
pub struct Cid(CidBytes);

/// A million pins are compared and copied all the time: the bytes of all but odd CIDs stand in place.
#[derive(Clone)]
enum CidBytes {
    Short { len: u8, bytes: [u8; CID_SHORT_LEN_BYTES] },
    Long(Box<[u8]>),
}

/// What fits in place without making a [`Cid`] larger than a 36-byte one needs.
const CID_SHORT_LEN_BYTES: usize = 38;

/// A CID with a 64-byte digest and two-byte codes fits; anything longer is refused unparsed.
const CID_LEN_BYTES_MAX: usize = 160;

impl Cid {
    /// Checks and takes a binary CID.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ParseError> {
        if bytes.len() > CID_LEN_BYTES_MAX {
            return Err(ParseError::new("CID", "(binary)", "at most 160 bytes"));
        }
        let parsed = cid::Cid::try_from(bytes)
            .map_err(|_| ParseError::new("CID", &hex::encode(bytes), "a binary CID"))?;
        // One CID, one form: the decoder reads numbers that overflow, and does not look at what follows.
        let mut form = [0; CID_LEN_BYTES_MAX];
        let len = parsed.write_bytes(&mut form[..]).unwrap_or(0);
        if form[..len] != *bytes {
            let expected = "the shortest form of a CID and nothing after it";
            return Err(ParseError::new("CID", &hex::encode(bytes), expected));
        }
        Ok(Self::of(bytes))
    }

    fn of(bytes: &[u8]) -> Self {
        let mut short = [0; CID_SHORT_LEN_BYTES];
        match short.get_mut(..bytes.len()) {
            Some(place) => {
                place.copy_from_slice(bytes);
                Self(CidBytes::Short { len: bytes.len() as u8, bytes: short })
            }
            None => Self(CidBytes::Long(bytes.into())),
        }
    }

    /// Takes back what a [`Cid`] gave as its binary form.
    pub(crate) fn of_checked(bytes: &[u8]) -> Self {
        Self::of(bytes)
    }

    /// The binary form.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            CidBytes::Short { len, bytes } => &bytes[..usize::from(*len)],
            CidBytes::Long(bytes) => bytes,
        }
    }

    /// The parsed form, for the rooms that look inside.
    pub fn to_cid(&self) -> cid::Cid {
        cid::Cid::try_from(self.as_bytes()).expect("every constructor has parsed these bytes")
    }
}

impl PartialEq for Cid {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Cid {}

impl PartialOrd for Cid {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Cid {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl Hash for Cid {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl From<&cid::Cid> for Cid {
    fn from(cid: &cid::Cid) -> Self {
        Self::of(&cid.to_bytes())
    }
}

impl From<cid::Cid> for Cid {
    fn from(cid: cid::Cid) -> Self {
        Self::from(&cid)
    }
}

impl fmt::Display for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.to_cid(), f)
    }
}

impl fmt::Debug for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Cid {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let fail = || ParseError::new("CID", text, "a CID such as bafy… or Qm…");
        if text.len() > 2 * CID_LEN_BYTES_MAX {
            return Err(fail());
        }
        cid::Cid::try_from(text).map(Self::from).map_err(|_| fail())
    }
}

impl Serialize for Cid {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_bytes(self.as_bytes())
        }
    }
}

impl<'de> Deserialize<'de> for Cid {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Cid;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a CID")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Cid, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Cid, E> {
                Cid::from_bytes(bytes).map_err(E::custom)
            }
        }
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(Visitor)
        } else {
            deserializer.deserialize_bytes(Visitor)
        }
    }
}

/// Text or bytes that are not what they should be. Nothing was changed; the same input fails again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {what}; expected {expected}")]
pub struct ParseError {
    /// What was wanted.
    pub what: &'static str,
    /// What came, cut to a readable length.
    pub text: String,
    /// What would have been right.
    pub expected: &'static str,
}

impl ParseError {
    /// Names what was wanted, what came and what would have been right.
    pub fn new(what: &'static str, text: &str, expected: &'static str) -> Self {
        Self { what, text: text.chars().take(80).collect(), expected }
    }
}

#[cfg(test)]
mod tests;
