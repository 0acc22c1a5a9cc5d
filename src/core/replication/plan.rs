//! What one pin needs: a pure function of the pin, the members and the fleet.

use std::collections::{BTreeMap, BTreeSet};

use super::Concern;
use crate::id::NodeId;
use crate::limits;
use crate::member::{Liveness, Member};
use crate::pin::{Pin, ReplicaState};
use crate::placement::{Fleet, Wish};

/// Members tried beyond the copies wanted before a pin that fails is left to the slow retry.
const TRIES_ELSEWHERE: usize = 2;

/// A pin's copies by what they are worth.
#[derive(Default, Debug)]
pub(super) struct Census {
    pub(super) min: usize,
    pub(super) max: usize,
    /// Durable on members that are there and stay. Only these count as kept.
    pub(super) pinned: BTreeSet<NodeId>,
    /// On their way, on members that are there and stay.
    pub(super) waiting: BTreeSet<NodeId>,
    /// Given up by members that are there and stay.
    pub(super) failed: BTreeSet<NodeId>,
    /// Durable on members that leave or may hold no more.
    pub(super) leaving: BTreeSet<NodeId>,
    /// Never finished, on members that leave.
    leaving_unfinished: BTreeSet<NodeId>,
    /// Durable on members that are lost, by the time of the loss: they may return.
    lost: BTreeSet<(u64, NodeId)>,
    /// Never finished, on members that are lost.
    lost_unfinished: BTreeSet<NodeId>,
    /// On members that are gone for good.
    gone: BTreeSet<NodeId>,
    /// Since when every counted member has been there.
    settled_since_ms: u64,
}

/// How soon a pin must be repaired; lower is sooner.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Urgency(usize);

impl Urgency {
    /// Whether nothing found later can be more urgent by enough to matter.
    pub(super) fn is_most(self) -> bool {
        self.0 <= 1
    }
}

impl Census {
    pub(super) fn of(pin: &Pin, members: &BTreeMap<NodeId, Member>) -> Self {
        let mut census = Self {
            min: pin.spec.replicas_min.into(),
            max: pin.spec.replicas_max.into(),
            ..Self::default()
        };
        for (node, replica) in pin.replicas.iter() {
            let Some(member) = members.get(node) else {
                census.gone.insert(*node);
                continue;
            };
            let stays = member.liveness == Liveness::Alive && member.may_hold();
            let lost = member.liveness == Liveness::Lost;
            match &replica.state {
                ReplicaState::Pinned if stays => {
                    census.settled_since_ms = census.settled_since_ms.max(member.since_ms);
                    census.pinned.insert(*node)
                }
                ReplicaState::Assigned if stays => census.waiting.insert(*node),
                ReplicaState::Failed { .. } if stays => census.failed.insert(*node),
                ReplicaState::Pinned if lost => census.lost.insert((member.since_ms, *node)),
                _ if lost => census.lost_unfinished.insert(*node),
                ReplicaState::Pinned => census.leaving.insert(*node),
                _ => census.leaving_unfinished.insert(*node),
            };
        }
        census
    }

    /// Durable copies on members that are there.
    pub(super) fn live(&self) -> usize {
        self.pinned.len() + self.leaving.len()
    }

    /// Holders that have to be found.
    pub(super) fn missing(&self) -> usize {
        self.max.saturating_sub(self.pinned.len() + self.waiting.len())
    }

    /// Whether there were durable copies and all of them are out of reach.
    pub(super) fn lost_every_copy(&self) -> bool {
        self.live() == 0 && (!self.lost.is_empty() || !self.gone.is_empty())
    }

    /// The fewer copies, the sooner. A pin that nobody can copy from comes last: it would only keep the
    /// places of those that can be saved.
    pub(super) fn urgency(&self, pin: &Pin) -> Urgency {
        match self.live() {
            0 if pin.spec.origin.is_none() => Urgency(usize::MAX),
            live => Urgency(live),
        }
    }

    /// When surplus copies may be released: not before every counted member has been there for a while,
    /// so that one that comes and goes does not make copies come and go.
    pub(super) fn surplus_settles_ms(&self, settle_ms: u64) -> Option<u64> {
        let surplus =
            self.pinned.len() >= self.max && self.pinned.len() + self.waiting.len() > self.max;
        surplus.then(|| self.settled_since_ms.saturating_add(settle_ms))
    }

    /// Whether there is something to release.
    pub(super) fn is_untidy(&self, now_ms: u64, settle_ms: u64) -> bool {
        let enough = self.pinned.len() >= self.max;
        let leftovers = !self.leaving.is_empty() || !self.failed.is_empty();
        !self.gone.is_empty()
            || !self.leaving_unfinished.is_empty()
            || !self.lost_unfinished.is_empty()
            || (enough && leftovers)
            || self.surplus_settles_ms(settle_ms).is_some_and(|at_ms| at_ms <= now_ms)
    }
}

/// How hard to try.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Effort {
    /// Ask members that have not given up yet, a few beyond the copies wanted.
    First,
    /// The slow retry is due: ask on, and in the end ask those again that gave up.
    Again,
}

/// What to propose, and what people should know.
#[derive(Default, Debug)]
pub(super) struct Plan {
    pub(super) add: Vec<NodeId>,
    pub(super) remove: BTreeSet<NodeId>,
    pub(super) concern: Option<Concern>,
    /// Copies are missing and everyone who may be asked now gave up.
    pub(super) exhausted: bool,
}

pub(super) fn plan(
    pin: &Pin,
    census: &Census,
    fleet: &Fleet<'_>,
    effort: Effort,
    now_ms: u64,
    settle_ms: u64,
) -> Plan {
    let mut plan = Plan { remove: census.gone.clone(), ..Plan::default() };
    find_holders(pin, census, fleet, effort, &mut plan);
    release(pin, census, fleet, now_ms, settle_ms, &mut plan);
    bound_holders(pin, census, &mut plan);
    plan
}

fn find_holders(pin: &Pin, census: &Census, fleet: &Fleet<'_>, effort: Effort, plan: &mut Plan) {
    let copies = census.missing();
    if copies == 0 {
        return;
    }
    let beside: BTreeSet<NodeId> = census.pinned.union(&census.waiting).copied().collect();
    let listed: BTreeSet<NodeId> = pin.replicas.keys().copied().collect();
    let tried_enough = census.failed.len() >= census.max + TRIES_ELSEWHERE;
    let mut shortfall = None;
    if effort == Effort::Again || !tried_enough {
        let wish = Wish { cid: &pin.spec.cid, copies, beside: &beside, avoid: &listed };
        let choice = fleet.choose(&wish);
        plan.add = choice.holders;
        shortfall = choice.shortfall;
    }
    if effort == Effort::Again {
        if plan.add.is_empty() {
            // Nobody is left who has not given up: ask the best of them once more.
            let wish =
                Wish { cid: &pin.spec.cid, copies, beside: &beside, avoid: &BTreeSet::new() };
            plan.add = fleet.choose(&wish).holders;
        } else {
            // Forget who gave up, so that they are asked again when everyone else has been.
            plan.remove.extend(&census.failed);
        }
    }
    let kept = census.pinned.len() + census.waiting.len() + plan.add.len();
    plan.exhausted =
        !census.failed.is_empty() && (plan.add.len() < copies || effort == Effort::Again);
    plan.concern = if census.lost_every_copy() {
        Some(Concern::NoLiveCopy)
    } else if plan.exhausted && census.live() < census.min {
        Some(Concern::FailsEverywhere)
    } else if kept < census.min && !census.leaving.is_empty() {
        Some(Concern::DrainBlocked)
    } else if kept < census.min {
        shortfall.map(Concern::TooFewHolders)
    } else {
        None
    };
}

fn release(
    pin: &Pin,
    census: &Census,
    fleet: &Fleet<'_>,
    now_ms: u64,
    settle_ms: u64,
    plan: &mut Plan,
) {
    let enough = census.pinned.len() >= census.max;
    let nowhere_else = census.missing() > 0 && plan.add.is_empty() && census.waiting.is_empty();
    if plan.add.len() >= census.missing() {
        plan.remove.extend(&census.lost_unfinished);
        plan.remove.extend(&census.leaving_unfinished);
    } else if nowhere_else {
        plan.remove.extend(&census.leaving_unfinished);
    }
    if enough || (nowhere_else && census.pinned.len() >= census.min) {
        plan.remove.extend(&census.leaving);
    }
    if enough {
        plan.remove.extend(&census.failed);
    }
    if census.surplus_settles_ms(settle_ms).is_some_and(|at_ms| at_ms <= now_ms) {
        let kept = fleet.keep(&pin.spec.cid, &census.pinned, census.max);
        plan.remove.extend(census.pinned.difference(&kept));
        plan.remove.extend(&census.waiting);
    }
}

/// Keeps the list of holders within its bound: those go first that were lost longest ago.
fn bound_holders(pin: &Pin, census: &Census, plan: &mut Plan) {
    let held = |plan: &Plan| {
        let kept = pin.replicas.keys().filter(|node| !plan.remove.contains(node));
        kept.chain(&plan.add).collect::<BTreeSet<_>>().len()
    };
    for (_, node) in &census.lost {
        if held(plan) <= limits::ALLOCATIONS_MAX {
            return;
        }
        plan.remove.insert(*node);
    }
    for node in &census.failed {
        if held(plan) <= limits::ALLOCATIONS_MAX {
            return;
        }
        if !plan.add.contains(node) {
            plan.remove.insert(*node);
        }
    }
}
