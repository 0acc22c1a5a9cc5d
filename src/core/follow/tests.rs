//! A view takes exactly the delta that comes next, and is unchanged by any other.

use super::*;
use crate::command::Op;
use crate::fixture::{World, cid};
use crate::pin::ReplicaState;

const HOLDER: Scope = Scope::Holder(NodeId(2));

/// Applies one command and returns the delta that it makes.
fn delta(world: &mut World, op: Op) -> Delta {
    let applied = world.run_at(0, op);
    let state = &world.state;
    Delta {
        epoch: state.epoch(),
        from: state.index(),
        to: state.index(),
        clock_ms: state.clock_ms(),
        changes: applied.changes,
        hash: state.hash(),
    }
}

fn pin(n: u64, holder: u64) -> Op {
    Op::Pin { spec: crate::fixture::pin_spec(n, 1, 1), holders: vec![NodeId(holder)] }
}

fn beacon(world: &World) -> Beacon {
    let state = &world.state;
    Beacon {
        epoch: state.epoch(),
        term: 1,
        leader: NodeId(1),
        index: state.index(),
        hash: state.hash(),
        clock_ms: state.clock_ms(),
    }
}

#[test]
fn a_holder_keeps_its_own_pins_and_can_still_verify_everything() {
    let mut world = World::with_workers(2);
    let mut view = View::of(&world.state, HOLDER);
    view.apply(&delta(&mut world, pin(1, 2))).unwrap();
    view.apply(&delta(&mut world, pin(2, 3))).unwrap();
    assert_eq!(view.pins().keys().collect::<Vec<_>>(), [&cid(1)]);
    assert_eq!(view.hash(), world.state.hash());
    let mut leecher = View::of(&world.state, Scope::MembersOnly);
    leecher.apply(&delta(&mut world, pin(3, 2))).unwrap();
    assert!(leecher.pins().is_empty() && leecher.members().len() == 3);
}

#[test]
fn a_pin_that_leaves_the_scope_leaves_the_view() {
    let mut world = World::with_workers(2);
    let mut view = View::of(&world.state, HOLDER);
    view.apply(&delta(&mut world, pin(1, 2))).unwrap();
    let revision = view.pins()[&cid(1)].read().revision;
    let (add, remove) = (vec![NodeId(3)], vec![NodeId(2)]);
    let moved = delta(&mut world, Op::Reassign { cid: cid(1), revision, add, remove });
    view.apply(&moved).unwrap();
    assert!(view.pins().is_empty());
}

#[test]
fn gaps_repetitions_other_histories_and_forgeries_change_nothing() {
    let mut world = World::with_workers(2);
    let mut view = View::of(&world.state, HOLDER);
    let (first, second) = (delta(&mut world, pin(1, 2)), delta(&mut world, pin(2, 2)));
    let before = view.clone();
    let index = before.index();
    assert_eq!(view.apply(&second), Err(Refused::Gap { index, from: index + 2 }));
    let foreign = Delta { epoch: 9, ..first.clone() };
    assert_eq!(view.apply(&foreign), Err(Refused::Epoch { ours: 1, theirs: 9 }));
    let forged = Delta { hash: second.hash, ..first.clone() };
    assert_eq!(view.apply(&forged), Err(Refused::Diverged { index: index + 1 }));
    let cut = Delta { changes: vec![], ..first.clone() };
    assert_eq!(view.apply(&cut), Err(Refused::Diverged { index: index + 1 }));
    assert_eq!(view, before);

    view.apply(&first).unwrap();
    view.apply(&second).unwrap();
    let index = view.index();
    assert_eq!(view.apply(&second), Err(Refused::Old { index, to: index }));
    assert_eq!(view, View::of(&world.state, HOLDER));
}

#[test]
fn a_changed_item_inside_a_delta_is_noticed() {
    let mut world = World::with_workers(2);
    world.pin(1, (1, 1), &[2]);
    let mut view = View::of(&world.state, HOLDER);
    let granted = view.pins()[&cid(1)].read().replicas[&NodeId(2)].granted;
    let item = crate::pin::ReplicaReport { cid: cid(1), granted, state: ReplicaState::Pinned };
    let mut report = delta(&mut world, Op::Report { node: NodeId(2), items: vec![item] });
    let Change::Pin { new: Some(pin), .. } = &mut report.changes[0] else { panic!("no pin") };
    let mut forged = pin.read();
    forged.spec.name = "forged".into();
    *pin = SharedPin::from(&forged);
    assert!(matches!(view.apply(&report), Err(Refused::Diverged { .. })));
}

#[test]
fn a_delta_over_several_indexes_moves_over_all_of_them() {
    let mut world = World::with_workers(2);
    let mut view = View::of(&world.state, HOLDER);
    let mut whole = delta(&mut world, pin(1, 2));
    let second = delta(&mut world, pin(2, 2));
    whole.to = second.to;
    whole.hash = second.hash;
    whole.changes.extend(second.changes);
    view.apply(&whole).unwrap();
    assert_eq!(view, View::of(&world.state, HOLDER));
}

#[test]
fn a_delta_that_begins_too_early_is_told_from_one_that_begins_too_late() {
    let mut world = World::with_workers(2);
    let mut view = View::of(&world.state, HOLDER);
    let first = delta(&mut world, pin(1, 2));
    let second = delta(&mut world, pin(2, 2));
    let mut both = first.clone();
    (both.to, both.hash) = (second.to, second.hash);
    both.changes.extend(second.changes);
    view.apply(&first).unwrap();
    let (index, before) = (view.index(), view.clone());
    let refused = Refused::Overlap { index, from: both.from, to: both.to };
    assert_eq!(view.apply(&both), Err(refused), "waiting for what is missing would never end");
    assert_eq!(view, before);
}

#[test]
fn beacons_tell_lag_from_divergence() {
    let mut world = World::with_workers(1);
    let view = View::of(&world.state, HOLDER);
    assert!(!view.lags(&beacon(&world)) && !view.diverged_from(&beacon(&world)));
    let wrong = Beacon { hash: SetHash::default(), ..beacon(&world) };
    assert!(view.lags(&wrong) && view.diverged_from(&wrong));
    world.pin(1, (1, 1), &[2]);
    assert!(view.lags(&beacon(&world)) && !view.diverged_from(&beacon(&world)));
    assert!(View::empty(HOLDER).lags(&beacon(&world)));
}

#[test]
fn what_a_master_s_own_state_became_is_taken_without_hashing_but_only_in_its_turn() {
    let mut world = World::with_workers(2);
    let mut view = View::of(&world.state, HOLDER);
    let (first, second) = (delta(&mut world, pin(1, 2)), delta(&mut world, pin(2, 2)));
    assert!(matches!(view.apply_own(&second), Err(Refused::Gap { .. })));
    view.apply_own(&first).unwrap();
    assert!(matches!(view.apply_own(&first), Err(Refused::Old { .. })));
    view.apply_own(&second).unwrap();
    assert_eq!(view, View::of(&world.state, HOLDER));
}
