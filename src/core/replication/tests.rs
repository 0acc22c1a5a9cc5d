//! The planner against a real state: holders that obey or don't, and everything that can happen to them.

use proptest::prelude::*;

use super::*;
use crate::command::Outcome;
use crate::fixture::{World, cid, pin_spec, spec};
use crate::invariant;
use crate::member::{HoldPolicy, Role};
use crate::pin::ReplicaState;

/// A leader's planner, the state, and holders that carry out what they are assigned.
struct Cluster {
    world: World,
    planner: Planner,
    now_ms: u64,
    wake_ms: u64,
    notes: Vec<Note>,
    proposals: Vec<Op>,
    /// Holders that give up on everything.
    broken: BTreeSet<NodeId>,
}

impl Cluster {
    fn of(world: World) -> Self {
        Self::with(world, Config::default())
    }

    fn with(world: World, config: Config) -> Self {
        let mut cluster = Self {
            world,
            planner: Planner::new(config),
            now_ms: 1_000_000,
            wake_ms: 0,
            notes: Vec::new(),
            proposals: Vec::new(),
            broken: BTreeSet::new(),
        };
        cluster.step(Input::BecameLeader);
        cluster
    }

    fn step(&mut self, input: Input<'_>) {
        let mut out = Vec::new();
        self.planner.step(self.now_ms, &self.world.state, input, &mut out);
        assert!(out.len() <= EFFECTS_MAX, "{} effects", out.len());
        for effect in out {
            match effect {
                Effect::Propose(op) => self.proposals.push(op),
                Effect::WakeAt(at_ms) => self.wake_ms = at_ms,
                Effect::Note(note) => self.notes.push(note),
            }
        }
    }

    /// Commits an operation and shows the planner what changed.
    fn commit(&mut self, op: Op) -> Outcome {
        let mut applied = self.world.run_at(self.now_ms, op);
        for change in &applied.changes {
            self.step(Input::Changed(std::slice::from_ref(change)));
        }
        applied.outcomes.remove(0).1
    }

    fn set_liveness(&mut self, node: u64, liveness: Liveness) {
        self.commit(Op::SetLiveness { node: NodeId(node), liveness });
    }

    /// Commits what is proposed and lets holders work until nothing is left to do at this time.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            if let Some(op) = self.proposals.pop() {
                self.commit(op);
            } else if let Some((node, item)) = self.next_outcome() {
                self.commit(Op::Report { node, items: vec![item] });
            } else if self.wake_ms <= self.now_ms {
                self.step(Input::Tick);
            } else {
                return;
            }
        }
        panic!("it does not settle: {:?}", self.planner.glance());
    }

    fn next_outcome(&self) -> Option<(NodeId, crate::pin::ReplicaReport)> {
        let state = &self.world.state;
        state.pins().values().map(SharedPin::read).find_map(|pin| {
            pin.replicas.iter().find_map(|(node, replica)| {
                let there = state.members().get(node).is_some_and(|member| member.is_present());
                let open = replica.state == ReplicaState::Assigned;
                let state = if self.broken.contains(node) {
                    ReplicaState::Failed { reason: "broken".into() }
                } else {
                    ReplicaState::Pinned
                };
                (there && open).then(|| {
                    let (cid, granted) = (pin.spec.cid.clone(), replica.granted);
                    (*node, crate::pin::ReplicaReport { cid, granted, state })
                })
            })
        })
    }

    /// Lets time pass, waking the planner whenever it asked for it.
    fn pass(&mut self, ms: u64) {
        let end_ms = self.now_ms + ms;
        self.settle();
        while self.wake_ms <= end_ms {
            self.now_ms = self.now_ms.max(self.wake_ms);
            self.step(Input::Tick);
            self.settle();
        }
        self.now_ms = end_ms;
    }

    fn pin(&self, n: u64) -> Pin {
        self.world.state.pins()[&cid(n)].read()
    }

    fn pinned(&self, n: u64) -> BTreeSet<u64> {
        self.pin(n).pinned_on().map(|node| node.0).collect()
    }

    fn live(&self, n: u64) -> usize {
        let members = self.world.state.members();
        self.pin(n).pinned_on().filter(|node| members[node].liveness == Liveness::Alive).count()
    }
}

/// Five workers, n2 to n6, and a pin on the first two.
fn five_workers() -> Cluster {
    let mut world = World::with_workers(5);
    world.pin(1, (1, 2), &[2, 3]);
    let mut cluster = Cluster::of(world);
    cluster.settle();
    assert_eq!(cluster.pinned(1), BTreeSet::from([2, 3]));
    assert!(cluster.proposals.is_empty());
    cluster
}

#[test]
fn a_lost_holder_is_replaced_stays_listed_and_the_surplus_is_trimmed_on_its_return() {
    let mut cluster = five_workers();
    cluster.set_liveness(2, Liveness::Lost);
    cluster.settle();
    assert_eq!(cluster.live(1), 2);
    assert_eq!(cluster.pin(1).replicas.len(), 3, "the lost copy may come back");

    cluster.set_liveness(2, Liveness::Alive);
    cluster.settle();
    assert_eq!(cluster.live(1), 3, "not before it has stayed for a while");
    cluster.pass(Config::default().trim_settle_ms);
    assert_eq!(cluster.live(1), 2);
    assert_eq!(cluster.pin(1).replicas.len(), 2);
}

#[test]
fn a_replacement_under_way_is_called_off_when_the_lost_holder_returns() {
    let mut cluster = five_workers();
    cluster.set_liveness(2, Liveness::Lost);
    let op = cluster.proposals.pop().unwrap();
    cluster.commit(op);
    cluster.set_liveness(2, Liveness::Alive);
    cluster.now_ms += Config::default().trim_settle_ms;
    // Nobody works here: only the planner acts.
    while cluster.wake_ms <= cluster.now_ms && cluster.proposals.is_empty() {
        cluster.step(Input::Tick);
    }
    let op = cluster.proposals.pop().unwrap();
    cluster.commit(op);
    assert_eq!(cluster.pin(1).replicas.keys().map(|n| n.0).collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn a_draining_member_is_emptied_add_before_remove_and_then_removed() {
    let mut cluster = five_workers();
    cluster.set_liveness(3, Liveness::Draining);
    let Some(Op::Reassign { add, remove, .. }) = cluster.proposals.last() else {
        panic!("{:?}", cluster.proposals)
    };
    assert!(add.len() == 1 && remove.is_empty(), "the old copy goes only when the new one stands");
    cluster.settle();
    assert_eq!(cluster.live(1), 2);
    assert!(!cluster.world.state.members().contains_key(&NodeId(3)));
    assert!(!cluster.pin(1).replicas.contains_key(&NodeId(3)));
}

#[test]
fn a_drain_that_would_lose_a_needed_copy_waits_and_says_so() {
    let mut world = World::with_workers(2);
    let master = HoldPolicy::Never;
    let key_spec = crate::member::MemberSpec { hold: master, ..spec(1, Role::Master) };
    world.run(Op::Register { node: NodeId(1), spec: key_spec });
    world.pin(1, (2, 2), &[2, 3]);
    let mut cluster = Cluster::of(world);
    cluster.settle();
    cluster.set_liveness(3, Liveness::Draining);
    cluster.pass(60_000);
    assert!(cluster.world.state.members().contains_key(&NodeId(3)));
    let concern = cluster.planner.concerns().iter().next().unwrap().1;
    assert_eq!(*concern, Concern::DrainBlocked);

    // A new worker makes room.
    let node = cluster.world.join(spec(9, Role::Worker));
    let change = Change::Member { node, old: Default::default(), new: None };
    cluster.step(Input::Changed(&[change]));
    cluster.pass(1_000);
    assert!(!cluster.world.state.members().contains_key(&NodeId(3)));
    assert!(cluster.planner.concerns().is_empty());
    assert_eq!(cluster.notes.last(), Some(&Note::Cleared { cid: cid(1) }));
}

#[test]
fn a_member_removed_for_good_is_replaced_and_dropped() {
    let mut cluster = five_workers();
    cluster.commit(Op::Remove { node: NodeId(2) });
    cluster.settle();
    assert_eq!(cluster.live(1), 2);
    assert!(!cluster.pin(1).replicas.contains_key(&NodeId(2)));
}

#[test]
fn a_worker_that_becomes_a_leecher_hands_its_copies_on() {
    let mut cluster = five_workers();
    cluster.commit(Op::SetRole { node: NodeId(2), role: Role::Leecher });
    cluster.settle();
    assert_eq!(cluster.live(1), 2);
    assert!(!cluster.pin(1).replicas.contains_key(&NodeId(2)));
    assert!(cluster.world.state.members().contains_key(&NodeId(2)), "it stays a member");
}

#[test]
fn a_holder_that_gave_up_is_replaced() {
    let mut cluster = five_workers();
    cluster.broken = BTreeSet::from([NodeId(4), NodeId(5)]);
    cluster.commit(Op::Pin { spec: pin_spec(2, 1, 2), holders: vec![NodeId(4), NodeId(5)] });
    cluster.settle();
    assert_eq!(cluster.live(2), 2);
    assert!(cluster.pin(2).replicas.keys().all(|node| !cluster.broken.contains(node)));
    assert!(cluster.planner.concerns().is_empty());
}

#[test]
fn a_pin_that_fails_everywhere_is_a_visible_state_and_is_retried_more_and_more_slowly() {
    let mut cluster = five_workers();
    cluster.broken = (1..=6).map(NodeId).collect();
    cluster.commit(Op::Pin { spec: pin_spec(2, 1, 2), holders: vec![NodeId(4), NodeId(5)] });
    cluster.pass(10_000);
    let concern = cluster.planner.concerns().iter().next().unwrap();
    assert_eq!(concern, (&cid(2), &Concern::FailsEverywhere));
    let revision = cluster.pin(2).revision;
    cluster.pass(40_000);
    assert_eq!(cluster.pin(2).revision, revision, "no reassignment before the retry is due");

    let mut revisions = BTreeSet::new();
    for _ in 0..24 * 60 {
        cluster.pass(60_000);
        revisions.insert(cluster.pin(2).revision);
    }
    // A day holds 24 waits of an hour, six shorter ones, and for each a round over the members.
    assert!((20..=120).contains(&revisions.len()), "{} reassignments in a day", revisions.len());

    cluster.broken.clear();
    cluster.pass(2 * 3_600_000);
    assert_eq!(cluster.live(2), 2);
    assert!(cluster.planner.concerns().is_empty());
}

#[test]
fn a_failing_pin_is_tried_at_once_on_a_member_that_comes() {
    let mut cluster = five_workers();
    cluster.broken = (1..=6).map(NodeId).collect();
    cluster.commit(Op::Pin { spec: pin_spec(2, 1, 2), holders: vec![NodeId(4)] });
    cluster.pass(3_600_000);
    cluster.commit(Op::Remove { node: NodeId(4) });
    cluster.settle();
    let node = cluster.world.join(spec(9, Role::Worker));
    cluster.step(Input::Changed(&[Change::Member { node, old: Default::default(), new: None }]));
    cluster.pass(120_000);
    assert!(cluster.pinned(2).contains(&node.0));
}

#[test]
fn pins_with_fewest_copies_go_first_and_repairs_are_bounded() {
    let mut world = World::with_workers(12);
    for n in 0..40 {
        // The odd ones have one copy left after n2 is lost, the even ones two.
        let holders: &[u64] = if n % 2 == 1 { &[2, 3] } else { &[2, 3, 4] };
        world.pin(n, (1, holders.len() as u16), holders);
        holders.iter().for_each(|node| {
            world.report(n, *node, ReplicaState::Pinned);
        });
    }
    world.set_liveness(2, Liveness::Lost);
    let config = Config { repair_concurrency: 20, ..Config::default() };
    let mut cluster = Cluster::with(world, config);
    while cluster.wake_ms <= cluster.now_ms {
        cluster.step(Input::Tick);
    }
    assert_eq!(cluster.planner.glance().repairing, 20);
    for op in &cluster.proposals {
        let Op::Reassign { cid, .. } = op else { continue };
        let copies = cluster.world.state.pins()[cid].read().spec.replicas_max;
        assert_eq!(copies, 2, "those with one copy left go first");
    }
    cluster.pass(1_000);
    assert!((0..40).all(|n| cluster.live(n) as u16 == cluster.pin(n).spec.replicas_max));
}

#[test]
fn a_proposal_in_flight_is_not_repeated_until_its_deadline() {
    let mut cluster = five_workers();
    cluster.set_liveness(2, Liveness::Lost);
    assert_eq!(cluster.proposals.len(), 1);
    for _ in 0..20 {
        cluster.step(Input::Tick);
    }
    assert_eq!(cluster.proposals.len(), 1);
    cluster.now_ms += Config::default().proposal_timeout_ms;
    cluster.step(Input::Tick);
    assert_eq!(cluster.proposals.len(), 2);
    let (first, second) = (cluster.proposals[0].clone(), cluster.proposals[1].clone());
    assert_eq!(cluster.commit(first), Outcome::Done { index: cluster.world.state.index() });
    assert!(matches!(cluster.commit(second), Outcome::Refused(_)), "both took effect");
}

#[test]
fn a_mass_loss_stops_repair_until_they_return() {
    let mut world = World::with_workers(9);
    for n in 0..20 {
        world.pin(n, (1, 2), &[2 + n % 9, 2 + (n + 1) % 9]);
    }
    let mut cluster = Cluster::of(world);
    cluster.settle();
    for node in 2..5 {
        let applied = cluster.world.run_at(
            cluster.now_ms,
            Op::SetLiveness { node: NodeId(node), liveness: Liveness::Lost },
        );
        drop(applied);
    }
    let change = Change::Member { node: NodeId(4), old: Default::default(), new: None };
    cluster.step(Input::Changed(&[change]));
    cluster.pass(600_000);
    let loss = MassLoss { lost: 3, holders: 9 };
    assert_eq!(cluster.notes[0], Note::MassLoss(loss));
    assert_eq!(cluster.planner.glance().paused, Some(loss));
    assert!((0..20).all(|n| cluster.pin(n).replicas.len() == 2), "nothing was moved");

    cluster.set_liveness(2, Liveness::Alive);
    cluster.pass(60_000);
    assert!(cluster.notes.contains(&Note::Resumed));
    assert!((0..20).all(|n| cluster.live(n) == 2));
}

#[test]
fn an_operator_overrides_the_stop() {
    let mut world = World::with_workers(4);
    world.pin(1, (1, 2), &[2, 3]);
    for node in [2, 3, 4] {
        world.set_liveness(node, Liveness::Lost);
    }
    let mut cluster = Cluster::of(world);
    cluster.settle();
    assert!(cluster.planner.glance().paused.is_some());
    let config = Config { mass_loss: MassLossPolicy::Repair, ..Config::default() };
    cluster.step(Input::Configure(config));
    cluster.settle();
    assert_eq!(cluster.planner.glance().paused, None);
    assert!(cluster.pinned(1).contains(&5));
}

#[test]
fn losses_far_apart_are_no_mass_loss() {
    let mut cluster = five_workers();
    for node in 2..5 {
        cluster.set_liveness(node, Liveness::Lost);
        cluster.pass(120_000);
    }
    assert_eq!(cluster.planner.glance().paused, None);
    assert_eq!(cluster.live(1), 2);
}

#[test]
fn a_pin_whose_every_copy_is_lost_is_a_concern_until_one_returns() {
    let mut world = World::with_workers(8);
    world.pin(1, (1, 1), &[2]);
    world.pin(2, (1, 1), &[3]);
    let mut cluster = Cluster::of(world);
    cluster.settle();
    cluster.broken = (4..=9).map(NodeId).collect();
    cluster.set_liveness(2, Liveness::Lost);
    cluster.settle();
    assert_eq!(
        cluster.planner.concerns().iter().collect::<Vec<_>>(),
        [(&cid(1), &Concern::NoLiveCopy)]
    );
    cluster.set_liveness(2, Liveness::Alive);
    cluster.pass(10_000);
    assert!(cluster.planner.concerns().is_empty());
    assert_eq!(cluster.pinned(1), BTreeSet::from([2]));
}

#[test]
fn pins_and_tokens_end_when_their_time_has_come() {
    let mut world = World::with_workers(1);
    let ends_ms = 1_000_000 + 5_000;
    let spec = crate::pin::PinSpec { expires_ms: Some(ends_ms), ..pin_spec(1, 1, 1) };
    world.run_at(1_000_000, Op::Pin { spec, holders: vec![NodeId(2)] });
    let mut cluster = Cluster::of(world);
    cluster.settle();
    assert!(cluster.world.state.tokens().is_empty(), "the fixture's tokens ended long ago");
    assert_eq!(cluster.world.state.pins().len(), 1);
    cluster.pass(4_999);
    assert_eq!(cluster.world.state.pins().len(), 1);
    cluster.pass(1);
    assert_eq!(cluster.world.state.pins().len(), 0);
    assert!(cluster.wake_ms > cluster.now_ms);
}

#[test]
fn an_expiry_that_has_no_effect_is_not_repeated_in_a_loop() {
    let mut world = World::with_workers(1);
    let spec = crate::pin::PinSpec { expires_ms: Some(500_000), ..pin_spec(1, 1, 1) };
    world.run(Op::Pin { spec, holders: vec![NodeId(2)] });
    let mut cluster = Cluster::of(world);
    // The committed clock stays behind: the proposals are never committed.
    for _ in 0..100 {
        cluster.step(Input::Tick);
    }
    assert_eq!(cluster.proposals.iter().filter(|op| **op == Op::Expire).count(), 1);
}

#[test]
fn a_follower_plans_nothing_and_a_deposed_leader_forgets() {
    let mut cluster = five_workers();
    cluster.step(Input::LostLeadership);
    cluster.wake_ms = u64::MAX;
    cluster.set_liveness(2, Liveness::Lost);
    cluster.step(Input::Tick);
    assert!(cluster.proposals.is_empty() && cluster.wake_ms == u64::MAX);
    cluster.step(Input::BecameLeader);
    cluster.settle();
    assert_eq!(cluster.live(1), 2, "a new leader finds it by scanning");
}

#[test]
fn a_scan_of_many_pins_goes_in_slices_and_reaches_all() {
    let mut world = World::with_workers(4);
    let pins = 3 * SCAN_SLICE as u64 + 17;
    for n in 0..pins {
        world.pin(n, (1, 1), &[2]);
        world.report(n, 2, ReplicaState::Pinned);
    }
    world.set_liveness(2, Liveness::Draining);
    let mut cluster = Cluster::of(world);
    let mut steps = 0;
    while cluster.planner.glance().queued + cluster.proposals.len() < pins as usize {
        cluster.step(Input::Tick);
        steps += 1;
        assert!(steps < 10, "{:?}", cluster.planner.glance());
    }
    assert!(steps >= 3);
}

#[test]
fn every_pin_of_a_lost_member_is_repaired_however_many_there_are() {
    let mut world = World::with_workers(4);
    let pins = 2 * SCAN_SLICE as u64 + 9;
    for n in 0..pins {
        world.pin(n, (1, 2), &[2, 3]);
        world.report(n, 2, ReplicaState::Pinned);
        world.report(n, 3, ReplicaState::Pinned);
    }
    let mut cluster = Cluster::of(world);
    cluster.settle();
    cluster.set_liveness(2, Liveness::Lost);
    let mut steps = 0;
    while !cluster.planner.glance().scanned {
        cluster.step(Input::Tick);
        steps += 1;
    }
    assert!(steps >= 2, "in slices");
    let glance = cluster.planner.glance();
    assert_eq!(glance.queued + glance.repairing, pins as usize);
}

#[test]
fn the_list_of_holders_stays_within_its_bound() {
    let mut world = World::with_workers(130);
    world.pin(1, (1, 64), &(2..66).collect::<Vec<_>>());
    let mut cluster = Cluster::of(world);
    cluster.settle();
    for node in 2..130 {
        if cluster.pin(1).replicas.contains_key(&NodeId(node)) {
            cluster.set_liveness(node, Liveness::Lost);
            cluster.pass(61_000);
        }
    }
    assert!(cluster.pin(1).replicas.len() <= crate::limits::ALLOCATIONS_MAX);
    assert!(cluster.live(1) > 0);
}

#[derive(Clone, Debug)]
enum Event {
    Lose(u64),
    Return(u64),
    Drain(u64),
    Remove(u64),
    Break(u64),
    Mend(u64),
    Pin(u64, u16),
    Unpin(u64),
    Pass(u64),
    NewLeader,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let node = 2u64..12;
    let event = prop_oneof![
        4 => node.clone().prop_map(Event::Lose),
        4 => node.clone().prop_map(Event::Return),
        1 => node.clone().prop_map(Event::Drain),
        1 => node.clone().prop_map(Event::Remove),
        2 => node.clone().prop_map(Event::Break),
        2 => node.prop_map(Event::Mend),
        6 => (0u64..20, 1u16..4).prop_map(|(n, max)| Event::Pin(n, max)),
        1 => (0u64..20).prop_map(Event::Unpin),
        4 => (0u64..100_000).prop_map(Event::Pass),
        1 => Just(Event::NewLeader),
    ];
    prop::collection::vec(event, 1..60)
}

impl Cluster {
    fn suffer(&mut self, event: &Event) {
        match event {
            Event::Lose(node) => self.set_liveness(*node, Liveness::Lost),
            Event::Return(node) => self.set_liveness(*node, Liveness::Alive),
            Event::Drain(node) => self.set_liveness(*node, Liveness::Draining),
            Event::Remove(node) => drop(self.commit(Op::Remove { node: NodeId(*node) })),
            Event::Break(node) => drop(self.broken.insert(NodeId(*node))),
            Event::Mend(node) => drop(self.broken.remove(&NodeId(*node))),
            Event::Pin(n, max) => {
                let holders = vec![NodeId(2 + n % 10), NodeId(2 + (n + 3) % 10)];
                drop(self.commit(Op::Pin { spec: pin_spec(*n, 1, *max), holders }));
            }
            Event::Unpin(n) => drop(self.commit(Op::Unpin { cid: cid(*n) })),
            Event::Pass(ms) => self.pass(*ms),
            Event::NewLeader => {
                self.proposals.clear();
                self.step(Input::LostLeadership);
                self.step(Input::BecameLeader);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_happens_every_pin_gets_its_copies_once_members_are_well(history in events()) {
        let mut cluster = Cluster::of(World::with_workers(10));
        for event in &history {
            cluster.suffer(event);
        }
        cluster.broken.clear();
        let members: Vec<_> = cluster.world.state.members().values().cloned().collect();
        for member in members.iter().filter(|member| member.liveness == Liveness::Lost) {
            cluster.set_liveness(member.id.0, Liveness::Alive);
        }
        cluster.pass(4 * 3_600_000);

        let state = &cluster.world.state;
        prop_assert_eq!(invariant::check_state(state), vec![]);
        prop_assert_eq!(invariant::check_rest(state), vec![]);
        let may_hold = |node: &NodeId| state.members()[node].may_hold();
        let capacity = state.members().keys().filter(|node| may_hold(node)).count();
        for pin in state.pins().values().map(SharedPin::read) {
            let wanted = capacity.min(pin.spec.replicas_max.into());
            prop_assert_eq!(pin.pinned_on().count(), wanted, "{:?}", pin);
            prop_assert_eq!(pin.replicas.len(), wanted, "{:?}", pin);
        }
        prop_assert!(cluster.planner.concerns().is_empty());
        prop_assert!(state.members().values().all(|m| m.liveness == Liveness::Alive));
        let glance = cluster.planner.glance();
        prop_assert_eq!((glance.queued, glance.repairing, glance.proposed), (0, 0, 0));

        // At rest it stays at rest.
        let index = cluster.world.state.index();
        cluster.pass(4 * 3_600_000);
        prop_assert_eq!(cluster.world.state.index(), index);
    }
}
