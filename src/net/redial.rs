//! When to dial which member: pure bookkeeping of kept links, with jittered exponential back-off.

use std::collections::BTreeMap;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use tokio::time::Instant;

use crate::addr::NetAddr;
use crate::identity::PeerKey;

#[cfg(test)]
mod tests;

/// Addresses learned from others that are remembered for one member.
const MAX_LEARNED: usize = 4;
/// After this many failures in a row other members are asked where the member is now.
const FAILURES_BEFORE_LOOKUP: u32 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Up,
    Dialling,
    Waiting { until: Instant },
}

struct Target {
    addrs: Vec<NetAddr>,
    /// Addresses that other members told; tried after the registry's.
    learned: Vec<NetAddr>,
    phase: Phase,
    failures: u32,
}

/// One dial that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) peer: PeerKey,
    pub(crate) addrs: Vec<NetAddr>,
}

/// What a failed dial calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failed {
    /// Failures in a row.
    pub(crate) failures: u32,
    /// Whether to ask other members for the peer's addresses.
    pub(crate) look_up: bool,
}

/// How soon to try again after a hello was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    /// The normal back-off: it can heal by itself.
    Backoff,
    /// The longest delay: it takes an operator.
    Slowly,
}

/// The kept links.
pub(crate) struct Redial {
    min: Duration,
    max: Duration,
    targets: BTreeMap<PeerKey, Target>,
    rng: ChaCha8Rng,
}

impl Redial {
    pub(crate) fn new(min_ms: u64, max_ms: u64, seed: [u8; 32]) -> Self {
        Self {
            min: Duration::from_millis(min_ms.max(1)),
            max: Duration::from_millis(max_ms.max(min_ms).max(1)),
            targets: BTreeMap::new(),
            rng: ChaCha8Rng::from_seed(seed),
        }
    }

    /// Replaces the kept links. A new member, or one whose addresses changed, is due at once.
    pub(crate) fn set(
        &mut self,
        kept: BTreeMap<PeerKey, Vec<NetAddr>>,
        up: impl Fn(&PeerKey) -> bool,
        now: Instant,
    ) {
        self.targets.retain(|peer, _| kept.contains_key(peer));
        for (peer, addrs) in kept {
            match self.targets.get_mut(&peer) {
                Some(target) if target.addrs == addrs => {}
                Some(target) => {
                    target.addrs = addrs;
                    target.failures = 0;
                    if let Phase::Waiting { until } = &mut target.phase {
                        *until = now;
                    }
                }
                None => {
                    let phase = if up(&peer) { Phase::Up } else { Phase::Waiting { until: now } };
                    let target = Target { addrs, learned: Vec::new(), phase, failures: 0 };
                    self.targets.insert(peer, target);
                }
            }
        }
    }

    /// The dials that are due; each counts as under way from now on.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<Due> {
        let mut due = Vec::new();
        for (peer, target) in &mut self.targets {
            if matches!(target.phase, Phase::Waiting { until } if until <= now) {
                target.phase = Phase::Dialling;
                let addrs = target.addrs.iter().chain(&target.learned).cloned().collect();
                due.push(Due { peer: *peer, addrs });
            }
        }
        due
    }

    /// When the next dial is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.targets
            .values()
            .filter_map(|target| match target.phase {
                Phase::Waiting { until } => Some(until),
                Phase::Up | Phase::Dialling => None,
            })
            .min()
    }

    /// The member said hello, over whichever connection.
    pub(crate) fn up(&mut self, peer: &PeerKey) {
        if let Some(target) = self.targets.get_mut(peer) {
            target.phase = Phase::Up;
            target.failures = 0;
        }
    }

    /// The last connection to the member is gone: dial soon, for restarts are quick.
    pub(crate) fn down(&mut self, peer: &PeerKey, now: Instant) {
        let delay = self.jitter(self.min);
        if let Some(target) = self.targets.get_mut(peer)
            && target.phase == Phase::Up
        {
            target.phase = Phase::Waiting { until: now + delay };
        }
    }

    /// A dial, or the hello after it, failed. `None` if the member is not kept or is up already.
    pub(crate) fn failed(&mut self, peer: &PeerKey, retry: Retry, now: Instant) -> Option<Failed> {
        let failures = match self.targets.get(peer) {
            Some(target) if target.phase == Phase::Dialling => target.failures.saturating_add(1),
            _ => return None,
        };
        let delay = match retry {
            Retry::Backoff => self.min.saturating_mul(1 << (failures - 1).min(16)).min(self.max),
            Retry::Slowly => self.max,
        };
        let until = now + self.jitter(delay);
        let target = self.targets.get_mut(peer)?;
        target.failures = failures;
        target.phase = Phase::Waiting { until };
        Some(Failed { failures, look_up: failures.is_multiple_of(FAILURES_BEFORE_LOOKUP) })
    }

    /// Other members know the member at these addresses. Replaces what was learned before.
    pub(crate) fn learned(&mut self, peer: &PeerKey, addrs: Vec<NetAddr>) {
        if let Some(target) = self.targets.get_mut(peer) {
            let new = addrs.into_iter().filter(|addr| !target.addrs.contains(addr));
            target.learned = new.take(MAX_LEARNED).collect();
        }
    }

    /// Half of the delay, plus a random part of the other half.
    fn jitter(&mut self, delay: Duration) -> Duration {
        let half = delay / 2;
        let span = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX).max(1);
        half + Duration::from_nanos(self.rng.next_u64() % span)
    }
}
