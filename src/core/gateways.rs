//! Which gateways to ask, and which to leave alone for a while.
//!
//! Gateways are servers outside the cluster that give blocks to anybody. Nothing they send is believed
//! before it is checked, so all that is decided here is whom to ask first.

#[cfg(test)]
mod tests;

/// The shortest time for which a gateway that failed is left alone; each failure in a row doubles it.
const PAUSE_MIN_MS: u64 = 1_000;
/// The longest.
const PAUSE_MAX_MS: u64 = 300_000;
/// How long a gateway is left alone that sent bytes which are not what was asked for.
const LIAR_PAUSE_MS: u64 = 3_600_000;

/// What a gateway did wrong. Not to have a block is no fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It could not be reached, was too slow, refused, or broke off.
    Silent,
    /// It sent other bytes than it was asked for.
    Wrong,
}

#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    failures: u32,
    until_ms: u64,
}

/// How the gateways have behaved, in their configured order.
#[derive(Clone, Debug)]
pub struct GatewayLedger {
    standings: Vec<Standing>,
}

impl GatewayLedger {
    /// So many gateways, of which nothing is known.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self { standings: vec![Standing::default(); count] }
    }

    /// Whom to ask now, best first: those with the fewest failures, then as configured.
    #[must_use]
    pub fn usable(&self, now_ms: u64) -> Vec<usize> {
        let standings = self.standings.iter().enumerate();
        let mut usable: Vec<(u32, usize)> = standings
            .filter(|(_, standing)| standing.until_ms <= now_ms)
            .map(|(at, standing)| (standing.failures, at))
            .collect();
        usable.sort_unstable();
        usable.into_iter().map(|(_, at)| at).collect()
    }

    /// It answered as it should; what it did before is forgotten.
    pub fn behaved(&mut self, at: usize) {
        if let Some(standing) = self.standings.get_mut(at) {
            *standing = Standing::default();
        }
    }

    /// It did not.
    pub fn failed(&mut self, now_ms: u64, at: usize, fault: Fault) {
        let Some(standing) = self.standings.get_mut(at) else { return };
        let doubled = 1_u64.checked_shl(standing.failures).unwrap_or(u64::MAX);
        let pause_ms = match fault {
            Fault::Silent => PAUSE_MIN_MS.saturating_mul(doubled).min(PAUSE_MAX_MS),
            Fault::Wrong => LIAR_PAUSE_MS,
        };
        standing.failures = standing.failures.saturating_add(1);
        // Requests that were under way together fail together, and the longest pause counts.
        standing.until_ms = standing.until_ms.max(now_ms.saturating_add(pause_ms));
    }
}
