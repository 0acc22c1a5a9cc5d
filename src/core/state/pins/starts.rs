//! How roots begin, in order, each with a pin's number: a tree of two levels.
//!
//! A master looks for a root in a million others for every pin, and what that costs is the memory that it has
//! to wait for: in a binary or B-tree some ten lines of it. Here the upper level stays in the processor's
//! cache, and since roots are hashes, spread evenly, a guess leads to the right lines of the lower one
//! (interpolation search; Perl, Itai and Avni, CACM 1978). Roots that are not spread evenly are found by
//! halving, as ever.

use std::iter;

use super::Slot;

/// Entries of a leaf. Larger ones make the upper level smaller, and inserting into them slower.
const LEAF_MAX: usize = 256;
/// Leaves that have no more than this between them become one.
const MERGED_MAX: usize = LEAF_MAX / 2;
/// How far around a guess is looked, to either side: twice the spread of evenly distributed entries.
const AROUND: usize = 16;

/// How a root begins. Its order is that of the roots, as far as it tells them apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Start(u128);

impl Start {
    pub(super) fn of(root: &[u8]) -> Self {
        let mut start = [0; 16];
        let len = root.len().min(start.len());
        start[..len].copy_from_slice(&root[..len]);
        Self(u128::from_be_bytes(start))
    }
}

/// Beginnings in their order.
#[derive(Clone, Default, Debug)]
pub(super) struct Starts {
    /// For each leaf, what is above all of those before it and not above any of its own.
    bounds: Vec<Start>,
    leaves: Vec<Box<Leaf>>,
    len: usize,
}

#[derive(Clone, Debug)]
struct Leaf {
    len: usize,
    starts: [Start; LEAF_MAX],
    slots: [Slot; LEAF_MAX],
}

/// Where a beginning is, or would be. Good until something changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    leaf: usize,
    at: usize,
}

impl Leaf {
    fn empty() -> Box<Self> {
        Box::new(Self { len: 0, starts: [Start(0); LEAF_MAX], slots: [Slot(0); LEAF_MAX] })
    }

    fn starts(&self) -> &[Start] {
        &self.starts[..self.len]
    }

    /// How many are below `start`; all lie between the bounds `from` and `to`.
    fn below(&self, start: Start, from: Start, to: Start) -> usize {
        let starts = self.starts();
        let guess = guess(start, from, to, self.len);
        let (first, last) = (guess.saturating_sub(AROUND), (guess + AROUND).min(self.len));
        let is_above_first = first == 0 || starts[first - 1] < start;
        let is_below_last = last == self.len || starts[last] >= start;
        if is_above_first && is_below_last {
            first + starts[first..last].partition_point(|other| *other < start)
        } else {
            starts.partition_point(|other| *other < start)
        }
    }

    fn insert(&mut self, at: usize, start: Start, slot: Slot) {
        self.starts.copy_within(at..self.len, at + 1);
        self.slots.copy_within(at..self.len, at + 1);
        (self.starts[at], self.slots[at]) = (start, slot);
        self.len += 1;
    }

    fn remove(&mut self, at: usize) {
        self.starts.copy_within(at + 1..self.len, at);
        self.slots.copy_within(at + 1..self.len, at);
        self.len -= 1;
    }

    fn append(&mut self, starts: &[Start], slots: &[Slot]) {
        let end = self.len + starts.len();
        self.starts[self.len..end].copy_from_slice(starts);
        self.slots[self.len..end].copy_from_slice(slots);
        self.len = end;
    }

    /// The upper half, as a leaf of its own.
    fn split(&mut self) -> Box<Self> {
        let mut upper = Self::empty();
        let half = self.len / 2;
        upper.append(&self.starts[half..self.len], &self.slots[half..self.len]);
        self.len = half;
        upper
    }
}

/// Where among `len` evenly spread ones between `from` and `to` this one is.
fn guess(start: Start, from: Start, to: Start, len: usize) -> usize {
    let span = to.0.saturating_sub(from.0);
    let offset = start.0.saturating_sub(from.0).min(span);
    // The 32 highest bits tell enough, and their products fit.
    let shift = (128 - span.leading_zeros()).saturating_sub(32);
    let (offset, span) = ((offset >> shift) as u64, (span >> shift) as u64);
    (offset * len as u64 / (span + 1)) as usize
}

impl Starts {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The number of this one, if it is there, and its place.
    pub(super) fn find(&self, start: Start) -> (Option<Slot>, Place) {
        let after = self.bounds.partition_point(|bound| *bound <= start);
        let leaf = after.saturating_sub(1);
        let Some(entries) = self.leaves.get(leaf) else {
            return (None, Place { leaf, at: 0 });
        };
        let to = self.bounds.get(leaf + 1).copied().unwrap_or(Start(u128::MAX));
        let at = entries.below(start, self.bounds[leaf], to);
        let is_there = entries.starts().get(at) == Some(&start);
        (is_there.then(|| entries.slots[at]), Place { leaf, at })
    }

    /// The number of this one, if it is there.
    pub(super) fn get(&self, start: Start) -> Option<Slot> {
        self.find(start).0
    }

    /// Puts one that is not there into its place.
    pub(super) fn insert(&mut self, place: Place, start: Start, slot: Slot) {
        let Place { leaf, at } = place;
        self.len += 1;
        if self.leaves.is_empty() {
            self.bounds.push(start);
            self.leaves.push(Leaf::empty());
        }
        // Only what is below all others is below the bound of its leaf.
        self.bounds[leaf] = self.bounds[leaf].min(start);
        let entries = &mut self.leaves[leaf];
        if entries.len < LEAF_MAX {
            return entries.insert(at, start, slot);
        }
        let mut upper = entries.split();
        match at.checked_sub(entries.len) {
            Some(at) => upper.insert(at, start, slot),
            None => entries.insert(at, start, slot),
        }
        self.bounds.insert(leaf + 1, upper.starts[0]);
        self.leaves.insert(leaf + 1, upper);
    }

    /// Takes one out.
    pub(super) fn remove(&mut self, start: Start) {
        let (Some(_), Place { leaf, at }) = self.find(start) else { return };
        self.len -= 1;
        self.leaves[leaf].remove(at);
        if self.leaves[leaf].len == 0 {
            self.leaves.remove(leaf);
            self.bounds.remove(leaf);
            return;
        }
        self.merge(leaf);
        if leaf > 0 {
            self.merge(leaf - 1);
        }
    }

    /// Makes one leaf of this and the next one, if they are small.
    fn merge(&mut self, leaf: usize) {
        let [lower, upper, ..] = &mut self.leaves[leaf..] else { return };
        if lower.len + upper.len > MERGED_MAX {
            return;
        }
        lower.append(upper.starts(), &upper.slots[..upper.len]);
        self.leaves.remove(leaf + 1);
        self.bounds.remove(leaf + 1);
    }

    /// All numbers from this beginning on, in the order of the beginnings.
    pub(super) fn from(&self, start: Option<Start>) -> impl Iterator<Item = Slot> {
        let first = start.map_or(Place { leaf: 0, at: 0 }, |start| self.find(start).1);
        let Place { mut leaf, mut at } = first;
        iter::from_fn(move || {
            loop {
                let entries = self.leaves.get(leaf)?;
                if at < entries.len {
                    at += 1;
                    return Some(entries.slots[at - 1]);
                }
                (leaf, at) = (leaf + 1, 0);
            }
        })
    }
}

#[cfg(test)]
mod tests;
