//! A holder against a model of its node: fetches that work or don't, a journal that survives crashes, and
//! a cluster that commits what it is told.

use proptest::prelude::*;

use super::*;
use crate::fixture::cid;
use crate::id::NodeId;

fn desire(n: u64, granted: u64) -> Desire {
    Desire {
        cid: cid(n),
        granted,
        committed: ReplicaState::Assigned,
        size_bytes: Some(1_000),
        sources: vec![NodeId(1)],
    }
}

struct Node {
    tracker: PinTracker,
    now_ms: u64,
    wake_ms: Option<u64>,
    out: Vec<Effect>,
}

impl Node {
    fn new(config: Config) -> Self {
        let tracker = PinTracker::new(config, 1);
        let mut node = Self { tracker, now_ms: 0, wake_ms: None, out: Vec::new() };
        node.step(Input::Restored { complete: Vec::new() });
        node
    }

    /// Takes one step and returns its effects without the timer.
    fn step(&mut self, input: Input) -> Vec<Effect> {
        self.tracker.step(self.now_ms, input, &mut self.out);
        let bound = 4 * SLICE + 2 * 10 + 2 * 10 + 1;
        assert!(self.out.len() <= bound, "{} effects", self.out.len());
        if let Some(Effect::WakeAt(at_ms)) = self.out.last() {
            self.wake_ms = *at_ms;
            self.out.pop();
        }
        std::mem::take(&mut self.out)
    }

    /// Moves to the time that was asked for and ticks.
    fn wake(&mut self) -> Vec<Effect> {
        self.now_ms = self.now_ms.max(self.wake_ms.expect("something is waited for"));
        self.step(Input::Tick)
    }

    fn attempt(effects: &[Effect]) -> u64 {
        let fetch = |effect: &Effect| match effect {
            Effect::Fetch { attempt, .. } => Some(*attempt),
            _ => None,
        };
        effects.iter().find_map(fetch).unwrap_or_else(|| panic!("no fetch in {effects:?}"))
    }

    fn fail(&mut self, n: u64, attempt: u64, class: FailureClass) -> Vec<Effect> {
        self.step(Input::FetchFailed { cid: cid(n), attempt, reason: "no answer".into(), class })
    }
}

fn held(n: u64, granted: u64) -> Held {
    Held { cid: cid(n), granted }
}

fn record(n: u64, granted: u64) -> Effect {
    Effect::Record(held(n, granted))
}

fn released(n: u64, index: u64) -> Input {
    Input::NotDesired { index, cid: cid(n) }
}

fn report(n: u64, granted: u64, state: ReplicaState) -> Effect {
    Effect::Report(ReplicaReport { cid: cid(n), granted, state })
}

#[test]
fn an_outcome_is_reported_when_it_is_durable_and_until_it_is_committed() {
    let mut node = Node::new(Config::default());
    let effects = node.step(Input::Desired(desire(1, 10)));
    let attempt = Node::attempt(&effects);
    assert_eq!(
        effects,
        [Effect::Fetch { cid: cid(1), attempt, granted: 10, sources: vec![NodeId(1)] }]
    );
    let effects = node.step(Input::FetchDone { cid: cid(1), attempt });
    assert_eq!(effects, [record(1, 10)]);
    let effects = node.step(Input::Recorded(held(1, 10)));
    assert_eq!(effects, [report(1, 10, ReplicaState::Pinned)]);
    assert_eq!(node.tracker.next_unconfirmed(10).len(), 1);

    assert_eq!(node.wake(), [report(1, 10, ReplicaState::Pinned)]);
    assert_eq!(node.now_ms, Config::default().repeat_ms);
    let committed = Desire { committed: ReplicaState::Pinned, ..desire(1, 10) };
    assert_eq!(node.step(Input::Desired(committed)), []);
    assert_eq!(node.wake_ms, None, "nothing is left to do");
    assert!(node.tracker.next_unconfirmed(10).is_empty());
}

#[test]
fn an_unanswered_record_is_written_again() {
    let mut node = Node::new(Config::default());
    let attempt = Node::attempt(&node.step(Input::Desired(desire(1, 10))));
    node.step(Input::FetchDone { cid: cid(1), attempt });
    assert_eq!(node.step(Input::Tick), []);
    assert_eq!(node.wake(), [record(1, 10)]);
}

#[test]
fn transient_failures_back_off_and_end_in_a_reported_failure() {
    let config = Config::default();
    let mut node = Node::new(config);
    let mut attempt = Node::attempt(&node.step(Input::Desired(desire(1, 10))));
    let mut waits = Vec::new();
    for _ in 1..config.attempts {
        let failed_ms = node.now_ms;
        assert_eq!(node.fail(1, attempt, FailureClass::Transient), []);
        let trouble = &node.tracker.troubles(None, 10)[0];
        assert_eq!((trouble.reason, trouble.next_ms), ("no answer", node.wake_ms));
        attempt = Node::attempt(&node.wake());
        waits.push(node.now_ms - failed_ms);
    }
    for (at, wait_ms) in waits.iter().enumerate() {
        let full_ms = config.retry_ms << at;
        assert!((full_ms / 2..=full_ms).contains(wait_ms), "{waits:?}");
    }
    let failed = ReplicaState::failed("no answer");
    assert_eq!(node.fail(1, attempt, FailureClass::Transient), [report(1, 10, failed.clone())]);

    let committed = Desire { committed: failed, ..desire(1, 10) };
    assert_eq!(node.step(Input::Desired(committed)), []);
    assert_eq!(node.wake_ms, None, "it stays failed");
    let effects = node.step(Input::Desired(desire(1, 20)));
    assert!(Node::attempt(&effects) > attempt, "until it is assigned anew");
}

#[test]
fn a_full_disk_or_impossible_content_is_reported_at_once() {
    for class in [FailureClass::Full, FailureClass::Permanent] {
        let mut node = Node::new(Config::default());
        let attempt = Node::attempt(&node.step(Input::Desired(desire(1, 10))));
        let effects = node.fail(1, attempt, class);
        assert_eq!(effects, [report(1, 10, ReplicaState::failed("no answer"))]);
    }
}

#[test]
fn a_new_source_ends_the_wait() {
    let mut node = Node::new(Config::default());
    let attempt = Node::attempt(&node.step(Input::Desired(desire(1, 10))));
    node.fail(1, attempt, FailureClass::NotFound);
    assert_eq!(node.step(Input::Desired(desire(1, 10))), []);
    let sources = vec![NodeId(1), NodeId(5)];
    let effects = node.step(Input::Desired(Desire { sources: sources.clone(), ..desire(1, 10) }));
    let Effect::Fetch { sources: asked, .. } = &effects[0] else { panic!("{effects:?}") };
    assert_eq!(*asked, sources);

    // Also when the source came while the attempt was under way.
    let attempt = Node::attempt(&effects);
    let sources = vec![NodeId(1), NodeId(5), NodeId(6)];
    node.step(Input::Desired(Desire { sources, ..desire(1, 10) }));
    Node::attempt(&node.fail(1, attempt, FailureClass::NotFound));
}

#[test]
fn release_cancels_a_fetch_and_its_late_answer_changes_nothing() {
    let mut node = Node::new(Config::default());
    let attempt = Node::attempt(&node.step(Input::Desired(desire(1, 10))));
    let effects = node.step(released(1, 11));
    assert_eq!(effects, [Effect::Cancel { cid: cid(1), attempt }]);
    assert_eq!(node.step(Input::FetchDone { cid: cid(1), attempt }), []);
    assert_eq!(node.tracker.glance(), Glance::default());
}

#[test]
fn the_answer_of_an_earlier_fetch_is_not_taken_for_that_of_the_present_one() {
    let mut node = Node::new(Config::default());
    let earlier = Node::attempt(&node.step(Input::Desired(desire(1, 10))));
    node.step(released(1, 11));
    let present = Node::attempt(&node.step(Input::Desired(desire(1, 20))));
    assert_eq!(node.step(Input::FetchDone { cid: cid(1), attempt: earlier }), []);
    assert_eq!(node.fail(1, earlier, FailureClass::Permanent), []);
    let effects = node.step(Input::FetchDone { cid: cid(1), attempt: present });
    assert_eq!(effects, [record(1, 20)]);
}

#[test]
fn release_is_durable_and_repeated_until_it_is() {
    let mut node = Node::new(Config::default());
    node.tracker = PinTracker::new(Config::default(), 1);
    node.step(Input::Restored { complete: vec![held(1, 10)] });
    assert_eq!(node.step(released(1, 11)), [Effect::Forget { cid: cid(1) }]);
    assert_eq!(node.wake(), [Effect::Forget { cid: cid(1) }]);
    // Wanted again meanwhile: the forgetting is finished first, then it is fetched anew.
    assert_eq!(node.step(Input::Desired(desire(1, 12))), []);
    Node::attempt(&node.step(Input::Forgotten { cid: cid(1) }));
}

#[test]
fn nothing_restored_is_forgotten_before_a_view_says_so() {
    let mut node = Node::new(Config::default());
    node.tracker = PinTracker::new(Config::default(), 1);
    assert_eq!(node.step(Input::Desired(desire(1, 10))), [], "not before the journal is read");
    let effects = node.step(Input::Restored { complete: vec![held(1, 10), held(2, 8)] });
    assert_eq!(effects, [report(1, 10, ReplicaState::Pinned)], "complete content is not fetched");
    for _ in 0..3 {
        assert!(!node.wake().contains(&Effect::Forget { cid: cid(2) }));
    }
    let committed = Desire { committed: ReplicaState::Pinned, ..desire(1, 10) };
    let view = Input::View { index: 10, desires: vec![committed] };
    assert_eq!(node.step(view), [Effect::Forget { cid: cid(2) }]);
}

#[test]
fn a_view_older_than_what_is_held_releases_nothing() {
    let mut node = Node::new(Config::default());
    node.tracker = PinTracker::new(Config::default(), 1);
    node.step(Input::Restored { complete: vec![held(1, 10), held(2, 10)] });
    assert_eq!(node.step(Input::View { index: 9, desires: Vec::new() }), []);
    assert_eq!(node.step(released(2, 9)), [], "an earlier pin of the same content ended");
    let committed = Desire { committed: ReplicaState::Pinned, ..desire(1, 10) };
    let view = Input::View { index: 10, desires: vec![committed] };
    assert_eq!(node.step(view), [Effect::Forget { cid: cid(2) }]);
}

#[test]
fn what_is_held_already_is_recorded_for_a_newer_assignment_before_that_is_reported() {
    let mut node = Node::new(Config::default());
    node.tracker = PinTracker::new(Config::default(), 1);
    node.step(Input::Restored { complete: vec![held(1, 10)] });
    assert_eq!(node.step(Input::Desired(desire(1, 20))), [record(1, 20)]);
    assert_eq!(node.wake(), [record(1, 20)], "until it is written");
    let effects = node.step(Input::Recorded(held(1, 20)));
    assert_eq!(effects, [report(1, 20, ReplicaState::Pinned)]);
    assert_eq!(node.step(released(1, 15)), []);
}

#[test]
fn a_copy_that_is_not_there_is_admitted_and_fetched_anew() {
    let mut node = Node::new(Config::default());
    let believed = Desire { committed: ReplicaState::Pinned, ..desire(1, 10) };
    let effects = node.step(Input::Desired(believed.clone()));
    assert_eq!(effects[0], report(1, 10, ReplicaState::Assigned));
    let attempt = Node::attempt(&effects);
    node.step(Input::FetchDone { cid: cid(1), attempt });
    assert_eq!(node.step(Input::Recorded(held(1, 10))), []);

    let effects = node.step(Input::Damaged { cid: cid(1) });
    assert_eq!(effects, [Effect::Forget { cid: cid(1) }, report(1, 10, ReplicaState::Assigned)]);
    Node::attempt(&node.step(Input::Forgotten { cid: cid(1) }));
}

#[test]
fn a_failure_of_an_earlier_run_is_not_tried_again_under_the_same_assignment() {
    let mut node = Node::new(Config::default());
    let failed = Desire { committed: ReplicaState::failed("full"), ..desire(1, 10) };
    assert_eq!(node.step(Input::Desired(failed)), []);
    assert!(!Node::attempt_exists(&node.step(Input::Tick)));
    Node::attempt(&node.step(Input::Desired(desire(1, 11))));
}

impl Node {
    fn attempt_exists(effects: &[Effect]) -> bool {
        effects.iter().any(|effect| matches!(effect, Effect::Fetch { .. }))
    }
}

#[test]
fn an_older_assignment_is_ignored() {
    let mut node = Node::new(Config::default());
    node.step(Input::Desired(desire(1, 20)));
    assert_eq!(node.step(Input::Desired(desire(1, 10))), []);
    assert_eq!(node.tracker.entries[&cid(1)].want, Want::Held(desire(1, 20)));
}

#[test]
fn big_content_does_not_hold_up_small() {
    let config = Config { fast: 1, slow: 1, ..Config::default() };
    let mut node = Node::new(config);
    for n in 0..3 {
        let size_bytes = Some(config.slow_bytes);
        node.step(Input::Desired(Desire { size_bytes, ..desire(n, 10) }));
    }
    let glance = node.tracker.glance();
    assert_eq!((glance.fetching_fast, glance.fetching_slow, glance.queued), (0, 1, 2));
    Node::attempt(&node.step(Input::Desired(desire(9, 10))));
}

#[test]
fn what_hangs_gives_its_place_to_those_that_wait_and_gets_another_turn() {
    let config = Config { fast: 2, slow: 1, ..Config::default() };
    let mut node = Node::new(config);
    let hanging = Node::attempt(&node.step(Input::Desired(desire(1, 10))));
    node.step(Input::Desired(desire(2, 10)));
    node.now_ms += 2 * config.fast_turn_ms;
    assert_eq!(node.step(Input::Tick), [], "nobody waits");

    let effects = node.step(Input::Desired(desire(3, 10)));
    assert_eq!(effects[0], Effect::Cancel { cid: cid(1), attempt: hanging });
    let fetched: Vec<_> = effects[1..]
        .iter()
        .map(|effect| match effect {
            Effect::Fetch { cid, .. } => cid.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(fetched, [cid(3), cid(1)], "the one that waited, and the slow lane was free");
    assert!(node.tracker.troubles(None, 10).is_empty(), "a lost turn is no failure");
}

#[test]
fn ten_thousand_dead_roots_do_not_keep_live_ones_waiting() {
    let config = Config { fast: 4, slow: 2, ..Config::default() };
    let mut node = Node::new(config);
    for n in 0..10_000 {
        node.step(Input::Desired(desire(n, 10)));
    }
    // Every fetch of a dead root hangs for ever. A live one comes last.
    let live = 20_000;
    node.step(Input::Desired(desire(live, 10)));
    let mut waited_ms = 0;
    loop {
        let started = node.wake().iter().any(
            |effect| matches!(effect, Effect::Fetch { cid: fetched, .. } if *fetched == cid(live)),
        );
        waited_ms = waited_ms.max(node.now_ms);
        if started {
            break;
        }
    }
    assert!(waited_ms <= config.fast_turn_ms * (10_000 / 4 + 1), "waited {waited_ms} ms");
}

#[test]
fn unconfirmed_outcomes_take_turns_in_the_heartbeats() {
    let mut node = Node::new(Config::default());
    node.tracker = PinTracker::new(Config::default(), 1);
    node.step(Input::Restored { complete: (0..10).map(|n| held(n, 10)).collect() });
    for n in 0..10 {
        node.step(Input::Desired(desire(n, 10)));
    }
    let mut told = BTreeSet::new();
    for _ in 0..4 {
        let reports = node.tracker.next_unconfirmed(3);
        assert_eq!(reports.len(), 3);
        told.extend(reports.into_iter().map(|report| report.cid));
    }
    assert_eq!(told.len(), 10);
    assert_eq!(node.tracker.next_unconfirmed(100).len(), 10);
}

#[test]
fn a_large_view_is_worked_off_in_slices() {
    let mut node = Node::new(Config::default());
    node.tracker = PinTracker::new(Config::default(), 1);
    let total = 5 * SLICE as u64;
    node.step(Input::Restored { complete: (0..total).map(|n| held(n, 10)).collect() });
    let desires = (0..total).map(|n| desire(n, 10)).collect();
    node.step(Input::View { index: 10, desires });
    let mut steps = 1;
    while node.wake_ms == Some(node.now_ms) {
        node.step(Input::Tick);
        steps += 1;
    }
    assert!(steps >= 4);
    assert_eq!(node.tracker.glance().unconfirmed, total as usize);
}

/// A node whose journal survives its crashes, and the cluster's committed word.
struct Model {
    node: Node,
    /// Durable: complete roots, and the assignment that each is held for.
    journal: BTreeMap<Cid, u64>,
    desired: BTreeMap<Cid, Desire>,
    /// What was desired at each index.
    history: Vec<(u64, BTreeMap<Cid, Desire>)>,
    /// The old view that the node was restarted with.
    stale: BTreeMap<Cid, Desire>,
    damaged: BTreeSet<Cid>,
    fetching: BTreeMap<Cid, u64>,
    writes: Vec<Effect>,
}

#[derive(Clone, Debug)]
enum Event {
    Assign(u64),
    Release(u64),
    Done(usize),
    Fail(usize, u8),
    Write,
    Crash(usize),
    Pass(u64),
    Damage(u64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        6 => (0u64..12).prop_map(Event::Assign),
        3 => (0u64..12).prop_map(Event::Release),
        5 => (0usize..8).prop_map(Event::Done),
        4 => ((0usize..8), 0u8..4).prop_map(|(at, class)| Event::Fail(at, class)),
        8 => Just(Event::Write),
        1 => (0usize..6).prop_map(Event::Crash),
        3 => (0u64..40_000).prop_map(Event::Pass),
        1 => (0u64..12).prop_map(Event::Damage),
    ];
    prop::collection::vec(event, 1..120)
}

impl Model {
    fn new() -> Self {
        Self {
            node: Node::new(Config { fast: 2, slow: 2, ..Config::default() }),
            journal: BTreeMap::new(),
            desired: BTreeMap::new(),
            history: vec![(0, BTreeMap::new())],
            stale: BTreeMap::new(),
            damaged: BTreeSet::new(),
            fetching: BTreeMap::new(),
            writes: Vec::new(),
        }
    }

    fn feed(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            for effect in self.node.step(input) {
                match effect {
                    Effect::Fetch { cid, attempt, .. } => {
                        let is_desired = |desired: &BTreeMap<Cid, _>| desired.contains_key(&cid);
                        let is_desired = is_desired(&self.desired) || is_desired(&self.stale);
                        assert!(is_desired, "fetched without being desired");
                        assert!(!self.journal.contains_key(&cid), "fetched although complete");
                        assert_eq!(self.fetching.insert(cid, attempt), None, "fetched twice");
                    }
                    Effect::Cancel { cid, attempt } => {
                        assert_eq!(self.fetching.remove(&cid), Some(attempt));
                    }
                    Effect::Report(report) => inputs.extend(self.commit(report)),
                    Effect::Forget { ref cid } => {
                        let is_wanted = self.desired.get(cid).is_some_and(|desire| {
                            desire.committed == ReplicaState::Pinned
                                && self.journal.get(cid) == Some(&desire.granted)
                        });
                        assert!(
                            !is_wanted || self.damaged.contains(cid),
                            "forgotten though wanted"
                        );
                        self.writes.push(effect);
                    }
                    Effect::Record(_) => self.writes.push(effect),
                    Effect::WakeAt(_) => unreachable!("taken off by the node"),
                }
            }
            assert!(self.fetching.len() <= 4);
        }
    }

    /// The cluster commits a report, unless it is about another assignment.
    fn commit(&mut self, report: ReplicaReport) -> Option<Input> {
        if report.state == ReplicaState::Pinned {
            let granted = self.journal.get(&report.cid);
            assert!(granted.is_some_and(|granted| *granted >= report.granted), "not durable");
        }
        let desire = self.desired.get_mut(&report.cid)?;
        if desire.granted != report.granted {
            return None;
        }
        desire.committed = report.state;
        Some(Input::Desired(desire.clone()))
    }

    fn write(&mut self) {
        if self.writes.is_empty() {
            return;
        }
        match self.writes.remove(0) {
            Effect::Record(held) => {
                self.journal.insert(held.cid.clone(), held.granted);
                self.damaged.remove(&held.cid);
                self.feed(Input::Recorded(held));
            }
            Effect::Forget { cid } => {
                self.journal.remove(&cid);
                self.feed(Input::Forgotten { cid });
            }
            _ => unreachable!("only intents are written"),
        }
    }

    fn pick(&self, at: usize) -> Option<(Cid, u64)> {
        let at = at % self.fetching.len().max(1);
        self.fetching.iter().nth(at).map(|(cid, attempt)| (cid.clone(), *attempt))
    }

    fn suffer(&mut self, at: usize, event: &Event) {
        match event {
            Event::Assign(n) => {
                let wish = desire(*n, at as u64 + 1);
                self.desired.insert(cid(*n), wish.clone());
                self.history.push((at as u64 + 1, self.desired.clone()));
                self.feed(Input::Desired(wish));
            }
            Event::Release(n) => {
                self.desired.remove(&cid(*n));
                self.history.push((at as u64 + 1, self.desired.clone()));
                self.feed(released(*n, at as u64 + 1));
            }
            Event::Done(at) => {
                let Some((cid, attempt)) = self.pick(*at) else { return };
                self.fetching.remove(&cid);
                self.feed(Input::FetchDone { cid, attempt });
            }
            Event::Fail(at, class) => {
                let Some((cid, attempt)) = self.pick(*at) else { return };
                self.fetching.remove(&cid);
                let class = match class {
                    0 => FailureClass::Full,
                    1 => FailureClass::NotFound,
                    _ => FailureClass::Transient,
                };
                self.feed(Input::FetchFailed { cid, attempt, reason: "no".into(), class });
            }
            Event::Write => self.write(),
            Event::Crash(behind) => {
                self.node.tracker = PinTracker::new(self.node.tracker.config, at as u64);
                self.fetching.clear();
                self.writes.clear();
                let held =
                    |(cid, granted): (&Cid, &u64)| Held { cid: cid.clone(), granted: *granted };
                let complete = self.journal.iter().map(held).collect();
                self.feed(Input::Restored { complete });
                let stale = self.history.len().saturating_sub(behind + 1);
                let (index, desired) = self.history[stale].clone();
                self.stale.clone_from(&desired);
                self.feed(Input::View { index, desires: desired.into_values().collect() });
                let index = self.history.last().map_or(0, |(index, _)| *index);
                let desires = self.desired.values().cloned().collect();
                self.feed(Input::View { index, desires });
                self.stale.clear();
            }
            Event::Pass(ms) => {
                self.node.now_ms += ms;
                self.feed(Input::Tick);
            }
            Event::Damage(n) => {
                self.damaged.insert(cid(*n));
                self.feed(Input::Damaged { cid: cid(*n) });
            }
        }
    }

    /// Everything works from now on.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            if !self.writes.is_empty() {
                self.write();
            } else if !self.fetching.is_empty() {
                self.suffer(0, &Event::Done(0));
            } else if let Some(at_ms) = self.node.wake_ms {
                self.node.now_ms = self.node.now_ms.max(at_ms);
                self.feed(Input::Tick);
            } else {
                return;
            }
        }
        panic!("it does not settle: {:?}", self.node.tracker.glance());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_happens_journal_desire_and_committed_word_agree_in_the_end(history in events()) {
        let mut model = Model::new();
        for (at, event) in history.iter().enumerate() {
            model.suffer(at, event);
        }
        model.settle();
        for (cid, desire) in &model.desired {
            match &desire.committed {
                ReplicaState::Pinned => prop_assert!(model.journal.contains_key(cid)),
                ReplicaState::Failed { .. } => prop_assert!(!model.journal.contains_key(cid)),
                ReplicaState::Assigned => prop_assert!(false, "{cid} has no outcome"),
            }
        }
        prop_assert!(model.journal.keys().all(|cid| model.desired.contains_key(cid)));
        prop_assert_eq!(model.node.tracker.glance().unconfirmed, 0);
    }
}
