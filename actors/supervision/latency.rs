//! Latency histograms of fixed size.

use super::tree::LatencyView;

/// Four buckets per power of two, up to 2^32 µs (71 minutes): relative error below 25 %.
const BUCKETS: usize = 4 * 31;
/// Counts are halved at this total, so that old load fades from the percentiles.
const TOTAL_MAX: u32 = 16_384;

/// Durations in microseconds; percentiles favour the recent past, the maximum is of all time.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    counts: Box<[u32; BUCKETS]>,
    total: u32,
    max_us: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: Box::new([0; BUCKETS]), total: 0, max_us: 0 }
    }
}

fn bucket(us: u64) -> usize {
    if us < 4 {
        return usize::try_from(us).unwrap_or(0);
    }
    let exponent = us.ilog2();
    let quarter = (us >> (exponent - 2)) & 3;
    let index = 4 * (u64::from(exponent) - 1) + quarter;
    usize::try_from(index).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

/// The largest duration that falls into the bucket.
fn upper_us(bucket: usize) -> u64 {
    if bucket < 4 {
        return bucket as u64;
    }
    let exponent = bucket as u64 / 4 + 1;
    let quarter = bucket as u64 % 4;
    ((4 + quarter + 1) << (exponent - 2)) - 1
}

impl Histogram {
    pub(crate) fn record(&mut self, us: u64) {
        self.counts[bucket(us)] += 1;
        self.total += 1;
        self.max_us = self.max_us.max(us);
        if self.total >= TOTAL_MAX {
            self.total = 0;
            for count in self.counts.iter_mut() {
                *count /= 2;
                self.total += *count;
            }
        }
    }

    fn percentile_us(&self, percent: u64) -> u64 {
        let wanted = (u64::from(self.total) * percent).div_ceil(100);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= wanted && seen > 0 {
                return upper_us(index).min(self.max_us);
            }
        }
        self.max_us
    }

    pub(crate) fn view(&self) -> LatencyView {
        LatencyView {
            p50_us: self.percentile_us(50),
            p99_us: self.percentile_us(99),
            max_us: self.max_us,
        }
    }
}

#[cfg(test)]
mod tests;
