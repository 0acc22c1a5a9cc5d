//! The pins of the state, by root and by number.
//!
//! Each pin has a small number for as long as it is there; whatever else speaks of many pins holds these
//! numbers. They are no part of the state: masters that read it from a checkpoint give out others.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::iter;
use std::ops::{Bound, Index};

use crate::id::Cid;
use crate::pin::SharedPin;

/// A pin's number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Slot(pub(super) u32);

/// How a root begins. Its order is that of the roots, as far as it tells them apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Start(u128);

impl Start {
    fn of(root: &[u8]) -> Self {
        let mut start = [0; 16];
        let len = root.len().min(start.len());
        start[..len].copy_from_slice(&root[..len]);
        Self(u128::from_be_bytes(start))
    }
}

/// Pins in the order of their roots. A million of them are searched all the time, so the tree holds how
/// they begin and not whole roots: a third of the memory, and compared as numbers.
#[derive(Clone, Default, Debug)]
pub struct Pins {
    slots: Vec<Option<SharedPin>>,
    free: Vec<u32>,
    /// One of the pins that begin so; nearly always the only one.
    starts: BTreeMap<Start, Slot>,
    /// The others that begin so. Twelve bytes of two hashes are equal only if somebody has worked for it.
    twins: BTreeMap<Cid, Slot>,
}

impl Pins {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.starts.len() + self.twins.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty() && self.twins.is_empty()
    }

    /// The pin of a root.
    pub fn get(&self, cid: &Cid) -> Option<&SharedPin> {
        self.at(self.slot(cid)?)
    }

    /// Whether a root is pinned.
    pub fn contains_key(&self, cid: &Cid) -> bool {
        self.slot(cid).is_some()
    }

    /// All pins by root.
    pub fn iter(&self) -> impl Iterator<Item = (Cid, &SharedPin)> {
        self.values().map(|pin| (pin.cid(), pin))
    }

    /// All roots.
    pub fn keys(&self) -> impl Iterator<Item = Cid> {
        self.values().map(SharedPin::cid)
    }

    /// All pins in the order of their roots.
    pub fn values(&self) -> impl Iterator<Item = &SharedPin> {
        self.after(None)
    }

    /// All pins behind a root, in the order of their roots.
    pub fn after(&self, root: Option<&Cid>) -> impl Iterator<Item = &SharedPin> {
        let is_behind =
            move |pin: &&SharedPin| root.is_none_or(|root| pin.root() > root.as_bytes());
        let from =
            root.map_or(Bound::Unbounded, |root| Bound::Included(Start::of(root.as_bytes())));
        let mut starts = self
            .starts
            .range((from, Bound::Unbounded))
            .filter_map(|(_, slot)| self.at(*slot))
            .skip_while(move |pin| !is_behind(pin))
            .peekable();
        let from = root.map_or(Bound::Unbounded, Bound::Excluded);
        let twins = self.twins.range::<Cid, _>((from, Bound::Unbounded));
        let mut twins = twins.filter_map(|(_, slot)| self.at(*slot)).peekable();
        iter::from_fn(move || match (starts.peek(), twins.peek()) {
            (Some(start), Some(twin)) if twin.root() < start.root() => twins.next(),
            (Some(_), _) => starts.next(),
            (None, _) => twins.next(),
        })
    }

    /// The number of a root's pin.
    pub(super) fn slot(&self, cid: &Cid) -> Option<Slot> {
        let slot = self.starts.get(&Start::of(cid.as_bytes())).copied();
        let is_it = |slot: &Slot| is_at(&self.slots, *slot, cid.as_bytes());
        slot.filter(is_it).or_else(|| self.twins.get(cid).copied())
    }

    /// The pin with this number.
    pub(super) fn at(&self, slot: Slot) -> Option<&SharedPin> {
        self.slots.get(slot.0 as usize)?.as_ref()
    }

    /// Puts a pin in the place of the one with its root, which is returned, or in a new one.
    pub(crate) fn insert(&mut self, pin: SharedPin) -> (Slot, Option<SharedPin>) {
        let start = self.starts.entry(Start::of(pin.root()));
        let slot = match &start {
            Entry::Occupied(slot) if is_at(&self.slots, *slot.get(), pin.root()) => {
                Some(*slot.get())
            }
            _ if self.twins.is_empty() => None,
            _ => self.twins.get(&pin.cid()).copied(),
        };
        if let Some(slot) = slot {
            return (slot, self.slots[slot.0 as usize].replace(pin));
        }
        let slot = self.free.pop().map_or_else(|| next_slot(&mut self.slots), Slot);
        match start {
            Entry::Vacant(place) => drop(place.insert(slot)),
            Entry::Occupied(_) => drop(self.twins.insert(pin.cid(), slot)),
        }
        self.slots[slot.0 as usize] = Some(pin);
        (slot, None)
    }

    /// Takes a pin out.
    pub(crate) fn remove(&mut self, cid: &Cid) -> Option<(Slot, SharedPin)> {
        let slot = self.slot(cid)?;
        if self.twins.remove(cid).is_none() {
            self.starts.remove(&Start::of(cid.as_bytes()));
        }
        self.free.push(slot.0);
        Some((slot, self.slots[slot.0 as usize].take()?))
    }
}

fn is_at(slots: &[Option<SharedPin>], slot: Slot, root: &[u8]) -> bool {
    slots[slot.0 as usize].as_ref().is_some_and(|pin| pin.root() == root)
}

fn next_slot(slots: &mut Vec<Option<SharedPin>>) -> Slot {
    let slot = u32::try_from(slots.len())
        .expect("four thousand million pins take far more memory than a state may have");
    slots.push(None);
    Slot(slot)
}

impl Index<&Cid> for Pins {
    type Output = SharedPin;

    /// # Panics
    /// If the root is not pinned.
    fn index(&self, cid: &Cid) -> &SharedPin {
        self.get(cid).expect("the caller knows that the root is pinned")
    }
}

#[cfg(test)]
mod tests;
