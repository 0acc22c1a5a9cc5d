//! The number by which Raft knows a member.

use std::fmt;
use std::num::NonZeroU64;

/// The identity of one member of the Raft group. Never zero, and never used again once its node
/// has been removed or has lost its disk: Raft remembers what a number promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RaftId(NonZeroU64);

impl RaftId {
    /// The identity with this number; `None` for zero, which Raft uses for "nobody".
    pub fn new(id: u64) -> Option<Self> {
        NonZeroU64::new(id).map(Self)
    }

    /// The number.
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for RaftId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
