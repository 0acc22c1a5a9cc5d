//! Election timeouts from a seed.
//!
//! Raft draws a new timeout from the thread's generator whenever it resets itself, which makes two
//! runs of one seed differ. The timeout is therefore overwritten after every call by a pure
//! function of the seed, the member, the term and the number of its campaigns. Being a function
//! and not a stream, it does not matter whether a reset was noticed.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::id::RaftId;

/// The timeouts of one member.
#[derive(Debug)]
pub(crate) struct ElectionTimeouts {
    rng: ChaCha8Rng,
    min_ticks: u32,
    /// The position of the last draw and its result.
    drawn: Option<(u64, u64, u32)>,
}

impl ElectionTimeouts {
    pub fn new(seed: u64, id: RaftId, min_ticks: u32) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&id.get().to_le_bytes());
        Self { rng: ChaCha8Rng::from_seed(key), min_ticks, drawn: None }
    }

    /// The timeout in `min_ticks..2 * min_ticks` that holds in `term` after so many campaigns.
    pub fn draw(&mut self, term: u64, campaigns: u64) -> u32 {
        match self.drawn {
            Some((t, c, ticks)) if (t, c) == (term, campaigns) => ticks,
            _ => {
                self.rng.set_stream(term);
                self.rng.set_word_pos(u128::from(campaigns) * 2);
                let spread = self.rng.next_u64() % u64::from(self.min_ticks);
                let ticks = self.min_ticks + spread as u32;
                self.drawn = Some((term, campaigns, ticks));
                ticks
            }
        }
    }
}

#[cfg(test)]
mod tests;
