//! Users see the committed facts, page by page, and name members in three ways.

use super::*;
use crate::fixture::{World, cid, spec};
use crate::member::{Liveness, Role};

fn info(world: &World, n: u64) -> PinInfo {
    pin_info(&world.state.pins()[&cid(n)].read(), world.state.members())
}

#[test]
fn a_pins_status_follows_its_copies() {
    let mut world = World::with_workers(4);
    world.pin(1, (2, 3), &[2, 3, 4]);
    assert_eq!(info(&world, 1).status, PinStatusKind::Pinning);
    world.report(1, 2, ReplicaState::Pinned);
    world.report(1, 3, ReplicaState::Pinned);
    assert_eq!(info(&world, 1).status, PinStatusKind::Partial);
    world.report(1, 4, ReplicaState::Pinned);
    assert_eq!((info(&world, 1).status, info(&world, 1).replicas_live), (PinStatusKind::Pinned, 3));

    world.set_liveness(3, Liveness::Lost);
    world.set_liveness(4, Liveness::Lost);
    let shown = info(&world, 1);
    assert_eq!((shown.replicas_live, shown.replicas.len()), (1, 3));
    assert_eq!(shown.replicas[1].liveness, Some(Liveness::Lost));
    assert_eq!(shown.status, PinStatusKind::Pinning, "it is being repaired");
    world.report(1, 3, ReplicaState::failed("full"));
    world.report(1, 4, ReplicaState::failed("full"));
    assert_eq!(info(&world, 1).status, PinStatusKind::Failed);
}

#[test]
fn a_holder_that_is_gone_for_good_has_no_name_and_no_liveness() {
    let mut world = World::with_workers(2);
    world.pin(1, (1, 1), &[2]);
    world.run(crate::command::Op::Remove { node: NodeId(2) });
    let replica = &info(&world, 1).replicas[0];
    assert_eq!((replica.name.as_str(), replica.liveness), ("", None));
}

#[test]
fn pages_of_pins_are_complete() {
    let mut world = World::with_workers(1);
    (0..25).for_each(|n| world.pin(n, (1, 1), &[2]));
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let request = PinLsRequest { after, limit: Some(10), ..PinLsRequest::default() };
        let page = pin_page(&world.state, &request);
        seen.extend(page.items.into_iter().map(|item| item.cid));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, world.state.pins().keys().collect::<Vec<_>>());
    let named = PinLsRequest { name: Some("pin-2".into()), ..PinLsRequest::default() };
    assert_eq!(pin_page(&world.state, &named).items.len(), 6, "pin-2 and pin-20 to pin-24");
}

#[test]
fn pins_are_found_by_what_is_true_of_them_now() {
    let mut world = World::with_workers(2);
    world.pin(1, (1, 2), &[2, 3]);
    world.pin(2, (1, 1), &[2]);
    let found = |world: &World, status| {
        let request = PinLsRequest { status: Some(status), ..PinLsRequest::default() };
        let page = pin_page(&world.state, &request);
        page.items.into_iter().map(|item| item.cid).collect::<Vec<_>>()
    };
    assert_eq!(found(&world, PinStatusKind::Pinning), [cid(1), cid(2)]);
    world.report(1, 2, ReplicaState::Pinned);
    assert_eq!(found(&world, PinStatusKind::Partial), [cid(1)]);
    assert_eq!(found(&world, PinStatusKind::Pinning), [cid(2)]);
    assert_eq!(found(&world, PinStatusKind::Failed), []);
}

#[test]
fn members_are_found_by_number_name_and_peer_id() {
    let mut world = World::with_workers(1);
    let named_like_a_number =
        crate::member::MemberSpec { name: "1".into(), ..spec(8, Role::Worker) };
    let odd = world.join(named_like_a_number);
    let members = world.state.members();
    let found = |text: &str| find_member(members, text).map(|member| member.id);
    assert_eq!(found("n2"), Ok(NodeId(2)));
    assert_eq!(found("node-2"), Ok(NodeId(2)));
    assert_eq!(found(&members[&NodeId(2)].spec.key.to_string()), Ok(NodeId(2)));
    assert_eq!(found("1"), Ok(odd));
    assert_eq!(found("n99"), Err(FindError::Unknown { text: "n99".into() }));
}

#[test]
fn a_name_of_two_members_is_refused_with_their_numbers() {
    let mut world = World::with_workers(1);
    let twin = crate::member::MemberSpec { name: "node-2".into(), ..spec(8, Role::Worker) };
    world.join(twin);
    let error = find_member(world.state.members(), "node-2").unwrap_err();
    assert_eq!(error.to_string(), "several members are called \"node-2\": n2, n3; use the number");
}

#[test]
fn tokens_are_listed_without_secrets() {
    let world = World::with_workers(2);
    let items = token_list(&world.state).items;
    assert_eq!(items.iter().filter_map(|token| token.used_by).count(), 2);
}
