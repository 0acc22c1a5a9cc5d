//! A pin as it is kept: a master has a million of them and looks at few at a time.

use std::fmt;
use std::sync::Arc;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Pin, Replicas};
use crate::codec::{self, Kind};
use crate::id::{Cid, NodeId};
use crate::limits;

/// A pin in the state, in a view and in the changes between: one copy in one piece of memory, in the form in
/// which it is sent, saved and hashed. That takes a third of what the fields of a [`Pin`] take, and is read
/// at the price of allocating them.
///
/// Behind that form stands where its replicas begin, so that they are found without reading what is in front.
#[derive(Clone, PartialEq, Eq)]
pub struct SharedPin(Arc<[u8]>);

/// Where the replicas begin in a pin's form.
type ReplicasAt = u32;
const TAIL_BYTES: usize = size_of::<ReplicasAt>();

impl SharedPin {
    /// The pin, for looking at it or for changing it.
    pub fn read(&self) -> Pin {
        codec::open(Kind::Item, self.as_bytes(), self.0.len())
            .expect("every constructor has encoded these bytes from a pin")
    }

    /// Whether a member holds it or should, without reading the rest.
    pub fn is_asked_of(&self, node: NodeId) -> bool {
        let (form, tail) = self.parts();
        let at = tail.try_into().map_or(0, ReplicasAt::from_le_bytes) as usize;
        let replicas: Replicas = codec::open_last(&form[at..])
            .expect("every constructor has noted where it encoded the replicas");
        replicas.contains_key(&node)
    }

    /// The root, without reading the rest.
    pub fn cid(&self) -> Cid {
        Cid::of_checked(self.root())
    }

    /// The root's binary form.
    pub(crate) fn root(&self) -> &[u8] {
        codec::first_bytes(self.as_bytes())
            .expect("a pin begins with its root, which is far below 250 bytes")
    }

    /// The encoded form.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.parts().0
    }

    fn parts(&self) -> (&[u8], &[u8]) {
        self.0.split_at(self.0.len() - TAIL_BYTES)
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, codec::Error> {
        let pin: Pin = codec::open(Kind::Item, bytes, limits::PIN_BYTES_MAX)?;
        // What could be written in two ways would have two hashes.
        Ok(Self::from(&pin))
    }
}

impl From<&Pin> for SharedPin {
    fn from(pin: &Pin) -> Self {
        let mut bytes = codec::seal(Kind::Item, pin);
        // They are the last field, and a part is encoded as it is within the whole.
        let at = bytes.len() - codec::encoded_len(&pin.replicas);
        let at = ReplicasAt::try_from(at).expect("a pin's length is bounded far below that");
        bytes.extend_from_slice(&at.to_le_bytes());
        Self(bytes.into())
    }
}

impl fmt::Debug for SharedPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read().fmt(f)
    }
}

impl Serialize for SharedPin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.as_bytes())
    }
}

impl<'de> Deserialize<'de> for SharedPin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Sealed;

        impl Visitor<'_> for Sealed {
            type Value = SharedPin;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an encoded pin")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<SharedPin, E> {
                SharedPin::from_bytes(bytes).map_err(E::custom)
            }
        }

        deserializer.deserialize_bytes(Sealed)
    }
}
