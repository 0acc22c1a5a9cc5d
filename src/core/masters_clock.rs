//! What time it is among the masters.
//!
//! Committed time ends pins and tokens, and never goes back: one leader whose clock is an hour ahead would
//! end them all an hour too early. So a leader does not stamp its own time but the median of the masters'
//! clocks, of which it hears with every heartbeat; what it has heard goes on by its own monotone time, so
//! that a step of its wall clock moves nothing else. Of an even number the slower middle counts: what ends
//! too late does no harm.

use std::collections::BTreeMap;

use crate::id::NodeId;

/// A leader's knowledge of the other masters' clocks.
#[derive(Clone, Debug, Default)]
pub struct MastersClock {
    heard: BTreeMap<NodeId, Heard>,
}

/// What a master's clock showed.
#[derive(Clone, Copy, Debug)]
struct Heard {
    wall_ms: u64,
    /// When, in this node's monotone milliseconds.
    at_ms: u64,
}

impl MastersClock {
    /// A member said at `now_ms` that its clock shows `wall_ms`.
    pub fn hear(&mut self, node: NodeId, wall_ms: u64, now_ms: u64) {
        self.heard.insert(node, Heard { wall_ms, at_ms: now_ms });
    }

    /// Forgets everything, as when a leadership begins or ends.
    pub fn forget(&mut self) {
        self.heard.clear();
    }

    /// The time to stamp at `now_ms`: the median of the `masters`' clocks, where that of `own` shows
    /// `wall_ms`. As long as most of them have not been heard it is 0, which stamps nothing.
    pub fn stamp(
        &self,
        own: NodeId,
        wall_ms: u64,
        masters: impl IntoIterator<Item = NodeId>,
        now_ms: u64,
    ) -> u64 {
        let mut count = 0;
        let mut clocks = Vec::new();
        for master in masters {
            count += 1;
            if master == own {
                clocks.push(wall_ms);
            } else if let Some(heard) = self.heard.get(&master) {
                let passed_ms = now_ms.saturating_sub(heard.at_ms);
                clocks.push(heard.wall_ms.saturating_add(passed_ms));
            }
        }
        clocks.sort_unstable();
        match clocks.get(clocks.len().saturating_sub(1) / 2) {
            Some(median_ms) if clocks.len() > count / 2 => *median_ms,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests;
