//! What the network is like at the moment.

/// Delays and losses of the whole network; [`Weather::fair`] is a healthy local network.
///
/// Connections are TCP's: a lost packet is a late frame on an ordered lane. A lost call stands for a stream
/// that hangs until its deadline, with or without the callee having acted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weather {
    /// Shortest way of a message, in milliseconds.
    pub delay_min_ms: u64,
    /// Longest way of a message that meets no spike, in milliseconds.
    pub delay_max_ms: u64,
    /// Messages that meet a spike, in a thousand.
    pub spike_per_mille: u32,
    /// Longest spike, in milliseconds.
    pub spike_max_ms: u64,
    /// Requests and answers that never arrive, and frames that arrive late, in a thousand.
    pub loss_per_mille: u32,
    /// Copies of gossip messages that never arrive, in a thousand; 1000 stops gossip.
    pub gossip_loss_per_mille: u32,
    /// Copies of gossip messages that come twice, in a thousand.
    pub gossip_duplicate_per_mille: u32,
    /// Messages at which their connection breaks, in a thousand.
    pub cut_per_mille: u32,
}

impl Weather {
    /// A healthy local network.
    #[must_use]
    pub fn fair() -> Self {
        Self {
            delay_min_ms: 1,
            delay_max_ms: 3,
            spike_per_mille: 0,
            spike_max_ms: 0,
            loss_per_mille: 0,
            gossip_loss_per_mille: 0,
            gossip_duplicate_per_mille: 0,
            cut_per_mille: 0,
        }
    }
}

impl Default for Weather {
    fn default() -> Self {
        Self::fair()
    }
}
