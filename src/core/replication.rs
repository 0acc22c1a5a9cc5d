//! The leader's planner: keeps every pin between its minimum and its maximum of live copies, for ever.
//!
//! Level-triggered: it looks at what the state says now, never at what it remembers having done, so a
//! new leader continues by scanning. What it remembers (queues, proposals in flight, back-off) is
//! bounded, and whatever does not fit is found again by the next scan.
//!
//! - Missing copies come first, and among them the pins with the fewest copies left.
//! - A copy is released only when enough others are durable: add, wait, then remove.
//! - A holder that gave up is replaced; a pin that fails everywhere becomes a visible concern and is
//!   tried again slowly.
//! - When a large part of the holders vanishes at once, that is probably a partition: nothing is
//!   re-replicated until they return, are removed for good, or the operator says so.

use std::collections::{BTreeMap, BTreeSet};

use crate::command::Op;
use crate::delta::Change;
use crate::id::{Cid, NodeId};
use crate::member::{Liveness, RaftStanding};
use crate::pin::{Pin, SharedPin};
use crate::placement::Fleet;
use crate::state::ClusterState;

mod agenda;
mod concern;
mod mass_loss;
mod messages;
mod plan;

use agenda::{Agenda, Ranked, Scans};
pub use concern::{Concern, Concerns};
pub use mass_loss::{MassLoss, MassLossPolicy};
pub use messages::{Config, Effect, Glance, Input, Note};
use plan::{Census, Effort, Plan, Urgency, plan};

/// Pins looked at in one step.
pub const SCAN_SLICE: usize = 512;
/// Reassignments without an answer, and likewise removals of members.
pub const PROPOSED_MAX: usize = 256;
/// Effects of one step: a note for every pin looked at, two effects for every repair, and the rest.
pub const EFFECTS_MAX: usize = SCAN_SLICE + 4 * PROPOSED_MAX + 8;
/// Pins with a back-off that is remembered.
const RETRIES_MAX: usize = 65_536;

#[derive(Clone, Copy)]
struct Proposed {
    revision: u64,
    deadline_ms: u64,
}

#[derive(Clone, Copy)]
struct Retry {
    attempts: u32,
    due_ms: u64,
}

/// The planner; see the module.
#[derive(Default)]
pub struct Planner {
    config: Config,
    leads: bool,
    repairs: Ranked<Urgency>,
    tidies: Ranked<()>,
    scans: Scans,
    /// Pins to look at again at a time.
    agenda: Agenda,
    proposed: BTreeMap<Cid, Proposed>,
    /// Pins being copied, until when they keep their place.
    repairing: BTreeMap<Cid, u64>,
    retries: BTreeMap<Cid, Retry>,
    concerns: Concerns,
    paused: Option<MassLoss>,
    leaving: BTreeSet<NodeId>,
    /// Members whose removal was proposed, until when an answer is awaited.
    removing: BTreeMap<NodeId, u64>,
    /// Not before this time is the end of pins and tokens proposed again.
    expire_after_ms: u64,
    rescan_at_ms: u64,
}

impl Planner {
    /// A planner of a node that does not lead yet.
    pub fn new(config: Config) -> Self {
        Self { config, ..Self::default() }
    }

    /// Takes one input at `now_ms`, the wall clock that this node would stamp into an entry. A step looks
    /// at no more than [`SCAN_SLICE`] pins and emits no more than a bounded number of effects; what is
    /// left asks for the next step at once.
    pub fn step(
        &mut self,
        now_ms: u64,
        state: &ClusterState,
        input: Input<'_>,
        out: &mut Vec<Effect>,
    ) {
        match input {
            Input::BecameLeader => self.lead(now_ms, state),
            Input::LostLeadership => *self = Self::new(self.config),
            Input::Configure(config) => {
                self.config = config;
                self.scans.request_all();
            }
            Input::Changed(_) | Input::Tick => {}
        }
        if !self.leads {
            return;
        }
        let mut only_pins = false;
        if let Input::Changed(changes) = input {
            only_pins = true;
            for change in changes {
                match change {
                    Change::Pin { cid, .. } => self.examine(now_ms, state, cid, out),
                    Change::Member { node, .. } => {
                        only_pins = false;
                        self.note_member(*node, state);
                    }
                }
            }
        }
        if self.paused.is_some() || !only_pins {
            self.judge_losses(state, out);
        }
        self.pass_deadlines(now_ms);
        self.scan(now_ms, state, out);
        self.repair(now_ms, state, out);
        self.tidy(now_ms, state, out);
        self.keep_house(now_ms, state, out);
        out.push(Effect::WakeAt(self.next_wake_ms(now_ms, state)));
    }

    /// What it is at.
    pub fn glance(&self) -> Glance {
        Glance {
            paused: self.paused,
            queued: self.repairs.len(),
            repairing: self.repairing.len(),
            proposed: self.proposed.len(),
            scanned: !self.scans.is_running(),
        }
    }

    /// Pins that need an eye.
    pub fn concerns(&self) -> &Concerns {
        &self.concerns
    }

    fn lead(&mut self, now_ms: u64, state: &ClusterState) {
        *self = Self::new(self.config);
        self.leads = true;
        self.rescan_at_ms = now_ms.saturating_add(self.config.rescan_ms);
        self.scans.request_all();
        let leaving = |node: &NodeId| state.members()[node].liveness == Liveness::Draining;
        self.leaving = state.members().keys().copied().filter(leaving).collect();
    }

    fn note_member(&mut self, node: NodeId, state: &ClusterState) {
        let member = state.members().get(&node);
        if member.is_some_and(|member| member.liveness == Liveness::Draining) {
            self.leaving.insert(node);
        } else {
            self.leaving.remove(&node);
            self.removing.remove(&node);
        }
        if member.is_some_and(|m| m.liveness == Liveness::Alive && m.may_hold()) {
            // It may take what found no place, and what failed elsewhere deserves another attempt.
            self.retries.clear();
            self.scans.request_all();
        }
        self.scans.request_member(node);
    }

    fn judge_losses(&mut self, state: &ClusterState, out: &mut Vec<Effect>) {
        let loss = match self.config.mass_loss {
            MassLossPolicy::Pause => mass_loss::judge(state, self.config.mass_loss_window_ms),
            MassLossPolicy::Repair => None,
        };
        match (self.paused, loss) {
            (None, Some(loss)) => out.push(Effect::Note(Note::MassLoss(loss))),
            (Some(_), None) => {
                out.push(Effect::Note(Note::Resumed));
                self.scans.request_all();
            }
            _ => {}
        }
        self.paused = loss;
    }

    /// Looks at one pin and queues what it needs.
    fn examine(&mut self, now_ms: u64, state: &ClusterState, cid: &Cid, out: &mut Vec<Effect>) {
        self.repairs.remove(cid);
        self.tidies.remove(cid);
        let Some(pin) = state.pins().get(cid).map(SharedPin::read) else {
            self.proposed.remove(cid);
            self.repairing.remove(cid);
            self.retries.remove(cid);
            self.agenda.remove(cid);
            self.clear_concern(cid, out);
            return;
        };
        if self.proposed.get(cid).is_some_and(|proposed| proposed.revision == pin.revision) {
            return;
        }
        self.proposed.remove(cid);
        let census = Census::of(&pin, state.members());
        if census.waiting.is_empty() {
            self.repairing.remove(cid);
        }
        if census.pinned.len() >= census.max {
            self.retries.remove(cid);
        }
        if census.lost_every_copy() {
            self.raise(cid, Concern::NoLiveCopy, out);
        } else if census.live() >= census.min && census.leaving.is_empty() {
            self.clear_concern(cid, out);
        }
        if census.missing() > 0 {
            self.repairs.insert(cid, census.urgency(&pin));
        } else if census.is_untidy(now_ms, self.config.trim_settle_ms) {
            self.tidies.insert(cid, ());
        }
        if let Some(at_ms) = census.surplus_settles_ms(self.config.trim_settle_ms)
            && at_ms > now_ms
        {
            self.agenda.put(cid, at_ms);
        }
    }

    fn pass_deadlines(&mut self, now_ms: u64) {
        let late = |(cid, proposed): (&Cid, &Proposed)| {
            (proposed.deadline_ms <= now_ms).then(|| cid.clone())
        };
        let late: Vec<Cid> = self.proposed.iter().filter_map(late).collect();
        for cid in late {
            self.proposed.remove(&cid);
            self.agenda.put(&cid, now_ms);
        }
        self.repairing.retain(|_, until_ms| *until_ms > now_ms);
        self.removing.retain(|_, deadline_ms| *deadline_ms > now_ms);
        if self.rescan_at_ms <= now_ms || self.lost_track() {
            self.rescan_at_ms = now_ms.saturating_add(self.config.rescan_ms);
            self.scans.request_all();
        }
    }

    /// Whether a full queue turned work away and has room again: the next scan finds it.
    fn lost_track(&mut self) -> bool {
        !self.scans.is_running()
            && self.repairs.is_empty()
            && self.tidies.is_empty()
            && (self.repairs.take_overflow() | self.tidies.take_overflow())
    }

    fn scan(&mut self, now_ms: u64, state: &ClusterState, out: &mut Vec<Effect>) {
        let mut slice = self.agenda.take_due(now_ms, SCAN_SLICE);
        self.scans.fill(state, SCAN_SLICE, &mut slice);
        for cid in slice {
            self.examine(now_ms, state, &cid, out);
        }
    }

    fn repair(&mut self, now_ms: u64, state: &ClusterState, out: &mut Vec<Effect>) {
        let mut fleet = None;
        for _ in 0..self.config.proposals_per_step.min(PROPOSED_MAX) {
            if !self.may_repair() {
                return;
            }
            let Some(cid) = self.repairs.pop() else { return };
            let Some(pin) = state.pins().get(&cid).map(SharedPin::read) else { continue };
            let fleet = fleet.get_or_insert_with(|| Fleet::of(state));
            self.repair_one(now_ms, state, &pin, fleet, out);
        }
    }

    fn may_repair(&self) -> bool {
        let Some(urgency) = self.repairs.first() else { return false };
        self.paused.is_none()
            && self.proposed.len() < PROPOSED_MAX
            && self.repairing.len() < self.config.repair_concurrency
            // While pins are still being counted, only those that nothing can precede may begin.
            && (urgency.is_most() || !self.scans.is_counting())
    }

    fn repair_one(
        &mut self,
        now_ms: u64,
        state: &ClusterState,
        pin: &Pin,
        fleet: &mut Fleet<'_>,
        out: &mut Vec<Effect>,
    ) {
        let cid = &pin.spec.cid;
        let due = self.retries.get(cid).is_some_and(|retry| retry.due_ms <= now_ms);
        let effort = if due { Effort::Again } else { Effort::First };
        let census = Census::of(pin, state.members());
        let plan = plan(pin, &census, fleet, effort, now_ms, self.config.trim_settle_ms);
        if plan.exhausted {
            self.back_off(now_ms, cid);
        }
        if let Some(concern) = &plan.concern {
            self.raise(cid, concern.clone(), out);
        }
        if !plan.add.is_empty() {
            let until_ms = now_ms.saturating_add(self.config.repair_turn_ms);
            self.repairing.insert(cid.clone(), until_ms);
            plan.add.iter().for_each(|node| fleet.count(*node));
        }
        self.propose(now_ms, pin, plan, out);
    }

    fn back_off(&mut self, now_ms: u64, cid: &Cid) {
        let retry = self.retries.get(cid).copied();
        if retry.is_some_and(|retry| retry.due_ms > now_ms) {
            return;
        }
        let attempts = retry.map_or(0, |retry| retry.attempts.saturating_add(1));
        let wait_ms = self.config.retry_ms.saturating_mul(1 << attempts.min(20));
        let due_ms = now_ms.saturating_add(wait_ms.min(self.config.retry_ms_max));
        if self.retries.len() >= RETRIES_MAX {
            self.retries.pop_last();
        }
        self.retries.insert(cid.clone(), Retry { attempts, due_ms });
        self.agenda.put(cid, due_ms);
    }

    fn tidy(&mut self, now_ms: u64, state: &ClusterState, out: &mut Vec<Effect>) {
        let mut fleet = None;
        for _ in 0..self.config.proposals_per_step.min(PROPOSED_MAX) {
            if self.paused.is_some() || self.proposed.len() >= PROPOSED_MAX {
                return;
            }
            let Some(cid) = self.tidies.pop() else { return };
            let Some(pin) = state.pins().get(&cid).map(SharedPin::read) else { continue };
            let fleet = fleet.get_or_insert_with(|| Fleet::of(state));
            let census = Census::of(&pin, state.members());
            let settle_ms = self.config.trim_settle_ms;
            let plan = plan(&pin, &census, fleet, Effort::First, now_ms, settle_ms);
            self.propose(now_ms, &pin, plan, out);
        }
    }

    fn propose(&mut self, now_ms: u64, pin: &Pin, plan: Plan, out: &mut Vec<Effect>) {
        if plan.add.is_empty() && plan.remove.is_empty() {
            return;
        }
        let (cid, revision) = (pin.spec.cid.clone(), pin.revision);
        let deadline_ms = now_ms.saturating_add(self.config.proposal_timeout_ms);
        self.proposed.insert(cid.clone(), Proposed { revision, deadline_ms });
        let remove = plan.remove.into_iter().collect();
        out.push(Effect::Propose(Op::Reassign { cid, revision, add: plan.add, remove }));
    }

    /// Ends what is over and lets go of members that hold nothing any more.
    fn keep_house(&mut self, now_ms: u64, state: &ClusterState, out: &mut Vec<Effect>) {
        let deadline_ms = now_ms.saturating_add(self.config.proposal_timeout_ms);
        let clock_ms = now_ms.max(state.clock_ms());
        let next_ms = next_end_ms(state);
        if next_ms.is_some_and(|at_ms| at_ms <= clock_ms) && self.expire_after_ms <= now_ms {
            // If this node's clock is ahead of the committed one, it has no effect yet.
            self.expire_after_ms = deadline_ms;
            out.push(Effect::Propose(Op::Expire));
        }
        for node in &self.leaving {
            if self.removing.len() >= PROPOSED_MAX {
                return;
            }
            let voteless =
                state.members().get(node).is_some_and(|member| member.raft == RaftStanding::None);
            if voteless && state.holding_count(*node) == 0 && !self.removing.contains_key(node) {
                self.removing.insert(*node, deadline_ms);
                out.push(Effect::Propose(Op::Remove { node: *node }));
            }
        }
    }

    fn next_wake_ms(&self, now_ms: u64, state: &ClusterState) -> u64 {
        let may_propose = self.paused.is_none() && self.proposed.len() < PROPOSED_MAX;
        if self.scans.is_running() || (may_propose && !self.tidies.is_empty()) || self.may_repair()
        {
            return now_ms;
        }
        let deadlines = self.proposed.values().map(|proposed| proposed.deadline_ms);
        let ends = next_end_ms(state).map(|at_ms| at_ms.max(self.expire_after_ms));
        deadlines
            .chain(self.repairing.values().copied())
            .chain(self.removing.values().copied())
            .chain(self.agenda.first_ms())
            .chain(ends)
            .chain([self.rescan_at_ms])
            .min()
            .unwrap_or(self.rescan_at_ms)
            .max(now_ms)
    }

    fn raise(&mut self, cid: &Cid, concern: Concern, out: &mut Vec<Effect>) {
        if self.concerns.raise(cid, &concern) {
            out.push(Effect::Note(Note::Raised { cid: cid.clone(), concern }));
        }
    }

    fn clear_concern(&mut self, cid: &Cid, out: &mut Vec<Effect>) {
        if self.concerns.clear(cid) {
            out.push(Effect::Note(Note::Cleared { cid: cid.clone() }));
        }
    }
}

/// The earliest end of a pin or a token.
fn next_end_ms(state: &ClusterState) -> Option<u64> {
    let tokens = state.tokens().values().map(|token| token.expires_ms);
    tokens.chain(state.next_expiry_ms()).min()
}

#[cfg(test)]
mod tests;
