//! How fast something may be moved: a bucket that fills at a rate, and may be overdrawn once.
//!
//! How much an answer brings is known only when it has come, so a guess is taken out before, and put right
//! afterwards. Whoever finds the bucket overdrawn waits until it has filled again; over time that gives
//! exactly the rate.

#[cfg(test)]
mod tests;

const MS_PER_S: u64 = 1_000;

/// A rate, and what was used of it. Clones are separate.
#[derive(Clone, Debug)]
pub struct Throttle {
    /// Bytes a second; `None`: no limit.
    rate: Option<u64>,
    /// Thousandths of bytes that may be moved now; below 0 what was moved too early.
    level: i128,
    at_ms: u64,
}

impl Throttle {
    /// A bucket that is full: what a second brings may be moved at once. A rate of 0 is no limit.
    #[must_use]
    pub fn new(rate_bytes_s: u64) -> Self {
        let rate = Some(rate_bytes_s).filter(|rate| *rate > 0);
        Self { rate, level: full(rate_bytes_s), at_ms: 0 }
    }

    /// Milliseconds until something may be moved; 0: now.
    #[must_use]
    pub fn wait_ms(&self, now_ms: u64) -> u64 {
        let Some(rate) = self.rate else { return 0 };
        let owed = -self.level_at(now_ms, rate);
        if owed < 0 {
            return 0;
        }
        // One more, so that the bucket is above 0 then.
        u64::try_from(owed / i128::from(rate)).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// So many bytes are moved, or probably will be.
    pub fn take(&mut self, now_ms: u64, bytes: u64) {
        let Some(rate) = self.rate else { return };
        self.level = self.level_at(now_ms, rate) - i128::from(bytes) * i128::from(MS_PER_S);
        self.at_ms = self.at_ms.max(now_ms);
    }

    /// It was another number of bytes than was taken for it.
    pub fn put_right(&mut self, taken: u64, moved: u64) {
        if let Some(rate) = self.rate {
            let too_much = (i128::from(taken) - i128::from(moved)) * i128::from(MS_PER_S);
            self.level = (self.level + too_much).min(full(rate));
        }
    }

    fn level_at(&self, now_ms: u64, rate: u64) -> i128 {
        let filled = i128::from(now_ms.saturating_sub(self.at_ms)) * i128::from(rate);
        (self.level + filled).min(full(rate))
    }
}

fn full(rate: u64) -> i128 {
    i128::from(rate) * i128::from(MS_PER_S)
}
