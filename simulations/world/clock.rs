//! Wall clocks that are wrong in ways of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use ipfs_kit_actors::ports::Clock;

use crate::trace::Trace;

/// What every clock shows when a run begins, if it is right: 2026-01-01.
const EPOCH_MS: i64 = 1_767_225_600_000;
/// Parts per million.
const MILLION: i64 = 1_000_000;

/// One machine's wall clock; clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct SimClock {
    trace: Trace,
    errors: Arc<Errors>,
}

#[derive(Debug, Default)]
struct Errors {
    offset_ms: AtomicI64,
    drift_ppm: AtomicI64,
}

impl SimClock {
    /// A clock that is right.
    #[must_use]
    pub fn new(trace: Trace) -> Self {
        Self { trace, errors: Arc::default() }
    }

    /// Sets the clock this much fast (or slow).
    pub fn set_offset_ms(&self, offset_ms: i64) {
        self.errors.offset_ms.store(offset_ms, Ordering::Relaxed);
    }

    /// Makes the clock run this much faster (or slower), in parts per million. The time that has passed
    /// counts as if it had been so from the beginning.
    pub fn set_drift_ppm(&self, drift_ppm: i64) {
        self.errors.drift_ppm.store(drift_ppm, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn wall_ms(&self) -> u64 {
        let passed_ms = i64::try_from(self.trace.now_ms()).unwrap_or(i64::MAX / MILLION);
        let drifted_ms = passed_ms * self.errors.drift_ppm.load(Ordering::Relaxed) / MILLION;
        let offset_ms = self.errors.offset_ms.load(Ordering::Relaxed);
        u64::try_from(EPOCH_MS + passed_ms + drifted_ms + offset_ms).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
