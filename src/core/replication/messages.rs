//! What the planner is told, what it wishes, and what it shows.

use super::{Concern, MassLoss, MassLossPolicy};
use crate::command::Op;
use crate::delta::Change;
use crate::id::Cid;

/// The planner's settings. All times in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// Pins that are being copied because of a repair at once.
    pub repair_concurrency: usize,
    /// Proposals in one step.
    pub proposals_per_step: usize,
    /// After this long without the change that a proposal asked for, it is planned anew.
    pub proposal_timeout_ms: u64,
    /// A repair that takes longer gives its place to the next one and goes on.
    pub repair_turn_ms: u64,
    /// How long every counted holder must have been there before a surplus copy is released.
    pub trim_settle_ms: u64,
    /// First wait before a pin that failed wherever it was tried is tried again; doubles.
    pub retry_ms: u64,
    /// Longest such wait.
    pub retry_ms_max: u64,
    /// Every pin is looked at this often, whatever happened.
    pub rescan_ms: u64,
    /// What to do when a large part of the holders vanishes at once.
    pub mass_loss: MassLossPolicy,
    /// Losses within this time of one another count as one event.
    pub mass_loss_window_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            repair_concurrency: 64,
            proposals_per_step: 64,
            proposal_timeout_ms: 5_000,
            repair_turn_ms: 120_000,
            trim_settle_ms: 5_000,
            retry_ms: 60_000,
            retry_ms_max: 3_600_000,
            rescan_ms: 600_000,
            mass_loss: MassLossPolicy::Pause,
            mass_loss_window_ms: 60_000,
        }
    }
}

/// What the planner is told.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// This node leads now, and its state covers everything committed before.
    BecameLeader,
    /// It leads no more: everything remembered is dropped.
    LostLeadership,
    /// The state changed, in at most [`super::SCAN_SLICE`] items; it is passed as it is after all of them.
    Changed(&'a [Change]),
    /// The time asked for by [`Effect::WakeAt`] has come.
    Tick,
    /// New settings, for example because an operator overrides the stop after a mass loss.
    Configure(Config),
}

/// What the planner wishes.
#[derive(Clone, PartialEq, Debug)]
pub enum Effect {
    /// Commit this: a reassignment, an expiry, or the removal of a drained member.
    Propose(Op),
    /// Call again at this time; replaces the time asked for before. Every step of a leader ends with one.
    WakeAt(u64),
    /// Something for people.
    Note(Note),
}

/// Something that people should know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Note {
    /// A large part of the holders vanished at once; nothing is re-replicated.
    MassLoss(MassLoss),
    /// Repair goes on.
    Resumed,
    /// A pin needs an eye.
    Raised {
        /// The pin.
        cid: Cid,
        /// Why.
        concern: Concern,
    },
    /// A pin is well again, or gone.
    Cleared {
        /// The pin.
        cid: Cid,
    },
}

/// What a leader's planner is at, for status pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Glance {
    /// Repair stands still because of this.
    pub paused: Option<MassLoss>,
    /// Pins that wait for a repair to begin; a lower bound while pins are being scanned.
    pub queued: usize,
    /// Pins that are being copied.
    pub repairing: usize,
    /// Proposals in flight.
    pub proposed: usize,
    /// Whether every pin has been looked at since the last event that demanded it.
    pub scanned: bool,
}
