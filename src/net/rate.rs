//! How often strangers may ask to join: one token bucket in total and one for each address.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::JoinLimits;

#[cfg(test)]
mod tests;

/// Addresses that are remembered; the longest unused makes room.
const MAX_REMEMBERED: usize = 1024;

/// One network place: an IPv4 address, or an IPv6 /64, which is what one machine is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Origin(IpAddr);

impl From<IpAddr> for Origin {
    fn from(ip: IpAddr) -> Self {
        Self(match ip.to_canonical() {
            IpAddr::V4(ip) => IpAddr::V4(ip),
            IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) >> 64 << 64).into()),
        })
    }
}

/// The limiter. Time comes in.
pub(crate) struct JoinRate {
    limits: JoinLimits,
    total: Bucket,
    origins: BTreeMap<Origin, Bucket>,
}

impl JoinRate {
    pub(crate) fn new(limits: JoinLimits, now: Instant) -> Self {
        let total = Bucket::full(limits.burst, now);
        Self { limits, total, origins: BTreeMap::new() }
    }

    /// Takes one request of `origin`, or says after how long a place is free.
    pub(crate) fn admit(&mut self, origin: Origin, now: Instant) -> Result<(), Duration> {
        let per_ip = Duration::from_millis(self.limits.refill_per_ip_ms.max(1));
        let in_total = Duration::from_millis(self.limits.refill_ms.max(1));
        self.make_room(origin);
        let burst_per_ip = self.limits.burst_per_ip;
        let own = self.origins.entry(origin).or_insert_with(|| Bucket::full(burst_per_ip, now));
        own.refill(burst_per_ip, per_ip, now);
        self.total.refill(self.limits.burst, in_total, now);
        // The own bucket is asked first, so that a noisy address can't drain the common one.
        own.check(per_ip, now)?;
        self.total.check(in_total, now)?;
        own.tokens -= 1;
        self.total.tokens -= 1;
        Ok(())
    }

    fn make_room(&mut self, origin: Origin) {
        if self.origins.len() < MAX_REMEMBERED || self.origins.contains_key(&origin) {
            return;
        }
        let oldest = self.origins.iter().min_by_key(|(_, bucket)| bucket.used_at);
        if let Some(oldest) = oldest.map(|(origin, _)| *origin) {
            self.origins.remove(&oldest);
        }
    }
}

struct Bucket {
    tokens: u32,
    /// When the last whole token was earned.
    earned_at: Instant,
    used_at: Instant,
}

impl Bucket {
    fn full(burst: u32, now: Instant) -> Self {
        Self { tokens: burst, earned_at: now, used_at: now }
    }

    fn refill(&mut self, burst: u32, every: Duration, now: Instant) {
        self.used_at = now;
        let earned = now.saturating_duration_since(self.earned_at).as_nanos() / every.as_nanos();
        let earned = u32::try_from(earned).unwrap_or(u32::MAX);
        if self.tokens.saturating_add(earned) >= burst {
            self.tokens = burst;
            self.earned_at = now;
        } else {
            self.tokens += earned;
            self.earned_at += every * earned;
        }
    }

    fn check(&self, every: Duration, now: Instant) -> Result<(), Duration> {
        match self.tokens {
            0 => Err((self.earned_at + every).saturating_duration_since(now)),
            _ => Ok(()),
        }
    }
}
