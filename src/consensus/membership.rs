//! Brings the configuration of the group to the desired one, one safe change at a time.
//!
//! The reconciler is a pure function of the leader's status. It keeps no plan: whatever happened
//! to the last step, the next one follows from what the configuration is now. A member joins as a
//! learner and is promoted once it has caught up; a voter leaves by way of a demotion; a leader
//! hands over before it is demoted. Only changes of one member are made, so the group is never
//! joint by its own doing; a group that is found joint is led out of it first.
//!
//! The order prefers availability: dead voters are demoted first (that never lowers the number of
//! further losses the group survives), then learners are promoted, then live voters demoted.

use std::collections::BTreeSet;

use thiserror::Error;

use crate::conf::{ConfState, MEMBERS_MAX, MemberRole, MembershipChange};
use crate::id::RaftId;
use crate::status::{PeerState, Status};

/// Who should belong to the group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DesiredMembers {
    /// Members that should vote.
    pub voters: BTreeSet<RaftId>,
    /// Members that should receive the log without a vote.
    pub learners: BTreeSet<RaftId>,
    /// Ids that have been removed or have lost their disk. They never come back.
    pub retired: BTreeSet<RaftId>,
}

/// When a change is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MembershipPolicy {
    /// How many entries a learner may lack when it is promoted.
    pub promote_lag_entries: u64,
    /// After how many ticks without a word a member counts as silent.
    pub silent_ticks: u64,
}

impl MembershipPolicy {
    /// The usual policy for a group with this election timeout: within 256 entries, and heard
    /// within one election timeout.
    pub fn for_election_ticks(election_ticks: u32) -> Self {
        Self { promote_lag_entries: 256, silent_ticks: election_ticks.into() }
    }
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MembershipStep {
    /// The group is as desired.
    Settled,
    /// Propose this change, then look again once its entry has been applied.
    Propose(MembershipChange),
    /// Hand the leadership over; the next leader goes on.
    TransferLeadership {
        /// To whom.
        to: RaftId,
    },
    /// Nothing can be done yet; look again later.
    Wait(WaitReason),
    /// Nothing safe can be done. Tell the operator; look again later, it may pass.
    Refused(ChangeRefusal),
}

/// What the reconciler waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitReason {
    /// Another member leads, or none does.
    NotLeader,
    /// A change has not been applied yet.
    ChangePending,
    /// The leadership is being handed over.
    Transferring,
    /// A learner is still catching up.
    LearnerBehind {
        /// Who.
        learner: RaftId,
        /// How many entries it lacks.
        lag_entries: u64,
    },
    /// The leader has to go, but no other voter has caught up and answers.
    NoSuccessor,
}

/// Why a change is not safe. State is intact; the same change may become safe later, unless the
/// variant says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ChangeRefusal {
    /// No voter would remain. Never safe.
    #[error("no voter would remain")]
    NoVoters,
    /// The change or the desired members name someone twice. Never safe.
    #[error("member {member} is named twice")]
    Duplicate {
        /// Who.
        member: RaftId,
    },
    /// The group would exceed [`MEMBERS_MAX`].
    #[error("the group would have {members} members, at most {MEMBERS_MAX} are allowed")]
    TooMany {
        /// The number of members it would have.
        members: usize,
    },
    /// The id belonged to a member that is gone. Never safe: the node needs a new id.
    #[error("id {member} was retired and can't be used again")]
    Retired {
        /// Who.
        member: RaftId,
    },
    /// The leader would lose its vote. Transfer the leadership first.
    #[error("the leader {member} would lose its vote")]
    Leader {
        /// Who.
        member: RaftId,
    },
    /// A voter would be removed at once. Demote it first.
    #[error("voter {member} has to be demoted before it is removed")]
    VoterRemoval {
        /// Who.
        member: RaftId,
    },
    /// The members that answer are no majority of the present or of the new voters.
    #[error("only {heard} of {voters} voters would answer, which is no majority")]
    SilentQuorum {
        /// Voters that answer.
        heard: usize,
        /// Voters in all.
        voters: usize,
    },
    /// The new majority would lack entries that the leader has already compacted.
    #[error("the new majority holds the log only up to {matched}, but it starts at {first}")]
    BehindCompaction {
        /// The last entry that a majority of the new voters holds.
        matched: u64,
        /// The first entry of the leader's log.
        first: u64,
    },
    /// The change does not fit the configuration: leaving a joint one that is not, or another
    /// change in a joint one.
    #[error("the change does not fit the configuration: {reason}")]
    Unfit {
        /// Why.
        reason: &'static str,
    },
}

/// The next safe step from the status of the leader to the desired members.
pub fn next_step(
    status: &Status,
    desired: &DesiredMembers,
    policy: &MembershipPolicy,
) -> MembershipStep {
    if !status.is_leader() {
        return MembershipStep::Wait(WaitReason::NotLeader);
    }
    if status.membership_pending {
        return MembershipStep::Wait(WaitReason::ChangePending);
    }
    if status.transferring_to.is_some() {
        return MembershipStep::Wait(WaitReason::Transferring);
    }
    if status.conf.is_joint() {
        return MembershipStep::Propose(MembershipChange::LeaveJoint);
    }
    if let Err(refusal) = check_desired(desired) {
        return MembershipStep::Refused(refusal);
    }
    Reconciler { status, desired, policy }.step()
}

fn check_desired(desired: &DesiredMembers) -> Result<(), ChangeRefusal> {
    if desired.voters.is_empty() {
        return Err(ChangeRefusal::NoVoters);
    }
    if let Some(member) = desired.voters.intersection(&desired.learners).next() {
        return Err(ChangeRefusal::Duplicate { member: *member });
    }
    let mut all = desired.voters.union(&desired.learners);
    if let Some(member) = all.find(|member| desired.retired.contains(member)) {
        return Err(ChangeRefusal::Retired { member: *member });
    }
    Ok(())
}

struct Reconciler<'a> {
    status: &'a Status,
    desired: &'a DesiredMembers,
    policy: &'a MembershipPolicy,
}

impl Reconciler<'_> {
    fn step(&self) -> MembershipStep {
        let heard = self.status.heard_within(self.policy.silent_ticks);
        let (live, dead): (Vec<_>, Vec<_>) =
            self.surplus_voters().partition(|voter| heard.contains(voter));
        let (ready, held) = self.promotions();
        // A group that still lacks a voter demotes none that lives.
        let live = if held.is_some() { Vec::new() } else { live };
        let demotion = |voter| (voter, MemberRole::Learner);
        let mut refused = None;
        let changes = dead
            .into_iter()
            .map(demotion)
            .chain(self.strangers())
            .chain(ready)
            .chain(live.into_iter().map(demotion))
            .chain(self.removals());
        for (member, role) in changes {
            let change = MembershipChange::Simple { member, role };
            match check_change(self.status, &change, self.policy.silent_ticks) {
                Ok(()) => return MembershipStep::Propose(change),
                Err(ChangeRefusal::Leader { .. }) => {
                    return self.hand_over(&heard);
                }
                Err(refusal) => refused = refused.or(Some(refusal)),
            }
        }
        match (refused, held) {
            (Some(refusal), _) => MembershipStep::Refused(refusal),
            (None, Some(reason)) => MembershipStep::Wait(reason),
            (None, None) => MembershipStep::Settled,
        }
    }

    fn conf(&self) -> &ConfState {
        &self.status.conf
    }

    fn surplus_voters(&self) -> impl Iterator<Item = RaftId> {
        self.conf().voters.difference(&self.desired.voters).copied()
    }

    /// Members that are wanted and not there yet; all of them start as learners.
    fn strangers(&self) -> impl Iterator<Item = (RaftId, MemberRole)> {
        let wanted = self.desired.voters.union(&self.desired.learners);
        wanted.filter(|id| !self.conf().contains(**id)).map(|id| (*id, MemberRole::Learner))
    }

    /// Learners that should vote and have caught up, and what holds back the others.
    fn promotions(&self) -> (Vec<(RaftId, MemberRole)>, Option<WaitReason>) {
        let mut ready = Vec::new();
        let mut held = None;
        for learner in self.conf().learners.intersection(&self.desired.voters) {
            let peer = self.status.peers.get(learner);
            let lag_entries = self.status.last.saturating_sub(self.status.matched(*learner));
            // Whoever got all there is by a snapshot is probed again only with the next entry, and a group at
            // rest has none.
            let follows = peer.is_some_and(|peer| match peer.state {
                PeerState::Replicate => true,
                PeerState::Probe => lag_entries == 0,
                PeerState::Snapshot => false,
            });
            let heard = peer.is_some_and(|peer| peer.silent_ticks < self.policy.silent_ticks);
            if follows && heard && lag_entries <= self.policy.promote_lag_entries {
                ready.push((*learner, MemberRole::Voter));
            } else {
                held = Some(WaitReason::LearnerBehind { learner: *learner, lag_entries });
            }
        }
        (ready, held)
    }

    fn removals(&self) -> impl Iterator<Item = (RaftId, MemberRole)> {
        let conf = self.conf();
        let wanted =
            |id: &RaftId| self.desired.voters.contains(id) || self.desired.learners.contains(id);
        conf.learners.iter().filter(move |id| !wanted(id)).map(|id| (*id, MemberRole::Removed))
    }

    /// The desired voter that lacks the least takes over.
    fn hand_over(&self, heard: &BTreeSet<RaftId>) -> MembershipStep {
        let voters = self.conf().voters.intersection(&self.desired.voters);
        let fit = voters.filter(|id| **id != self.status.id && heard.contains(*id));
        match fit.max_by_key(|id| self.status.matched(**id)) {
            Some(to) => MembershipStep::TransferLeadership { to: *to },
            None => MembershipStep::Wait(WaitReason::NoSuccessor),
        }
    }
}

/// Checks that the group survives a change, as far as its leader can tell. Members that have not
/// been heard for `silent_ticks` count as lost.
///
/// # Errors
/// [`ChangeRefusal`] with the first rule that the change breaks.
pub fn check_change(
    status: &Status,
    change: &MembershipChange,
    silent_ticks: u64,
) -> Result<(), ChangeRefusal> {
    let members = change.members();
    if members.is_empty() != status.conf.is_joint() {
        let reason = "only leaving, and that alone, fits a joint one";
        return Err(ChangeRefusal::Unfit { reason });
    }
    let conf = &status.conf;
    let mut voters = conf.voters.clone();
    let mut learners = conf.learners.clone();
    let mut seen = BTreeSet::new();
    for (member, role) in &members {
        if !seen.insert(*member) {
            return Err(ChangeRefusal::Duplicate { member: *member });
        }
        if *role == MemberRole::Removed && conf.voters.contains(member) {
            return Err(ChangeRefusal::VoterRemoval { member: *member });
        }
        learners.remove(member);
        match role {
            MemberRole::Voter => voters.insert(*member),
            MemberRole::Learner => voters.remove(member) | learners.insert(*member),
            MemberRole::Removed => voters.remove(member),
        };
    }
    if voters.is_empty() {
        return Err(ChangeRefusal::NoVoters);
    }
    if voters.len() + learners.len() > MEMBERS_MAX {
        return Err(ChangeRefusal::TooMany { members: voters.len() + learners.len() });
    }
    if !voters.contains(&status.id) {
        return Err(ChangeRefusal::Leader { member: status.id });
    }
    if voters == conf.voters {
        return Ok(());
    }
    check_new_voters(status, &voters, silent_ticks)
}

fn check_new_voters(
    status: &Status,
    voters: &BTreeSet<RaftId>,
    silent_ticks: u64,
) -> Result<(), ChangeRefusal> {
    let heard = status.heard_within(silent_ticks);
    for set in [&status.conf.voters, voters] {
        let heard = heard.intersection(set).count();
        if heard <= set.len() / 2 {
            return Err(ChangeRefusal::SilentQuorum { heard, voters: set.len() });
        }
    }
    let mut matched: Vec<u64> = voters.iter().map(|id| status.matched(*id)).collect();
    matched.sort_unstable_by(|a, b| b.cmp(a));
    let reached = matched[voters.len() / 2];
    if reached + 1 < status.first {
        return Err(ChangeRefusal::BehindCompaction { matched: reached, first: status.first });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
