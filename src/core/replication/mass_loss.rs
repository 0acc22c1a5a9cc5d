//! Telling many small losses from one large one.
//!
//! Machines fail one at a time; switches, power rails and bad releases take many at once, and most of those
//! come back with their data. Copying everything elsewhere would then be a storm for nothing.

use crate::member::{HoldPolicy, Liveness, Member, Role};
use crate::state::ClusterState;

/// More than this part of the holders, in percent, lost at once is a mass loss.
const LOST_PERCENT: usize = 30;
/// Fewer lost holders are never a mass loss, unless they are all.
const LOST_MIN: usize = 3;

/// What to do when a large part of the holders vanishes at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MassLossPolicy {
    /// Stop re-replication until they return or are removed for good.
    #[default]
    Pause,
    /// Re-replicate all the same: the operator knows that they are gone.
    Repair,
}

/// A large part of the holders that vanished at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MassLoss {
    /// Holders lost within the window.
    pub lost: usize,
    /// Holders there should be.
    pub holders: usize,
}

/// Judges by the committed times of loss, so that a new leader judges alike.
pub(super) fn judge(state: &ClusterState, window_ms: u64) -> Option<MassLoss> {
    let is_holder =
        |member: &&Member| state.holding_count(member.id) > 0 || is_meant_to_hold(member);
    let mut holders = 0;
    let mut lost_ms = Vec::new();
    for member in state.members().values().filter(is_holder) {
        holders += 1;
        if member.liveness == Liveness::Lost {
            lost_ms.push(member.since_ms);
        }
    }
    lost_ms.sort_unstable();
    let lost = (0..lost_ms.len())
        .map(|first| {
            let end_ms = lost_ms[first].saturating_add(window_ms);
            lost_ms.partition_point(|at_ms| *at_ms <= end_ms) - first
        })
        .max()?;
    let many = lost >= LOST_MIN && lost * 100 > LOST_PERCENT * holders;
    (many || lost == holders).then_some(MassLoss { lost, holders })
}

fn is_meant_to_hold(member: &Member) -> bool {
    member.may_hold()
        && (member.spec.role == Role::Worker || member.spec.hold == HoldPolicy::Always)
}
