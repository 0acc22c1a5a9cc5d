//! Secrets that are none: drawn from the seed.

use std::sync::{Mutex, PoisonError};

use ipfs_kit_actors::ports::Entropy;

use super::HostId;
use crate::rng::Rng;

/// One machine's source of secrets.
#[derive(Debug)]
pub struct SimEntropy(Mutex<Rng>);

impl SimEntropy {
    /// The source of one run of a machine's node; another run draws other secrets.
    #[must_use]
    pub fn new(seed: u64, host: HostId, run: u64) -> Self {
        Self(Mutex::new(Rng::new(seed, &format!("entropy of {host}, run {run}"))))
    }
}

impl Entropy for SimEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        // A panic inside the lock is impossible: the generator only computes.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill(buffer);
    }
}
