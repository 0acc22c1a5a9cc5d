//! Every rule by example, then all of them together under random histories.

use std::collections::BTreeMap;

use proptest::prelude::{
    Just, ProptestConfig, any, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use proptest::strategy::Strategy as Generator;

use super::*;

const PERMANENT: ChildRule = ChildRule {
    restart: RestartPolicy::Permanent,
    importance: Importance::Optional,
    start_timeout_ms: Some(1_000),
    stop_deadline_ms: Some(500),
};

fn group(strategy: Strategy, max_restarts: u32) -> GroupRule {
    GroupRule {
        strategy,
        intensity: Intensity { max_restarts, period_ms: 10_000 },
        back_off: BackOff { base_ms: 100, cap_ms: 1_600, jitter_percent: 0, quiet_ms: 5_000 },
    }
}

fn rule(restart: RestartPolicy, importance: Importance) -> ChildRule {
    ChildRule { restart, importance, ..PERMANENT }
}

fn ledger(group: GroupRule, rules: &[ChildRule]) -> Ledger {
    let mut ledger = Ledger::new(group, 7);
    for rule in rules {
        assert_eq!(ledger.add(0, *rule).1, [], "nothing starts before the start");
    }
    ledger
}

/// Starts everything at time zero, each child ready at once.
fn running(group: GroupRule, rules: &[ChildRule]) -> Ledger {
    let mut ledger = ledger(group, rules);
    let mut effects = ledger.start(0);
    while let Some(Effect::Start { child }) = effects.first().cloned() {
        effects = ledger.on_ready(0, child);
    }
    assert!(ledger.is_settled());
    ledger
}

fn ix(n: u32) -> ChildIx {
    ChildIx(n)
}

fn start(n: u32) -> Effect {
    Effect::Start { child: ix(n) }
}

fn stop(n: u32, purpose: StopPurpose) -> Effect {
    Effect::Stop { child: ix(n), purpose }
}

fn back_off(n: u32, crash: u32, until_ms: u64) -> Effect {
    Effect::BackOff { child: ix(n), crash, until_ms }
}

fn panicked() -> Exit {
    Exit::Panicked(Cause::new("panic", "boom"))
}

fn escalated(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Escalate { .. }))
}

#[test]
fn children_start_in_order_each_when_the_one_before_is_ready() {
    let mut ledger = ledger(group(Strategy::OneForOne, 3), &[PERMANENT; 3]);
    assert_eq!(ledger.start(0), [start(0)]);
    assert_eq!(ledger.wake_at_ms(), Some(1_000), "only the start deadline is waited for");
    assert_eq!(ledger.on_ready(10, ix(0)), [start(1)]);
    assert_eq!(ledger.on_ready(20, ix(1)), [start(2)]);
    assert_eq!(ledger.on_ready(30, ix(2)), []);
    assert!(ledger.is_settled());
    assert_eq!(ledger.wake_at_ms(), None);
}

#[test]
fn one_for_one_restarts_the_crashed_child_alone() {
    let mut ledger = running(group(Strategy::OneForOne, 3), &[PERMANENT; 3]);
    assert_eq!(ledger.on_exit(50, ix(1), &panicked()), [back_off(1, 1, 150)]);
    assert_eq!(ledger.wake_at_ms(), Some(150));
    assert_eq!(ledger.on_wake(149), []);
    assert_eq!(ledger.on_wake(150), [start(1)]);
    assert_eq!(ledger.on_ready(160, ix(1)), []);
    assert!(ledger.is_settled());
}

#[test]
fn rest_for_one_restarts_the_crashed_child_and_those_behind_it() {
    let mut ledger = running(group(Strategy::RestForOne, 3), &[PERMANENT; 4]);
    let effects = ledger.on_exit(0, ix(1), &panicked());
    assert_eq!(effects, [back_off(1, 1, 100), stop(3, StopPurpose::Restart)]);
    assert_eq!(ledger.on_wake(100), [], "nothing starts while the range is going down");
    assert_eq!(ledger.on_exit(110, ix(3), &Exit::Normal), [stop(2, StopPurpose::Restart)]);
    assert_eq!(ledger.on_exit(120, ix(2), &Exit::Normal), [start(1)]);
    assert_eq!(ledger.on_ready(130, ix(1)), [start(2)]);
    assert_eq!(ledger.on_ready(140, ix(2)), [start(3)]);
    assert_eq!(ledger.on_ready(150, ix(3)), []);
    assert!(ledger.is_settled());
    assert_eq!(ledger.restarts_in_window(150), 1, "stopped siblings don't count");
}

#[test]
fn one_for_all_restarts_everything_after_the_back_off() {
    let mut ledger = running(group(Strategy::OneForAll, 3), &[PERMANENT; 3]);
    let effects = ledger.on_exit(0, ix(1), &panicked());
    assert_eq!(effects, [back_off(1, 1, 100), stop(2, StopPurpose::Restart)]);
    assert_eq!(ledger.on_exit(10, ix(2), &Exit::Normal), [stop(0, StopPurpose::Restart)]);
    assert_eq!(ledger.on_exit(20, ix(0), &Exit::Normal), []);
    assert_eq!(ledger.wake_at_ms(), Some(100));
    assert_eq!(ledger.on_wake(100), [start(0)]);
    assert_eq!(ledger.on_ready(101, ix(0)), [start(1)]);
}

#[test]
fn policies_decide_after_which_exits_a_child_is_back() {
    use RestartPolicy::{Permanent, Temporary, Transient};
    let failed = Exit::Failed(Cause::new("error", "x"));
    let cases = [
        (Permanent, Exit::Normal, true),
        (Permanent, Exit::Killed, true),
        (Transient, Exit::Normal, false),
        (Transient, failed.clone(), true),
        (Transient, panicked(), true),
        (Transient, Exit::Killed, true),
        (Temporary, Exit::Normal, false),
        (Temporary, failed, false),
        (Temporary, panicked(), false),
        (Temporary, Exit::Killed, false),
    ];
    for (policy, exit, back) in cases {
        let rules = [rule(policy, Importance::Optional)];
        let mut ledger = running(group(Strategy::OneForOne, 3), &rules);
        let expected = if back { back_off(0, 1, 100) } else { Effect::Rest { child: ix(0) } };
        assert_eq!(ledger.on_exit(0, ix(0), &exit), [expected], "{policy:?} after {exit}");
    }
}

#[test]
fn temporary_children_are_not_revived_by_a_siblings_crash() {
    let temporary = rule(RestartPolicy::Temporary, Importance::Optional);
    let mut ledger = running(group(Strategy::RestForOne, 3), &[PERMANENT, temporary, PERMANENT]);
    ledger.on_exit(0, ix(0), &panicked());
    let effects = ledger.on_exit(1, ix(2), &Exit::Normal);
    assert_eq!(effects, [stop(1, StopPurpose::Final)]);
    assert_eq!(ledger.on_exit(2, ix(1), &Exit::Normal), [Effect::Rest { child: ix(1) }]);
    assert_eq!(ledger.on_wake(100), [start(0)]);
    assert_eq!(ledger.on_ready(101, ix(0)), [start(2)]);
}

#[test]
fn a_finished_transient_child_starts_anew_with_its_group() {
    let transient = rule(RestartPolicy::Transient, Importance::Optional);
    let mut ledger = running(group(Strategy::OneForAll, 3), &[transient, PERMANENT]);
    assert_eq!(ledger.on_exit(0, ix(0), &Exit::Normal), [Effect::Rest { child: ix(0) }]);
    ledger.on_exit(10, ix(1), &panicked());
    assert_eq!(ledger.on_wake(110), [start(0)]);
}

#[test]
fn an_essential_child_that_is_not_restarted_escalates() {
    let essential = rule(RestartPolicy::Temporary, Importance::Essential);
    let mut ledger = running(group(Strategy::OneForOne, 3), &[PERMANENT, essential]);
    let effects = ledger.on_exit(0, ix(1), &panicked());
    assert!(escalated(&effects));
    assert_eq!(effects.last(), Some(&stop(0, StopPurpose::Final)));
    let effects = ledger.on_exit(5, ix(0), &Exit::Normal);
    assert!(matches!(&effects[..], [Effect::Finish { exit: Exit::Failed(_) }]));

    let mut ledger = running(group(Strategy::OneForAll, 3), &[PERMANENT, essential]);
    assert!(escalated(&ledger.on_exit(0, ix(0), &panicked())), "also when a sibling stops it");
}

#[test]
fn more_restarts_than_the_intensity_escalate() {
    let mut ledger = running(group(Strategy::OneForOne, 2), &[PERMANENT; 2]);
    for (at_ms, child) in [(0, 0), (1_000, 1)] {
        assert!(!escalated(&ledger.on_exit(at_ms, ix(child), &panicked())));
        ledger.on_wake(at_ms + 100);
        ledger.on_ready(at_ms + 100, ix(child));
    }
    let effects = ledger.on_exit(9_999, ix(0), &panicked());
    assert!(escalated(&effects));
    assert_eq!(effects.last(), Some(&stop(1, StopPurpose::Final)));
    assert_eq!(ledger.on_wake(50_000), [Effect::Kill { child: ix(1), missed: Deadline::Stop }]);
    let effects = ledger.on_exit(50_001, ix(1), &Exit::Killed);
    assert!(matches!(&effects[..], [Effect::Finish { exit: Exit::Failed(_) }]));
    assert_eq!(ledger.on_wake(60_000), []);
}

#[test]
fn the_window_slides() {
    let mut ledger = running(group(Strategy::OneForOne, 2), &[PERMANENT]);
    for n in 0..20_u64 {
        let at_ms = n * 5_001;
        assert!(!escalated(&ledger.on_exit(at_ms, ix(0), &panicked())), "restart {n}");
        ledger.on_wake(at_ms + 1_600);
        ledger.on_ready(at_ms + 1_600, ix(0));
    }
}

#[test]
fn delays_double_up_to_the_cap_and_reset_after_quiet() {
    let mut ledger = running(group(Strategy::OneForOne, 100), &[PERMANENT]);
    let mut now_ms = 0;
    for delay_ms in [100, 200, 400, 800, 1_600, 1_600] {
        let effects = ledger.on_exit(now_ms, ix(0), &panicked());
        let Effect::BackOff { until_ms, .. } = effects[0] else { panic!("{effects:?}") };
        assert_eq!(until_ms - now_ms, delay_ms);
        now_ms = until_ms;
        ledger.on_wake(now_ms);
        ledger.on_ready(now_ms, ix(0));
        now_ms += 10;
    }
    now_ms += 5_000;
    assert_eq!(ledger.on_exit(now_ms, ix(0), &panicked()), [back_off(0, 1, now_ms + 100)]);
}

#[test]
fn a_child_that_is_not_ready_in_time_is_killed_and_counts_as_crashed() {
    let transient = rule(RestartPolicy::Transient, Importance::Optional);
    let mut ledger = ledger(group(Strategy::OneForOne, 3), &[transient, PERMANENT]);
    ledger.start(0);
    let kill = Effect::Kill { child: ix(0), missed: Deadline::Start };
    assert_eq!(ledger.on_wake(1_000), [kill]);
    assert_eq!(ledger.wake_at_ms(), None);
    // Even a clean last word doesn't make a late start a success.
    assert_eq!(ledger.on_exit(1_001, ix(0), &Exit::Normal), [back_off(0, 1, 1_101)]);
    assert_eq!(ledger.on_ready(1_002, ix(0)), [], "a late report is ignored");
}

#[test]
fn a_second_crash_in_the_middle_of_a_restart_widens_it() {
    let mut ledger = running(group(Strategy::RestForOne, 5), &[PERMANENT; 4]);
    ledger.on_exit(0, ix(2), &panicked());
    // The lower one crashes while 3 is stopping for the first crash.
    assert_eq!(ledger.on_exit(5, ix(1), &panicked()), [back_off(1, 1, 105)]);
    assert_eq!(ledger.on_exit(6, ix(3), &panicked()), [], "an exit asked for counts for nothing");
    assert_eq!(ledger.on_wake(105), [start(1)]);
    assert_eq!(ledger.on_ready(106, ix(1)), [start(2)]);
    // And the restarted one crashes before its successor could start.
    assert_eq!(ledger.on_exit(107, ix(2), &panicked()), [back_off(2, 2, 307)]);
    assert_eq!(ledger.on_wake(307), [start(2)]);
    assert_eq!(ledger.on_ready(308, ix(2)), [start(3)]);
    assert_eq!(ledger.restarts_in_window(308), 3);
}

#[test]
fn a_siblings_short_back_off_does_not_cut_a_long_one() {
    let mut ledger = running(group(Strategy::RestForOne, 9), &[PERMANENT; 3]);
    for (at_ms, until_ms) in [(0, 100), (100, 300), (300, 700)] {
        ledger.on_exit(at_ms, ix(2), &panicked());
        assert_eq!(ledger.wake_at_ms(), Some(until_ms));
        if until_ms < 700 {
            ledger.on_wake(until_ms);
        }
    }
    assert_eq!(ledger.on_exit(310, ix(1), &panicked()), [back_off(1, 1, 410)]);
    assert_eq!(ledger.on_wake(410), [start(1)]);
    assert_eq!(ledger.on_ready(411, ix(1)), []);
    assert_eq!(ledger.wake_at_ms(), Some(700));
    assert_eq!(ledger.on_wake(700), [start(2)]);
}

#[test]
fn stop_is_served_during_back_off_and_goes_in_reverse() {
    let mut ledger = running(group(Strategy::OneForOne, 3), &[PERMANENT; 3]);
    ledger.on_exit(0, ix(1), &panicked());
    assert_eq!(ledger.stop(10), [stop(2, StopPurpose::Final)]);
    assert_eq!(ledger.wake_at_ms(), Some(510), "the back-off is no longer waited for");
    assert_eq!(ledger.on_exit(20, ix(2), &Exit::Normal), [stop(0, StopPurpose::Final)]);
    assert_eq!(ledger.on_wake(519), []);
    let kill = Effect::Kill { child: ix(0), missed: Deadline::Stop };
    assert_eq!(ledger.on_wake(520), [kill]);
    assert_eq!(ledger.on_exit(521, ix(0), &Exit::Killed), [Effect::Finish { exit: Exit::Normal }]);
    assert_eq!(ledger.wake_at_ms(), None);
}

#[test]
fn a_replaced_child_stops_before_its_successor_starts_and_nobody_notices() {
    let mut ledger = running(group(Strategy::RestForOne, 3), &[PERMANENT; 3]);
    let effects = ledger.replace_child(0, ix(1), PERMANENT);
    assert_eq!(effects, [stop(1, StopPurpose::Final)]);
    assert_eq!(ledger.on_exit(400, ix(1), &panicked()), [start(1)]);
    assert_eq!(ledger.on_ready(410, ix(1)), []);
    assert_eq!(ledger.restarts_in_window(410), 0);
    assert!(ledger.is_settled());
}

#[test]
fn dynamic_children_come_and_go() {
    let mut ledger = running(group(Strategy::OneForOne, 3), &[PERMANENT; 2]);
    let (added, effects) = ledger.add(10, PERMANENT);
    assert_eq!(effects, [Effect::Start { child: added }]);
    ledger.on_ready(11, added);
    assert_eq!(ledger.stop_child(20, ix(0)), [stop(0, StopPurpose::Final)]);
    assert_eq!(ledger.on_exit(21, ix(0), &panicked()), [Effect::Rest { child: ix(0) }]);
    assert_eq!(ledger.replace_child(30, ix(0), PERMANENT), [start(0)]);
    ledger.on_exit(31, added, &panicked());
    assert_eq!(ledger.remove_child(32, added), [Effect::Release { child: added }]);
    assert_eq!(ledger.on_wake(500), []);
}

/// One step of a random history. Numbers choose among what is possible.
#[derive(Clone, Debug)]
enum Step {
    Crash(usize, u8),
    Ready(usize),
    Exit(usize, u8),
    Wait(u64),
    Replace(usize),
    StopChild(usize),
    Remove(usize),
    Add(u8),
    Stop,
}

fn steps() -> impl Generator<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..8_usize, 0..4_u8).prop_map(|(n, kind)| Step::Crash(n, kind)),
        8 => (0..8_usize).prop_map(Step::Ready),
        8 => (0..8_usize, 0..4_u8).prop_map(|(n, kind)| Step::Exit(n, kind)),
        8 => (1..3_000_u64).prop_map(Step::Wait),
        1 => (0..8_usize).prop_map(Step::Replace),
        1 => (0..8_usize).prop_map(Step::StopChild),
        1 => (0..8_usize).prop_map(Step::Remove),
        1 => (0..6_u8).prop_map(Step::Add),
        1 => Just(Step::Stop),
    ];
    proptest::collection::vec(step, 1..120)
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Seen {
    Down,
    Starting,
    Up,
    Stopping,
}

/// Carries out effects like a supervisor would, and holds the ledger to its promises.
struct World {
    ledger: Ledger,
    now_ms: u64,
    seen: BTreeMap<ChildIx, Seen>,
    finished: bool,
    trace: Vec<(u64, Effect)>,
}

fn exit_of(kind: u8) -> Exit {
    match kind {
        0 => Exit::Normal,
        1 => Exit::Failed(Cause::new("error", "x")),
        2 => panicked(),
        _ => Exit::Killed,
    }
}

fn rule_of(kind: u8) -> ChildRule {
    let restart = match kind % 3 {
        0 => RestartPolicy::Permanent,
        1 => RestartPolicy::Transient,
        _ => RestartPolicy::Temporary,
    };
    rule(restart, if kind < 5 { Importance::Optional } else { Importance::Essential })
}

impl World {
    fn new(strategy: Strategy, rules: &[u8], seed: u64) -> Self {
        let mut group = group(strategy, 4);
        group.back_off.jitter_percent = 30;
        let mut ledger = Ledger::new(group, seed);
        let mut seen = BTreeMap::new();
        for kind in rules {
            seen.insert(ledger.add(0, rule_of(*kind)).0, Seen::Down);
        }
        Self { ledger, now_ms: 0, seen, finished: false, trace: Vec::new() }
    }

    fn apply(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            assert!(!self.finished, "nothing follows the finish: {effect:?}");
            match &effect {
                Effect::Start { child } => {
                    assert_eq!(self.seen[child], Seen::Down, "started while alive: {child:?}");
                    assert!(!self.ledger.is_closing(), "started while closing");
                    if self.ledger.group.strategy != Strategy::OneForOne {
                        let stopping = self.seen.values().any(|seen| *seen == Seen::Stopping);
                        assert!(!stopping, "{child:?} started while a sibling stops");
                        let starting = self.seen.range(..*child).any(|(_, s)| *s == Seen::Starting);
                        assert!(!starting, "{child:?} started before its predecessor was ready");
                    }
                    self.seen.insert(*child, Seen::Starting);
                }
                Effect::Stop { child, .. } => {
                    let seen = self.seen[child];
                    assert!(
                        matches!(seen, Seen::Starting | Seen::Up),
                        "stopped {child:?} {seen:?}"
                    );
                    let later = self.seen.range(*child..).any(|(_, s)| *s == Seen::Stopping);
                    assert!(!later, "{child:?} stopped before a later one was down");
                    self.seen.insert(*child, Seen::Stopping);
                }
                Effect::Kill { child, .. } => {
                    assert!(matches!(self.seen[child], Seen::Starting | Seen::Stopping));
                    self.seen.insert(*child, Seen::Stopping);
                }
                Effect::Release { child } => {
                    assert_eq!(self.seen.remove(child), Some(Seen::Down), "released while alive");
                }
                Effect::Finish { .. } => {
                    assert!(self.seen.values().all(|seen| *seen == Seen::Down));
                    self.finished = true;
                }
                Effect::BackOff { child, until_ms, .. } => {
                    assert_eq!(self.seen[child], Seen::Down);
                    let delay_ms = until_ms - self.now_ms;
                    assert!((70..=2_080).contains(&delay_ms), "delay {delay_ms}");
                }
                Effect::Rest { child } => assert_eq!(self.seen[child], Seen::Down),
                Effect::Escalate { .. } => assert!(self.ledger.is_closing()),
            }
            self.trace.push((self.now_ms, effect));
        }
    }

    fn pick(&self, n: usize, wanted: &[Seen]) -> Option<ChildIx> {
        let fitting: Vec<_> =
            self.seen.iter().filter(|(_, seen)| wanted.contains(seen)).map(|(ix, _)| *ix).collect();
        fitting.get(n % fitting.len().max(1)).copied()
    }

    fn end(&mut self, child: ChildIx, exit: &Exit) {
        self.seen.insert(child, Seen::Down);
        let effects = self.ledger.on_exit(self.now_ms, child, exit);
        self.apply(effects);
    }

    fn step(&mut self, step: &Step) {
        let now_ms = self.now_ms;
        match *step {
            Step::Crash(n, kind) => {
                if let Some(child) = self.pick(n, &[Seen::Starting, Seen::Up]) {
                    let before = self.seen.clone();
                    self.end(child, &exit_of(kind));
                    self.check_range(child, &before);
                }
            }
            Step::Exit(n, kind) => {
                if let Some(child) = self.pick(n, &[Seen::Stopping]) {
                    self.end(child, &exit_of(kind));
                }
            }
            Step::Ready(n) => {
                if let Some(child) = self.pick(n, &[Seen::Starting]) {
                    self.seen.insert(child, Seen::Up);
                    let effects = self.ledger.on_ready(now_ms, child);
                    self.apply(effects);
                }
            }
            Step::Wait(ms) => {
                let until_ms = now_ms + ms;
                while let Some(at_ms) = self.ledger.wake_at_ms().filter(|at| *at <= until_ms) {
                    self.now_ms = self.now_ms.max(at_ms);
                    let effects = self.ledger.on_wake(self.now_ms);
                    assert_ne!(effects, [], "woken at {at_ms} for nothing");
                    self.apply(effects);
                }
                self.now_ms = until_ms;
            }
            Step::Replace(n) => {
                if let Some(child) = self.pick(n, &[Seen::Down, Seen::Up, Seen::Starting]) {
                    let effects = self.ledger.replace_child(now_ms, child, PERMANENT);
                    self.apply(effects);
                }
            }
            Step::StopChild(n) => {
                if let Some(child) = self.pick(n, &[Seen::Down, Seen::Up, Seen::Starting]) {
                    let effects = self.ledger.stop_child(now_ms, child);
                    self.apply(effects);
                }
            }
            Step::Remove(n) => {
                if let Some(child) = self.pick(n, &[Seen::Down, Seen::Up, Seen::Starting]) {
                    let effects = self.ledger.remove_child(now_ms, child);
                    self.apply(effects);
                }
            }
            Step::Add(kind) => {
                if self.seen.len() < 8 {
                    let (child, effects) = self.ledger.add(now_ms, rule_of(kind));
                    self.seen.insert(child, Seen::Down);
                    self.apply(effects);
                }
            }
            Step::Stop => {
                let effects = self.ledger.stop(now_ms);
                self.apply(effects);
            }
        }
    }

    /// A crash touches nobody outside the strategy's range.
    fn check_range(&self, crashed: ChildIx, before: &BTreeMap<ChildIx, Seen>) {
        if self.ledger.is_closing() {
            return;
        }
        for (child, was) in before {
            let outside = match self.ledger.group.strategy {
                Strategy::OneForOne => *child != crashed,
                Strategy::RestForOne => *child < crashed,
                Strategy::OneForAll => false,
            };
            let now = self.seen.get(child);
            // A start of an earlier sibling may have been due; a stop may not.
            if outside && matches!(was, Seen::Up | Seen::Starting) {
                assert_eq!(now, Some(was), "{child:?} is outside the range of {crashed:?}");
            }
        }
    }

    /// Everything behaves from now on: the ledger must settle or finish.
    fn heal(&mut self) {
        for _ in 0..500 {
            if self.finished || self.ledger.is_settled() {
                return;
            }
            if let Some(child) = self.pick(0, &[Seen::Stopping]) {
                self.end(child, &Exit::Normal);
            } else if let Some(child) = self.pick(0, &[Seen::Starting]) {
                self.seen.insert(child, Seen::Up);
                let effects = self.ledger.on_ready(self.now_ms, child);
                self.apply(effects);
            } else {
                let Some(at_ms) = self.ledger.wake_at_ms() else {
                    panic!("stuck: {:?}", self.ledger)
                };
                self.step(&Step::Wait(at_ms.saturating_sub(self.now_ms)));
            }
        }
        panic!("did not settle: {:?}", self.ledger);
    }
}

fn run(strategy: Strategy, rules: &[u8], steps: &[Step], seed: u64) -> World {
    let mut world = World::new(strategy, rules, seed);
    let effects = world.ledger.start(0);
    world.apply(effects);
    for step in steps {
        world.step(step);
    }
    world
}

fn strategies() -> impl Generator<Value = Strategy> {
    prop_oneof![Just(Strategy::OneForOne), Just(Strategy::RestForOne), Just(Strategy::OneForAll)]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1_024, failure_persistence: None, ..ProptestConfig::default()
    })]

    /// No history breaks a promise, and when the crashes end everything is up or down for good.
    #[test]
    fn every_history_keeps_the_promises(
        strategy in strategies(),
        rules in proptest::collection::vec(0..6_u8, 1..6),
        steps in steps(),
        seed in any::<u64>(),
    ) {
        let mut world = run(strategy, &rules, &steps, seed);
        world.heal();
    }

    /// The same seed and history give the same effects at the same times.
    #[test]
    fn histories_replay(
        strategy in strategies(),
        rules in proptest::collection::vec(0..6_u8, 1..6),
        steps in steps(),
        seed in any::<u64>(),
    ) {
        let first = run(strategy, &rules, &steps, seed);
        let second = run(strategy, &rules, &steps, seed);
        prop_assert_eq!(first.trace, second.trace);
    }

    /// No window of the period's length holds more restarts than the intensity.
    #[test]
    fn the_intensity_bounds_every_window(
        strategy in strategies(),
        rules in proptest::collection::vec(0..3_u8, 1..6),
        steps in steps(),
        seed in any::<u64>(),
    ) {
        let world = run(strategy, &rules, &steps, seed);
        let restarts: Vec<u64> = world.trace.iter()
            .filter(|(_, effect)| matches!(effect, Effect::BackOff { .. }))
            .map(|(at, _)| *at)
            .collect();
        for (n, from_ms) in restarts.iter().enumerate() {
            let within = restarts[n..].iter().take_while(|at| **at - from_ms < 10_000).count();
            prop_assert!(within <= 4, "{} restarts from {}", within, from_ms);
        }
    }
}

#[test]
fn a_long_cause_is_cut_at_a_character_boundary() {
    let cause = Cause::new("error", "ä".repeat(CAUSE_LEN_BYTES_MAX));
    assert_eq!(cause.text.len(), CAUSE_LEN_BYTES_MAX);
    let cause = Cause::new("error", format!("x{}", "ä".repeat(CAUSE_LEN_BYTES_MAX)));
    assert_eq!(cause.text.len(), CAUSE_LEN_BYTES_MAX - 1);
}
