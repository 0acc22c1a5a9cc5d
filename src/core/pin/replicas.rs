//! A pin's copies: a map of very few entries.

use std::fmt;
use std::ops::Index;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Replica;
use crate::id::NodeId;

/// Copies by holder, in the holders' order: a sorted list, which takes a fifth of a tree's memory.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Replicas(Vec<(NodeId, Replica)>);

impl Replicas {
    fn find(&self, node: NodeId) -> Result<usize, usize> {
        self.0.binary_search_by_key(&node, |(node, _)| *node)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A holder's copy.
    pub fn get(&self, node: &NodeId) -> Option<&Replica> {
        self.find(*node).ok().map(|at| &self.0[at].1)
    }

    /// A holder's copy, for changing it.
    pub fn get_mut(&mut self, node: &NodeId) -> Option<&mut Replica> {
        self.find(*node).ok().map(|at| &mut self.0[at].1)
    }

    /// Whether a member holds it or should.
    pub fn contains_key(&self, node: &NodeId) -> bool {
        self.find(*node).is_ok()
    }

    /// Adds or replaces a holder's copy; returns what was replaced.
    pub fn insert(&mut self, node: NodeId, replica: Replica) -> Option<Replica> {
        match self.find(node) {
            Ok(at) => Some(std::mem::replace(&mut self.0[at].1, replica)),
            Err(at) => {
                self.0.insert(at, (node, replica));
                None
            }
        }
    }

    /// Takes a holder out.
    pub fn remove(&mut self, node: &NodeId) -> Option<Replica> {
        self.find(*node).ok().map(|at| self.0.remove(at).1)
    }

    /// Takes all out.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// All copies in the holders' order.
    pub fn iter(&self) -> impl Iterator<Item = (&NodeId, &Replica)> {
        self.0.iter().map(|(node, replica)| (node, replica))
    }

    /// All holders in order.
    pub fn keys(&self) -> impl Iterator<Item = &NodeId> {
        self.0.iter().map(|(node, _)| node)
    }

    /// All copies without their holders.
    pub fn values(&self) -> impl Iterator<Item = &Replica> {
        self.0.iter().map(|(_, replica)| replica)
    }
}

impl Index<&NodeId> for Replicas {
    type Output = Replica;

    /// # Panics
    /// If the member is no holder.
    fn index(&self, node: &NodeId) -> &Replica {
        self.get(node).expect("the caller knows that the member is a holder")
    }
}

impl FromIterator<(NodeId, Replica)> for Replicas {
    fn from_iter<I: IntoIterator<Item = (NodeId, Replica)>>(items: I) -> Self {
        let mut replicas = Self::default();
        for (node, replica) in items {
            replicas.insert(node, replica);
        }
        replicas
    }
}

impl Serialize for Replicas {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Replicas {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Copies;

        impl<'de> Visitor<'de> for Copies {
            type Value = Replicas;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("copies by holder")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Replicas, A::Error> {
                // What the sender says of their number is not believed: it only saves moves.
                let mut replicas =
                    Replicas(Vec::with_capacity(map.size_hint().unwrap_or(0).min(4)));
                while let Some((node, replica)) = map.next_entry()? {
                    replicas.insert(node, replica);
                }
                Ok(replicas)
            }
        }

        deserializer.deserialize_map(Copies)
    }
}
