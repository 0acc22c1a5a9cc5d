//! Every check sees what it is there to see: each is shown a broken world.

use super::*;
use crate::fixture::{World, cid, spec};
use crate::follow::Scope;
use crate::state::TokenRecord;

/// A healthy world: two workers, one pin that is durable on both.
fn world() -> World {
    let mut world = World::with_workers(2);
    world.pin(1, (1, 2), &[2, 3]);
    world.report(1, 2, ReplicaState::Pinned);
    world.report(1, 3, ReplicaState::Pinned);
    assert_eq!(check_state(&world.state), []);
    assert_eq!(check_rest(&world.state), []);
    world
}

fn ids(found: Found) -> Vec<&'static str> {
    let ids: BTreeSet<_> = found.iter().map(|violation| violation.id).collect();
    ids.into_iter().collect()
}

#[test]
fn ids_are_unique_and_in_order() {
    assert!(ALL.windows(2).all(|pair| pair[0].id < pair[1].id));
}

#[test]
fn log_1_sees_masters_that_differ() {
    let (one, mut other) = (world(), world());
    let states = |other: &World| {
        let pair = [("m1".to_owned(), &one.state), ("m2".to_owned(), &other.state)];
        (check_masters(&pair), check_masters_bytewise(&pair))
    };
    assert_eq!(states(&other), (vec![], vec![]));
    let mut cunning = other.clone();
    cunning.state.tokens.clear();
    assert_eq!(ids(states(&cunning).0), [""; 0]);
    assert_eq!(ids(states(&cunning).1), ["LOG-1"], "only the bytes show it");
    other.state.hash = SetHash::default();
    assert_eq!(ids(states(&other).0), ["LOG-1"]);
}

#[test]
fn log_2_and_member_1_and_token_1_see_history_turned_back() {
    let mut world = world();
    let mut history = History::default();
    assert_eq!(history.observe(&world.state), []);
    let old = world.state.clone();
    world.run(crate::command::Op::Remove { node: NodeId(2) });
    assert_eq!(history.observe(&world.state), []);
    assert_eq!(ids(history.observe(&old)), ["LOG-2", "MEMBER-1"]);

    let mut history = History::default();
    history.observe(&old);
    let mut forged = old.clone();
    let second = TokenRecord { used_by: Some(NodeId(3)), ..forged.tokens.pop_first().unwrap().1 };
    let token = *old.tokens.keys().next().unwrap();
    forged.tokens.insert(token, second);
    forged.members.get_mut(&NodeId(2)).unwrap().spec.key = spec(77, Role::Worker).key;
    assert_eq!(ids(history.observe(&forged)), ["MEMBER-1", "TOKEN-1"]);
}

#[test]
fn member_checks_see_doubles_the_removed_and_workers_that_vote() {
    let mut state = world().state;
    state.members.get_mut(&NodeId(3)).unwrap().spec.key = spec(2, Role::Worker).key;
    state.members.get_mut(&NodeId(2)).unwrap().raft = RaftStanding::Voter;
    let mut found = Found::new();
    check_members(&state, &mut found);
    assert_eq!(ids(found), ["MEMBER-2", "MEMBER-3"]);

    let mut state = world().state;
    state.removed.insert(spec(2, Role::Worker).key, NodeId(9));
    assert_eq!(ids(check_state(&state)), ["MEMBER-2"]);
    state.removed.clear();
    state.next_node = 1;
    assert_eq!(ids(check_state(&state)), ["MEMBER-1"]);
}

#[test]
fn rest_checks_see_missing_surplus_stale_and_unfinished_copies() {
    let mut state = world().state;
    edit(&mut state, |pin| pin.spec.replicas_max = 1);
    assert_eq!(ids(check_rest(&state)), ["PIN-1"]);
    edit(&mut state, |pin| {
        pin.spec.replicas_max = 2;
        let stale = pin.replicas[&NodeId(2)].clone();
        pin.replicas.insert(NodeId(99), stale);
    });
    assert_eq!(ids(check_rest(&state)), ["PIN-2"]);
    edit(&mut state, |pin| {
        pin.replicas.remove(&NodeId(99));
        pin.replicas.get_mut(&NodeId(2)).unwrap().state = ReplicaState::Assigned;
    });
    assert_eq!(ids(check_rest(&state)), ["PIN-4"]);
    edit(&mut state, |pin| pin.replicas.clear());
    assert_eq!(ids(check_rest(&state)), ["PIN-1"]);
}

/// Changes a pin behind the back of everything that is derived from it.
fn edit(state: &mut ClusterState, change: impl FnOnce(&mut Pin)) {
    let mut pin = state.pins[&cid(1)].read();
    change(&mut pin);
    state.pins.insert(SharedPin::from(&pin));
}

#[test]
fn too_few_members_are_no_violation() {
    let mut world = World::with_workers(0);
    world.pin(1, (2, 3), &[1]);
    world.report(1, 1, ReplicaState::Pinned);
    assert_eq!(check_rest(&world.state), []);
}

#[test]
fn pin_3_and_pin_5_see_broken_words() {
    let state = world().state;
    let told = BTreeSet::from([cid(1), cid(2)]);
    assert_eq!(ids(check_acknowledged(&state, &told)), ["PIN-3"]);
    assert_eq!(check_holder(&state, NodeId(2), &BTreeSet::from([cid(1)])), []);
    assert_eq!(ids(check_holder(&state, NodeId(2), &BTreeSet::new())), ["PIN-5"]);
    assert_eq!(check_holder(&state, NodeId(1), &BTreeSet::new()), []);
}

#[test]
fn state_checks_see_indexes_hashes_and_bounds_that_are_off() {
    let mut state = world().state;
    state.holdings.clear();
    assert_eq!(ids(check_state(&state)), ["STATE-1"]);
    let mut state = world().state;
    state.expiries.insert((5, cid(1)));
    assert_eq!(ids(check_state(&state)), ["STATE-1"]);
    let mut state = world().state;
    state.members.get_mut(&NodeId(2)).unwrap().spec.name = "other".into();
    assert_eq!(ids(check_state(&state)), ["STATE-2"]);
    let mut state = world().state;
    edit(&mut state, |pin| pin.spec.replicas_min = 9);
    assert_eq!(ids(check_state(&state)), ["STATE-2", "STATE-3"]);
    let mut state = world().state;
    edit(&mut state, |pin| pin.replicas.clear());
    assert_eq!(ids(check_state(&state)), ["STATE-1", "STATE-2"]);
    let mut state = world().state;
    state.tokens.values_mut().for_each(|token| token.used_by = Some(NodeId(2)));
    assert_eq!(ids(check_state(&state)), ["TOKEN-1"]);
}

#[test]
fn view_1_sees_a_view_that_missed_something() {
    let mut world = world();
    let before = View::of(&world.state, Scope::Holder(NodeId(2)));
    assert_eq!(check_view("n2", &before, &world.state), []);
    let mut other = world.clone();
    world.pin(2, (1, 1), &[2]);
    assert_eq!(check_view("n2", &before, &world.state), [], "at another index nothing is said");
    other.pin(3, (1, 1), &[3]);
    let missed = View::of(&other.state, Scope::Holder(NodeId(2)));
    assert_eq!(ids(check_view("n2", &missed, &world.state)), ["VIEW-1"]);
}
