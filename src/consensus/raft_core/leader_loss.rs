//! A leader whose connection breaks and who is not heard again at once is not waited for.
//!
//! Raft's timeout covers a leader that says nothing. The death of a process says more: its connections
//! break at every member. Each then forgets the leader after a short grace, which ends the time in which
//! it would refuse others its pre-vote, and they campaign one after the other, by rank, so that they do
//! not take each other's votes. Nothing rests on this for safety: whoever breaks with a leader that
//! lives gets no pre-votes from those that hear it, and follows it again with its next message.

use raft::StateRole;

use super::RaftCore;
use crate::id::RaftId;
use crate::log::LogView;

/// Ticks in which a leader may be heard again over a new connection.
const GRACE_TICKS: u64 = 2;
/// Ticks between forgetting the leader and the campaign of the first member; more than the difference
/// with which members notice the loss.
const FIRST_CAMPAIGN_TICKS: usize = 2;
/// Ticks between the campaigns of two members: a round of votes and its syncs.
const STAGGER_TICKS: usize = 3;

/// A leader whose connection is gone.
#[derive(Debug, Clone, Copy)]
pub(super) struct LostLeader {
    leader: RaftId,
    since_tick: u64,
}

impl<L: LogView> RaftCore<L> {
    /// Notes that the connection to a member broke. If it leads and is not heard within a grace, an
    /// election follows soon. [`RaftCore::report_unreachable`] says that it is connected again.
    pub fn disconnected(&mut self, member: RaftId) {
        if self.leader() == Some(member) && self.leading.is_none() {
            self.lost_leader = Some(LostLeader { leader: member, since_tick: self.now_tick });
        }
    }

    pub(super) fn heard_from(&mut self, member: RaftId) {
        self.lost_leader.take_if(|lost| lost.leader == member);
    }

    /// Forgets the lost leader when its grace is over.
    pub(super) fn forget_lost_leader(&mut self) {
        let now_tick = self.now_tick;
        let Some(lost) = self.lost_leader.take_if(|lost| now_tick - lost.since_tick >= GRACE_TICKS)
        else {
            return;
        };
        let rank = self.rank_without(lost.leader);
        let raft = &mut self.node.raft;
        if raft.state != StateRole::Follower || raft.leader_id != lost.leader.get() {
            return;
        }
        tracing::info!(leader = %lost.leader, "the connection to the leader is gone");
        raft.leader_id = raft::INVALID_ID;
        let wait_ticks = FIRST_CAMPAIGN_TICKS + STAGGER_TICKS * rank;
        let soon = raft.randomized_election_timeout().saturating_sub(wait_ticks);
        raft.election_elapsed = raft.election_elapsed.max(soon);
    }

    /// How many voters stand before this member, the lost one left out.
    fn rank_without(&self, lost: RaftId) -> usize {
        let before = |id: &RaftId| *id < self.config.id && *id != lost;
        self.conf.voters.iter().filter(|id| before(id)).count()
    }
}

#[cfg(test)]
mod tests;
