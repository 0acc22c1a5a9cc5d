//! A pin as it is kept: a master has a million of them and looks at few at a time.

use std::fmt;
use std::sync::Arc;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Pin;
use crate::codec::{self, Kind};
use crate::id::Cid;
use crate::limits;

/// A pin in the state, in a view and in the changes between: one copy in one piece of memory, in the form in
/// which it is sent, saved and hashed. That takes a third of what the fields of a [`Pin`] take, and is read
/// at the price of allocating them.
#[derive(Clone, PartialEq, Eq)]
pub struct SharedPin(Arc<[u8]>);

impl SharedPin {
    /// The pin, for looking at it or for changing it.
    pub fn read(&self) -> Pin {
        codec::open(Kind::Item, &self.0, self.0.len())
            .expect("every constructor has encoded these bytes from a pin")
    }

    /// The root, without reading the rest.
    pub fn cid(&self) -> Cid {
        Cid::of_checked(self.root())
    }

    /// The root's binary form.
    pub(crate) fn root(&self) -> &[u8] {
        codec::first_bytes(&self.0)
            .expect("a pin begins with its root, which is far below 250 bytes")
    }

    /// The encoded form.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, codec::Error> {
        let pin: Pin = codec::open(Kind::Item, bytes, limits::PIN_BYTES_MAX)?;
        // What could be written in two ways would have two hashes.
        Ok(Self::from(&pin))
    }
}

impl From<&Pin> for SharedPin {
    fn from(pin: &Pin) -> Self {
        Self(codec::seal(Kind::Item, pin).into())
    }
}

impl fmt::Debug for SharedPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read().fmt(f)
    }
}

impl Serialize for SharedPin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
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
