//! Seeded generators: one per purpose, so that a new purpose does not shift the draws of the others.

use std::ops::RangeInclusive;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// A generator for one purpose of one run.
#[derive(Clone, Debug)]
pub struct Rng(ChaCha8Rng);

/// A run's seed for one purpose: the first 8 bytes of BLAKE3 over both.
#[must_use]
pub fn derive(seed: u64, purpose: &str) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(purpose.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(first)
}

impl Rng {
    /// The generator of a run's seed for one purpose.
    #[must_use]
    pub fn new(seed: u64, purpose: &str) -> Self {
        Self(ChaCha8Rng::seed_from_u64(derive(seed, purpose)))
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number within the range. The bias of the remainder (below 2^-32 for the ranges used) is accepted.
    pub fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        let (low, high) = range.into_inner();
        let span = high.saturating_sub(low).saturating_add(1);
        low + self.number() % span
    }

    /// True this often in a thousand. A chance of 0 draws nothing.
    pub fn chance(&mut self, per_mille: u32) -> bool {
        per_mille > 0 && self.number() % 1000 < u64::from(per_mille)
    }

    /// One of the items; `None` if there are none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        if items.is_empty() {
            return None;
        }
        let at = self.within(0..=items.len() as u64 - 1);
        items.get(at as usize)
    }

    /// Puts the items into another order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.within(0..=last as u64) as usize;
            items.swap(last, other);
        }
    }

    /// Fills a buffer.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }
}

#[cfg(test)]
mod tests;
