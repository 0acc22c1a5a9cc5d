//! The restart ledger: what a supervisor does when a child ends.
//!
//! True supervision in the sense of Erlang/OTP (its `supervisor` and "Supervision Principles"), as a
//! machine without clock, futures or entropy. The ledger keeps for each child what *is* (`Actual`) and
//! what *should be* (`Goal`); every input changes one of the two, and `advance` derives the next
//! allowed steps from them. A second crash in the middle of a restart, a stop during back-off and a
//! swap of one child during another's restart need therefore no case of their own.
//!
//! What is guaranteed, whatever happens in whatever order:
//! - children start in order, each when its predecessors are ready, and stop in reverse order;
//! - a child outside the strategy's range is never touched;
//! - an exit that the ledger asked for counts for nothing; any other counts once in the window;
//! - more than `max_restarts` in `period_ms` stops everything and ends with the cause.

use std::collections::{BTreeMap, VecDeque};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

mod rules;
#[cfg(test)]
mod tests;

pub use rules::{
    BackOff, CAUSE_LEN_BYTES_MAX, Cause, ChildIx, ChildRule, Exit, Importance, Intensity,
    RestartPolicy, Strategy,
};

/// What the supervisor must do, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Start the child, in place where it can be revived. It answers with ready or an exit.
    Start {
        /// The child.
        child: ChildIx,
    },
    /// Ask the child to stop. It answers with an exit.
    Stop {
        /// The child.
        child: ChildIx,
        /// Whether it will be back.
        purpose: StopPurpose,
    },
    /// Drop the child now. It answers with an exit.
    Kill {
        /// The child.
        child: ChildIx,
        /// The deadline that it missed.
        missed: Deadline,
    },
    /// The child is no longer part of the tree; nothing of it must be kept.
    Release {
        /// The child.
        child: ChildIx,
    },
    /// The child will be started again after a delay.
    BackOff {
        /// The child.
        child: ChildIx,
        /// Its crashes in a row.
        crash: u32,
        /// When it is started at the earliest.
        until_ms: u64,
    },
    /// The child ended and stays down.
    Rest {
        /// The child.
        child: ChildIx,
    },
    /// The supervisor gives up; its children are being stopped.
    Escalate {
        /// What its parent will see.
        cause: Cause,
    },
    /// Every child is down: the supervisor ends, with a cause if it gave up. Nothing follows.
    Finish {
        /// What its parent sees: [`Exit::Normal`] or [`Exit::Failed`].
        exit: Exit,
    },
}

/// Why a child is asked to stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StopPurpose {
    /// It will be started again: what is queued for it may be kept.
    Restart,
    /// It won't: what is queued for it is lost.
    Final,
}

/// A deadline of a child.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deadline {
    /// To report ready.
    Start,
    /// To stop.
    Stop,
}

/// What a child is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Actual {
    Down,
    Starting { by_ms: Option<u64> },
    Up { since_ms: u64 },
    Stopping { by_ms: Option<u64> },
    Dying { missed: Deadline },
}

/// What a child should do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Goal {
    /// Be up.
    Run,
    /// Go down, then be up.
    Restart,
    /// Stay down: it ended under its own policy.
    Finished,
    /// Stay down: somebody stopped it.
    Stopped,
    /// Go down and be forgotten.
    Removed,
}

#[derive(Clone, Debug)]
struct Child {
    rule: ChildRule,
    /// Rule of the spec that takes this place once the child is down.
    next_rule: Option<ChildRule>,
    actual: Actual,
    goal: Goal,
    /// Whether it waits for its predecessors; a lone restart under one-for-one doesn't.
    ordered: bool,
    not_before_ms: u64,
    crashes_in_row: u32,
}

impl Child {
    fn is_live(&self) -> bool {
        matches!(self.actual, Actual::Starting { .. } | Actual::Up { .. })
    }

    fn is_ending(&self) -> bool {
        matches!(self.actual, Actual::Stopping { .. } | Actual::Dying { .. })
    }

    /// Up, or not meant to be.
    fn lets_successors_start(&self) -> bool {
        !matches!(self.goal, Goal::Run | Goal::Restart) || matches!(self.actual, Actual::Up { .. })
    }
}

/// How a supervisor treats its children as a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GroupRule {
    /// Who restarts with whom.
    pub strategy: Strategy,
    /// When it gives up.
    pub intensity: Intensity,
    /// How long it waits between restarts.
    pub back_off: BackOff,
}

/// The state of one supervisor's children. See the module's text for its guarantees.
#[derive(Debug)]
pub struct Ledger {
    group: GroupRule,
    children: BTreeMap<ChildIx, Child>,
    next_ix: u32,
    restarts_ms: VecDeque<u64>,
    rng: ChaCha8Rng,
    started: bool,
    /// How it will end, once every child is down.
    closing: Option<Exit>,
    finished: bool,
}

impl Ledger {
    /// A ledger without children. All randomness (the jitter) comes from `seed`.
    pub fn new(group: GroupRule, seed: u64) -> Self {
        Self {
            group,
            children: BTreeMap::new(),
            next_ix: 0,
            restarts_ms: VecDeque::new(),
            rng: ChaCha8Rng::seed_from_u64(seed),
            started: false,
            closing: None,
            finished: false,
        }
    }

    /// Adds a child behind the others. Before [`Ledger::start`] it takes part in the ordered start,
    /// afterwards it is started as soon as its predecessors allow.
    pub fn add(&mut self, now_ms: u64, rule: ChildRule) -> (ChildIx, Vec<Effect>) {
        let ix = ChildIx(self.next_ix);
        self.next_ix += 1;
        let ordered = !self.started || self.group.strategy != Strategy::OneForOne;
        let child = Child {
            rule,
            next_rule: None,
            actual: Actual::Down,
            goal: Goal::Run,
            ordered,
            not_before_ms: now_ms,
            crashes_in_row: 0,
        };
        self.children.insert(ix, child);
        (ix, self.advance(now_ms))
    }

    /// Starts the children in order.
    pub fn start(&mut self, now_ms: u64) -> Vec<Effect> {
        self.started = true;
        self.advance(now_ms)
    }

    /// The child reported ready. Ignored unless it is starting.
    pub fn on_ready(&mut self, now_ms: u64, ix: ChildIx) -> Vec<Effect> {
        if let Some(child) = self.children.get_mut(&ix)
            && matches!(child.actual, Actual::Starting { .. })
        {
            child.actual = Actual::Up { since_ms: now_ms };
            // The order of the first start is kept; later the children of this strategy are free.
            child.ordered = self.group.strategy != Strategy::OneForOne;
        }
        self.advance(now_ms)
    }

    /// The child ended. A report about a child that is already down is ignored.
    pub fn on_exit(&mut self, now_ms: u64, ix: ChildIx, exit: &Exit) -> Vec<Effect> {
        let mut effects = Vec::new();
        let Some(child) = self.children.get_mut(&ix) else { return effects };
        let was = std::mem::replace(&mut child.actual, Actual::Down);
        if was == Actual::Down {
            return effects;
        }
        if self.closing.is_none() {
            match child.goal {
                Goal::Run => self.crashed(now_ms, ix, was, exit, &mut effects),
                Goal::Restart => child.goal = Goal::Run,
                Goal::Finished | Goal::Stopped => effects.push(Effect::Rest { child: ix }),
                Goal::Removed => {}
            }
        }
        effects.extend(self.advance(now_ms));
        effects
    }

    /// Time has passed: carries out what fell due. To be called at [`Ledger::wake_at_ms`].
    pub fn on_wake(&mut self, now_ms: u64) -> Vec<Effect> {
        let mut effects = Vec::new();
        for (&ix, child) in &mut self.children {
            let missed = match child.actual {
                Actual::Starting { by_ms: Some(by_ms) } if now_ms >= by_ms => Deadline::Start,
                Actual::Stopping { by_ms: Some(by_ms) } if now_ms >= by_ms => Deadline::Stop,
                _ => continue,
            };
            child.actual = Actual::Dying { missed };
            effects.push(Effect::Kill { child: ix, missed });
        }
        effects.extend(self.advance(now_ms));
        effects
    }

    /// Stops everything, in reverse order, for good.
    pub fn stop(&mut self, now_ms: u64) -> Vec<Effect> {
        self.started = true;
        self.closing.get_or_insert(Exit::Normal);
        self.advance(now_ms)
    }

    /// Stops one child, which then stays down. Siblings don't notice. Like the two below it has no
    /// effect once everything is being stopped.
    pub fn stop_child(&mut self, now_ms: u64, ix: ChildIx) -> Vec<Effect> {
        self.aim(now_ms, ix, Goal::Stopped)
    }

    /// Stops one child and forgets it. Siblings don't notice.
    pub fn remove_child(&mut self, now_ms: u64, ix: ChildIx) -> Vec<Effect> {
        self.aim(now_ms, ix, Goal::Removed)
    }

    /// Puts another spec into a child's place: the old one is stopped under its own deadline, then the
    /// new one is started. Siblings don't notice. Crashes of the old one aren't held against it.
    pub fn replace_child(&mut self, now_ms: u64, ix: ChildIx, rule: ChildRule) -> Vec<Effect> {
        if let Some(child) = self.children.get_mut(&ix) {
            child.next_rule = Some(rule);
            child.not_before_ms = now_ms;
            child.crashes_in_row = 0;
        }
        self.aim(now_ms, ix, Goal::Restart)
    }

    /// When [`Ledger::on_wake`] must be called next; `None` while no clock is waited for.
    pub fn wake_at_ms(&self) -> Option<u64> {
        if !self.started || self.finished {
            return None;
        }
        let settling = self.is_settling();
        let mut predecessors_up = true;
        let mut next_ms: Option<u64> = None;
        for child in self.children.values() {
            let due_ms = match child.actual {
                Actual::Starting { by_ms } | Actual::Stopping { by_ms } => by_ms,
                // What waits for a sibling is woken by that sibling's event, not by the clock.
                Actual::Down if self.closing.is_none() && child.goal == Goal::Run => {
                    let free = !child.ordered || (predecessors_up && !settling);
                    free.then_some(child.not_before_ms)
                }
                _ => None,
            };
            next_ms = [next_ms, due_ms].into_iter().flatten().min();
            predecessors_up &= child.lets_successors_start();
        }
        next_ms
    }

    /// Whether every child that should be up is up.
    pub fn is_settled(&self) -> bool {
        self.started
            && self.closing.is_none()
            && self.children.values().all(|child| match child.goal {
                Goal::Run => matches!(child.actual, Actual::Up { .. }),
                Goal::Restart | Goal::Removed => false,
                Goal::Finished | Goal::Stopped => child.actual == Actual::Down,
            })
    }

    /// Whether the ledger has started to stop everything.
    pub fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    /// Restarts that count in the window that ends at `now_ms`.
    pub fn restarts_in_window(&self, now_ms: u64) -> u32 {
        let live = self.restarts_ms.iter().filter(|at| self.in_window(**at, now_ms)).count();
        u32::try_from(live).unwrap_or(u32::MAX)
    }

    fn in_window(&self, at_ms: u64, now_ms: u64) -> bool {
        now_ms.saturating_sub(at_ms) < self.group.intensity.period_ms
    }

    fn aim(&mut self, now_ms: u64, ix: ChildIx, goal: Goal) -> Vec<Effect> {
        let mut effects = Vec::new();
        // Whoever is closing already stops everything.
        if self.closing.is_none()
            && let Some(child) = self.children.get_mut(&ix)
            && child.goal != Goal::Removed
        {
            child.goal = match (goal, child.actual) {
                (Goal::Restart, Actual::Down) => Goal::Run,
                (goal, _) => goal,
            };
            if goal != Goal::Restart {
                child.next_rule = None;
            }
            if goal == Goal::Stopped && child.actual == Actual::Down {
                effects.push(Effect::Rest { child: ix });
            }
        }
        effects.extend(self.advance(now_ms));
        effects
    }

    /// A child ended that should be up.
    fn crashed(
        &mut self,
        now_ms: u64,
        ix: ChildIx,
        was: Actual,
        exit: &Exit,
        effects: &mut Vec<Effect>,
    ) {
        let Some(child) = self.children.get_mut(&ix) else { return };
        // A child that missed its start deadline has failed, whatever its last word was.
        let late = was == Actual::Dying { missed: Deadline::Start };
        let abnormal = late || exit.is_abnormal();
        let restart = match child.rule.restart {
            RestartPolicy::Permanent => true,
            RestartPolicy::Transient => abnormal,
            RestartPolicy::Temporary => false,
        };
        if !restart {
            child.goal = Goal::Finished;
            effects.push(Effect::Rest { child: ix });
            if abnormal && child.rule.importance == Importance::Essential {
                self.escalate(Cause::new("essential-child", exit.to_string()), effects);
            }
            return;
        }
        if let Actual::Up { since_ms } = was
            && now_ms.saturating_sub(since_ms) >= self.group.back_off.quiet_ms
        {
            child.crashes_in_row = 0;
        }
        child.crashes_in_row = child.crashes_in_row.saturating_add(1);
        let crash = child.crashes_in_row;

        while self.restarts_ms.front().is_some_and(|at| !self.in_window(*at, now_ms)) {
            self.restarts_ms.pop_front();
        }
        self.restarts_ms.push_back(now_ms);
        let Intensity { max_restarts, period_ms } = self.group.intensity;
        if self.restarts_ms.len() > max_restarts as usize {
            let text = format!("more than {max_restarts} restarts in {period_ms} ms; last {exit}");
            return self.escalate(Cause::new("intensity", text), effects);
        }
        let delay_ms = self.group.back_off.delay_ms(crash, &mut self.rng);
        let until_ms = now_ms.saturating_add(delay_ms);
        effects.push(Effect::BackOff { child: ix, crash, until_ms });
        self.restart_range(ix, until_ms, effects);
    }

    /// Marks everything that restarts together with `crashed`.
    fn restart_range(&mut self, crashed: ChildIx, until_ms: u64, effects: &mut Vec<Effect>) {
        let strategy = self.group.strategy;
        let first = if strategy == Strategy::OneForAll { ChildIx(0) } else { crashed };
        let mut abandoned = false;
        for (&ix, child) in self.children.range_mut(first..) {
            if strategy == Strategy::OneForOne && ix != crashed {
                break;
            }
            child.not_before_ms = child.not_before_ms.max(until_ms);
            child.ordered = strategy != Strategy::OneForOne;
            let temporary = child.rule.restart == RestartPolicy::Temporary;
            child.goal = match child.goal {
                Goal::Run if child.actual == Actual::Down => Goal::Run,
                Goal::Run if temporary => {
                    abandoned |= child.rule.importance == Importance::Essential;
                    Goal::Finished
                }
                Goal::Run => Goal::Restart,
                // As in OTP, a finished transient child is part of the group and starts anew with it.
                Goal::Finished if !temporary => Goal::Run,
                other => other,
            };
        }
        if abandoned {
            let text = "a sibling's crash stops an essential child that is never restarted";
            self.escalate(Cause::new("essential-child", text), effects);
        }
    }

    fn escalate(&mut self, cause: Cause, effects: &mut Vec<Effect>) {
        if self.closing.is_none() {
            effects.push(Effect::Escalate { cause: cause.clone() });
            self.closing = Some(Exit::Failed(cause));
        }
    }

    /// Derives every step that is allowed now.
    fn advance(&mut self, now_ms: u64) -> Vec<Effect> {
        let mut effects = Vec::new();
        if !self.started || self.finished {
            return effects;
        }
        self.stop_last(now_ms, &mut effects);
        self.children.retain(|&ix, child| {
            let gone = child.goal == Goal::Removed && child.actual == Actual::Down;
            if gone {
                effects.push(Effect::Release { child: ix });
            }
            !gone
        });
        match &self.closing {
            Some(exit) => {
                if self.children.values().all(|child| child.actual == Actual::Down) {
                    self.finished = true;
                    effects.push(Effect::Finish { exit: exit.clone() });
                }
            }
            None => self.start_next(now_ms, &mut effects),
        }
        effects
    }

    fn must_stop(&self, child: &Child) -> bool {
        child.is_live() && (self.closing.is_some() || child.goal != Goal::Run)
    }

    /// Stops the last child that must go down, unless a later one is still on its way down.
    fn stop_last(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        let last = self
            .children
            .iter()
            .rev()
            .find(|(_, child)| child.is_ending() || self.must_stop(child))
            .map(|(&ix, child)| (ix, child.is_ending()));
        let Some((ix, false)) = last else { return };
        let closing = self.closing.is_some();
        let Some(child) = self.children.get_mut(&ix) else { return };
        let by_ms = child.rule.stop_deadline_ms.map(|ms| now_ms.saturating_add(ms));
        child.actual = Actual::Stopping { by_ms };
        let back = child.goal == Goal::Restart && child.next_rule.is_none() && !closing;
        let purpose = if back { StopPurpose::Restart } else { StopPurpose::Final };
        effects.push(Effect::Stop { child: ix, purpose });
    }

    /// Whether some child is on its way down: nothing ordered starts meanwhile.
    fn is_settling(&self) -> bool {
        self.children.values().any(|child| child.is_ending() || self.must_stop(child))
    }

    fn start_next(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        let settling = self.is_settling();
        let mut predecessors_up = true;
        for (&ix, child) in &mut self.children {
            let due = child.goal == Goal::Run
                && child.actual == Actual::Down
                && now_ms >= child.not_before_ms;
            if due && (!child.ordered || (predecessors_up && !settling)) {
                if let Some(rule) = child.next_rule.take() {
                    child.rule = rule;
                }
                let by_ms = child.rule.start_timeout_ms.map(|ms| now_ms.saturating_add(ms));
                child.actual = Actual::Starting { by_ms };
                effects.push(Effect::Start { child: ix });
            }
            predecessors_up &= child.lets_successors_start();
        }
    }
}
