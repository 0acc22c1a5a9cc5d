//! The state machine is total, deterministic, fenced, and survives being saved; its views follow it.

use proptest::prelude::*;

use super::*;
use crate::command::{Command, Entry, Op, Placed, Refusal};
use crate::delta::Delta;
use crate::fixture::{World, cid, pin_spec, spec};
use crate::follow::{Scope, View};
use crate::invariant::{self, History};
use crate::limits;
use crate::member::{Liveness, RaftStanding};
use crate::pin::{ContentKind, PinSpec, ReplicaReport, ReplicaState};

fn request(node: u64, incarnation: u64, seq: u64) -> RequestId {
    RequestId { node: NodeId(node), incarnation: Incarnation(incarnation), seq }
}

fn apply(state: &mut ClusterState, request: RequestId, op: Op) -> Outcome {
    let entry = Entry { stamped_ms: 0, commands: vec![Command { request, op }] };
    state.apply(state.index() + 1, &entry, Standing::Normal).outcomes.remove(0).1
}

fn pin_op(n: u64, holders: &[u64]) -> Op {
    Op::Pin { spec: pin_spec(n, 1, 2), holders: holders.iter().map(|n| NodeId(*n)).collect() }
}

#[test]
fn a_request_takes_effect_once_and_a_retry_gets_the_first_answer() {
    let mut state = World::with_workers(1).state;
    let first = apply(&mut state, request(2, 1, 1), pin_op(1, &[2]));
    apply(&mut state, request(1, 9, 1), Op::Unpin { cid: cid(1) });
    assert_eq!(apply(&mut state, request(2, 1, 1), pin_op(1, &[2])), first);
    assert!(state.pins().is_empty(), "the retry did not pin again");
    let refused = apply(&mut state, request(2, 1, 2), Op::Unpin { cid: cid(1) });
    apply(&mut state, request(1, 9, 2), pin_op(1, &[2]));
    assert_eq!(apply(&mut state, request(2, 1, 2), Op::Unpin { cid: cid(1) }), refused);
    assert_eq!(state.pins().len(), 1, "a refusal is final for its request");
}

#[test]
fn pinning_anew_changes_what_is_asked_and_keeps_what_the_adder_knew() {
    let mut state = World::with_workers(2).state;
    let added = PinSpec {
        origin: Some(NodeId(3)),
        size_bytes: Some(7),
        kind: ContentKind::File,
        ..pin_spec(1, 1, 2)
    };
    apply(&mut state, request(1, 9, 1), Op::Pin { spec: added, holders: vec![NodeId(2)] });
    let asked = PinSpec { name: "renamed".into(), size_bytes: None, ..pin_spec(1, 1, 1) };
    apply(&mut state, request(1, 9, 2), Op::Pin { spec: asked.clone(), holders: Vec::new() });
    let pin = state.pins()[&cid(1)].read();
    assert_eq!(
        pin.spec,
        PinSpec { origin: Some(NodeId(3)), size_bytes: Some(7), kind: ContentKind::File, ..asked }
    );
    let elsewhere = PinSpec { origin: Some(NodeId(2)), ..pin_spec(1, 1, 1) };
    apply(&mut state, request(1, 9, 3), Op::Pin { spec: elsewhere, holders: Vec::new() });
    assert_eq!(state.pins()[&cid(1)].read().spec.origin, Some(NodeId(2)), "the newer word counts");
}

#[test]
fn a_request_that_left_the_window_or_an_older_run_is_refused() {
    let mut state = World::with_workers(1).state;
    for seq in 1..=limits::DEDUP_WINDOW + 10 {
        apply(&mut state, request(2, 5, seq), Op::Expire);
    }
    let too_old = Outcome::Refused(Refusal::TooOld);
    assert_eq!(apply(&mut state, request(2, 5, 10), pin_op(1, &[2])), too_old);
    assert!(matches!(apply(&mut state, request(2, 5, 11), Op::Expire), Outcome::Done { .. }));
    assert_eq!(apply(&mut state, request(2, 4, 99_999), pin_op(1, &[2])), too_old);
    assert!(state.pins().is_empty());
    assert!(matches!(apply(&mut state, request(2, 6, 1), pin_op(1, &[2])), Outcome::Done { .. }));
    assert_eq!(apply(&mut state, request(2, 5, 99_999), Op::Expire), too_old);
}

#[test]
fn a_removed_members_requests_are_not_run_a_second_time() {
    let mut state = World::with_workers(2).state;
    apply(&mut state, request(2, 1, 1), pin_op(1, &[3]));
    apply(&mut state, request(1, 9, 1), Op::Unpin { cid: cid(1) });
    apply(&mut state, request(1, 9, 2), Op::Remove { node: NodeId(2) });
    let again = apply(&mut state, request(2, 1, 1), pin_op(1, &[3]));
    assert_eq!(again, Outcome::Refused(Refusal::TooOld));
    assert!(state.pins().is_empty());
}

fn pin_many(pins: &[(u64, u16)]) -> Op {
    let placed =
        |(n, min): &(u64, u16)| Placed { spec: pin_spec(*n, *min, 2), holders: vec![NodeId(2)] };
    Op::PinMany { pins: pins.iter().map(placed).collect() }
}

#[test]
fn each_of_many_pins_takes_effect_or_is_refused_by_itself() {
    let mut state = World::with_workers(1).state;
    let op = pin_many(&[(1, 1), (2, 0), (3, 2)]);
    let first = apply(&mut state, request(2, 1, 1), op.clone());
    let Outcome::Each { index, refused } = &first else { panic!("{first:?}") };
    assert_eq!(*index, state.index());
    assert_eq!(refused.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [1]);
    assert_eq!(state.pins().keys().collect::<Vec<_>>(), [cid(1), cid(3)]);
    apply(&mut state, request(1, 9, 1), Op::Unpin { cid: cid(1) });
    assert_eq!(apply(&mut state, request(2, 1, 1), op), first);
    assert_eq!(state.pins().len(), 1, "the retry pinned nothing again");
}

#[test]
fn more_pins_than_a_command_may_have_are_refused_together() {
    let mut state = World::with_workers(1).state;
    let pins: Vec<_> = (0..=limits::PIN_MANY_MAX as u64).map(|n| (n, 1)).collect();
    let refused = apply(&mut state, request(2, 1, 1), pin_many(&pins));
    assert!(matches!(refused, Outcome::Refused(Refusal::OutOfBounds { .. })));
    assert!(state.pins().is_empty());
}

#[test]
fn what_is_remembered_of_refused_items_is_bounded_also_after_a_restart() {
    let mut state = World::with_workers(1).state;
    let refused: Vec<_> = (0..limits::PIN_MANY_MAX as u64).map(|n| (n, 0)).collect();
    let fits = limits::DEDUP_WINDOW / (limits::PIN_MANY_MAX as u64 + 1);
    for seq in 1..=fits + 1 {
        apply(&mut state, request(2, 1, seq), pin_many(&refused));
    }
    let too_old = Outcome::Refused(Refusal::TooOld);
    assert_eq!(apply(&mut state, request(2, 1, 1), pin_many(&refused)), too_old);
    let mut loaded = ClusterState::from_bytes(&state.to_bytes()).unwrap();
    for state in [&mut state, &mut loaded] {
        apply(state, request(2, 1, fits + 2), pin_many(&refused));
        assert_eq!(apply(state, request(2, 1, 2), pin_many(&refused)), too_old);
        assert_ne!(apply(state, request(2, 1, 3), pin_many(&refused)), too_old);
    }
    assert_eq!(loaded.to_bytes(), state.to_bytes());
}

#[test]
fn a_report_about_another_assignment_is_fenced_off() {
    let mut world = World::with_workers(3);
    world.pin(1, (1, 2), &[2, 3]);
    let granted = world.state.pins()[&cid(1)].read().replicas[&NodeId(2)].granted;
    let revision = world.state.pins()[&cid(1)].read().revision;
    let (add, remove) = (vec![NodeId(2)], vec![]);
    world.run(Op::Reassign { cid: cid(1), revision, add, remove });
    let stale = ReplicaReport { cid: cid(1), granted, state: ReplicaState::Pinned };
    let report = |node: u64, item: &ReplicaReport| Op::Report {
        node: NodeId(node),
        items: vec![item.clone()],
    };
    let applied = world.run_at(0, report(2, &stale));
    assert!(applied.changes.is_empty(), "an earlier assignment");
    assert!(world.run_at(0, report(4, &stale)).changes.is_empty(), "somebody else's");
    assert_eq!(world.report(1, 2, ReplicaState::Pinned).changes.len(), 1);
    assert!(world.report(1, 2, ReplicaState::Pinned).changes.is_empty(), "nothing new");
}

#[test]
fn a_long_reason_is_cut_at_a_character_boundary() {
    let mut world = World::with_workers(1);
    world.pin(1, (1, 1), &[2]);
    let reason = "ü".repeat(limits::REASON_LEN_BYTES_MAX);
    world.report(1, 2, ReplicaState::Failed { reason });
    let ReplicaState::Failed { reason } =
        &world.state.pins()[&cid(1)].read().replicas[&NodeId(2)].state
    else {
        panic!("not failed")
    };
    assert_eq!(reason.len(), limits::REASON_LEN_BYTES_MAX);
}

#[test]
fn a_plan_on_an_older_revision_is_refused() {
    let mut world = World::with_workers(3);
    world.pin(1, (1, 2), &[2]);
    let revision = world.state.pins()[&cid(1)].read().revision;
    let plan =
        |to: u64| Op::Reassign { cid: cid(1), revision, add: vec![NodeId(to)], remove: vec![] };
    assert!(matches!(world.run(plan(3)), Outcome::Done { .. }));
    assert_eq!(world.run(plan(4)), Outcome::Refused(Refusal::StaleRevision));
    assert_eq!(world.state.pins()[&cid(1)].read().replicas.len(), 2);
}

#[test]
fn a_token_admits_one_node_and_answers_its_retry() {
    let mut world = World::with_workers(0);
    let (token, secret_hash) = (TokenId([5; 8]), [6; 32]);
    let create = Op::CreateToken { token, secret_hash, role_cap: Role::Worker, expires_ms: 1_000 };
    let join = |n: u64, role, secret_hash| Op::Join { token, secret_hash, spec: spec(n, role) };
    let refused = Outcome::Refused;
    assert_eq!(world.run(join(2, Role::Worker, secret_hash)), refused(Refusal::UnknownToken));
    world.run(create.clone());
    assert_eq!(world.run(join(2, Role::Worker, [0; 32])), refused(Refusal::WrongSecret));
    let above = Refusal::RoleAboveCap { asked: Role::Master, cap: Role::Worker };
    assert_eq!(world.run(join(2, Role::Master, secret_hash)), refused(above));

    let first = world.run(join(2, Role::Leecher, secret_hash));
    let Outcome::Admitted { node, .. } = first else { panic!("{first:?}") };
    let again = world.run(join(2, Role::Leecher, secret_hash));
    assert!(matches!(again, Outcome::Admitted { node: same, .. } if same == node));
    assert_eq!(world.run(join(3, Role::Worker, secret_hash)), refused(Refusal::TokenUsed));
    let twice = world.run(create);
    assert!(matches!(twice, Outcome::Refused(Refusal::OutOfBounds { .. })), "{twice:?}");
    assert_eq!(world.run(join(3, Role::Worker, secret_hash)), refused(Refusal::TokenUsed));
    assert_eq!(world.state.members().len(), 2);

    world.run(Op::RevokeToken { token });
    let revoke = world.run(Op::RevokeToken { token });
    assert_eq!(revoke, refused(Refusal::UnknownToken));
}

#[test]
fn a_token_ends_with_the_committed_clock_and_is_forgotten() {
    let mut world = World::with_workers(0);
    let (token, secret_hash) = (TokenId([5; 8]), [6; 32]);
    let create = Op::CreateToken { token, secret_hash, role_cap: Role::Worker, expires_ms: 1_000 };
    world.run(create);
    let join = Op::Join { token, secret_hash, spec: spec(2, Role::Worker) };
    let late = world.run_at(1_000, join.clone()).outcomes.remove(0).1;
    assert_eq!(late, Outcome::Refused(Refusal::TokenExpired));
    world.run(Op::Expire);
    assert_eq!(world.run(join), Outcome::Refused(Refusal::UnknownToken));
}

#[test]
fn pitfalls_13_and_14_a_removed_identity_stays_out_and_its_number_is_not_used_again() {
    let mut world = World::with_workers(2);
    assert!(matches!(world.run(Op::Remove { node: NodeId(3) }), Outcome::Done { .. }));
    let (token, secret_hash) = (TokenId([5; 8]), [6; 32]);
    world.run(Op::CreateToken { token, secret_hash, role_cap: Role::Worker, expires_ms: 1_000 });
    let join = |n| Op::Join { token, secret_hash, spec: spec(n, Role::Worker) };
    assert_eq!(world.run(join(3)), Outcome::Refused(Refusal::RemovedIdentity));
    let twin = Outcome::Refused(Refusal::AlreadyMember { node: NodeId(2) });
    assert_eq!(world.run(join(2)), twin);
    assert!(matches!(world.run(join(9)), Outcome::Admitted { node: NodeId(4), .. }));
}

#[test]
fn removed_identities_are_remembered_the_last_numbers_first() {
    let mut world = World::with_workers(3);
    let removed =
        |state: &ClusterState, max| state.removed_last(max).into_iter().collect::<Vec<_>>();
    assert_eq!(removed(&world.state, 9), []);
    for node in [4, 2, 3] {
        world.run(Op::Remove { node: NodeId(node) });
    }
    let keys =
        |numbers: &[u64]| numbers.iter().map(|n| spec(*n, Role::Worker).key).collect::<Vec<_>>();
    assert_eq!(removed(&world.state, 9), keys(&[2, 3, 4]));
    assert_eq!(removed(&world.state, 2), keys(&[3, 4]));
}

#[test]
fn a_voter_is_neither_removed_nor_demoted_and_raft_changes_in_its_own_context_only() {
    let mut world = World::with_workers(1);
    let in_raft = Outcome::Refused(Refusal::StillInRaft { node: NodeId(1) });
    assert_eq!(world.run(Op::Remove { node: NodeId(1) }), in_raft);
    assert_eq!(world.run(Op::SetRole { node: NodeId(1), role: Role::Worker }), in_raft);
    let leave = Op::SetRaft { node: NodeId(1), standing: RaftStanding::None };
    let outside = Outcome::Refused(Refusal::OutsideMembershipChange);
    assert_eq!(world.run(leave.clone()), outside);
    let command = Command { request: request(1, 7, 1), op: leave };
    let entry = Entry { stamped_ms: 0, commands: vec![command] };
    let index = world.state.index() + 1;
    world.state.apply(index, &entry, Standing::MembershipChange);
    assert_eq!(world.state.members()[&NodeId(1)].raft, RaftStanding::None);
}

#[test]
fn there_are_at_most_seven_masters() {
    let mut world = World::with_workers(0);
    for n in 2..8 {
        world.join(spec(n, Role::Master));
    }
    let worker = world.join(spec(9, Role::Worker));
    let eighth = world.run(Op::SetRole { node: worker, role: Role::Master });
    assert!(matches!(eighth, Outcome::Refused(Refusal::OutOfBounds { .. })), "{eighth:?}");
}

#[test]
fn a_registration_changes_addresses_and_neither_key_nor_role() {
    let mut world = World::with_workers(1);
    let moved = crate::member::MemberSpec {
        addrs: vec!["10.0.0.9:1".into()],
        role: Role::Master,
        ..spec(2, Role::Worker)
    };
    world.run(Op::Register { node: NodeId(2), spec: moved.clone() });
    let member = &world.state.members()[&NodeId(2)];
    assert_eq!((&member.spec.addrs, member.spec.role), (&moved.addrs, Role::Worker));
    let stolen = crate::member::MemberSpec { key: spec(50, Role::Worker).key, ..moved };
    let wrong = Outcome::Refused(Refusal::WrongIdentity { node: NodeId(2) });
    assert_eq!(world.run(Op::Register { node: NodeId(2), spec: stolen }), wrong);
}

#[test]
fn pins_end_at_their_time_a_page_at_once() {
    let mut world = World::with_workers(1);
    let total = limits::PAGE_MAX as u64 + 5;
    for n in 0..total {
        let spec = PinSpec { expires_ms: Some(100), ..pin_spec(n, 1, 1) };
        world.run(Op::Pin { spec, holders: vec![NodeId(2)] });
    }
    world.run_at(99, Op::Expire);
    assert_eq!(world.state.pins().len() as u64, total);
    world.run_at(100, Op::Expire);
    assert_eq!(world.state.pins().len(), 5);
    assert_eq!(world.state.next_expiry_ms(), Some(100));
    world.run_at(0, Op::Expire);
    assert!(world.state.pins().is_empty() && world.state.clock_ms() == 100);
}

#[test]
fn pins_outside_the_bounds_are_refused() {
    let mut world = World::with_workers(1);
    let long = PinSpec { name: "x".repeat(256), ..pin_spec(1, 1, 1) };
    let rich = PinSpec {
        metadata: (0..33).map(|n| (n.to_string(), String::new())).collect(),
        ..pin_spec(1, 1, 1)
    };
    for spec in [pin_spec(1, 0, 1), pin_spec(1, 2, 1), pin_spec(1, 1, 65), long, rich] {
        let outcome = world.run(Op::Pin { spec, holders: vec![] });
        assert!(matches!(outcome, Outcome::Refused(Refusal::OutOfBounds { .. })), "{outcome:?}");
    }
}

fn rich_world() -> World {
    let mut world = World::with_workers(5);
    for n in 0..10 {
        world.pin(n, (1, 2), &[2 + n % 5, 2 + (n + 1) % 5]);
        world.report(n, 2 + n % 5, ReplicaState::Pinned);
    }
    world.set_liveness(3, Liveness::Lost);
    world.run(Op::Remove { node: NodeId(4) });
    world
}

#[test]
fn a_saved_state_reads_back_in_chunks_of_any_size() {
    let state = rich_world().state;
    let bytes = state.to_bytes();
    for size in [1, 7, 1_000, bytes.len()] {
        let mut loader = Loader::default();
        bytes.chunks(size).for_each(|chunk| loader.push(chunk).unwrap());
        let back = loader.finish().unwrap();
        assert_eq!(back.to_bytes(), bytes);
        assert_eq!(invariant::check_state(&back), []);
    }
    let one = ClusterState::from_bytes(&ClusterState::default().to_bytes()).unwrap();
    assert_eq!(one.index(), 0);
}

#[test]
fn a_saved_state_that_was_cut_or_continued_is_refused() {
    let bytes = rich_world().state.to_bytes();
    for len in 0..bytes.len() {
        assert!(ClusterState::from_bytes(&bytes[..len]).is_err(), "cut at {len}");
    }
    let twice = [&bytes[..], &bytes[..]].concat();
    assert!(ClusterState::from_bytes(&twice).is_err());
    assert!(ClusterState::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
}

#[test]
fn a_saved_state_with_any_damaged_byte_is_refused() {
    let bytes = rich_world().state.to_bytes();
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        assert!(ClusterState::from_bytes(&damaged).is_err(), "damage at {at} went unnoticed");
    }
}

/// Commands of every kind, most of them sensible.
fn ops() -> impl Strategy<Value = Op> {
    let node = || (1u64..9).prop_map(NodeId);
    let root = || (0u64..10).prop_map(cid);
    let nodes = prop::collection::vec(node(), 0..4);
    let role = prop_oneof![Just(Role::Leecher), Just(Role::Worker), Just(Role::Master)];
    let liveness =
        prop_oneof![Just(Liveness::Alive), Just(Liveness::Lost), Just(Liveness::Draining)];
    let state = prop_oneof![
        Just(ReplicaState::Assigned),
        Just(ReplicaState::Pinned),
        "[a-zü]{0,300}".prop_map(|reason| ReplicaState::Failed { reason }),
    ];
    let token = || (0u8..4).prop_map(|n| TokenId([n; 8]));
    let end = prop::option::of(0u64..3_000);
    prop_oneof![
        4 => ((0u64..10), nodes.clone(), end).prop_map(|(n, holders, expires_ms)| Op::Pin {
            spec: PinSpec { expires_ms, ..pin_spec(n, 1, 2) },
            holders,
        }),
        1 => root().prop_map(|cid| Op::Unpin { cid }),
        3 => (root(), 0u64..150, nodes.clone(), nodes).prop_map(|(cid, revision, add, remove)| {
            Op::Reassign { cid, revision, add, remove }
        }),
        4 => (node(), root(), 0u64..150, state).prop_map(|(node, cid, granted, state)| {
            Op::Report { node, items: vec![ReplicaReport { cid, granted, state }] }
        }),
        2 => (node(), liveness).prop_map(|(node, liveness)| Op::SetLiveness { node, liveness }),
        1 => (node(), role).prop_map(|(node, role)| Op::SetRole { node, role }),
        1 => node().prop_map(|node| Op::Remove { node }),
        1 => (node(), 1u64..12).prop_map(|(node, n)| Op::Register {
            node,
            spec: spec(n, Role::Worker),
        }),
        1 => (token(), 0u64..4_000).prop_map(|(token, expires_ms)| Op::CreateToken {
            token,
            secret_hash: [1; 32],
            role_cap: Role::Worker,
            expires_ms,
        }),
        2 => (token(), 1u64..12).prop_map(|(token, n)| Op::Join {
            token,
            secret_hash: [1; 32],
            spec: spec(n, Role::Worker),
        }),
        1 => token().prop_map(|token| Op::RevokeToken { token }),
        1 => Just(Op::Expire),
    ]
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    // Sequence numbers repeat, so that retries happen.
    let command = ((1u64..4), (1u64..3), (1u64..60), ops())
        .prop_map(|(node, run, seq, op)| Command { request: request(node, run, seq), op });
    let entry = ((0u64..3_000), prop::collection::vec(command, 0..4))
        .prop_map(|(stamped_ms, commands)| Entry { stamped_ms, commands });
    prop::collection::vec(entry, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn whatever_the_log_says_states_agree_and_keep_their_promises(log in entries()) {
        let mut one = World::with_workers(4).state;
        let mut other = one.clone();
        let mut history = History::default();
        for entry in &log {
            let index = one.index() + 1;
            let applied = one.apply(index, entry, Standing::Normal);
            prop_assert_eq!(applied.outcomes.len(), entry.commands.len());
            // The other master restarts before every entry.
            other = ClusterState::from_bytes(&other.to_bytes()).unwrap();
            prop_assert_eq!(&applied.outcomes, &other.apply(index, entry, Standing::Normal).outcomes);
            prop_assert_eq!(invariant::check_state(&one), vec![]);
            prop_assert_eq!(history.observe(&one), vec![]);
        }
        let pair = [("one".to_owned(), &one), ("other".to_owned(), &other)];
        prop_assert_eq!(invariant::check_masters_bytewise(&pair), vec![]);
    }

    #[test]
    fn views_by_deltas_are_the_projections_at_every_index(
        log in entries(), holder in 1u64..7, batch in 1usize..4,
    ) {
        let mut state = World::with_workers(4).state;
        let scopes = [Scope::Holder(NodeId(holder)), Scope::MembersOnly];
        let mut views = scopes.map(|scope| View::of(&state, scope));
        for entries in log.chunks(batch) {
            let from = state.index() + 1;
            let mut changes = Vec::new();
            for entry in entries {
                changes.extend(state.apply(state.index() + 1, entry, Standing::Normal).changes);
            }
            let delta = Delta {
                epoch: state.epoch(),
                from,
                to: state.index(),
                clock_ms: state.clock_ms(),
                changes,
                hash: state.hash(),
            };
            for view in &mut views {
                view.apply(&delta).unwrap();
                prop_assert_eq!(view.index(), state.index());
                prop_assert_eq!(invariant::check_view("follower", view, &state), vec![]);
            }
        }
    }
}
